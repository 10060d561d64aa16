//! Signs somebody in as a browser would: opens the sign-in page, sends its form, and goes where the
//! authorization server redirects to. Through the gateway ([`through_the_gateway`]) that is all; a client of
//! its own ([`sign_in`]) reads the code there, and checks `state` and `iss` (RFC 9207) as a client must.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use url::Url;

use super::browser::{Answer, Browser, NoAnswer};

/// Who signs in where, and what for.
#[derive(Clone, Copy, Debug)]
pub struct SignInRequest<'a> {
    /// The authorization server, `http://127.0.0.1:8082`.
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub redirect_uri: &'a str,
    pub scope: &'a str,
    /// `alice` or `bob`.
    pub user: &'a str,
    /// As if the sign-in had been an hour ago.
    pub an_hour_ago: bool,
    /// How many seconds ago the sign-in may be at most, when the client asks for that.
    pub max_age: Option<u32>,
}

/// What the client has after the redirect.
#[derive(Debug)]
pub struct SignedIn {
    pub code: String,
    pub code_verifier: String,
    /// The answer's status, always a redirect.
    pub status: StatusCode,
}

/// Why nobody signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInFault {
    #[error("{0}")]
    NoAnswer(String),
    #[error("the sign-in page answered {0}")]
    Page(StatusCode),
    #[error("the sign-in page has no form for {0}")]
    Form(String),
    #[error("{status} to {location:?} instead of a redirect with a code")]
    NotBack { status: StatusCode, location: String },
    #[error("the authorization server says {error}: {description}")]
    Refused { error: String, description: String },
    #[error("`{0}` came back changed")]
    Changed(&'static str),
    #[error("the machine has no randomness")]
    NoRandomness,
}

impl From<NoAnswer> for SignInFault {
    fn from(fault: NoAnswer) -> Self {
        Self::NoAnswer(fault.to_string())
    }
}

/// Signs in over HTTP.
///
/// # Errors
/// When the authorization server cannot be reached, refuses, or answers something else than a redirect
/// with a code, our `state` and its `iss`.
pub async fn sign_in(request: &SignInRequest<'_>) -> Result<SignedIn, SignInFault> {
    let browser = Browser::new();
    let (code_verifier, state, nonce) = (random()?, random()?, random()?);
    let challenge =
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, code_verifier.as_bytes()).as_ref());
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", request.client_id)
        .append_pair("redirect_uri", request.redirect_uri)
        .append_pair("scope", request.scope)
        .append_pair("state", &state)
        .append_pair("nonce", &nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    if let Some(seconds) = request.max_age {
        query.append_pair("max_age", &seconds.to_string());
    }
    let endpoint = format!("{}/authorize", request.issuer);
    let page = format!("{endpoint}?{}", query.finish());
    let answer = choose(&browser, request.issuer, &page, request.user, request.an_hour_ago).await?;
    let code = code(request, answer.status, answer.header(&header::LOCATION), &state)?;
    Ok(SignedIn { code, code_verifier, status: answer.status })
}

/// Opens the sign-in page and chooses `user`; returns what comes of it.
async fn choose(
    browser: &Browser,
    issuer: &str,
    page: &str,
    user: &str,
    an_hour_ago: bool,
) -> Result<Answer, SignInFault> {
    let page = browser.get(page, &[]).await?;
    if page.status != StatusCode::OK {
        return Err(SignInFault::Page(page.status));
    }
    let html = String::from_utf8_lossy(&page.body);
    if !html.contains(&format!("name=\"user\" value=\"{user}\"")) {
        return Err(SignInFault::Form(user.to_owned()));
    }
    let carried = hidden_inputs(&html);
    let mut form: Vec<(&str, &str)> = carried.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    form.push(("user", user));
    if an_hour_ago {
        form.push(("signed_in", "an_hour_ago"));
    }
    let same_site = [("Origin", issuer), ("Sec-Fetch-Site", "same-origin")];
    Ok(browser.post(&format!("{issuer}/authorize"), &same_site, &form).await?)
}

/// Who signs in through the gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct GatewaySignIn<'a> {
    pub(super) gateway: &'a str,
    /// The authorization server.
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) user: &'a str,
    pub(super) an_hour_ago: bool,
    pub(super) max_age: Option<u32>,
}

/// What a browser saw of a sign-in through the gateway.
#[derive(Debug)]
pub(super) struct Visited {
    /// `/oauth/login`: a redirect to the authorization server.
    pub(super) login: Answer,
    /// Where it went.
    pub(super) authorize: String,
    /// `/oauth/callback`, at the end: a page that goes on, or says what went wrong.
    pub(super) callback: Answer,
}

/// Signs in through the gateway, with the jar of `browser`.
///
/// # Errors
/// When somebody does not answer, or the gateway does not lead to the authorization server and back.
pub(super) async fn through_the_gateway(
    browser: &Browser,
    request: &GatewaySignIn<'_>,
) -> Result<Visited, SignInFault> {
    let GatewaySignIn { gateway, issuer, client_id, user, an_hour_ago, max_age } = *request;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", client_id).append_pair("return_to", "/");
    if let Some(seconds) = max_age {
        query.append_pair("max_age", &seconds.to_string());
    }
    let login = format!("{gateway}/oauth/login?{}", query.finish());
    let login = browser.get(&login, &navigation("same-origin")).await?;
    let authorize = leads_to(&login, &format!("{issuer}/authorize?"))?;
    let chosen = choose(browser, issuer, &authorize, user, an_hour_ago).await?;
    let back = leads_to(&chosen, &format!("{gateway}/oauth/callback?"))?;
    let mut callback = browser.get(&back, &navigation("cross-site")).await?;
    // The Strict cookie was withheld, as browsers do: the gateway has it come once more, from its own page.
    if callback.status == StatusCode::OK
        && goes_on_to(&callback).is_some_and(|to| to.contains("/oauth/callback?"))
    {
        callback = browser.get(&back, &navigation("same-origin")).await?;
    }
    Ok(Visited { login, authorize, callback })
}

/// What a browser sends along when a person goes somewhere.
fn navigation(site: &'static str) -> [(&'static str, &'static str); 3] {
    [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]
}

fn leads_to(answer: &Answer, wanted: &str) -> Result<String, SignInFault> {
    let location = answer.header(&header::LOCATION);
    if answer.status.is_redirection() && location.starts_with(wanted) {
        return Ok(location.to_owned());
    }
    Err(SignInFault::NotBack { status: answer.status, location: location.to_owned() })
}

/// Where a page goes on to by itself.
pub(super) fn goes_on_to(page: &Answer) -> Option<String> {
    let html = String::from_utf8_lossy(&page.body);
    let (_, rest) = html.split_once("http-equiv=\"refresh\" content=\"0; url=")?;
    let (to, _) = rest.split_once('"')?;
    Some(unescape(to))
}

/// The code in a redirect back to the client.
fn code(
    request: &SignInRequest<'_>,
    status: StatusCode,
    location: &str,
    state: &str,
) -> Result<String, SignInFault> {
    let not_back = || SignInFault::NotBack { status, location: location.to_owned() };
    if !status.is_redirection() || !location.starts_with(request.redirect_uri) {
        return Err(not_back());
    }
    let url = Url::parse(location).map_err(|_| not_back())?;
    let get = |name: &str| url.query_pairs().find(|(found, _)| found == name).map(|(_, v)| v.into_owned());
    if get("state").as_deref() != Some(state) {
        return Err(SignInFault::Changed("state"));
    }
    if get("iss").as_deref() != Some(request.issuer) {
        return Err(SignInFault::Changed("iss"));
    }
    if let Some(error) = get("error") {
        return Err(SignInFault::Refused {
            error,
            description: get("error_description").unwrap_or_default(),
        });
    }
    get("code").ok_or_else(not_back)
}

/// Name and value of each hidden input, as the page of the demo writes them.
fn hidden_inputs(html: &str) -> Vec<(String, String)> {
    html.split("<input type=\"hidden\" name=\"")
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once("\" value=\"")?;
            let (value, _) = rest.split_once('"')?;
            Some((unescape(name), unescape(value)))
        })
        .collect()
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#x27;", "'")
        .replace("&#x2f;", "/")
        .replace("&amp;", "&")
}

fn random() -> Result<String, SignInFault> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| SignInFault::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
