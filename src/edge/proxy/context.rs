//! What is known of one request, from its header to its log line.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderValue, Method, StatusCode, Version};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::core::brake::Tally;
use crate::core::caller::Caller;
use crate::core::cors::Sharing;
use crate::core::denial::Denial;
use crate::core::ids::{ClientName, RouteName};
use crate::core::route::Route;
use crate::core::route::permit::Permit;
use crate::core::session::grant::FamilyId;
use crate::core::session::ride::Ride;
use crate::core::token::verified::VerifiedToken;
use crate::edge::answers::headers::Identification;
use crate::edge::connection::connections::Connection;
use crate::edge::connection::door::Door;
use crate::edge::proxy::access_log::Entry;
use crate::edge::proxy::serving::Serving;
use crate::edge::proxy::turn::Turn;
use crate::edge::request::inflow::Inflow;
use crate::edge::request::request_places::RequestPlace;
use crate::edge::request::watched::Watch;
use crate::edge::upstreams::{Server, Switch, Upstream};
use crate::flows::Gate;
use crate::flows::session::SessionSide;
use crate::flows::session::may_leave;
use crate::state::live::Live;
use crate::state::open_requests::{Ending, OfSession, OpenRequest};

/// The status in the log of a request that got no answer.
const NO_ANSWER: u16 = 499;

/// The outcome in the log of a request that a drain did not wait for any longer.
const DRAIN_OVER: &str = "ended_drain_over";

/// How a request came to its end.
#[derive(Debug)]
pub(crate) struct Finish<'a> {
    pub(crate) method: &'a Method,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) route: &'a RouteName,
    /// `None`: not at all.
    pub(crate) status: Option<StatusCode>,
    pub(crate) outcome: &'static str,
    /// Of the answer's body.
    pub(crate) bytes: usize,
}

/// One request.
pub(crate) struct Context {
    gate: Arc<Gate>,
    pub(crate) serving: Arc<Serving>,
    pub(crate) started: Instant,
    pub(crate) connection: Option<Arc<Connection>>,
    pub(crate) who: Option<Identification>,
    /// Among the requests under way, until the end.
    pub(crate) place: Option<RequestPlace>,
    pub(crate) permit: Option<Permit>,
    /// The server that was last chosen.
    pub(crate) server: Option<Arc<Server>>,
    pub(crate) upstream: Option<Arc<Upstream>>,
    /// How often a server was chosen.
    pub(crate) tries: usize,
    /// The turn of the server that was last chosen, while it goes on.
    pub(crate) turn: Option<Turn>,
    /// Why it fails, where a phase can only tell pingora that it does.
    pub(crate) failure: Option<Denial>,
    pub(crate) body_bytes: u64,
    pub(crate) inflow: Option<Arc<Inflow>>,
    pub(crate) upstream_answered: bool,
    /// All of the upstream's answer has come, and goes to the client.
    pub(crate) answer_is_whole: bool,
    /// The answer was cut short, or the client has left.
    pub(crate) answer_broke_off: bool,
    /// The server that has the request; how that ended is not counted yet.
    pub(crate) sent: Option<Arc<Server>>,
    /// The next cookie of a session, for whatever answer is given.
    pub(crate) ride: Option<Ride>,
    /// Whether a session cookie came, where one was to prove who calls.
    pub(crate) by_session: Option<bool>,
    /// Among whose denials its refusal is counted.
    pub(crate) tally: Tally,
    // For the log.
    /// The route that a refusal concerns; a permit has its own.
    refused_by: Option<Arc<Route>>,
    /// The endpoint of ours that was asked.
    pub(crate) endpoint: Option<RouteName>,
    /// What it asks for was read, and is at none of Tollgate's own paths.
    pub(crate) is_elsewhere: bool,
    pub(crate) outcome: &'static str,
    /// Why it would have been refused, but for `report_only`.
    pub(crate) report_only: Option<&'static str>,
    /// The client at the authorization server, and who called, where no permit says so.
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) family: Option<FamilyId>,
    /// Its entry among the open requests, by which it ends when its caller's access does.
    pub(crate) open: Option<Arc<OpenRequest>>,
    pub(crate) method: Method,
    /// Whether the client asks for a WebSocket.
    pub(crate) upgrades: bool,
    /// Told when the upstream of this try has opened the WebSocket.
    pub(crate) switch: Option<Switch>,
    /// Whether this try is over HTTP/1.1 to a server that may speak HTTP/2.
    pub(crate) forces_http1: bool,
    pub(crate) is_http2: bool,
    /// Watches the session while the upstream is waited for, where its body may go over HTTP/2.
    pub(crate) watch: Option<Watch>,
    /// Whether a server wanted it over HTTP/1.1.
    pub(crate) wanted_http1: bool,
    /// The status of the upstream's answer.
    pub(crate) status: Option<StatusCode>,
    /// Bytes of the answer's body that were sent so far.
    pub(crate) bytes: usize,
    pub(crate) is_noted: bool,
}

fn token_of(permit: &Permit) -> Option<&VerifiedToken> {
    let reported = || permit.reported()?.caller.as_deref().map(Caller::token);
    permit.token().or_else(reported)
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            self.gate.open_requests.leave(open);
        }
        self.count_sent(false);
        self.note_if_ended();
        self.gate.metrics.in_flight().dec();
        if let Some(connection) = &self.connection {
            connection.request_ended();
        }
    }
}

impl Context {
    /// A request whose header has not been looked at.
    pub(crate) fn new(gate: Arc<Gate>, serving: Arc<Serving>) -> Self {
        gate.metrics.in_flight().inc();
        Self {
            gate,
            serving,
            started: Instant::now(),
            connection: None,
            who: None,
            place: None,
            permit: None,
            server: None,
            upstream: None,
            tries: 0,
            turn: None,
            failure: None,
            body_bytes: 0,
            inflow: None,
            upstream_answered: false,
            answer_is_whole: false,
            answer_broke_off: false,
            sent: None,
            ride: None,
            by_session: None,
            tally: Tally::Everybody,
            refused_by: None,
            endpoint: None,
            is_elsewhere: false,
            outcome: "ok",
            report_only: None,
            client: None,
            subject: None,
            family: None,
            open: None,
            method: Method::GET,
            upgrades: false,
            switch: None,
            forces_http1: false,
            is_http2: false,
            watch: None,
            wanted_http1: false,
            status: None,
            bytes: 0,
            is_noted: false,
        }
    }

    /// Counts it, and leaves its line in the log.
    pub(crate) fn note(&self, finish: &Finish<'_>) {
        let took = self.started.elapsed();
        let status = finish.status.map_or(NO_ANSWER, |status| status.as_u16());
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.serving.count(&self.gate.metrics, finish.route, code, took);
        self.serving.log.write(&Entry {
            at: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            request_id: self.request_id(),
            method: finish.method,
            path: finish.path,
            route: self.label().map(RouteName::as_str),
            status,
            outcome: finish.outcome,
            report_only: self.report_only,
            client: self.client(),
            subject: self.subject(),
            family: self.family,
            address: self.client_address(),
            took,
            upstream: self.server.as_ref().map(|server| server.upstream.as_str()),
            bytes: finish.bytes,
        });
    }

    /// Nobody is there any more to be answered.
    pub(crate) fn client_is_gone(&mut self) {
        self.outcome = if self.is_cut_off() { DRAIN_OVER } else { "client_gone" };
    }

    /// Whether its connection was ended because the drain was over.
    fn is_cut_off(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_cut_off())
    }

    /// What became of it at the server that it was sent to: each time it was sent counts once.
    pub(crate) fn came_to(&mut self, result: &'static str) {
        if let Some(server) = self.sent.take() {
            server.count(&self.gate.metrics, result);
        }
    }

    /// It is over, and its upstream is not to blame. `is_whole`: nothing of the answer is missing.
    pub(crate) fn count_sent(&mut self, is_whole: bool) {
        self.came_to(if is_whole || self.upstream_answered { "ok" } else { "abandoned" });
    }

    /// Of a request that was ended from outside pingora tells nobody.
    fn note_if_ended(&self) {
        if self.is_noted {
            return;
        }
        let ending = self.open.as_ref().and_then(|open| open.ending());
        let stopped = self.inflow.as_ref().is_some_and(|inflow| inflow.was_given_up());
        let outcome = match ending {
            Some(Ending::Revoked) => "ended_revoked",
            Some(Ending::Expired) => "ended_expired",
            Some(Ending::SessionOver) => "ended_session_over",
            Some(Ending::RevocationsUnavailable) => "ended_revocations_unavailable",
            // One over HTTP/1.1 whose client stops is ended before, and hears why.
            None if stopped && (self.upstream_was_silent() || !self.is_http2) => {
                Denial::UpstreamTimeout.facts().label
            }
            None if stopped => Denial::BodyTooSlow.facts().label,
            None if self.is_cut_off() => DRAIN_OVER,
            None => return,
        };
        // Only what goes to an upstream, or to an endpoint of ours that reads a body, lasts long enough.
        let Some(route) = self.label() else { return };
        let path = self.permit.as_ref().map_or(route.as_str(), |permit| permit.path().as_str());
        let (method, status, bytes) = (&self.method, self.status, self.bytes);
        self.note(&Finish { method, path, route, status, outcome, bytes });
    }

    /// Where it is watched, its upstream is waited for from here on.
    pub(crate) fn awaits_upstream(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.put_on(session);
        }
    }

    /// The body has ended, and pingora does not know: trailers follow it. Returns whether it will hear of
    /// that.
    pub(crate) fn ends_with_trailers(&mut self, session: &mut Session) -> bool {
        self.watch.as_mut().is_some_and(|watch| {
            watch.body_has_ended(session);
            true
        })
    }

    pub(crate) fn upstream_was_silent(&self) -> bool {
        self.inflow.as_ref().is_some_and(|inflow| inflow.upstream_was_silent())
    }

    /// Gives its session back as what it is.
    pub(crate) fn stop_watching(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.take_off(session);
        }
    }

    /// The configuration that this request began with.
    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.serving.live
    }

    pub(crate) fn fail(&mut self, denial: Denial) -> Box<Error> {
        let status = denial.facts().status.as_u16();
        self.failure = Some(denial);
        Error::explain(ErrorType::HTTPStatus(status), "refused")
    }

    /// Keeps for the log what is known.
    pub(crate) fn keep(&mut self, route: Option<Arc<Route>>, caller: Option<&VerifiedToken>) {
        self.refused_by = route;
        self.subject = caller.and_then(VerifiedToken::subject).map(str::to_owned).or(self.subject.take());
        self.client = caller.and_then(VerifiedToken::client).map(str::to_owned);
    }

    /// Keeps for the log whose request it is, as tokens have it: so one search finds all, and what it finds
    /// can be taken back.
    pub(crate) fn keep_client(&mut self, name: Option<&ClientName>) {
        self.client = name.map(|name| {
            let client_id = self.live().settings.client_id(name);
            client_id.unwrap_or_else(|| name.as_str()).to_owned()
        });
    }

    /// Keeps what the session cookie came to. Returns by what it let somebody in.
    pub(crate) fn keep_session(&mut self, side: SessionSide) -> Option<Box<OfSession>> {
        self.by_session = Some(side.brought_cookie);
        self.ride = side.ride;
        self.family = side.family;
        self.subject = side.subject;
        side.let_in
    }

    /// Somebody was let in: from here on the request ends when their access does.
    pub(crate) fn open_request(
        &mut self,
        permit: &Permit,
        of_session: Option<Box<OfSession>>,
        version: Version,
    ) {
        let Some(caller) = permit.caller() else { return };
        let token = of_session.as_ref().map_or(caller, |session| &session.token).clone();
        let open = self.gate.open_requests.enter(token, of_session);
        let let_in = match version {
            Version::HTTP_2 => self.inflow.as_ref().map(|inflow| &inflow.let_in),
            _ => self.connection.as_ref().map(|connection| &connection.let_in),
        };
        if let Some(let_in) = let_in {
            let_in.tell(open.clone());
        }
        self.open = Some(open);
    }

    /// Whether a session cookie proved who calls.
    pub(crate) fn is_served_in_session(&self) -> bool {
        self.by_session == Some(true) && self.permit.as_ref().is_some_and(|permit| permit.token().is_some())
    }

    /// The cookie that leaves with this answer, if it still may: it does so once.
    pub(crate) async fn cookie_that_leaves(&mut self) -> Option<HeaderValue> {
        let ride = self.ride.take()?;
        may_leave(&self.gate, &ride).await.then_some(ride.set_cookie)
    }

    /// Keeps for the log what the permit says. There is none afterwards.
    pub(crate) fn give_up_permit(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.keep(Some(permit.route().clone()), token_of(&permit));
        }
    }

    /// Refuses a body of more bytes than the request may have.
    pub(crate) fn check_body(&self, bytes: u64) -> Result<(), Denial> {
        let own = self.permit.as_ref().and_then(|permit| permit.route().forwarding.body_limit);
        let (limit, why) = match own {
            Some(limit) => (limit, "The body of this request exceeds the body_limit of its route."),
            None => (self.live().settings.limits.body, "The body of this request exceeds limits.body."),
        };
        if bytes > limit { Err(Denial::BodyTooLarge(why)) } else { Ok(()) }
    }

    /// Whether another try is allowed, if it is safe.
    pub(crate) fn may_try_again(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| self.tries <= upstream.settings.retries)
    }

    /// The route, where one was found.
    pub(crate) fn route(&self) -> Option<&Arc<Route>> {
        self.permit.as_ref().map(Permit::route).or(self.refused_by.as_ref())
    }

    /// What metrics and the log call it.
    pub(crate) fn label(&self) -> Option<&RouteName> {
        self.route().map(|route| &route.name).or(self.endpoint.as_ref())
    }

    /// Whose pages may read what Tollgate itself answers.
    pub(crate) fn sharing(&self) -> &Sharing {
        let settings = &self.live().settings;
        match self.route() {
            Some(route) => &route.sharing,
            None if self.is_elsewhere => &settings.sharing_elsewhere,
            None => &settings.sharing,
        }
    }

    /// How the client came.
    pub(crate) fn scheme(&self) -> &'static str {
        match self.connection.as_ref().map(|connection| connection.door()) {
            Some(Door::Tls(_)) => "https",
            _ => "http",
        }
    }

    /// Whether the listener serves nothing and sends everybody to https.
    pub(crate) fn redirects_to_https(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| matches!(connection.door(), Door::RedirectToHttps))
    }

    /// The client's; nobody's where it is not known.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.who.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |who| who.client)
    }

    pub(crate) fn request_id(&self) -> &str {
        self.who.as_ref().map_or("unknown", |who| who.ids.request_id.as_str())
    }

    /// Whose token came, where the permit knows; that of a route which only reports too.
    fn token(&self) -> Option<&VerifiedToken> {
        self.permit.as_ref().and_then(token_of)
    }

    /// For the log: who called, as far as it is known.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.token().and_then(VerifiedToken::subject).or(self.subject.as_deref())
    }

    /// For the log: the client at the authorization server, as far as it is known.
    pub(crate) fn client(&self) -> Option<&str> {
        self.token().map_or(self.client.as_deref(), VerifiedToken::client)
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use async_trait::async_trait;
    use pingora::apps::HttpServerApp as _;
    use pingora::protocols::http::ServerSession;
    use pingora::protocols::l4::stream::Stream;
    use pingora::proxy::{HttpProxy, ProxyHttp};
    use pingora::server::configuration::ServerConf;
    use pingora::upstreams::peer::HttpPeer;
    use tokio::net::UnixStream;
    use tokio::sync::watch;

    use super::*;
    use crate::edge::proxy::Proxy;

    /// A proxy that nothing comes to, and that would know this of each request.
    struct Idle<C>(PhantomData<fn() -> C>);

    #[async_trait]
    impl<C: Send + Sync + 'static> ProxyHttp for Idle<C> {
        type CTX = C;

        fn new_ctx(&self) -> C {
            unreachable!("nothing comes")
        }

        async fn upstream_peer(&self, _: &mut Session, _: &mut C) -> pingora::Result<Box<HttpPeer>> {
            unreachable!("nothing comes")
        }
    }

    /// Of what a connection has that waits for its next request.
    fn size<C: Send + Sync + 'static>() -> usize {
        let proxy = Arc::new(HttpProxy::new(Idle::<C>(PhantomData), Arc::new(ServerConf::default())));
        let (_client, server) = UnixStream::pair().unwrap();
        let session = ServerSession::new_http1(Box::new(Stream::from(server)));
        let (_tell, shutdown) = watch::channel(false);
        size_of_val(&*proxy.process_new_http(session, &shutdown))
    }

    #[tokio::test]
    async fn a_connection_that_waits_has_no_room_for_what_will_be_known_of_its_next_request() {
        let (nothing, ours, unboxed) =
            (size::<()>(), size::<<Proxy as ProxyHttp>::CTX>(), size::<[usize; size_of::<Context>() / 8]>());
        assert!(ours <= nothing + 64, "{ours} bytes, {nothing} with nothing");
        assert!(unboxed >= ours + size_of::<Context>(), "{unboxed}: pingora would have had room for it");
    }
}
