//! The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core 3.1.2).
//!
//! It never redirects to an address that is not registered, letter for letter, for the client that
//! asks; every other mistake goes back to the client with `iss` (RFC 9207) and its `state`. There
//! is no session here: everybody signs in anew, and says whether that counts as a sign-in of now or
//! of an hour ago, so that a step-up (RFC 9470) can be tried.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use url::Url;

use super::form::{Form, FormFault};
use super::grants::{Authorization, SignIn};
use super::pages::SignInPage;
use super::{PEOPLE, Person, Shared, keys, now};
use crate::core::time::Timestamp;
use crate::demo::serve::{self, Answer};

const AN_HOUR: Duration = Duration::from_secs(3600);
/// What `signed_in` says in the form, and in a request whose sign-in page shall propose it.
const AN_HOUR_AGO: &str = "an_hour_ago";

/// The parameters that the sign-in form carries along.
const PARAMETERS: [&str; 12] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "resource",
];

/// Why a request is not taken further.
enum Stop {
    /// There is no address that may be told: a page for the person.
    Page(&'static str),
    /// RFC 6749 section 4.1.2.1.
    Back { redirect_uri: String, state: Option<String>, error: &'static str, description: &'static str },
}

/// An authorization request that holds.
struct Asked {
    client_id: String,
    redirect_uri: String,
    state: Option<String>,
    nonce: Option<String>,
    /// Empty when none was asked for.
    scope: Vec<String>,
    code_challenge: String,
    /// How long ago the sign-in may be at most; zero: now.
    max_age: Option<Duration>,
}

/// `GET /authorize`: the sign-in page.
pub(super) fn ask(shared: &Shared, request: &Request<Incoming>) -> Answer {
    let form = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    match read(shared, form.as_ref().map_err(|fault| *fault)) {
        Ok((asked, form)) => sign_in_page(shared, &asked, form),
        Err(stop) => stopped(shared, stop),
    }
}

/// `POST /authorize`: somebody chose who they are.
pub(super) async fn sign_in(shared: &Shared, request: Request<Incoming>) -> Answer {
    let (headers, form) = Form::read(request).await;
    if !from_our_page(shared, &headers) {
        return page(shared, StatusCode::FORBIDDEN, "This form was sent by another site.");
    }
    let (asked, form) = match read(shared, form.as_ref().map_err(|fault| *fault)) {
        Ok(asked) => asked,
        Err(stop) => return stopped(shared, stop),
    };
    let Some(person) = PEOPLE.iter().find(|person| form.get("user") == Some(person.subject)) else {
        return sign_in_page(shared, &asked, form);
    };
    let wanted = if form.get("signed_in") == Some(AN_HOUR_AGO) { AN_HOUR } else { Duration::ZERO };
    let age = asked.max_age.map_or(wanted, |most| if wanted > most { Duration::ZERO } else { wanted });
    let now = now();
    let (redirect_uri, state) = (asked.redirect_uri.clone(), asked.state.clone());
    let code = authorization(asked, person, now.minus(age))
        .and_then(|authorization| shared.grants().issue_code(now, authorization).ok());
    match code {
        Some(code) => redirect(shared, &redirect_uri, state.as_deref(), &[("code", &code)]),
        None => stopped(
            shared,
            Stop::Back {
                redirect_uri,
                state,
                error: "temporarily_unavailable",
                description: "too many codes are open",
            },
        ),
    }
}

fn authorization(asked: Asked, person: &Person, auth_time: Timestamp) -> Option<Authorization> {
    let granted: Vec<&str> = if asked.scope.is_empty() {
        vec!["api:read"]
    } else {
        asked.scope.iter().map(String::as_str).filter(|scope| person.scopes.contains(scope)).collect()
    };
    let sign_in = SignIn {
        client_id: asked.client_id,
        subject: person.subject.to_owned(),
        scope: granted.join(" "),
        session_id: keys::random_id()?,
        auth_time,
        nonce: asked.nonce,
    };
    Some(Authorization { sign_in, redirect_uri: asked.redirect_uri, code_challenge: asked.code_challenge })
}

fn read<'f>(shared: &Shared, form: Result<&'f Form, FormFault>) -> Result<(Asked, &'f Form), Stop> {
    let form = form.map_err(|fault| Stop::Page(fault.text()))?;
    let own = |name| form.get(name).map(str::to_owned);
    let client = form.get("client_id").and_then(|id| shared.client(id));
    let client = client.ok_or(Stop::Page("No application with this client_id is registered here."))?;
    let redirect_uri = own("redirect_uri")
        .filter(|uri| client.redirect_uris.contains(uri))
        .ok_or(Stop::Page("This redirect_uri is not one of the application's."))?;
    let back = |error, description| {
        let (redirect_uri, state) = (redirect_uri.clone(), own("state"));
        Err(Stop::Back { redirect_uri, state, error, description })
    };
    match form.get("response_type") {
        Some("code") => {}
        Some(_) => return back("unsupported_response_type", "response_type is code"),
        None => return back("invalid_request", "response_type is missing"),
    }
    if form.get("response_mode").is_some_and(|mode| mode != "query") {
        return back("invalid_request", "response_mode is query");
    }
    if form.get("code_challenge_method") != Some("S256") {
        return back("invalid_request", "PKCE with code_challenge_method S256 is required");
    }
    let Some(code_challenge) = own("code_challenge").filter(|challenge| is_challenge(challenge)) else {
        return back("invalid_request", "code_challenge is 43 characters of base64url");
    };
    if form.get("resource").is_some_and(|resource| resource != shared.options.audience) {
        return back("invalid_target", "this resource is not served here");
    }
    let max_age = match form.get("max_age").map(str::parse::<u32>) {
        Some(Err(_)) => return back("invalid_request", "max_age is a number of seconds"),
        Some(Ok(seconds)) => Some(Duration::from_secs(seconds.into())),
        None => None,
    };
    let prompts: Vec<&str> = form.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
    if prompts.contains(&"none") {
        return back("login_required", "nobody is signed in here before they say so");
    }
    let asked = Asked {
        client_id: client.id.clone(),
        state: own("state"),
        nonce: own("nonce"),
        scope: form
            .get("scope")
            .unwrap_or_default()
            .split(' ')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect(),
        code_challenge,
        max_age: if prompts.contains(&"login") { Some(Duration::ZERO) } else { max_age },
        redirect_uri,
    };
    Ok((asked, form))
}

/// BASE64URL of a SHA-256 (RFC 7636 section 4.2).
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Whether the form was sent by the page of this server. Another site must not sign anybody in.
fn from_our_page(shared: &Shared, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => site == b"same-origin",
        (None, Some(origin)) => origin == shared.options.issuer.as_bytes(),
        // Not a browser: nobody is deceived.
        (None, None) => true,
    }
}

fn sign_in_page(shared: &Shared, asked: &Asked, form: &Form) -> Answer {
    let carried: Vec<(&str, &str)> =
        PARAMETERS.iter().filter_map(|name| form.get(name).map(|value| (*name, value))).collect();
    let anew = asked.max_age.is_some_and(|most| most < AN_HOUR);
    let stale = form.get("signed_in") == Some(AN_HOUR_AGO);
    let target = form_target(&asked.redirect_uri);
    shared.pages.sign_in(&SignInPage {
        client: &asked.client_id,
        carried: &carried,
        anew,
        stale,
        target: &target,
    })
}

/// What `form-action` must allow, because browsers apply it to the redirect that follows: the origin of
/// the redirect URI, or its scheme where that has none.
fn form_target(redirect_uri: &str) -> String {
    let Ok(url) = Url::parse(redirect_uri) else { return String::new() };
    let origin = url.origin();
    if origin.is_tuple() { origin.ascii_serialization() } else { format!("{}:", url.scheme()) }
}

fn stopped(shared: &Shared, stop: Stop) -> Answer {
    match stop {
        Stop::Page(text) => page(shared, StatusCode::BAD_REQUEST, text),
        Stop::Back { redirect_uri, state, error, description } => redirect(
            shared,
            &redirect_uri,
            state.as_deref(),
            &[("error", error), ("error_description", description)],
        ),
    }
}

fn page(shared: &Shared, status: StatusCode, text: &str) -> Answer {
    shared.pages.stopped(status, text)
}

/// Back to the client. 303: the browser must not send the form along.
fn redirect(shared: &Shared, redirect_uri: &str, state: Option<&str>, what: &[(&str, &str)]) -> Answer {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(what);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", &shared.options.issuer);
    let separator = if redirect_uri.contains('?') { '&' } else { '?' };
    let location = HeaderValue::try_from(format!("{redirect_uri}{separator}{}", query.finish()));
    let Ok(location) = location else {
        return page(shared, StatusCode::BAD_REQUEST, "This redirect_uri cannot be sent.");
    };
    let mut answer = serve::answer(StatusCode::SEE_OTHER, "text/plain", "");
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}
