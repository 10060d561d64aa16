//! The buttons that need this process: stop and start the authorization server, replay an old cookie, take
//! access back, and say what only the demo can see.
//!
//! A control never acts for another site, and never for a session that its page cannot name
//! (`SessionDigest`). It never gives out a cookie, only what became of it.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::outcome::{done, refusal};
use super::{Stage, taking_back};
use crate::demo::browser::Browser;
use crate::demo::serve::{Answer, read_body};
use crate::demo::story::CLIENT;
use crate::demo::wire::{Old, SessionDigest, THIEF};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The header of our own: a page of another origin cannot send it without asking first.
pub(super) const OWN_HEADER: HeaderName = HeaderName::from_static("x-demo");
/// The largest body, in bytes.
const LIMIT: usize = 1024;

const STOP: &str = "/app/authorization-server/stop";
const START: &str = "/app/authorization-server/start";
const COUNTS: &str = "/app/counts";
const JAR: &str = "/app/jar";
const REPLAY: &str = "/app/replay";

/// Whether there is a control at `path`.
pub(super) fn is_one(path: &str) -> bool {
    [STOP, START, COUNTS, JAR, REPLAY].contains(&path) || taking_back::is_one(path)
}

/// Does what a button asks for.
pub(super) async fn answer(stage: &Stage, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "a button is a POST");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return answer;
    }
    if !is_from_the_page(request.headers()) {
        return refusal(StatusCode::FORBIDDEN, "the buttons answer to the page of this origin only");
    }
    let (head, body) = request.into_parts();
    let Ok(body) = read_body(body, LIMIT).await else {
        return refusal(StatusCode::BAD_REQUEST, "the body is too large, or broke off");
    };
    let session = || {
        let asked: Value = serde_json::from_slice(&body).ok()?;
        asked.get("session").and_then(Value::as_str).and_then(SessionDigest::parse)
    };
    match head.uri.path() {
        path if taking_back::is_one(path) => taking_back::answer(&stage.operator, path, &body).await,
        STOP => {
            stage.door.close().await;
            stage.tell_state();
            done(&json!({ "authorization_server": "stopped" }))
        }
        START => start(stage).await,
        COUNTS => done(&stage.tally.as_json()),
        JAR => session().map_or_else(no_session_named, |session| jar(stage, session)),
        _ => match session() {
            Some(session) => replay(stage, session).await,
            None => no_session_named(),
        },
    }
}

/// Both exactly once. A browser sets the first itself; `same-origin` is what no other site gets.
fn is_from_the_page(headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, value: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_some_and(|found| found == value) && values.next().is_none()
    };
    is(&SEC_FETCH_SITE, "same-origin") && is(&OWN_HEADER, "1")
}

async fn start(stage: &Stage) -> Answer {
    let opened = stage.door.open().await;
    stage.tell_state();
    match opened {
        Ok(()) => done(&json!({ "authorization_server": "up" })),
        Err(fault) => refusal(StatusCode::CONFLICT, &format!("its address cannot be had: {fault}")),
    }
}

fn jar(stage: &Stage, session: SessionDigest) -> Answer {
    match stage.cookies.jar(session) {
        None => done(&json!({ "jar": null })),
        Some(jar) => done(&json!({ "jar": {
            "name": jar.name,
            "value": jar.value,
            "length": jar.length,
            "attributes": jar.attributes,
            "number": jar.number,
        } })),
    }
}

/// Presents an old cookie of this session at the gateway, as a thief would.
async fn replay(stage: &Stage, session: SessionDigest) -> Answer {
    let cookie = match stage.cookies.old(session, Instant::now()) {
        Old::Unknown => return done(&json!({ "outcome": "unknown" })),
        Old::SwapFirst => return done(&json!({ "outcome": "swap_first" })),
        Old::Wait(left) => {
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            return done(&json!({ "outcome": "wait", "milliseconds": left }));
        }
        Old::Spent(cookie) => cookie,
    };
    let cookie = format!("{}={}", stage.cookies.name(), cookie.expose());
    // A thief writes what a browser would say.
    let headers = [
        ("User-Agent", THIEF),
        ("Origin", &*stage.places.gateway),
        ("Sec-Fetch-Site", "same-origin"),
        ("Cookie", &*cookie),
    ];
    let form = [("grant_type", "refresh_token"), ("client_id", CLIENT)];
    let url = format!("{}/oauth/token", stage.places.gateway);
    match Browser::new().post(&url, &headers, &form).await {
        Ok(answer) => done(&json!({
            "outcome": "presented",
            "status": answer.status.as_u16(),
            "error": answer.json().get("error"),
        })),
        Err(fault) => refusal(StatusCode::BAD_GATEWAY, &fault.to_string()),
    }
}

fn no_session_named() -> Answer {
    refusal(StatusCode::BAD_REQUEST, "`session` is the SHA-256 of an access token, in hexadecimal")
}
