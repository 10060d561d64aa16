//! One try to send a permitted request to a server: which server, and whether another try is safe when it
//! fails (RFC 9110 section 9.2.2).
//!
//! It must never send again what a server may have acted on.

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use crate::config::settings::Timeouts;
use crate::core::denial::Denial;
use crate::edge::context::Context;
use crate::edge::upstreams::{Server, Upstream, may_switch, over_http1, set_timeouts};
use crate::edge::watched::Watch;
use crate::state::metrics::Metrics;

/// What pingora waits for an upstream where `watched` knows better when it is silent.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Where this try goes. No permit, no upstream.
///
/// # Errors
/// [`Denial::UpstreamUnavailable`] when no server is well, or no name resolves.
pub(crate) async fn peer(
    session: &mut Session,
    context: &mut Context,
    metrics: &Metrics,
) -> Result<Box<HttpPeer>, Denial> {
    let route = context.permit.as_ref().ok_or(Denial::Internal)?.route().clone();
    let upstream = context.serving.upstreams.get(&route.upstream).cloned().ok_or(Denial::Internal)?;
    context.upstream = Some(upstream.clone());
    // A body that is sent again is counted again.
    context.body_bytes = 0;
    let mut peer = loop {
        let server = server(context, &upstream).ok_or(Denial::UpstreamUnavailable)?;
        let peer = server.peer().await;
        context.server = Some(server.clone());
        let Err(denial) = peer else { break peer? };
        context.failed_addresses = 0;
        metrics.upstream_answered(&server.upstream, &server.authority, "connect_failed");
        if !(upstream.could_not_connect(&server) && context.may_try_again()) {
            return Err(denial);
        }
    };
    let timeouts = upstream.settings.timeouts.but(route.forwarding.timeouts);
    set_timeouts(&mut peer, timeouts);
    let upgrades = context.upgrades;
    let is_old = session.req_header().version == Version::HTTP_10;
    let may_be_http1 = peer.options.alpn.get_min_http_version() == 1;
    let may_be_http2 = peer.options.alpn.get_max_http_version() == 2;
    // An upgrade is HTTP/1.1 on both sides (RFC 9113 section 8.6); and an answer of HTTP/2 without a length
    // comes in chunks, which a client of HTTP/1.0 cannot read.
    context.forces_http1 = (upgrades || is_old || context.wanted_http1) && may_be_http1 && may_be_http2;
    if context.forces_http1 {
        over_http1(&mut peer);
    }
    if upgrades && may_be_http1 {
        let silent = context.live().settings.patience.conversation_silent;
        peer.options.read_timeout = peer.options.read_timeout.max(Some(silent));
        may_switch(&mut peer);
    }
    let may_be_http2 = may_be_http2 && !context.forces_http1;
    watch(session, context, &mut peer, timeouts, (may_be_http1, may_be_http2));
    Ok(peer)
}

/// Sees to it that a body that is still to come, on its way over HTTP/2, ends when it should, and not before. `may_be`: over
/// HTTP/1.1, over HTTP/2.
fn watch(
    session: &mut Session,
    context: &mut Context,
    peer: &mut HttpPeer,
    timeouts: Timeouts,
    (may_be_http1, may_be_http2): (bool, bool),
) {
    context.watch = None;
    let Some(inflow) = &context.inflow else { return };
    let is_watched = may_be_http2 && !session.is_body_done();
    inflow.upstream_may_take(timeouts, may_be_http1, is_watched);
    if !is_watched {
        return;
    }
    peer.options.read_timeout = Some(LONG.max(timeouts.read));
    // Where the upstream takes no more of it, pingora looks at neither side but for this long time.
    if let Some(connection) = context.connection.as_ref().filter(|_| !context.is_http2) {
        connection.let_in.tell_of_body(inflow.clone());
    }
    context.watch = Some(Watch::new(inflow.clone(), timeouts.read));
}

/// The server for this try: another address of the last one, or the next.
fn server(context: &mut Context, upstream: &Upstream) -> Option<Arc<Server>> {
    if context.failed_addresses > 0 {
        return context.server.clone();
    }
    context.tries = context.tries.saturating_add(1);
    let client = context.client_address();
    upstream.choose(context.permit.as_ref()?, client, context.server.as_ref())
}

/// Nothing was sent, so whatever the method, another address or server may be tried.
pub(crate) fn failed_to_connect(
    session: &Session,
    context: &mut Context,
    error: &mut Error,
    metrics: &Metrics,
) {
    let (Some(upstream), Some(server)) = (context.upstream.clone(), context.server.clone()) else { return };
    let again = if speaks_http2_alone(context, error) {
        context.failed_addresses = 0;
        false
    } else if !is_connecting(error.etype()) {
        context.failed_addresses = 0;
        // A kept HTTP/2 connection takes no more requests; the next try makes a new one.
        context.may_try_again()
    } else {
        context.failed_addresses = context.failed_addresses.saturating_add(1);
        if context.failed_addresses < server.next_address() {
            true
        } else {
            context.failed_addresses = 0;
            upstream.could_not_connect(&server) && context.may_try_again()
        }
    };
    error.set_retry(again);
    note(session, context, error, metrics);
}

/// Something may have been sent: only what may be sent twice is tried again, while its body is still at
/// hand, nothing of an answer has come, and the time is not over.
pub(crate) fn broke_off(session: &Session, context: &mut Context, error: &mut Error, metrics: &Metrics) {
    context.failed_addresses = 0;
    if context.failure == Some(Denial::UpstreamUnavailable) {
        context.came_to("failed");
    }
    if context.upstream_was_silent() {
        context.failure = Some(Denial::UpstreamTimeout);
        error.set_retry(false);
        note(session, context, error, metrics);
        return;
    }
    if *error.esource() != ErrorSource::Upstream || context.failure.is_some() {
        error.set_retry(false);
        return;
    }
    if *error.etype() == ErrorType::ReadTimedout
        && context.inflow.as_ref().is_some_and(|inflow| !inflow.is_complete())
    {
        // The body is still on its way: the upstream cannot be the one to blame.
        context.failure = Some(Denial::BodyTooSlow);
        error.set_retry(false);
        return;
    }
    let is_whole = !session.as_ref().retry_buffer_truncated() && session.response_written().is_none();
    let decided = error.retry == RetryType::Decided(true);
    if *error.etype() == ErrorType::H2Downgrade && decided && !context.wanted_http1 {
        // It did nothing with it (RFC 9113 section 7), and is asked once more, as it wants to be.
        if let Some(server) = &context.server {
            server.is_asked_over_http2_again();
        }
        context.wanted_http1 = true;
        error.set_retry(is_whole);
        note(session, context, error, metrics);
        return;
    }
    let safe = is_whole && (session.req_header().method.is_idempotent() || is_unprocessed(error));
    let in_time = denial(error.etype()) != Denial::UpstreamTimeout;
    error.set_retry(safe && in_time && context.may_try_again());
    note(session, context, error, metrics);
}

/// Whether a server of HTTP/2 says that it did nothing with the request: `REFUSED_STREAM`, or a stream above the last that
/// its `GOAWAY` names (RFC 9113 section 8.7). pingora tells these from others by deciding that they be tried again.
fn is_unprocessed(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry == RetryType::Decided(true)
}

/// Whether the handshake failed because we did not offer HTTP/2, so far as anybody can tell: that says nothing of how the
/// server is, and another would say the same.
fn speaks_http2_alone(context: &Context, error: &Error) -> bool {
    context.forces_http1 && *error.etype() == ErrorType::TLSHandshakeFailure
}

/// What an error of an upstream is to the client.
pub(crate) const fn denial(kind: &ErrorType) -> Denial {
    use ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    match kind {
        ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout => Denial::UpstreamTimeout,
        _ => Denial::UpstreamUnavailable,
    }
}

const fn is_connecting(kind: &ErrorType) -> bool {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectProxyFailure, ConnectRefused, ConnectTimedout, InvalidCert,
        SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
    };
    matches!(
        kind,
        ConnectTimedout
            | ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | ConnectProxyFailure
            | SocketError
            | InvalidCert
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
    )
}

fn note(session: &Session, context: &mut Context, error: &Error, metrics: &Metrics) {
    let Some(server) = &context.server else { return };
    let cause = error.root_cause().downcast_ref::<std::io::Error>().map(ToString::to_string);
    let broken_off = session.response_written().is_some();
    tracing::warn!(
        request_id = %context.request_id(), upstream = %server.upstream, server = server.authority,
        kind = error.etype().as_str(), cause, broken_off, tried_again = error.retry(), "an upstream failed"
    );
    let unreachable = is_connecting(error.etype()) && !speaks_http2_alone(context, error);
    let result = match (denial(error.etype()), unreachable) {
        (_, true) => "connect_failed",
        (Denial::UpstreamTimeout, _) => "timeout",
        _ => "failed",
    };
    if context.sent.is_some() {
        context.came_to(result);
    } else {
        metrics.upstream_answered(&server.upstream, &server.authority, result);
    }
}
