//! The demo's authorization server: small, and honest about the rules that a client meets.
//!
//! OAuth 2.1 with OpenID Connect on top: discovery (RFC 8414), a sign-in page, codes with PKCE S256
//! (RFC 7636), the `iss` parameter (RFC 9207), JWT access tokens (RFC 9068), rotation of refresh
//! tokens with reuse detection (RFC 9700 section 4.14.2), revocation (RFC 7009).
//!
//! It signs people in without a password, so it never listens off loopback and answers only to its
//! own name. It keeps everything in memory and forgets it when it ends.
//!
//! - `grants`: codes, grants and refresh tokens
//! - `authorize`: the authorization endpoint and its page (`pages`)
//! - `token`: the token and the revocation endpoint
//! - `form`: parameters, each of them once
//! - `keys`: the signing key, and randomness

mod authorize;
mod form;
mod grants;
mod keys;
mod pages;
mod token;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use url::Url;

use super::serve::{self, Answer, Server};
use crate::core::secret::SecretString;
use crate::core::time::Timestamp;
use grants::Grants;
use keys::SigningKey;
use pages::Pages;

/// How the people of the demo prove who they are; it says what it is.
const ACR: &str = "urn:tollgate:demo:no-password";

/// What a token may carry at all.
const SCOPES: [&str; 4] = ["openid", "offline_access", "api:read", "admin"];

/// Somebody who can sign in.
#[derive(Debug)]
struct Person {
    subject: &'static str,
    name: &'static str,
    /// What the sign-in page says about them.
    about: &'static str,
    scopes: &'static [&'static str],
}

const PEOPLE: [Person; 2] = [
    Person { subject: "alice", name: "Alice", about: "may read, and is an administrator", scopes: &SCOPES },
    Person {
        subject: "bob",
        name: "Bob",
        about: "may read",
        scopes: &["openid", "offline_access", "api:read"],
    },
];

/// An application registered at the authorization server. All of them are confidential.
#[derive(Clone, Debug)]
pub struct AsClient {
    pub id: String,
    pub secret: SecretString,
    /// Compared as text (RFC 9700 section 2.1).
    pub redirect_uris: Vec<String>,
}

/// What an authorization server is started with.
#[derive(Clone, Debug)]
pub struct AsOptions {
    /// Its `iss`, without a path: `http://127.0.0.1:8082`.
    pub issuer: String,
    pub clients: Vec<AsClient>,
    pub access_token_lifetime: Duration,
    /// How long the token endpoint takes to answer: one behind a network is not there at once.
    pub token_latency: Duration,
    /// `aud` of its access tokens.
    pub audience: String,
}

/// The way to start one.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationServer;

/// A running authorization server. Dropping it ends it.
#[derive(Debug)]
pub struct RunningAs {
    server: Server,
    shared: Arc<Shared>,
}

/// What a running one counts, for whoever shows it.
#[derive(Clone, Debug)]
pub(super) struct Tally(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: AsOptions,
    /// Host and port of the issuer: the only `Host` that is answered.
    authority: String,
    key: SigningKey,
    pages: Pages,
    grants: Mutex<Grants>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    token_requests: AtomicU64,
    refreshes: AtomicU64,
    revocations: AtomicU64,
}

impl AuthorizationServer {
    /// Serves on `listener` in the current tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` when the listener is not on loopback or the issuer is not an http(s) URL without a
    /// path; what the system says when the listener cannot be used.
    pub fn start(listener: std::net::TcpListener, options: AsOptions) -> io::Result<RunningAs> {
        let authority = authority(&options.issuer)?;
        let key = SigningKey::make().ok_or_else(|| io::Error::other("no signing key could be made"))?;
        let shared = Arc::new(Shared {
            authority,
            key,
            pages: Pages::new().map_err(io::Error::other)?,
            grants: Mutex::new(Grants::new()),
            counts: Counts::default(),
            options,
        });
        let server = Server::start(listener, Arc::clone(&shared), answer)?;
        Ok(RunningAs { server, shared })
    }
}

impl RunningAs {
    pub fn issuer(&self) -> &str {
        &self.shared.options.issuer
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// How often the token endpoint was asked, whatever came of it.
    pub fn token_requests(&self) -> u64 {
        self.shared.counts.token_requests.load(Ordering::SeqCst)
    }

    /// How often a refresh token was presented for exchange, whatever came of it.
    pub fn refresh_count(&self) -> u64 {
        self.shared.counts.refreshes.load(Ordering::SeqCst)
    }

    /// How many grants ended at the revocation endpoint.
    pub fn revocations(&self) -> u64 {
        self.shared.counts.revocations.load(Ordering::SeqCst)
    }

    /// How often a refresh token came that had been replaced.
    pub fn reuse_detected(&self) -> u64 {
        self.shared.grants().reuse_detected()
    }

    /// How many grants are alive.
    pub fn grants_alive(&self) -> usize {
        self.shared.grants().alive(now())
    }

    /// `kid` of the key that signs its tokens.
    pub(super) fn key_id(&self) -> &str {
        self.shared.key.id()
    }

    pub(super) fn tally(&self) -> Tally {
        Tally(Arc::clone(&self.shared))
    }

    /// Closes the listener and every connection.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Tally {
    /// The same as `/demo/counts`.
    pub(super) fn as_json(&self) -> Value {
        self.0.counted()
    }
}

impl Shared {
    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, id: &str) -> Option<&AsClient> {
        self.options.clients.iter().find(|client| client.id == id)
    }

    /// RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3.
    fn metadata(&self) -> Value {
        let issuer = &self.options.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "revocation_endpoint": format!("{issuer}/revoke"),
            "jwks_uri": format!("{issuer}/jwks"),
            "scopes_supported": SCOPES,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "prompt_values_supported": ["login", "none"],
            "acr_values_supported": [ACR],
        })
    }

    /// What a curious person, and the demo's story, may know. Nothing in it is secret.
    fn counted(&self) -> Value {
        let grants = self.grants();
        json!({
            "token_requests": self.counts.token_requests.load(Ordering::SeqCst),
            "refreshes": self.counts.refreshes.load(Ordering::SeqCst),
            "revocations": self.counts.revocations.load(Ordering::SeqCst),
            "reuse_detected": grants.reuse_detected(),
            "grants_alive": grants.alive(now()),
        })
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
    if host != Some(shared.authority.as_bytes()) {
        return serve::unknown_host();
    }
    let method = request.method();
    match request.uri().path() {
        "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration"
            if method == Method::GET =>
        {
            serve::json(StatusCode::OK, &shared.metadata())
        }
        "/jwks" if method == Method::GET => serve::json(StatusCode::OK, &shared.key.jwks()),
        "/demo/counts" if method == Method::GET => serve::json(StatusCode::OK, &shared.counted()),
        "/authorize" if method == Method::GET => authorize::ask(&shared, &request),
        "/authorize" if method == Method::POST => authorize::sign_in(&shared, request).await,
        "/token" if method == Method::POST => token::token(&shared, request).await,
        "/revoke" if method == Method::POST => token::revoke(&shared, request).await,
        "/.well-known/oauth-authorization-server"
        | "/.well-known/openid-configuration"
        | "/jwks"
        | "/demo/counts" => not_allowed("GET"),
        "/authorize" => not_allowed("GET, POST"),
        "/token" | "/revoke" => not_allowed("POST"),
        _ => serve::answer(StatusCode::NOT_FOUND, "text/plain", "there is nothing here\n"),
    }
}

fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = serve::answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// Host and port of an issuer.
fn authority(issuer: &str) -> io::Result<String> {
    let wrong = || {
        let text = format!("the issuer {issuer:?} is not like http://127.0.0.1:8082");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let url = Url::parse(issuer).map_err(|_| wrong())?;
    let (host, port) = (url.host_str().ok_or_else(wrong)?, url.port());
    let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let exact =
        matches!(url.scheme(), "http" | "https") && issuer == format!("{}://{authority}", url.scheme());
    if exact { Ok(authority) } else { Err(wrong()) }
}

/// This part of the demo reads the clock itself: it stands for another company's server.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
