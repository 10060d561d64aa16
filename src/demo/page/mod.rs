//! The page of the demo: its files, the wire as it happens, and its buttons.
//!
//! It is served by the demo's upstream, through the gateway, like the page of any application. Its
//! buttons do things in this process, so they answer only to a page of the gateway's own origin:
//! `Sec-Fetch-Site: same-origin`, which no page can forge, and a header of their own.
//!
//! - `files`: its files, from the binary
//! - `controls`: the buttons, and who may press them; `taking_back`: those that take access back; `outcome`:
//!   what they say

mod controls;
mod files;
mod outcome;
mod taking_back;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::authorization_server::Tally;
use super::operator::{Operator, Person, Taken};
use super::serve::{self, Answer};
use super::story::{CLIENT, Places, SESSION_CLIENT};
use super::tap::Tap;
use super::wire::{Feed, KeptCookies};

/// What stands behind the page.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) places: Places,
    pub(super) feed: Arc<Feed>,
    pub(super) cookies: Arc<KeptCookies>,
    /// In front of the authorization server.
    pub(super) door: Arc<Tap>,
    pub(super) operator: Arc<Operator>,
    /// What the authorization server counted.
    pub(super) tally: Tally,
    /// How long the gateway answers a generation again.
    pub(super) grace: Duration,
}

impl Stage {
    /// Answers what belongs to the page, and whoever comes by another name than the upstream's own; `Err`
    /// gives back everything else.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Request<Incoming>> {
        if !self.is_named_by(&request) {
            return Ok(serve::unknown_host());
        }
        let path = request.uri().path();
        let is_below = |folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if path != "/" && !is_below("/app") && !is_below("/portal") {
            return Err(request);
        }
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        let answer = match path {
            _ if controls::is_one(path) => controls::answer(self, request).await,
            _ if !is_get => files::not_allowed(),
            "/app/wire" => self.wire(&request),
            "/app/about" => serve::json(StatusCode::OK, &self.about().await),
            _ if is_below("/portal") => files::portal(&request),
            _ => files::answer(path),
        };
        Ok(answer)
    }

    /// A page whose name was rebound to 127.0.0.1 would be of the buttons' origin. The gateway uses this
    /// name.
    fn is_named_by(&self, request: &Request<Incoming>) -> bool {
        let own = self.places.upstream.strip_prefix("http://").unwrap_or_default();
        request.headers().get(header::HOST).is_some_and(|host| host == own)
    }

    /// What the page must know of this run of the demo.
    async fn about(&self) -> Value {
        let stands = async |what| self.operator.standing(what).await.ok().flatten();
        json!({
            "client_id": CLIENT,
            "session_client_id": SESSION_CLIENT,
            "cookie": self.cookies.name(),
            "grace_seconds": self.grace.as_secs(),
            "access_token_seconds": super::ACCESS_TOKEN_LIFETIME.as_secs(),
            "taken_back": {
                "account": stands(Taken::Account(Person::Alice)).await,
                "key": stands(Taken::Key).await,
            },
        })
    }

    /// The wire as Server-Sent Events. Where a page goes on stands in `Last-Event-ID` when its browser joined
    /// again, in `after` when the page did.
    fn wire(&self, request: &Request<Incoming>) -> Answer {
        let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
        let query = request.uri().query().and_then(|query| query.strip_prefix("after="));
        match self.feed.join(last.or(query)) {
            Some(events) => serve::streamed(StatusCode::OK, "text/event-stream", events),
            None => serve::answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "too many pages listen\n"),
        }
    }

    /// Tells every page whether the authorization server can be reached.
    pub(super) fn tell_state(&self) {
        let state = if self.door.is_open() { "up" } else { "stopped" };
        self.feed.tell_state(&json!({ "authorization_server": state }));
    }
}

#[cfg(test)]
mod tests;
