//! Signs somebody in as a browser would: opens the sign-in page, sends its form, and reads the code from
//! where the authorization server redirects to. Checks `state` and `iss` (RFC 9207) as a client must.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, header};
use url::Url;

use super::browser::{Browser, NoAnswer};

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
    let page = browser.get(&format!("{endpoint}?{}", query.finish()), &[]).await?;
    if page.status != StatusCode::OK {
        return Err(SignInFault::Page(page.status));
    }
    let html = String::from_utf8_lossy(&page.body);
    if !html.contains(&format!("name=\"user\" value=\"{}\"", request.user)) {
        return Err(SignInFault::Form(request.user.to_owned()));
    }
    let carried = hidden_inputs(&html);
    let mut form: Vec<(&str, &str)> = carried.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    form.push(("user", request.user));
    if request.an_hour_ago {
        form.push(("signed_in", "an_hour_ago"));
    }
    let same_site = [("Origin", request.issuer), ("Sec-Fetch-Site", "same-origin")];
    let answer = browser.post(&endpoint, &same_site, &form).await?;
    let code = code(request, answer.status, answer.header(&header::LOCATION), &state)?;
    Ok(SignedIn { code, code_verifier, status: answer.status })
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
