//! What the gateway asks of an authorization endpoint, and what a browser brings back from it (RFC 6749
//! section 4.1.1 and 4.1.2, RFC 7636 section 4.3, RFC 8707 section 2.1, RFC 9126, OpenID Connect Core 1.0
//! section 3.1.2, RFC 9207).
//!
//! Of an answer only the parameters named here count, and each at most once. Until its `state` is found in a
//! cookie of the same browser, anybody may have sent it.

use std::borrow::Cow;

use http::HeaderMap;
use url::Url;

use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::server_error::ServerError;
use crate::core::session::oauth::pushed::RequestUri;
use crate::core::session::oauth::request::{Parameters, ServerForm};
use crate::core::session::pkce;
use crate::core::session::step_up::StepUp;
use crate::core::session::transaction::Transaction;

/// Asked for where the configuration names no scope: an ID token, and a refresh token.
const DEFAULT_SCOPE: &str = "openid offline_access";

/// Who asks, and for what.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    pub client_id: &'a str,
    pub redirect_uri: &'a str,
    pub scope: Option<&'a str>,
    pub resource: Option<&'a str>,
    /// Parameters from the configuration; none of ours is among them.
    pub more: &'a [(String, String)],
    /// Those that the page gave, as far as it may; they come before those.
    pub from_page: &'a [(&'a str, &'a str)],
}

/// The longest value that a page may add to a sign-in, in bytes: a hint, not a document.
const LONGEST_FROM_PAGE: usize = 512;

/// What a page adds to its sign-in, of what its client lets it. `named`: what it gave, by name.
///
/// # Errors
/// [`Denial::InvalidRequest`] when one of them is not what it could be, or asks for a sign-in without the
/// person, which can only fail where nobody is signed in, and shows a page of ours then instead of a sign-in
/// (OpenID Connect Core 1.0 section 3.1.2.1).
pub fn from_page<'a>(
    allowed: &'a [String],
    named: impl Fn(&str) -> Option<&'a str>,
) -> Result<Vec<(&'a str, &'a str)>, Denial> {
    const VALUE: Denial = Denial::InvalidRequest(
        "A parameter for the authorization server is too long, or has a control character.",
    );
    const NONE: Denial = Denial::InvalidRequest(
        "prompt=none is not for a browser that goes to sign in. GET /oauth/session says who is signed in.",
    );
    let given = allowed.iter().filter_map(|name| Some((name.as_str(), named(name)?)));
    given
        .map(|(name, value)| match name {
            _ if value.len() > LONGEST_FROM_PAGE || value.chars().any(char::is_control) => Err(VALUE),
            "prompt" if value.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case("none")) => {
                Err(NONE)
            }
            _ => Ok((name, value)),
        })
        .collect()
}

/// Whether the answer must bring an ID token, where a client has this `scope` (OpenID Connect Core 1.0
/// section 3.1.3.3).
pub fn asks_for_id_token(scope: Option<&str>) -> bool {
    scope.unwrap_or(DEFAULT_SCOPE).split(' ').any(|scope| scope == "openid")
}

impl AuthorizationRequest<'_> {
    fn scope(&self) -> &str {
        self.scope.unwrap_or(DEFAULT_SCOPE)
    }

    /// See [`asks_for_id_token`].
    pub fn asks_for_id_token(&self) -> bool {
        asks_for_id_token(self.scope)
    }

    /// Where the browser goes.
    pub fn url(&self, endpoint: &Url, transaction: &Transaction) -> Url {
        let mut url = endpoint.clone();
        url.set_fragment(None);
        let mut query = url.query_pairs_mut();
        for (name, value) in self.parameters(transaction) {
            query.append_pair(&name, value.expose());
        }
        drop(query);
        url
    }

    /// The same, for the authorization server to keep until the browser comes (RFC 9126 section 2.1).
    pub fn pushed(&self, transaction: &Transaction) -> ServerForm {
        ServerForm::pushed(self.parameters(transaction))
    }

    fn parameters(&self, transaction: &Transaction) -> Vec<(Cow<'static, str>, SecretString)> {
        let mut parameters: Vec<(Cow<'static, str>, SecretString)> = vec![
            ("response_type".into(), "code".into()),
            ("response_mode".into(), "query".into()),
            ("client_id".into(), self.client_id.into()),
            ("redirect_uri".into(), self.redirect_uri.into()),
            ("scope".into(), self.scope().into()),
            ("state".into(), transaction.state.clone()),
            ("nonce".into(), transaction.nonce.clone()),
            ("code_challenge".into(), pkce::challenge(transaction.verifier.expose()).as_str().into()),
            ("code_challenge_method".into(), "S256".into()),
        ];
        parameters.extend(self.resource.map(|resource| ("resource".into(), resource.into())));
        let step_up: Vec<_> = transaction.step_up.parameters().collect();
        // A parameter must not be there twice: what this sign-in needs comes before what all of them have.
        let is_given = |name: &str| {
            step_up.iter().any(|(asked, _)| *asked == name)
                || self.from_page.iter().any(|(given, _)| *given == name)
        };
        let more = self.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let more = more.filter(|(name, _)| !is_given(name));
        let given = more.chain(self.from_page.iter().copied());
        parameters.extend(given.map(|(name, value)| (name.to_owned().into(), value.into())));
        parameters.extend(step_up.iter().map(|(name, value)| ((*name).into(), value.as_str().into())));
        parameters
    }
}

/// Where the browser goes with a request that was pushed: that alone, and whose it is (RFC 9126 section 4).
pub fn pushed_url(endpoint: &Url, client_id: &str, request_uri: &RequestUri) -> Url {
    let mut url = endpoint.clone();
    url.set_fragment(None);
    url.query_pairs_mut()
        .append_pair("client_id", client_id)
        .append_pair("request_uri", request_uri.as_str());
    url
}

/// The longest ID token that goes along as a hint, in bytes: an ID token may be far longer than an address
/// that servers, and proxies in front of them, take.
const LONGEST_HINT: usize = 4 * 1024;

/// Who signs out at the authorization server (OpenID Connect RP-Initiated Logout 1.0 section 2).
#[derive(Clone, Copy, Debug)]
pub struct SignOutRequest<'a> {
    /// Goes along beside the hint, too: some servers take it alone, and the standard lets both be there.
    pub client_id: &'a str,
    /// The ID token of the session. One that is too long for an address stays here.
    pub hint: Option<&'a SecretString>,
    pub back_to: Option<&'a str>,
    /// Parameters from the configuration; none of ours is among them.
    pub more: &'a [(String, String)],
}

/// Where the browser goes to sign out.
pub fn sign_out_url(endpoint: &Url, request: SignOutRequest<'_>) -> Url {
    let mut url = endpoint.clone();
    url.set_fragment(None);
    let mut query = url.query_pairs_mut();
    if let Some(hint) = request.hint.filter(|hint| hint.expose().len() <= LONGEST_HINT) {
        query.append_pair("id_token_hint", hint.expose());
    }
    query.append_pair("client_id", request.client_id);
    if let Some(back_to) = request.back_to {
        query.append_pair("post_logout_redirect_uri", back_to);
    }
    for (name, value) in request.more {
        query.append_pair(name, value);
    }
    drop(query);
    url
}

/// Where a person may begin a sign-in once more.
pub const AGAIN: &str = "/oauth/login/again";

/// Where a browser is led that brought what may be another browser's code: its address must not stay where
/// script of the gateway's origin reads it. It has a fragment of its own, or it would have that of where the
/// browser came (RFC 9110 section 10.2.2), in which there may be a code, too.
pub fn again_path(client_id: Option<&str>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(client_id.map(|client_id| ("client_id", client_id)));
    format!("{AGAIN}?{}#again", query.finish())
}

/// The gateway's own address that begins a sign-in.
pub fn login_path(client_id: &str, return_to: Option<&str>, step_up: &StepUp) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", client_id);
    if let Some(return_to) = return_to {
        query.append_pair("return_to", return_to);
    }
    for (name, value) in step_up.parameters() {
        query.append_pair(name, &value);
    }
    format!("/oauth/login?{}", query.finish())
}

/// The gateway's own address that ends a session, for a form.
pub fn logout_path(client_id: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", client_id);
    format!("/oauth/logout?{}", query.finish())
}

/// What a browser brought to the callback.
#[derive(Debug)]
pub struct AuthorizationResponse {
    pub state: SecretString,
    /// RFC 9207.
    iss: Option<String>,
    outcome: Result<SecretString, ServerError>,
}

impl AuthorizationResponse {
    /// # Errors
    /// [`Denial::InvalidRequest`] when it is no answer of an authorization server, or can be read in two
    /// ways.
    pub fn read(query: &str) -> Result<Self, Denial> {
        const NEITHER: Denial = Denial::InvalidRequest("The authorization server's answer has no code.");
        const BOTH: Denial =
            Denial::InvalidRequest("The authorization server's answer has both a code and an error.");
        const CODE: Denial = Denial::InvalidRequest("code has a character that no code can have.");
        const ERROR: Denial = Denial::InvalidRequest("error has a character that no error can have.");
        const CREDENTIAL: Denial = Denial::InvalidRequest(
            "The authorization server's answer has a credential, which no answer to a browser may have.",
        );
        let parameters = Parameters::from_form(query.as_bytes())?;
        parameters.bring_no_credential(&HeaderMap::new()).map_err(|_| CREDENTIAL)?;
        let state = parameters.get("state").ok_or(Denial::InvalidRequest("state is missing."))?;
        let outcome = match (parameters.get("code"), parameters.get("error")) {
            (Some(_), Some(_)) => return Err(BOTH),
            (None, None) => return Err(NEITHER),
            (Some(code), None) if code.bytes().all(|b| (0x20..=0x7e).contains(&b)) => Ok(code.into()),
            (Some(_), None) => return Err(CODE),
            (None, Some(error)) => {
                Err(ServerError::read(error, parameters.get("error_description")).ok_or(ERROR)?)
            }
        };
        Ok(Self { state: state.into(), iss: parameters.get("iss").map(ToOwned::to_owned), outcome })
    }

    /// Whether it is the answer of this authorization server (RFC 9207 section 2.4). `says_so`: it promises
    /// to name itself in each.
    pub fn is_of(&self, iss: &str, says_so: bool) -> bool {
        self.iss.as_deref().map_or(!says_so, |named| named == iss)
    }

    /// Whether the sign-in expired at the authorization server, whose person is signed in there.
    pub fn says_that_it_expired(&self) -> bool {
        self.outcome.as_ref().err().is_some_and(ServerError::says_that_a_sign_in_expired)
    }

    /// The code, or why there is none.
    ///
    /// # Errors
    /// What the authorization server said.
    pub fn code(self) -> Result<SecretString, Denial> {
        self.outcome.map_err(|said| match said.error.as_str() {
            _ if said.says_that_a_sign_in_expired() => Denial::SignInNotUnderWay,
            "server_error" | "temporarily_unavailable" => Denial::AuthorizationServerUnavailable,
            _ => Denial::SignInRefused(Box::new(said)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::secret::Secret;
    use crate::core::session::transaction::Registration;
    use crate::core::time::Timestamp;

    const REQUEST: AuthorizationRequest<'_> = AuthorizationRequest {
        client_id: "web app",
        redirect_uri: "https://gate.example/oauth/callback",
        scope: Some("openid api:read"),
        resource: None,
        more: &[],
        from_page: &[],
    };

    fn asked(request: AuthorizationRequest<'_>, endpoint: &str, step_up: StepUp) -> Vec<(String, String)> {
        // All differ, as do state, nonce and verifier then.
        let random = Secret::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let at = Registration { iss: "https://as.example".into(), client_id: "0oa".into() };
        let transaction =
            Transaction::begin("web", &random, "/".into(), step_up, at, Timestamp::from_secs(0));
        let url = request.url(&Url::parse(endpoint).unwrap(), &transaction);
        assert!(url.as_str().starts_with("https://as.example/auth?") && url.fragment().is_none());
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let names = pairs.iter().map(|(name, _)| name);
        assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), pairs.len(), "each once: {url}");
        let of = |name: &str| pairs.iter().find(|(known, _)| known == name).unwrap().1.as_str();
        assert_eq!(of("code_challenge"), pkce::challenge(transaction.verifier.expose()));
        assert_eq!(
            (of("state"), of("nonce")),
            (transaction.state.expose().as_str(), transaction.nonce.expose().as_str())
        );
        assert!(!url.as_str().contains(transaction.verifier.expose().as_str()));
        pairs
            .into_iter()
            .filter(|(name, _)| !["state", "nonce", "code_challenge"].contains(&name.as_str()))
            .collect()
    }

    fn pairs(texts: &[(&str, &str)]) -> Vec<(String, String)> {
        texts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const USUAL: [(&str, &str); 6] = [
        ("response_type", "code"),
        ("response_mode", "query"),
        ("client_id", "web app"),
        ("redirect_uri", "https://gate.example/oauth/callback"),
        ("scope", "openid api:read"),
        ("code_challenge_method", "S256"),
    ];

    #[test]
    fn the_request_is_that_of_the_standards_and_of_the_configuration() {
        assert_eq!(asked(REQUEST, "https://as.example/auth", StepUp::default()), pairs(&USUAL));
        let more = pairs(&[("prompt", "consent"), ("max_age", "3600")]);
        let full = AuthorizationRequest { resource: Some("https://api.example"), more: &more, ..REQUEST };
        let found = asked(full, "https://as.example/auth?realm=main#x", StepUp::default());
        let mut expected = vec![("realm", "main")];
        expected.extend(USUAL);
        expected.extend([("resource", "https://api.example"), ("prompt", "consent"), ("max_age", "3600")]);
        assert_eq!(found, pairs(&expected));
        let step_up = StepUp::read(Some("gold silver"), Some("60")).unwrap();
        let found = asked(full, "https://as.example/auth", step_up);
        assert!(found.ends_with(&pairs(&[
            ("prompt", "consent"),
            ("acr_values", "gold silver"),
            ("max_age", "60")
        ])));
    }

    #[test]
    fn what_the_page_gives_takes_the_place_of_what_all_sign_ins_have_and_never_of_ours() {
        let more = pairs(&[("prompt", "consent"), ("audience", "https://api.example"), ("max_age", "3600")]);
        let from_page = [("prompt", "create"), ("login_hint", "a&b=c@example.com"), ("ui_locales", "de en")];
        let request = AuthorizationRequest { more: &more, from_page: &from_page, ..REQUEST };
        let found =
            asked(request, "https://as.example/auth", StepUp::read(Some("gold"), Some("60")).unwrap());
        let mut expected = USUAL.to_vec();
        expected.push(("audience", "https://api.example"));
        expected.extend(from_page);
        expected.extend([("acr_values", "gold"), ("max_age", "60")]);
        assert_eq!(found, pairs(&expected));
    }

    #[test]
    fn a_page_adds_what_is_listed_within_bounds_and_no_sign_in_without_its_person() {
        let allowed = ["prompt", "login_hint"].map(ToOwned::to_owned);
        let added = |query: &str| {
            let parameters = Parameters::from_form(query.as_bytes())?;
            let added = from_page(&allowed, |name| parameters.get(name))?;
            Ok::<_, Denial>(
                added.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            )
        };
        assert_eq!(added("client_id=x&ui_locales=de&state=s"), Ok(vec![]));
        let given = "login_hint=a%40b&scope=admin&prompt=login+consent&Prompt=none";
        assert_eq!(added(given), Ok(pairs(&[("prompt", "login consent"), ("login_hint", "a@b")])));
        assert_eq!(added("prompt=&login_hint=nonesuch"), Ok(pairs(&[("login_hint", "nonesuch")])));
        assert!(added(&format!("login_hint={}", "a".repeat(LONGEST_FROM_PAGE))).is_ok());
        for bad in [
            format!("login_hint={}", "a".repeat(LONGEST_FROM_PAGE + 1)),
            "login_hint=a%0Ab".into(),
            "login_hint=a%C2%85b".into(),
            "prompt=none".into(),
            "prompt=login+none".into(),
            "prompt=NONE".into(),
            "prompt=login%09none".into(),
            "prompt=login&prompt=none".into(),
            "login_hint=a&login_hint=a".into(),
        ] {
            assert!(matches!(added(&bad), Err(Denial::InvalidRequest(_))), "{bad}");
        }
    }

    #[test]
    fn an_id_token_is_asked_for_unless_the_scope_leaves_it_out() {
        for (scope, asks) in
            [(None, true), (Some("openid x"), true), (Some("api:read"), false), (Some("openidx"), false)]
        {
            assert_eq!(AuthorizationRequest { scope, ..REQUEST }.asks_for_id_token(), asks, "{scope:?}");
        }
    }

    #[test]
    fn an_answer_has_one_reading() {
        let read = |query: &str| AuthorizationResponse::read(query);
        let answer = read("code=a%2Bb&state=s.web&iss=https%3A%2F%2Fas&session_state=x&scope=y").unwrap();
        assert_eq!(answer.state.expose(), "s.web");
        assert_eq!(answer.code().unwrap().expose(), "a+b");
        for bad in [
            "",
            "code=a",
            "state=s",
            "code=&state=s",
            "code=a&state=",
            "code=a&code=b&state=s",
            "code=a&state=s&state=s",
            "code=a&state=s&iss=a&iss=a",
            "code=a&state=s&error=access_denied",
            "code=a%00&state=s",
            "error=a%22&state=s",
            "code=a&state=s&access_token=t",
            "code=a&state=s&client_secret=t",
        ] {
            assert!(matches!(read(bad), Err(Denial::InvalidRequest(_))), "{bad}");
        }
        bolero::check!().with_type::<String>().for_each(|query| drop(read(query)));
    }

    #[test]
    fn an_error_is_the_servers_word_or_its_outage() {
        let said = |query: &str| AuthorizationResponse::read(query).unwrap().code().unwrap_err();
        let Denial::SignInRefused(error) =
            said("error=access_denied&error_description=No%0A%22way%22&state=s")
        else {
            panic!("not told")
        };
        assert_eq!((error.error.as_str(), error.description.as_deref()), ("access_denied", Some("Noway")));
        for away in ["server_error", "temporarily_unavailable"] {
            assert_eq!(said(&format!("error={away}&state=s")), Denial::AuthorizationServerUnavailable);
        }
    }

    #[test]
    fn another_servers_answer_is_told_apart() {
        for (query, says_so, is_of) in [
            ("code=a&state=s&iss=https%3A%2F%2Fas.example", true, true),
            ("code=a&state=s&iss=https%3A%2F%2Fas.example", false, true),
            ("code=a&state=s&iss=https%3A%2F%2Fas.example%2F", false, false),
            ("code=a&state=s&iss=https%3A%2F%2Fevil.example", false, false),
            ("error=access_denied&state=s&iss=https%3A%2F%2Fevil.example", false, false),
            ("code=a&state=s", false, true),
            ("code=a&state=s", true, false),
            ("code=a&state=s&iss=", true, false),
        ] {
            let answer = AuthorizationResponse::read(query).unwrap();
            assert_eq!(answer.is_of("https://as.example", says_so), is_of, "{query}");
        }
    }

    #[test]
    fn a_sign_out_names_the_client_and_the_session_and_brings_what_the_server_wants_besides() {
        let endpoint = Url::parse("https://as.example/out?x=1#y").unwrap();
        let (client_id, hint) = ("web app", "a.b.c".into());
        let request = SignOutRequest { client_id, hint: None, back_to: None, more: &[] };
        assert_eq!(sign_out_url(&endpoint, request).as_str(), "https://as.example/out?x=1&client_id=web+app");
        let more = pairs(&[("logout_uri", "https://gate.example/"), ("federated", "true")]);
        let back_to = Some("https://gate.example/bye?a");
        let request = SignOutRequest { hint: Some(&hint), back_to, more: &more, ..request };
        assert_eq!(
            sign_out_url(&endpoint, request).as_str(),
            "https://as.example/out?x=1&id_token_hint=a.b.c&client_id=web+app\
             &post_logout_redirect_uri=https%3A%2F%2Fgate.example%2Fbye%3Fa\
             &logout_uri=https%3A%2F%2Fgate.example%2F&federated=true"
        );
        for (length, named_by) in [
            (LONGEST_HINT, &["x", "id_token_hint", "client_id"][..]),
            (LONGEST_HINT + 1, &["x", "client_id"]),
        ] {
            let hint = "h".repeat(length).as_str().into();
            let request = SignOutRequest { hint: Some(&hint), back_to: None, more: &[], ..request };
            let url = sign_out_url(&endpoint, request);
            let names: Vec<_> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
            assert_eq!(names, named_by, "{length}");
        }
    }

    #[test]
    fn a_sign_in_is_begun_again_with_what_was_asked() {
        let step_up = StepUp::read(Some("gold silver"), Some("60")).unwrap();
        assert_eq!(
            login_path("web app", Some("/a?b=c&d"), &step_up),
            "/oauth/login?client_id=web+app&return_to=%2Fa%3Fb%3Dc%26d&acr_values=gold+silver&max_age=60"
        );
        assert_eq!(login_path("web", None, &StepUp::default()), "/oauth/login?client_id=web");
    }
}
