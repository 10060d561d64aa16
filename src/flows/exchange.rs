//! stub
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::settings::Client;
use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::state::live::Live;

/// What `/oauth/token` answers. Everything of it may be shown to the page and the log.
#[derive(Debug)]
pub struct OAuthAnswer {
    pub status: StatusCode,
    /// JSON; empty with 204.
    pub body: Bytes,
    pub set_cookie: Option<HeaderValue>,
    pub client: Arc<Client>,
    pub subject: Option<String>,
    /// For the access log: an `ExchangeOutcome` label, or `signed_in`, `signed_out`.
    pub outcome: &'static str,
}

/// A refusal of `/oauth/token`.
#[derive(Debug)]
pub struct OAuthRefusal {
    pub denial: Denial,
    pub client: Option<Arc<Client>>,
    /// Clears the cookie where the session is over.
    pub set_cookie: Option<HeaderValue>,
    pub subject: Option<String>,
}

/// `POST /oauth/token`: code exchange and refresh. `body` is whole and within its limit.
pub async fn token(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    body: &[u8],
    now: Timestamp,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let _ = (gate, live, head, body, now);
    Err(OAuthRefusal { denial: Denial::UnknownClient, client: None, set_cookie: None, subject: None })
}
