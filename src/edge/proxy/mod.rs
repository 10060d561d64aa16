//! The way of a request through pingora's phases; each asks a flow or applies what a flow decided.
//!
//! It must never decide who may pass: without a permit `upstream_peer` fails, and only `flows::admit`
//! gives one, or `flows::answer_preflight` where the upstream speaks CORS. No query, token or cookie may
//! reach a log from here.
//!
//! - `context`: what is known of one request; `downstream`: of its client's side; `sending`: of how it is
//!   sent to its upstream
//! - `serving`: one configuration as the proxy works with it
//! - `attempt`: one try to send a request to a server, and whether another is safe; `turn`: the tries at one
//!   server
//! - `answering`: what is noted of an upstream's answer, and what a session adds to it
//! - `refusing`: a refusal is counted, logged and answered; `reply`: how an answer of Tollgate's own leaves
//! - `finish`: how a request comes to its end; `access_log`: one line a request

pub(crate) mod access_log;
mod answering;
pub(crate) mod attempt;
pub(crate) mod context;
mod downstream;
mod finish;
pub(crate) mod refusing;
mod reply;
mod sending;
pub(crate) mod serving;
pub(crate) mod turn;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;

pub(in crate::edge) use self::reply::reply;

use crate::config::settings::SentHost;
use crate::core::brake::Tally;
use crate::core::caller::Caller;
use crate::core::cors::{self, Preflight};
use crate::core::denial::Denial;
use crate::core::forwarded;
use crate::core::ids::RouteName;
use crate::core::path::own;
use crate::core::request::RequestHead;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::{self, Identification, Outgoing};
use crate::edge::answers::{respond, response_headers, trailers};
use crate::edge::connection::connections::Connection;
use crate::edge::connection::{lingering, pipelining};
use crate::edge::drain::Drain;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::finish::Finish;
use crate::edge::proxy::serving::Serving;
use crate::edge::request::body;
use crate::edge::request::inflow::Inflow;
use crate::edge::request::request_head;
use crate::edge::request::request_places::RequestPlaces;
use crate::edge::request::timeouts::{is_final, set_client_timeouts};
use crate::flows::admit::{self, Admitted, Target};
use crate::flows::answer_preflight::{Answered, answer_preflight};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::{Gate, brake, ports};
use crate::state::metrics::RequestOutcome;

/// The gateway's public side.
pub(crate) struct Proxy {
    pub(crate) gate: Arc<Gate>,
    pub(crate) serving: Arc<ArcSwap<Serving>>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) places: Arc<RequestPlaces>,
    /// The label of requests without a route.
    pub(crate) unrouted: RouteName,
}

/// Where a request that was not refused goes.
enum Destination {
    Upstream,
    OwnEndpoint(Target),
    /// Back to the client, with this answer.
    Client(Answer),
}

impl Proxy {
    /// Who sent the request, and under which ids it goes on.
    fn identify(&self, session: &Session, context: &Context) -> Identification {
        let live = context.live();
        let peer = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical());
        let received = &session.req_header().headers;
        let trusted = &live.settings.trusted_proxies;
        let random = match &context.downstream.connection {
            Some(connection) => connection.recurring.random(&*self.gate.random),
            None => ports::random(&*self.gate.random),
        };
        Identification {
            ids: forwarded::identifiers(
                forwarded::is_trusted(peer, trusted),
                received,
                random,
                live.settings.trace_sampled,
            ),
            peer,
            client: forwarded::client_address(peer, received, trusted),
        }
    }

    /// Judges a request's head.
    async fn judge(&self, session: &mut Session, context: &mut Context) -> Result<Destination, Denial> {
        let live = context.live().clone();
        let limits = &live.settings.limits;
        request_head::complete(session.req_header_mut())?;
        // Over HTTP/2 a body needs no header that announces it.
        let may_be_preflight = session.req_header().method == Method::OPTIONS && session.is_body_empty();
        let request: &RequestHeader = session.req_header();
        // Decides who may read the refusal of a target that cannot be read.
        context.is_elsewhere = own::is_surely_elsewhere(request.raw_path());
        let raw = request_head::raw(session);
        let size = raw.as_ref().map_or_else(|| request_head::size(request), Bytes::len);
        request_head::check(request, size, limits.header)?;
        if let Some(raw) = raw {
            request_head::check_framing(request, &raw)?;
        }
        let client = context.downstream.client_address();
        context.downstream.place = Some(self.places.take(client, &live.settings.trusted_proxies)?);
        brake::count_request(&self.gate, &live, client)?;
        let host = request_head::host(request)?;
        let head = request_head::head(request, &host, client)?;
        let target = admit::read_target(&live, &head)?;
        context.is_elsewhere = target.own.is_none();
        if context.downstream.redirects_to_https() {
            context.log.outcome = RequestOutcome::Redirected;
            return Ok(Destination::Client(Answer::permanent_redirect(&target.under_https(&live, &head))));
        }
        if let Some(preflight) =
            cors::preflight(&request.method, &request.headers).filter(|_| may_be_preflight)
            && target.own != Some(OwnEndpoint::ResourceMetadata)
        {
            return self.judge_preflight(&head, target, &preflight, context);
        }
        if target.own.is_some() {
            return Ok(Destination::OwnEndpoint(target));
        }
        let now = self.gate.clock.now();
        match admit::admit(&self.gate, &live, &head, target, now).await {
            Ok(Admitted { permit, session }) => {
                if let Some(reported) = permit.reported() {
                    self.report(context, &permit.route().name, &reported.denial);
                }
                let of_session = session.and_then(|side| context.keep_session(*side));
                context.open_request(&permit, of_session, request.version);
                context.permit = Some(permit);
            }
            Err(refusal) => {
                let tally = refusal.route.as_deref().map(|route| Tally::of(route, &request.headers));
                context.tally = tally.unwrap_or_default();
                refusal.session.into_iter().for_each(|side| drop(context.keep_session(*side)));
                context.keep(refusal.route, refusal.caller.as_deref().map(Caller::token));
                return Err(refusal.denial);
            }
        }
        if let Some(Err(too_large)) = body::announced(session).map(|length| context.check_body(length)) {
            context.give_up_permit();
            return Err(too_large);
        }
        Ok(Destination::Upstream)
    }

    /// Answers a preflight, or sends it to the upstream that speaks CORS itself.
    fn judge_preflight(
        &self,
        head: &RequestHead<'_>,
        target: Target,
        preflight: &Preflight,
        context: &mut Context,
    ) -> Result<Destination, Denial> {
        let is_for_pages = |own: &OwnEndpoint| !own.methods_for_pages().is_empty();
        context.endpoint = target.own.filter(is_for_pages).and_then(OwnEndpoint::label);
        match answer_preflight(context.live(), head, target, preflight) {
            Ok(Answered::ByUpstream(permit)) => {
                context.permit = Some(*permit);
                Ok(Destination::Upstream)
            }
            Ok(Answered::Here { headers, route }) => {
                context.keep(route, None);
                context.log.outcome = RequestOutcome::Preflight;
                let answer = Answer::preflight(headers);
                Ok(Destination::Client(if context.endpoint.is_some() { answer.no_store() } else { answer }))
            }
            Err(refusal) => {
                context.keep(refusal.route, None);
                Err(refusal.denial)
            }
        }
    }

    /// Ends the connection with this answer if the gateway drains. Called at the request and at its answer:
    /// the drain may begin in between.
    pub(in crate::edge) fn end_connection_if_draining(&self, session: &mut Session) {
        if self.drain.has_begun() {
            session.set_keepalive(None);
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// Boxed: pingora's future, which an idle connection has too, would otherwise have room for two contexts.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(Context::new(self.gate.clone(), self.serving.load_full()))
    }

    /// Adds none: pingora's compression is not wanted.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<bool> {
        let patience = context.live().settings.patience;
        let downstream = &mut context.downstream;
        downstream.connection = Connection::of(session.digest());
        if let Some(connection) = &downstream.connection {
            connection.begin_request();
        }
        downstream.upgrades = request_head::may_upgrade(session.req_header());
        self.end_connection_if_draining(session);
        set_client_timeouts(session, downstream.upgrades, &patience);
        // On the way to an HTTP/2 server `request_body_filter` is never called for a request without a body.
        let is_bodiless = !downstream.upgrades && session.is_body_empty();
        downstream.inflow = Inflow::of(session.req_header(), is_bodiless, patience, context.started);
        downstream.method = session.req_header().method.clone();
        downstream.is_http2 = session.is_http2();
        context.downstream.who = Some(self.identify(session, context));
        match self.judge(session, context).await {
            Ok(Destination::Upstream) => return Ok(false),
            Ok(Destination::OwnEndpoint(target)) => self.answer_own(session, context, &target).await?,
            Ok(Destination::Client(answer)) => {
                respond::send(session, answer, context.downstream.request_id()).await?
            }
            Err(denial) => self.refuse(session, context, &denial).await?,
        }
        Ok(true)
    }

    /// Fails without a permit.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        let downstream = &context.downstream;
        pipelining::bear(session, downstream.connection.as_deref(), downstream.upgrades);
        attempt::peer(session, context, &self.gate.metrics).await.map_err(|denial| context.fail(denial))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let (Some(permit), Some(who), Some(server), Some(upstream)) =
            (&context.permit, &context.downstream.who, &context.sending.server, &context.sending.upstream)
        else {
            return Err(context.fail(Denial::Internal));
        };
        body::answer_expectation(session, request).await?;
        let asked_for = request_head::host(session.req_header()).unwrap_or_default();
        let as_asked = match upstream.settings.host {
            SentHost::Client if !asked_for.is_empty() => HeaderValue::from_str(&asked_for).ok(),
            _ => None,
        };
        let (received, trusted) = (&session.req_header().headers, &context.live().settings.trusted_proxies);
        let forwarded = context.downstream.told(who, received, &asked_for, trusted);
        let plan = Outgoing {
            live: context.live(),
            reserved: &context.serving.reserved,
            permit,
            who,
            received,
            upgrades: context.downstream.upgrades,
            host: as_asked.as_ref().unwrap_or(&server.host_header),
            forwarded: &forwarded.headers,
            own: if permit.is_preflight() { &[] } else { &server.own_headers },
        };
        request_headers::to_upstream(request, &plan)?;
        context.sending.sent_to = Some(server.clone());
        Ok(())
    }

    /// Returns errors as the client's doing: after any other error pingora goes on while an HTTP/2 server may
    /// still answer.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let length = body.as_ref().map_or(0, Bytes::len);
        // An empty last piece would be written as a second end of the chunked body, and the
        // upstream's connection would be out of step (cloudflare/pingora#935).
        if end_of_stream && length == 0 {
            *body = None;
        }
        if session.was_upgraded() {
            return Ok(());
        }
        if body.is_none() && !end_of_stream && context.sending.end_body(session) {
            // Nothing is sent for it, and the end comes by itself.
            *body = Some(Bytes::new());
            return Ok(());
        }
        let downstream = &mut context.downstream;
        if downstream.inflow.as_ref().is_some_and(|inflow| !inflow.came(length, end_of_stream)) {
            return Err(context.fail(Denial::BodyTooSlow).into_down());
        }
        if end_of_stream {
            pipelining::complete_body(downstream.connection.as_deref(), downstream.upgrades);
        }
        downstream.body_bytes = downstream.body_bytes.saturating_add(length as u64);
        if let Err(too_large) = context.check_body(context.downstream.body_bytes) {
            return Err(context.fail(too_large).into_down());
        }
        if end_of_stream {
            context.sending.begin_watching(session);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        context.sending.stop_watching(session);
        let wish = context.downstream.upgrades.then(|| &session.req_header().headers);
        if let Err(why) = response_headers::check_reading(answer, wish) {
            context.warn_of_answer(why);
            return Err(context.fail(Denial::UpstreamUnavailable));
        }
        if is_final(answer.status) {
            answering::note_head(&self.gate, context, answer);
        }
        if let Some(switch) =
            context.sending.switch.as_ref().filter(|_| answer.status == StatusCode::SWITCHING_PROTOCOLS)
        {
            switch.made();
        }
        let (mut parts, reason) = response_headers::take(answer);
        if session.req_header().version == Version::HTTP_10
            && is_final(parts.status)
            && response_headers::without_chunks(&mut parts, &session.req_header().method)
        {
            session.set_keepalive(None);
        }
        response_headers::choose_subprotocol(&mut parts, &session.req_header().headers);
        self.end_connection_if_draining(session);
        pipelining::before_answer(session, context.downstream.connection.as_deref());
        let planted =
            response_headers::to_client(&mut parts, context.live(), context.downstream.request_id())?;
        if is_final(parts.status) {
            answering::add_session_headers(context, &mut parts).await;
        }
        if let Some(route) = context.route() {
            response_headers::share(&mut parts, route, &session.req_header().headers);
        }
        response_headers::give_back(answer, parts, reason.as_deref())?;
        if let (1.., Some(server)) = (planted, &context.sending.server) {
            self.gate.metrics.planted_cookies(&server.upstream, planted);
        }
        context.sending.begin_watching(session);
        Ok(())
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        _: &mut Self::CTX,
    ) -> pingora::Result<Option<Bytes>> {
        trailers::to_client(trailers);
        Ok(None)
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        let answer = &mut context.answer;
        if response_headers::never_has_body(answer.status, &context.downstream.method) {
            *body = None;
        }
        answer.bytes = answer.bytes.saturating_add(body.as_ref().map_or(0, Bytes::len));
        answer.is_whole |= end_of_stream;
        if let Some(inflow) = context.downstream.inflow.as_ref().filter(|_| end_of_stream) {
            inflow.end_answer();
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        context: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        attempt::failed_to_connect(session, context, peer, &mut error, &self.gate.metrics);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Self::CTX,
        _: bool,
    ) -> Box<Error> {
        context.sending.stop_watching(session);
        attempt::broke_off(session, context, &mut error, &self.gate.metrics);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Self::CTX,
    ) -> FailToProxy {
        let Some(denial) = self.denial_for(context, error) else {
            context.note_client_gone();
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        session.set_keepalive(None);
        if let Some(answer) = session.response_written().filter(|answer| is_final(answer.status)) {
            // The last piece may have come from the upstream and still be on its way to a slow client.
            let is_whole = context.answer.is_whole && response_headers::says_where_it_ends(answer);
            context.answer.broke_off =
                !is_whole && !response_headers::ends_with_head(answer, &context.downstream.method);
            self.note(context, &denial);
        } else if self.refuse(session, context, &denial).await.is_err() {
            context.note_client_gone();
        }
        FailToProxy { error_code: denial.facts().status.as_u16(), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Self::CTX) {
        context.sending.stop_watching(session);
        context.count_sent(error.is_none());
        let request = session.req_header();
        let path = match &context.permit {
            Some(permit) => Cow::Borrowed(permit.path().as_str()),
            None => request_head::path(request),
        };
        context.note(&Finish {
            method: &request.method,
            path: &path,
            route: context.label().unwrap_or(&self.unrouted),
            status: session.response_written().map(|answer| answer.status).filter(|status| is_final(*status)),
            outcome: context.log.outcome,
            bytes: session.body_bytes_sent(),
        });
        context.log.is_noted = true;
        let connection = context.downstream.connection.as_deref();
        pipelining::after_answer(session, connection);
        if !context.answer.broke_off {
            lingering::after_answer(session, connection, error.is_some()).await;
        }
    }

    /// Suppressed: `note` and the access log report it, without query and token.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, context: &Self::CTX) -> String {
        format!("{} request {}", session.req_header().method, context.downstream.request_id())
    }
}
