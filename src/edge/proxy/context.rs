//! What is known of one request, from its head to its line in the access log: how it was judged; and in parts
//! its client's side (`downstream`), how it is sent upstream (`sending`), the answer, and facts for the log.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, StatusCode, Version};
use pingora::{Error, ErrorType};

use crate::core::brake::Tally;
use crate::core::caller::Caller;
use crate::core::cors::Sharing;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::ids::{ClientName, RouteName};
use crate::core::route::Route;
use crate::core::route::permit::Permit;
use crate::core::session::ride::Ride;
use crate::core::token::verified::VerifiedToken;
use crate::edge::proxy::downstream::Downstream;
use crate::edge::proxy::sending::Sending;
use crate::edge::proxy::serving::Serving;
use crate::flows::Gate;
use crate::flows::session::SessionSide;
use crate::flows::session::may_leave;
use crate::state::live::Live;
use crate::state::metrics::{Reason, RequestOutcome};
use crate::state::open_requests::{OfSession, OpenRequest};

/// One request.
pub(crate) struct Context {
    pub(super) gate: Arc<Gate>,
    pub(crate) serving: Arc<Serving>,
    pub(super) started: Instant,
    pub(crate) downstream: Downstream,
    pub(super) permit: Option<Permit>,
    /// The route of a refused request; a permit has its own.
    refused_by: Option<Arc<Route>>,
    /// The own endpoint that was asked.
    pub(crate) endpoint: Option<RouteName>,
    /// Whether the target is known to be none of Tollgate's own paths.
    pub(crate) is_elsewhere: bool,
    /// The tally that its refusal counts in.
    pub(super) tally: Tally,
    /// Why it fails, for phases that can only return an error to pingora.
    pub(super) failure: Option<Denial>,
    /// Whether a session cookie came; `None`: the credential was another, or none was looked for.
    pub(super) by_session: Option<bool>,
    /// The session's next cookie, to go out with whatever answer is given.
    ride: Option<Ride>,
    /// Its entry among the open requests, through which it is ended if its access is taken back.
    pub(super) open: Option<Arc<OpenRequest>>,
    pub(super) sending: Sending,
    pub(super) answer: RelayedAnswer,
    pub(crate) log: LogFacts,
}

/// The upstream's answer, as far as it was passed on to the client.
#[derive(Default)]
pub(super) struct RelayedAnswer {
    /// Set once the head has come.
    pub(super) status: Option<StatusCode>,
    /// The size of its body, so far.
    pub(super) bytes: usize,
    /// Whether all of it has come from the upstream.
    pub(super) is_whole: bool,
    /// Whether it was cut short, or the client has left, whoever answered.
    pub(super) broke_off: bool,
}

impl RelayedAnswer {
    /// Whether the head has come.
    pub(super) const fn has_begun(&self) -> bool {
        self.status.is_some()
    }
}

/// Facts for the log alone.
pub(crate) struct LogFacts {
    pub(crate) outcome: RequestOutcome,
    /// Why a route with `report_only` would have refused it.
    pub(super) report_only: Option<Reason>,
    /// The `client_id` and the subject, where no permit says them.
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) family: Option<FamilyId>,
    /// Whether its line is written.
    pub(super) is_noted: bool,
}

fn token_of(permit: &Permit) -> Option<&VerifiedToken> {
    let reported = || permit.reported()?.caller.as_deref().map(Caller::token);
    permit.token().or_else(reported)
}

impl Context {
    /// The context of a request that was not looked at yet.
    pub(super) fn new(gate: Arc<Gate>, serving: Arc<Serving>) -> Self {
        gate.metrics.in_flight().inc();
        Self {
            gate,
            serving,
            started: Instant::now(),
            downstream: Downstream::default(),
            permit: None,
            refused_by: None,
            endpoint: None,
            is_elsewhere: false,
            tally: Tally::Everybody,
            failure: None,
            by_session: None,
            ride: None,
            open: None,
            sending: Sending::default(),
            answer: RelayedAnswer::default(),
            log: LogFacts {
                outcome: RequestOutcome::Ok,
                report_only: None,
                client: None,
                subject: None,
                family: None,
                is_noted: false,
            },
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

    /// Warns that an answer of its server is not passed on.
    pub(super) fn warn_of_answer(&self, why: &'static str) {
        if let Some(server) = &self.sending.server {
            let (upstream, server) = (&server.upstream, &server.authority);
            let request_id = self.downstream.request_id();
            tracing::warn!(%request_id, %upstream, server, why, "an answer of an upstream is not passed on");
        }
    }

    /// Keeps the route and the caller for the log.
    pub(crate) fn keep(&mut self, route: Option<Arc<Route>>, caller: Option<&VerifiedToken>) {
        self.refused_by = route;
        let subject = caller.and_then(VerifiedToken::subject).map(str::to_owned);
        self.log.subject = subject.or(self.log.subject.take());
        self.log.client = caller.and_then(VerifiedToken::client).map(str::to_owned);
    }

    /// Keeps for the log the `client_id`, as tokens have it, so that one search finds all lines, and what it
    /// finds can be revoked.
    pub(crate) fn keep_client(&mut self, name: Option<&ClientName>) {
        self.log.client = name.map(|name| {
            let client_id = self.live().settings.client_id(name);
            client_id.unwrap_or_else(|| name.as_str()).to_owned()
        });
    }

    /// Keeps the outcome of the session cookie. Returns the session that let the request in, if one did.
    pub(crate) fn keep_session(&mut self, side: SessionSide) -> Option<Box<OfSession>> {
        self.by_session = Some(side.brought_cookie);
        self.ride = side.ride;
        self.log.family = side.family;
        self.log.subject = side.subject;
        side.let_in
    }

    /// Adds the request to the open requests: it ends when its caller's access does.
    pub(crate) fn open_request(
        &mut self,
        permit: &Permit,
        of_session: Option<Box<OfSession>>,
        version: Version,
    ) {
        let Some(caller) = permit.caller() else { return };
        let token = of_session.as_ref().map_or(caller, |session| &session.token).clone();
        let open = self.gate.open_requests.enter(token, of_session);
        if let Some(let_in) = self.downstream.let_in(version) {
            let_in.tell(open.clone());
        }
        self.open = Some(open);
    }

    /// Whether a session cookie proved who calls.
    pub(crate) fn is_served_in_session(&self) -> bool {
        self.by_session == Some(true) && self.permit.as_ref().is_some_and(|permit| permit.token().is_some())
    }

    /// Takes the session's next cookie for this answer, if it may still go out.
    pub(crate) async fn cookie_that_leaves(&mut self) -> Option<HeaderValue> {
        let ride = self.ride.take()?;
        may_leave(&self.gate, &ride).await.then_some(ride.set_cookie)
    }

    /// Drops the permit, and keeps what it says for the log.
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

    /// The route, where one was found.
    pub(crate) fn route(&self) -> Option<&Arc<Route>> {
        self.permit.as_ref().map(Permit::route).or(self.refused_by.as_ref())
    }

    /// The label of the route or endpoint in metrics and log.
    pub(crate) fn label(&self) -> Option<&RouteName> {
        self.route().map(|route| &route.name).or(self.endpoint.as_ref())
    }

    /// The pages that may read an answer of Tollgate's own to this request.
    pub(crate) fn sharing(&self) -> &Sharing {
        let settings = &self.live().settings;
        match self.route() {
            Some(route) => &route.sharing,
            None if self.is_elsewhere => &settings.sharing_elsewhere,
            None => &settings.sharing,
        }
    }

    /// The token that the request brought, as far as the permit knows it, also on a route with `report_only`.
    fn token(&self) -> Option<&VerifiedToken> {
        self.permit.as_ref().and_then(token_of)
    }

    /// The subject, for the log, as far as it is known.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.token().and_then(VerifiedToken::subject).or(self.log.subject.as_deref())
    }

    /// The `client_id`, for the log, as far as it is known.
    pub(crate) fn client(&self) -> Option<&str> {
        self.token().map_or(self.log.client.as_deref(), VerifiedToken::client)
    }
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use async_trait::async_trait;
    use pingora::apps::HttpServerApp as _;
    use pingora::protocols::http::ServerSession;
    use pingora::protocols::l4::stream::Stream;
    use pingora::proxy::{HttpProxy, ProxyHttp, Session};
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

    /// The size of what a connection has that waits for its next request.
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
