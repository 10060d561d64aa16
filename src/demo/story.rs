//! The story that the demo tells: each step does something at the public sockets, says what came back,
//! and checks it. What is not as promised ends the story.
//!
//! - `steps`: the steps in their order; `session_mode`, `taking_back`: two parts of them
//! - `footer`: what to try next

mod footer;
mod session_mode;
mod steps;
mod taking_back;

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde_json::Value;

use super::browser::{Answer, Browser, NoAnswer};
use super::operator::Operator;
use super::sign_in::SignInFault;
use super::terminal::{Terminal, shortened};

pub(super) use footer::say_where_to_go;

/// The client of the demo's configuration whose page holds access tokens.
pub(super) const CLIENT: &str = "web-app";
/// The one whose page holds none.
pub(super) const SESSION_CLIENT: &str = "portal";

/// Where everything listens, as URLs without a slash at the end.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) gateway: String,
    pub(super) admin: String,
    pub(super) authorization_server: String,
    pub(super) upstream: String,
}

impl Places {
    /// The redirect URI of both clients: the gateway signs people in.
    pub(super) fn redirect_uri(&self) -> String {
        format!("{}/oauth/callback", self.gateway)
    }
}

/// What was not as promised.
#[derive(Debug)]
struct Surprise(String);

type Told = Result<(), Surprise>;

impl From<NoAnswer> for Surprise {
    fn from(fault: NoAnswer) -> Self {
        Self(fault.to_string())
    }
}

impl From<SignInFault> for Surprise {
    fn from(fault: SignInFault) -> Self {
        Self(fault.to_string())
    }
}

/// The story while it is told.
#[derive(Debug)]
struct Story<'a> {
    places: &'a Places,
    operator: &'a Operator,
    terminal: &'a mut Terminal,
    /// Alice's.
    browser: Browser,
    /// The newest that her page holds.
    access_token: String,
    cookie_name: String,
}

/// Tells the whole story; whether everything was as promised.
pub(super) async fn tell(places: &Places, operator: &Operator, terminal: &mut Terminal) -> bool {
    let mut story = Story {
        places,
        operator,
        terminal,
        browser: Browser::new(),
        access_token: String::new(),
        cookie_name: String::new(),
    };
    let told = story.all().await;
    if let Err(Surprise(text)) = &told {
        terminal.unexpected(shortened(text, 400));
    }
    told.is_ok()
}

impl Story<'_> {
    async fn all(&mut self) -> Told {
        self.wait_until_ready().await?;
        self.sign_in().await?;
        self.call_without_a_token().await?;
        self.call_with_the_token().await?;
        self.alter_the_token().await?;
        self.reach_for_more().await?;
        self.step_up().await?;
        self.swap_the_cookie().await?;
        self.swap_from_another_site().await?;
        self.swap_fifty_times_at_once().await?;
        self.hold_no_token().await?;
        self.suspend_the_account().await?;
        self.lose_a_device().await?;
        self.distrust_a_key().await?;
        self.sign_out().await
    }
}

fn expect(holds: bool, surprise: impl Display) -> Told {
    if holds { Ok(()) } else { Err(Surprise(surprise.to_string())) }
}

fn expect_status(answer: &Answer, status: StatusCode) -> Told {
    if answer.status == status {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&answer.body);
    Err(Surprise(format!("{} instead of {status}: {}", answer.status, shortened(body.trim(), 300))))
}

/// A string in JSON; empty when there is none.
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The claims of a token, unverified: only to show them.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(Value::Null)
}

/// The token with one bit of its signature turned over.
fn one_bit_altered(token: &str) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    let mut signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    *signature.first_mut()? ^= 1;
    Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The value of one parameter of a challenge (RFC 9110 section 11.2).
fn challenge_parameter<'c>(challenge: &'c str, name: &str) -> Option<&'c str> {
    let rest = challenge
        .match_indices(&format!("{name}="))
        .find(|(at, _)| challenge.get(..*at).is_some_and(|before| before.ends_with([' ', ','])))
        .and_then(|(at, found)| challenge.get(at + found.len()..))?;
    match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split([',', ' ']).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::secret::Secret;
    use crate::demo::authorization_server::{AsClient, AsOptions, AuthorizationServer};
    use crate::demo::upstream::Upstream;
    use crate::io::admin_client::AdminClient;
    use std::net::TcpListener;
    use std::time::Duration;

    #[tokio::test]
    async fn a_gateway_that_guards_nothing_fails_the_story() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (listener, gateway) = (bind(), Upstream::start(bind()).unwrap());
        let admin = AdminClient::new(gateway.address(), "operator", &Secret::new(b"token".to_vec()));
        let operator = Operator::new(admin, "kid".to_owned());
        let gateway = format!("http://{}", gateway.address());
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let client = AsClient {
            id: CLIENT.into(),
            secret: "secret".into(),
            redirect_uris: vec![format!("{gateway}/oauth/callback")],
        };
        let options = AsOptions {
            issuer: issuer.clone(),
            clients: vec![client],
            access_token_lifetime: Duration::from_secs(30),
            token_latency: Duration::ZERO,
            audience: "https://api.example.com".into(),
        };
        let server = AuthorizationServer::start(listener, options).unwrap();
        let places = Places {
            admin: gateway.clone(),
            upstream: gateway.clone(),
            authorization_server: issuer,
            gateway,
        };
        let mut terminal = Terminal::new(Box::new(std::io::sink()), false);
        assert!(!tell(&places, &operator, &mut terminal).await);
        assert_eq!(terminal.steps(), 1, "it ends at the sign-in, which leads nowhere");
        server.stop().await;
    }

    #[test]
    fn one_bit_is_one_bit() {
        let altered = one_bit_altered("a.b.AAAA").unwrap();
        assert_eq!(altered, "a.b.AQAA");
        assert_eq!(one_bit_altered("nothing"), None);
    }

    #[test]
    fn parameters_of_a_challenge_are_found_by_their_whole_name() {
        let challenge =
            r#"Bearer error="insufficient_scope", scope="api:read admin", x_max_age="1", max_age=300"#;
        assert_eq!(challenge_parameter(challenge, "error"), Some("insufficient_scope"));
        assert_eq!(challenge_parameter(challenge, "scope"), Some("api:read admin"));
        assert_eq!(challenge_parameter(challenge, "max_age"), Some("300"));
        assert_eq!(challenge_parameter(challenge, "realm"), None);
    }
}
