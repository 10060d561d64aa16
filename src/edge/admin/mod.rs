//! The admin listener: health and metrics for machines, a status page for people, and what operators may do.
//! Who may ask is decided in `guard`; every write is audited.
//!
//! - `guard`: who may ask, and for what
//! - `readiness`: `/readyz`; `status`: `/status` and its page
//! - `revocations`: `/revocations`
//! - `certificates`: which certificates are shown now, and when they end

mod certificates;
mod guard;
mod readiness;
mod revocations;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Serialize;
use serde_json::json;

use crate::config::settings::{Settings, ShownCertificate};
use crate::core::ids::IssuerName;
use crate::core::time::Timestamp;
use crate::edge::answers::pages::Pages;
use crate::edge::connection::connections::Connection;
use crate::edge::connection::door::Door;
use crate::edge::drain::Drain;
use crate::edge::proxy::serving::Serving;
use crate::edge::request::body::expects_continue;
use crate::flows::keep_keys_fresh::refresh_now;
use crate::flows::ports::StoreHealth;
use crate::flows::reload::{NotReloaded, Reloaded};
use crate::flows::{Gate, Operators};
use crate::state::live::Live;
use crate::state::log_targets::AUDIT;
use crate::state::metrics::{KeysAge, Log};
use guard::{Endpoint, Refusal};
use readiness::Readiness;
use revocations::Who;
use status::Status;

/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How long nobody is told again that a token was refused.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The app behind the admin listener.
pub(crate) struct Admin {
    pub(crate) gate: Arc<Gate>,
    /// What does not change without a restart counts from here.
    pub(crate) started_with: Arc<Settings>,
    pub(crate) serving: Arc<ArcSwap<Serving>>,
    /// The doors of the listeners for clients.
    pub(crate) doors: Vec<Arc<Door>>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) pages: Pages,
    /// When the log last said that a token was refused, in milliseconds; 0: never.
    pub(crate) refusal_told_at: AtomicI64,
}

impl Admin {
    async fn answer(&self, endpoint: Endpoint, asked: AdminRequest) -> Answer {
        match endpoint {
            Endpoint::Livez => plain(StatusCode::OK, "ok\n"),
            Endpoint::Readyz => {
                let readiness = self.readiness();
                let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                as_json(status, &readiness)
            }
            Endpoint::Metrics => self.metrics(),
            Endpoint::Status => {
                let (live, readiness) = (self.gate.live.load_full(), self.readiness());
                typed(StatusCode::OK, "application/json", self.status(&live, &readiness).json())
            }
            Endpoint::StatusPage => {
                let (live, readiness) = (self.gate.live.load_full(), self.readiness());
                let (html, guards) = self.pages.status(&self.status(&live, &readiness));
                let mut answer = typed(StatusCode::OK, "text/html; charset=utf-8", html.into_bytes());
                answer.headers_mut().extend(guards);
                answer
            }
            Endpoint::Config => as_json(StatusCode::OK, &self.gate.live.load().settings.shown),
            Endpoint::Reload => self.reload(&asked.who).await,
            Endpoint::RefreshIssuer(name) => self.refresh(&name, &asked.who).await,
            Endpoint::Revocations if asked.method == Method::POST => {
                revocations::add(&self.gate, &asked.body, &asked.who).await
            }
            Endpoint::Revocations => revocations::list(&self.gate, &asked.query).await,
            Endpoint::Revocation(id) => revocations::remove(&self.gate, &id, &asked.who).await,
        }
    }

    fn metrics(&self) -> Answer {
        let healths = [self.gate.store.health(), self.gate.revocation_log.health()];
        self.gate.metrics.set_store_up(healths.iter().all(|health| *health == StoreHealth::Up));
        self.gate.metrics.set_revocations(&self.gate.revocations, self.gate.clock.now());
        self.tell_ages_of_keys();
        self.gate.metrics.set_certificates(&self.certificates(&self.gate.live.load()));
        self.serving.load().upstreams.tell(&self.gate.metrics);
        self.gate.metrics.forget_again();
        let Operators { access_log, messages, .. } = &self.gate.operators;
        for (log, lines) in [(Log::Access, access_log), (Log::Messages, messages)] {
            self.gate.metrics.log_lines_lost(log, lines.newly_lost());
        }
        self.gate.metrics.set_used_proofs(self.gate.used_proofs.held(), self.gate.used_page_proofs.held());
        match self.gate.metrics.render() {
            Ok(text) => typed(StatusCode::OK, "text/plain; version=0.0.4", text),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "")
            }
        }
    }

    fn tell_ages_of_keys(&self) {
        let (live, now) = (self.gate.live.load(), self.gate.clock.now());
        let fetched =
            live.issuers.iter().chain(live.transmitters.own().iter()).filter(|one| one.is_fetched());
        let ages: Vec<_> = fetched
            .map(|one| KeysAge {
                of: &one.settings.name,
                age: one.keys_age(now),
                refresh: one.settings.keys_refresh,
            })
            .collect();
        self.gate.metrics.set_keys_ages(&ages);
    }

    fn status<'a>(&self, live: &'a Live, readiness: &'a Readiness) -> Status<'a> {
        let (store, certificates) = (&self.started_with.store, self.certificates(live));
        Status::of(&self.gate, live, store, &certificates, readiness)
    }

    fn certificates(&self, live: &Live) -> Vec<ShownCertificate> {
        let doors = self.doors.iter().map(AsRef::as_ref);
        certificates::shown(doors, &live.settings, &self.started_with.store)
    }

    /// Warns of a wrong admin token, a guess or an old one, at most once a minute, so that nobody fills the
    /// log with it.
    fn token_refused(&self, address: Option<IpAddr>) {
        self.gate.metrics.admin_token_refused();
        let now = self.gate.clock.now();
        let is_told =
            |at: i64| now.since(Timestamp::from_millis(at)) < TELL_AGAIN_AFTER && at <= now.as_millis();
        let tell = |at| (!is_told(at)).then_some(now.as_millis());
        if self.refusal_told_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, tell).is_ok() {
            tracing::warn!(
                address = address.map(tracing::field::display),
                "the admin listener was asked with a token that is not its own (tollgate_admin_tokens_refused_total)"
            );
        }
    }

    async fn reload(&self, who: &Who) -> Answer {
        let told = self.gate.operators.reloads.ask().await;
        let outcome = match &told {
            Ok(Reloaded::TakenOver { .. }) => "taken_over",
            Ok(Reloaded::Refused { .. }) => "refused",
            Err(NotReloaded::NoFile) => "no_file",
            Err(NotReloaded::Ending) => "ending",
        };
        let (who, name) = (who.address, who.name.as_deref());
        tracing::info!(target: AUDIT, event = "audit", %who, name, outcome, "asked to read the configuration again");
        match told {
            Ok(Reloaded::TakenOver { after_restart }) => {
                as_json(StatusCode::OK, &json!({ "reloaded": true, "after_restart": after_restart }))
            }
            Ok(Reloaded::Refused { mistakes }) => {
                as_json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "reloaded": false, "mistakes": mistakes }))
            }
            Err(NotReloaded::NoFile) => {
                plain(StatusCode::CONFLICT, "The configuration was not read from a file.\n")
            }
            Err(NotReloaded::Ending) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "This process is ending and reads no configuration again; ask the one that serves.\n",
            ),
        }
    }

    async fn refresh(&self, issuer: &str, who: &Who) -> Answer {
        let live = self.gate.live.load_full();
        let Some(known) = live.issuers.by_name(&IssuerName::new(issuer)) else {
            return plain(StatusCode::NOT_FOUND, "No issuer has this name.\n");
        };
        let told = refresh_now(&self.gate, known).await;
        let outcome = if told.is_ok() { "fetched" } else { "failed" };
        let (who, name) = (who.address, who.name.as_deref());
        tracing::info!(target: AUDIT, event = "audit", %who, name, issuer, outcome, "asked to fetch an issuer's keys now");
        match told {
            Ok(keys) => as_json(StatusCode::OK, &json!({ "issuer": issuer, "keys": keys.len() })),
            Err(why) => as_json(StatusCode::BAD_GATEWAY, &json!({ "issuer": issuer, "error": why })),
        }
    }
}

type Answer = Response<Vec<u8>>;

/// A request of somebody who may.
struct AdminRequest {
    who: Who,
    method: Method,
    query: String,
    body: Bytes,
}

/// The whole body, within its bounds, asked for where the client waits for that. Of what takes none, none is
/// read.
async fn body(session: &mut ServerSession, most: usize) -> Result<Bytes, Answer> {
    if most == 0 {
        return Ok(Bytes::new());
    }
    let mut body = BytesMut::new();
    let reading = async {
        if expects_continue(session.req_header()) {
            session.write_continue_response().await.map_err(drop)?;
        }
        while let Some(part) = session.read_request_body().await.map_err(drop)? {
            if body.len().saturating_add(part.len()) > most {
                return Ok(false);
            }
            body.extend_from_slice(&part);
        }
        Ok::<_, ()>(true)
    };
    match tokio::time::timeout(BODY_TIME, reading).await {
        Ok(Ok(true)) => Ok(body.freeze()),
        Ok(Ok(false)) if most == revocations::BODY => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 4 MiB.\n"))
        }
        Ok(Ok(false)) => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "Nothing is to be said here: send no body.\n"))
        }
        Ok(Err(())) | Err(_) => Err(plain(StatusCode::BAD_REQUEST, "The body could not be read.\n")),
    }
}

fn refused(refusal: Refusal) -> Answer {
    let mut answer = plain(refusal.status, refusal.why);
    answer.headers_mut().extend(refusal.header);
    answer
}

fn plain(status: StatusCode, body: &'static str) -> Answer {
    typed(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

fn as_json(status: StatusCode, value: &impl Serialize) -> Answer {
    typed(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

fn typed(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let length = body.len();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let fixed: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    answer.headers_mut().extend(fixed);
    answer
}

/// Marks its connection busy while it lives.
struct Answering(Option<Arc<Connection>>);

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.end_request();
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let connection = Connection::of(session.digest());
        if let Some(connection) = &connection {
            connection.begin_request();
        }
        let _answering = Answering(connection.clone());
        // pingora would keep every connection; nobody needs that here.
        session.set_keepalive(None);
        let address = session.client_addr().and_then(|address| address.as_inet().map(SocketAddr::ip));
        let request = session.req_header();
        let settings = &self.gate.live.load_full().settings.admin;
        let token = self.gate.operators.token.as_ref();
        let admitted =
            guard::admitted(&request.method, request.uri.path(), &request.headers, settings, token);
        let bodiless = request.method == Method::HEAD;
        let mut answer = match admitted {
            Ok(endpoint) => {
                let name = guard::name_of(&request.headers);
                let who = Who { name, address: address.unwrap_or(IpAddr::from([0, 0, 0, 0])) };
                let method = request.method.clone();
                let query = request.uri.query().unwrap_or_default().to_owned();
                match body(session, endpoint.most_of_body(&method)).await {
                    Ok(body) => self.answer(endpoint, AdminRequest { who, method, query, body }).await,
                    Err(refused) => refused,
                }
            }
            Err(refusal) => {
                if refusal.is_of_a_token(&request.headers) {
                    self.token_refused(address);
                }
                refused(refusal)
            }
        };
        if let Some(connection) = connection.filter(|_| !session.is_body_done()) {
            connection.mark_lingering();
        }
        if bodiless {
            answer.body_mut().clear();
        }
        answer
    }
}
