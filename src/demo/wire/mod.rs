//! The wire, as the page of the demo shows it: what passes between browser, operator, gateway, authorization
//! server and upstream, as entries of a feed.
//!
//! Nothing leaves here with a secret in it that could be used: `shorten` cuts them. What the demo asks
//! itself (`/app/`, `/demo/`) is not shown, so that the feed does not show itself, and of the admin listener
//! only what changes something.
//!
//! - `shorten`: what may be shown of a message
//! - `feed`: what was told lately, and who listens
//! - `kept_cookies`: session cookies that passed, for the buttons that need one

mod feed;
mod kept_cookies;
mod shorten;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, header};
use serde::Serialize;
use serde_json::Value;

use super::browser::SetCookie;
use super::tap::{Body, Head, Heard, Start, Witnesses};
use feed::EntryId;

pub(super) use feed::Feed;
pub(super) use kept_cookies::{KeptCookies, Old, SessionDigest};

/// How the demo's own thief names itself.
pub(super) const THIEF: &str = "thief on another machine";

/// In front of which server a tap stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leg {
    Gateway,
    AuthorizationServer,
    Upstream,
    /// The gateway's admin listener.
    Admin,
}

/// Where what was heard goes.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) feed: Arc<Feed>,
    pub(super) cookies: Arc<KeptCookies>,
}

/// One request and its answer.
#[derive(Debug, Serialize)]
struct Entry {
    id: EntryId,
    leg: &'static str,
    from: &'static str,
    to: &'static str,
    /// Milliseconds since 1970.
    at: u64,
    method: String,
    target: String,
    headers: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Shown>,
    /// The connection ended before the answer was whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    broken_off: bool,
}

#[derive(Debug, Serialize)]
struct Shown {
    status: u16,
    headers: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// From the request's head to the answer's head, in milliseconds.
    took: u64,
}

/// One connection that is listened to.
struct Listening {
    wire: Arc<Wire>,
    leg: Leg,
    open: VecDeque<Exchange>,
}

/// A request that is not wholly answered yet.
struct Exchange {
    number: u64,
    since: Instant,
    /// `None`: it is not shown.
    entry: Option<Entry>,
    changed: bool,
    request: HeaderMap,
    answer: HeaderMap,
    /// It is to `/oauth/token` or `/oauth/callback`, where cookies of sessions come and go.
    may_set_cookie: bool,
    is_sign_in: bool,
}

impl Wire {
    /// Listeners for the connections of one tap.
    pub(super) fn witnesses(self: &Arc<Self>, leg: Leg) -> Witnesses {
        let wire = Arc::clone(self);
        Arc::new(move || {
            let mut listening = Listening { wire: Arc::clone(&wire), leg, open: VecDeque::new() };
            Box::new(move |heard| listening.hear(heard))
        })
    }
}

impl Listening {
    fn hear(&mut self, heard: Vec<Heard>) {
        for heard in heard {
            match heard {
                Heard::Asked { number, head } => self.asked(number, head),
                Heard::AskedWhole { number, body } => {
                    if let Some(exchange) = self.find(number) {
                        exchange.asked_whole(&body);
                    }
                }
                Heard::Answered { number, head } => {
                    if let Some(exchange) = self.find(number) {
                        exchange.answered(head);
                    }
                }
                Heard::AnsweredWhole { number, body } => self.ended(number, Some(&body)),
                Heard::BrokenOff { number } => self.ended(number, None),
            }
        }
        for exchange in &mut self.open {
            if std::mem::take(&mut exchange.changed) {
                tell(&self.wire.feed, exchange);
            }
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Exchange> {
        self.open.iter_mut().find(|exchange| exchange.number == number)
    }

    fn asked(&mut self, number: u64, head: Head) {
        let Start::Request { method, target } = head.start else { return };
        let path = target.split('?').next().unwrap_or_default();
        let at = |own| self.leg == Leg::Gateway && path == own;
        let (is_token_request, is_sign_in) = (at("/oauth/token"), at("/oauth/callback"));
        if is_token_request && let Some(cookie) = self.wire.cookies.in_request(&head.headers) {
            self.wire.cookies.presented(cookie);
        }
        let entry = is_shown(self.leg, &method, path).then(|| {
            let (leg, from, to) = ends(self.leg, path, &head.headers);
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Entry {
                id: self.wire.feed.begin(),
                leg,
                from,
                to,
                at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                method: method.to_string(),
                target: shorten::target(&target),
                headers: shorten::headers(&head.headers),
                body: None,
                answer: None,
                broken_off: false,
            }
        });
        self.open.push_back(Exchange {
            number,
            since: Instant::now(),
            changed: true,
            entry,
            request: head.headers,
            answer: HeaderMap::new(),
            may_set_cookie: is_token_request || is_sign_in,
            is_sign_in,
        });
    }

    /// The answer is whole, or will never be.
    fn ended(&mut self, number: u64, body: Option<&Body>) {
        let Some(at) = self.open.iter().position(|exchange| exchange.number == number) else { return };
        let Some(mut exchange) = self.open.remove(at) else { return };
        match (body, &mut exchange.entry) {
            (Some(body), Some(Entry { answer: Some(answer), .. })) => {
                answer.body = shorten::body(&exchange.answer, body);
            }
            (None, Some(entry)) => entry.broken_off = true,
            _ => {}
        }
        if let Some(body) = body.filter(|_| exchange.may_set_cookie) {
            self.keep_cookie(&exchange, body);
        }
        tell(&self.wire.feed, &exchange);
    }

    fn keep_cookie(&self, exchange: &Exchange, body: &Body) {
        let cookies = &self.wire.cookies;
        let presented = cookies.in_request(&exchange.request);
        let set = exchange.answer.get_all(header::SET_COOKIE).iter().filter_map(SetCookie::read);
        for set in set {
            let answer: Value = serde_json::from_slice(&body.bytes).unwrap_or(Value::Null);
            let token = answer.get("access_token").and_then(Value::as_str);
            cookies.came(Instant::now(), presented.filter(|_| !exchange.is_sign_in), set, token);
        }
    }
}

impl Exchange {
    fn asked_whole(&mut self, body: &Body) {
        if let Some(entry) = &mut self.entry {
            entry.body = shorten::body(&self.request, body);
            self.changed |= entry.body.is_some();
        }
    }

    fn answered(&mut self, head: Head) {
        let Start::Answer(status) = head.start else { return };
        if let Some(entry) = &mut self.entry {
            entry.answer = Some(Shown {
                status: status.as_u16(),
                headers: shorten::headers(&head.headers),
                body: None,
                took: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
            self.changed = true;
        }
        self.answer = head.headers;
    }
}

fn tell(feed: &Feed, exchange: &Exchange) {
    if let Some(entry) = &exchange.entry {
        feed.tell(entry.id, entry);
    }
}

/// What the demo asks itself is no part of what it shows; nor is what probes and status pages read.
fn is_shown(leg: Leg, method: &Method, path: &str) -> bool {
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    let is_own = path == "/app" || path.starts_with("/app/") || path.starts_with("/demo/");
    !is_own && (leg != Leg::Admin || !is_read)
}

/// The name of the leg, who asks and who answers.
fn ends(leg: Leg, path: &str, headers: &HeaderMap) -> (&'static str, &'static str, &'static str) {
    let agent = headers.get(header::USER_AGENT).map(header::HeaderValue::as_bytes);
    match leg {
        Leg::Gateway if agent == Some(THIEF.as_bytes()) => ("browser-gateway", "thief", "gateway"),
        Leg::Gateway => ("browser-gateway", "browser", "gateway"),
        // The sign-in page is the only thing that browsers ask for there.
        Leg::AuthorizationServer if path == "/authorize" || path == "/favicon.ico" => {
            ("browser-as", "browser", "AS")
        }
        Leg::AuthorizationServer => ("gateway-as", "gateway", "AS"),
        Leg::Upstream => ("gateway-upstream", "gateway", "upstream"),
        Leg::Admin => ("operator-gateway", "operator", "gateway"),
    }
}

#[cfg(test)]
mod tests;
