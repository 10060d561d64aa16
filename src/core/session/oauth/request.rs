//! What a page may ask of `/oauth/token`, and what of it goes on to the AS.
//!
//! A parameter given twice is refused (RFC 6749 section 3.2). From a page, client credentials and
//! refresh tokens are refused too: in `token` mode both are the gateway's. What is not named here does not
//! reach the AS.

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, header};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Scope;
use super::grant_type::GrantType;
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::activity::Activity;
use crate::core::session::oauth::answer::is_error_character;
use crate::core::session::pkce;
use crate::core::token::json::object;

/// What is refused beside the gateway's own credentials.
const CREDENTIALS: [(&str, &str); 3] = [
    ("client_secret", "Leave client_secret out: the gateway authenticates the client."),
    ("client_assertion", "Leave client_assertion out: the gateway authenticates the client."),
    ("client_assertion_type", "Leave client_assertion_type out: the gateway authenticates the client."),
];

/// More parameters than any request has. Each is compared with all before it, so there must be a bound.
const MOST_PARAMETERS: usize = 32;

const FORM: &str = "application/x-www-form-urlencoded";

/// The type of a body, without its parameters; empty where there is not exactly one.
pub fn media_type(headers: &HeaderMap) -> &str {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next().map(http::HeaderValue::to_str), types.next()) {
        (Some(Ok(text)), None) => text.split(';').next().unwrap_or_default().trim(),
        _ => "",
    }
}

/// Whether `text`, which an AS sent back, holds the beginning of a secret of `least` bytes or more, as far as
/// such a text can hold it.
pub(super) fn begins_in(secret: &SecretString, text: &str, least: usize) -> bool {
    let shown = secret.expose().chars().filter(|c| is_error_character(*c));
    let beginning = Zeroizing::new(shown.take(TELLING_BEGINNING).collect::<String>());
    beginning.len() >= least && text.contains(beginning.as_str())
}

/// The parameters of a request, each once; empty ones count as absent (RFC 6749 section 3.2).
#[derive(Debug)]
pub struct Parameters(Vec<(String, SecretString)>);

impl Parameters {
    /// Reads a form or a flat JSON object, as `Content-Type` says.
    ///
    /// # Errors
    /// [`Denial::InvalidRequest`] when the body has no reading, more than one, or holds an access token.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Denial> {
        let media_type = media_type(headers);
        if media_type.eq_ignore_ascii_case(FORM) {
            Self::from_form(body)
        } else if media_type.eq_ignore_ascii_case("application/json") {
            Self::from_json(body)
        } else {
            Err(Denial::InvalidRequest(
                "Content-Type must be application/x-www-form-urlencoded or application/json.",
            ))
        }
    }

    /// Reads a form and nothing else.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_form(headers: &HeaderMap, body: &[u8]) -> Result<Self, Denial> {
        if media_type(headers).eq_ignore_ascii_case(FORM) {
            Self::from_form(body)
        } else {
            Err(Denial::InvalidRequest("Content-Type must be application/x-www-form-urlencoded."))
        }
    }

    /// # Errors
    /// As [`Self::read`].
    pub fn from_form(form: &[u8]) -> Result<Self, Denial> {
        Self::checked(
            form_urlencoded::parse(form).map(|(name, value)| (name.into_owned(), value.into_owned())),
        )
    }

    fn from_json(body: &[u8]) -> Result<Self, Denial> {
        let Ok(members) = object(body) else {
            return Err(Denial::InvalidRequest("The body must be one JSON object with each member once."));
        };
        let texts: Option<Vec<_>> = members
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => Some((name, text)),
                _ => None,
            })
            .collect();
        let texts =
            texts.ok_or(Denial::InvalidRequest("Every member of the JSON object must be a string."))?;
        Self::checked(texts.into_iter())
    }

    fn checked(pairs: impl Iterator<Item = (String, String)>) -> Result<Self, Denial> {
        let mut kept: Vec<(String, SecretString)> = Vec::new();
        for (name, value) in pairs {
            let value = SecretString::new(value);
            if kept.len() == MOST_PARAMETERS {
                return Err(Denial::InvalidRequest("There are more parameters than any request has."));
            }
            if value.expose().contains('\u{fffd}') {
                return Err(Denial::InvalidRequest("The body must be UTF-8."));
            }
            if kept.iter().any(|(known, _)| *known == name) {
                return Err(Denial::InvalidRequest("A parameter must not be given twice."));
            }
            if name == "access_token" {
                return Err(Denial::InvalidRequest("An access token does not belong here."));
            }
            kept.push((name, value));
        }
        Ok(Self(kept))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.expose().as_str()).filter(|value| !value.is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Where the gateway authenticates the client, nobody else does beside it (RFC 6749 section 2.3), not
    /// even with nothing.
    ///
    /// # Errors
    /// [`Denial::InvalidRequest`] when a credential of the client came along.
    pub fn bring_no_credential(&self, headers: &HeaderMap) -> Result<(), Denial> {
        if headers.contains_key(header::AUTHORIZATION) {
            return Err(Denial::InvalidRequest(
                "Leave the Authorization header out: the gateway authenticates the client.",
            ));
        }
        match CREDENTIALS.iter().find(|(name, _)| self.has(name)) {
            Some((_, why)) => Err(Denial::InvalidRequest(why)),
            None => Ok(()),
        }
    }

    /// What is asked for, where the client may. Looked at before all that belongs to it.
    ///
    /// # Errors
    /// `InvalidRequest` when it is missing; `UnsupportedGrantType` when there is no such grant here;
    /// `UnauthorizedClient` (RFC 6749 section 5.2).
    pub fn grant_type(&self, grants: &[GrantType]) -> Result<GrantType, Denial> {
        let name = self.get("grant_type").ok_or(Denial::InvalidRequest("grant_type is missing."))?;
        let grant = GrantType::named(name).ok_or(Denial::UnsupportedGrantType)?;
        if grants.contains(&grant) { Ok(grant) } else { Err(Denial::UnauthorizedClient) }
    }

    /// # Errors
    /// [`Denial::InvalidRequest`] when it is missing.
    pub fn client_id(&self) -> Result<&str, Denial> {
        self.get("client_id").ok_or(Denial::InvalidRequest("client_id is missing."))
    }
}

/// What a page asks for.
#[derive(Debug)]
pub enum TokenRequest {
    /// `authorization_code` with PKCE (RFC 7636).
    Code { code: SecretString, verifier: SecretString, redirect_uri: String },
    /// `refresh_token`, the token being in the cookie.
    Refresh {
        /// Narrower than what was granted.
        scope: Option<Scope>,
        activity: Activity,
    },
}

impl TokenRequest {
    /// `grants`: those of the client. `resource`: its configured one; a page may repeat it.
    ///
    /// # Errors
    /// As [`Parameters::grant_type`]. Says which parameter is missing, wrong, or the gateway's own.
    pub fn read(
        headers: &HeaderMap,
        parameters: &Parameters,
        grants: &[GrantType],
        resource: Option<&str>,
    ) -> Result<Self, Denial> {
        let grant = parameters.grant_type(grants)?;
        parameters.bring_no_credential(headers)?;
        if parameters.has("refresh_token") {
            return Err(Denial::InvalidRequest(
                "Leave refresh_token out: the gateway keeps it in the cookie.",
            ));
        }
        if parameters.get("resource").is_some_and(|asked| Some(asked) != resource) {
            return Err(Denial::InvalidRequest(
                "resource is the client's, from the gateway's configuration.",
            ));
        }
        match grant {
            GrantType::AuthorizationCode => Self::code(parameters),
            GrantType::RefreshToken => Self::refresh(parameters),
            // No client with a cookie has another.
            _ => Err(Denial::UnauthorizedClient),
        }
    }

    fn code(parameters: &Parameters) -> Result<Self, Denial> {
        let code = parameters.get("code").ok_or(Denial::InvalidRequest("code is missing."))?;
        if !code.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            return Err(Denial::InvalidRequest("code has a character that no code can have."));
        }
        let verifier = parameters.get("code_verifier").filter(|text| pkce::is_verifier(text)).ok_or(
            Denial::InvalidRequest("code_verifier is required: 43 to 128 unreserved characters (PKCE)."),
        )?;
        let redirect_uri =
            parameters.get("redirect_uri").ok_or(Denial::InvalidRequest("redirect_uri is missing."))?;
        Ok(Self::Code { code: code.into(), verifier: verifier.into(), redirect_uri: redirect_uri.to_owned() })
    }

    fn refresh(parameters: &Parameters) -> Result<Self, Denial> {
        let scope = match parameters.get("scope") {
            None => None,
            Some(text) => Some(Scope::parse(text).ok_or(Denial::InvalidScope)?),
        };
        let activity = match parameters.get("background") {
            None | Some("false") => Activity::Use,
            Some("true") => Activity::Poll,
            Some(_) => return Err(Denial::InvalidRequest("background must be true or false.")),
        };
        Ok(Self::Refresh { scope, activity })
    }
}

/// How much of a secret tells it from other words.
const TELLING_BEGINNING: usize = 16;
/// What is shorter guards nothing.
const SHORTEST_SECRET: usize = 6;

/// A form for the AS. Its names are written here, for native clients in `super::native`, and for pushed
/// requests in `core::session::authorization`, and nowhere else: these are the allow-lists.
#[derive(Debug)]
pub struct ServerForm(Vec<(Cow<'static, str>, SecretString)>);

impl ServerForm {
    /// A form with this grant and nothing more.
    pub(super) fn of(grant: GrantType) -> Self {
        Self(vec![("grant_type".into(), grant.name().into())])
    }

    pub(super) fn add(&mut self, name: &'static str, value: SecretString) {
        self.0.push((name.into(), value));
    }

    /// RFC 6749 section 4.1.3 with RFC 7636 section 4.5 and RFC 8707 section 2.2.
    pub fn code(
        code: &SecretString,
        verifier: &SecretString,
        redirect_uri: &str,
        resource: Option<&str>,
    ) -> Self {
        let mut form = Self(vec![
            ("grant_type".into(), "authorization_code".into()),
            ("code".into(), code.clone()),
            ("code_verifier".into(), verifier.clone()),
            ("redirect_uri".into(), redirect_uri.into()),
        ]);
        form.optional("resource", resource);
        form
    }

    /// RFC 6749 section 6 with RFC 8707 section 2.2.
    pub fn refresh(refresh_token: &SecretString, scope: Option<&str>, resource: Option<&str>) -> Self {
        let mut form = Self(vec![
            ("grant_type".into(), "refresh_token".into()),
            ("refresh_token".into(), refresh_token.clone()),
        ]);
        form.optional("scope", scope);
        form.optional("resource", resource);
        form
    }

    /// RFC 7009 section 2.1.
    pub fn revocation(refresh_token: &SecretString) -> Self {
        Self(vec![
            ("token".into(), refresh_token.clone()),
            ("token_type_hint".into(), "refresh_token".into()),
        ])
    }

    /// RFC 7662 section 2.1.
    pub fn introspection(access_token: &str) -> Self {
        Self(vec![("token".into(), access_token.into()), ("token_type_hint".into(), "access_token".into())])
    }

    /// RFC 9126 section 2.1: an authorization request.
    pub(in crate::core::session) fn pushed(parameters: Vec<(Cow<'static, str>, SecretString)>) -> Self {
        Self(parameters)
    }

    /// Whether `text`, which the AS sent back, repeats a secret of this form: some servers name the token
    /// that they refuse in their `error_description`. The beginning of one is enough, for a text may be cut
    /// short; so is one without the characters that no `error_description` has.
    pub fn is_repeated_in(&self, text: &str) -> bool {
        const SECRETS: [&str; 8] = [
            "code",
            "code_verifier",
            "refresh_token",
            "token",
            "device_code",
            "subject_token",
            "actor_token",
            "assertion",
        ];
        let secrets = self.0.iter().filter(|(name, _)| SECRETS.contains(&&**name)).map(|(_, secret)| secret);
        secrets.into_iter().any(|secret| begins_in(secret, text, SHORTEST_SECRET))
    }

    fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.push((name.into(), value.into()));
        }
    }

    /// As `application/x-www-form-urlencoded`, with the fields that authenticate the client at its end; a
    /// `client_id` that it has of its own is not said twice (RFC 6749 section 3.1).
    pub fn encode(&self, authentication: &[(&'static str, SecretString)]) -> SecretString {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            text.append_pair(name, value.expose());
        }
        let is_said = self.0.iter().any(|(name, _)| name == "client_id");
        for (name, value) in authentication.iter().filter(|(name, _)| !(is_said && *name == "client_id")) {
            text.append_pair(name, value.expose());
        }
        SecretString::new(text.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use http::HeaderValue;
    use serde_json::json;

    const FORM: &str = "application/x-www-form-urlencoded";
    const PAGES: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

    fn read(content_type: &'static str, body: &str) -> Result<Parameters, Denial> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Parameters::read(&headers, body.as_bytes())
    }

    fn request(body: &str) -> Result<TokenRequest, Denial> {
        TokenRequest::read(&HeaderMap::new(), &read(FORM, body)?, &PAGES, Some("https://api.example"))
    }

    #[test]
    fn form_and_json_say_the_same() {
        for (content_type, body) in [
            (FORM, "grant_type=refresh_token&client_id=web+app&scope="),
            ("application/json; charset=utf-8", r#"{"grant_type":"refresh_token","client_id":"web app"}"#),
        ] {
            let parameters = read(content_type, body).unwrap();
            assert_eq!(parameters.client_id().unwrap(), "web app");
            assert_eq!(parameters.get("scope"), None);
            assert!(matches!(
                TokenRequest::read(&HeaderMap::new(), &parameters, &PAGES, None),
                Ok(TokenRequest::Refresh { scope: None, activity: Activity::Use })
            ));
        }
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        for (content_type, body) in [
            (FORM, "client_id=a&client_id=a"),
            (FORM, "client_id=a&client%5Fid=b"),
            (FORM, "client_id=%ff"),
            ("application/json", r#"{"client_id":"a","client_id":"b"}"#),
            ("application/json", r#"{"client_id":["a"]}"#),
            ("application/json", r#"{"background":true}"#),
            ("application/json", "{"),
            ("text/plain", "client_id=a"),
            ("", "client_id=a"),
        ] {
            assert!(
                matches!(read(content_type, body), Err(Denial::InvalidRequest(_))),
                "{content_type} {body}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, HeaderValue::from_static(FORM));
        headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert!(Parameters::read(&headers, b"").is_err());
    }

    #[test]
    fn more_parameters_than_any_request_has_are_not_compared() {
        let some = |count: usize| {
            let names: Vec<_> = (0..count).map(|n| n.to_string()).collect();
            (names.join("&"), json!(names.iter().map(|n| (n, "")).collect::<BTreeMap<_, _>>()).to_string())
        };
        let (form, json) = some(MOST_PARAMETERS);
        assert!(read(FORM, &form).is_ok() && read("application/json", &json).is_ok());
        let (form, json) = some(MOST_PARAMETERS + 1);
        assert!(read(FORM, &form).is_err() && read("application/json", &json).is_err());
    }

    #[test]
    fn what_is_the_gateways_is_refused_from_a_page() {
        for name in ["client_secret", "client_assertion", "client_assertion_type", "refresh_token"] {
            for value in ["x", ""] {
                let body = format!("grant_type=refresh_token&client_id=a&{name}={value}");
                assert!(matches!(request(&body), Err(Denial::InvalidRequest(_))), "{body}");
            }
        }
        assert!(read(FORM, "grant_type=refresh_token&client_id=a&access_token=x").is_err());
        let parameters = read(FORM, "grant_type=refresh_token&client_id=a").unwrap();
        let basic = HeaderValue::from_static("Basic eDp5");
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, basic)]);
        assert!(TokenRequest::read(&headers, &parameters, &PAGES, None).is_err());
        assert!(TokenRequest::read(&HeaderMap::new(), &parameters, &PAGES, None).is_ok());
    }

    #[test]
    fn a_code_exchange_needs_code_verifier_and_redirect_uri() {
        let verifier = "v".repeat(43);
        let whole = format!("grant_type=authorization_code&code=c&code_verifier={verifier}&redirect_uri=r");
        assert!(matches!(request(&whole), Ok(TokenRequest::Code { .. })));
        for missing in ["code=c", &format!("code_verifier={verifier}"), "redirect_uri=r"] {
            let body = whole.replace(&format!("&{missing}"), "");
            assert!(matches!(request(&body), Err(Denial::InvalidRequest(_))), "{body}");
        }
        let short = whole.replace(&verifier, &"v".repeat(42));
        assert!(matches!(request(&short), Err(Denial::InvalidRequest(_))));
        assert!(matches!(request(&whole.replace("code=c", "code=%00")), Err(Denial::InvalidRequest(_))));
    }

    #[test]
    fn other_grants_and_foreign_resources_are_refused() {
        assert!(matches!(request("grant_type=password"), Err(Denial::UnsupportedGrantType)));
        for (grant, others) in
            [(GrantType::AuthorizationCode, &[GrantType::RefreshToken][..]), (GrantType::RefreshToken, &[])]
        {
            // Whatever else is right or wrong with it.
            for more in ["", "&client_secret=x", "&code=c&resource=https://other.example"] {
                let parameters = read(FORM, &format!("grant_type={}{more}", grant.name())).unwrap();
                let read = TokenRequest::read(&HeaderMap::new(), &parameters, others, None);
                assert!(matches!(read, Err(Denial::UnauthorizedClient)), "{grant:?} {more}");
            }
        }
        for (name, grant) in GrantType::NAMES {
            let refused = matches!(request(&format!("grant_type={name}")), Err(Denial::UnauthorizedClient));
            assert_eq!(refused, !PAGES.contains(&grant), "{name}");
        }
        assert!(matches!(request("client_id=a"), Err(Denial::InvalidRequest(_))));
        assert!(request("grant_type=refresh_token&resource=https://api.example").is_ok());
        assert!(request("grant_type=refresh_token&resource=https://other.example").is_err());
        assert!(matches!(request("grant_type=refresh_token&scope=a%22"), Err(Denial::InvalidScope)));
        assert!(matches!(
            request("grant_type=refresh_token&background=true"),
            Ok(TokenRequest::Refresh { activity: Activity::Poll, .. })
        ));
    }

    #[test]
    fn only_the_allow_list_reaches_the_server() {
        let form = ServerForm::refresh(&"r&t=1".into(), Some("a b"), Some("https://api.example"));
        assert_eq!(
            form.encode(&[("client_id", "web".into())]).expose(),
            "grant_type=refresh_token&refresh_token=r%26t%3D1&scope=a+b&resource=https%3A%2F%2Fapi.example&client_id=web"
        );
        assert!(!format!("{form:?}").contains("r&t"));
    }

    #[test]
    fn a_server_that_repeats_a_secret_is_found_out() {
        let refresh = ServerForm::refresh(&"8a7f-\"0123456789abcdef".into(), Some("api:read"), None);
        for text in ["Invalid refresh token (expired): 8a7f-0123456789abcdef", "8a7f-0123456789a"] {
            assert!(refresh.is_repeated_in(text), "{text}");
        }
        for text in ["", "8a7f-", "the scope api:read is not granted", "refresh_token"] {
            assert!(!refresh.is_repeated_in(text), "{text}");
        }
        let code =
            ServerForm::code(&"code-1".into(), &SecretString::new("v".repeat(43)), "https://app", None);
        assert!(code.is_repeated_in("no such code: code-1") && code.is_repeated_in(&"v".repeat(16)));
        assert!(!code.is_repeated_in("the code was used before; https://app"));
    }

    #[test]
    fn any_body_is_read_without_harm() {
        bolero::check!().for_each(|body: &[u8]| {
            if let Ok(parameters) = Parameters::from_form(body) {
                let _ = TokenRequest::read(&HeaderMap::new(), &parameters, &PAGES, None);
            }
            let _ = Parameters::from_json(body);
        });
    }
}
