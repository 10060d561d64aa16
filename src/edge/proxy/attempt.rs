//! One try to send a permitted request to a server: which server, and whether another try is safe when it
//! fails (RFC 9110 section 9.2.2).
//!
//! It must never send again what a server may have acted on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, RetryType};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::config::settings::Timeouts;
use crate::core::denial::Denial;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::turn::{Turn, denial};
use crate::edge::request::watched::Watch;
use crate::edge::upstreams::{Server, Upstream, allow_switch, over_http1, set_timeouts};
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
    let route = context.permit.as_ref().ok_or(Denial::Internal)?.route();
    let upstream = route.upstream.as_ref().and_then(|name| context.serving.upstreams.get(name));
    let upstream = upstream.cloned().ok_or(Denial::Internal)?;
    let timeouts = upstream.settings.timeouts.but(route.forwarding.timeouts);
    context.upstream = Some(upstream.clone());
    // A body that is sent again is counted again.
    context.body_bytes = 0;
    let mut peer = loop {
        let server = server(context, &upstream).ok_or(Denial::UpstreamUnavailable)?;
        context.server = Some(server.clone());
        let failed = context.turn.as_ref().map(|turn| &turn.failed[..]).unwrap_or_default();
        let unknown = match server.peer(failed, timeouts.connect).await {
            Ok(peer) => break peer,
            Err(unknown) => unknown,
        };
        let failed = context.turn.as_ref().and_then(|turn| turn.denial.clone());
        if failed.is_none() {
            // Else each of its addresses was counted.
            server.count(metrics, "connect_failed");
        }
        if !may_go_to_another(context, &upstream, &server) {
            return Err(failed.unwrap_or(unknown));
        }
    };
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
        context.switch = Some(allow_switch(&mut peer, timeouts.read, silent));
    }
    let may_be_http2 = may_be_http2 && !context.forces_http1;
    watch(session, context, &mut peer, timeouts, (may_be_http1, may_be_http2));
    Ok(peer)
}

/// Sees to it that a body that is still to come, on its way over HTTP/2, ends when it should, and not before.
/// `may_be`: over HTTP/1.1, over HTTP/2.
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

/// The server for this try: the last one while its turn goes on, or the next.
fn server(context: &mut Context, upstream: &Upstream) -> Option<Arc<Server>> {
    if context.turn.is_some() {
        return context.server.clone();
    }
    context.tries = context.tries.saturating_add(1);
    context.turn = Some(Turn::begin());
    let client = context.client_address();
    upstream.choose(context.permit.as_ref()?, client, context.server.as_ref())
}

/// The server's turn is over, and no connection was made.
fn may_go_to_another(context: &mut Context, upstream: &Upstream, server: &Arc<Server>) -> bool {
    let began = context.turn.take().map_or_else(Instant::now, |turn| turn.began);
    upstream.could_not_connect(server, began) && context.may_try_again()
}

/// Nothing was sent, so whatever the method, another address or server may be tried.
pub(crate) fn failed_to_connect(
    session: &Session,
    context: &mut Context,
    peer: &HttpPeer,
    error: &mut Error,
    metrics: &Metrics,
) {
    let (Some(upstream), Some(server)) = (context.upstream.clone(), context.server.clone()) else { return };
    let (again, result) = if speaks_http2_alone(context, error) {
        context.turn = None;
        (false, "failed")
    } else if !is_of_the_server(error) {
        context.turn = None;
        (context.may_try_again(), "failed")
    } else {
        let goes_on =
            context.turn.as_mut().is_some_and(|turn| turn.try_next_address(&server, peer, error.etype()));
        (goes_on || may_go_to_another(context, &upstream, &server), "connect_failed")
    };
    error.set_retry(again);
    note(session, context, error, result, metrics);
}

/// Something may have been sent: only what may be sent twice is tried again, while its body is still at
/// hand, nothing of an answer has come, and the time is not over.
pub(crate) fn broke_off(session: &Session, context: &mut Context, error: &mut Error, metrics: &Metrics) {
    context.turn = None;
    if context.failure == Some(Denial::UpstreamUnavailable) {
        context.came_to("failed");
    }
    if context.upstream_was_silent() || is_silent_before_switch(context, error) {
        context.failure = Some(Denial::UpstreamTimeout);
        error.set_retry(false);
        note(session, context, error, result(error), metrics);
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
            server.allow_http2_again();
        }
        context.wanted_http1 = true;
        error.set_retry(is_whole);
        note(session, context, error, result(error), metrics);
        return;
    }
    let safe = is_whole && (session.req_header().method.is_idempotent() || is_unprocessed(error));
    let in_time = denial(error.etype()) != Denial::UpstreamTimeout;
    error.set_retry(safe && in_time && context.may_try_again());
    note(session, context, error, result(error), metrics);
}

/// Whether it is an upstream that was asked to switch protocols, and had said nothing of that for
/// `timeouts.read`, or not all.
fn is_silent_before_switch(context: &Context, error: &Error) -> bool {
    context.switch.is_some()
        && context.failure.is_none()
        && *error.esource() == ErrorSource::Upstream
        && cause(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether a server of HTTP/2 says that it did nothing with the request: `REFUSED_STREAM`, or a stream above
/// the last that its `GOAWAY` names (RFC 9113 section 8.7). pingora tells these from others by deciding that
/// they be tried again.
fn is_unprocessed(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry == RetryType::Decided(true)
}

/// Whether the handshake failed because we did not offer HTTP/2, so far as anybody can tell: that says
/// nothing of how the server is, and another would say the same.
fn speaks_http2_alone(context: &Context, error: &Error) -> bool {
    context.forces_http1 && *error.etype() == ErrorType::TLSHandshakeFailure
}

/// Whether an error of connecting says something of the server. All do, whatever pingora calls them, but two:
/// a kept connection of HTTP/2 that takes no more requests, where the next try makes a new one; and that we
/// have no file left.
fn is_of_the_server(error: &Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let code = cause(error).and_then(io::Error::raw_os_error);
    *error.etype() != ErrorType::H2Error && !code.is_some_and(|code| ours.contains(&code))
}

fn cause(error: &Error) -> Option<&io::Error> {
    error.root_cause().downcast_ref()
}

/// What a failure of a server is in the metrics, once a connection to it was made.
fn result(error: &Error) -> &'static str {
    match denial(error.etype()) {
        Denial::UpstreamTimeout => "timeout",
        _ if cause(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) => "timeout",
        _ => "failed",
    }
}

fn note(session: &Session, context: &mut Context, error: &Error, result: &'static str, metrics: &Metrics) {
    let Some(server) = &context.server else { return };
    let cause = cause(error).map(ToString::to_string);
    let broken_off = session.response_written().is_some();
    tracing::warn!(
        request_id = %context.request_id(), upstream = %server.upstream, server = server.authority,
        kind = error.etype().as_str(), cause, broken_off, tried_again = error.retry(), "an upstream failed"
    );
    if context.sent.is_some() {
        context.came_to(result);
    } else {
        server.count(metrics, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// pingora has no name of its own for some of them: no address of our own to connect from (`BindError`,
    /// or `InternalError` around it), and what a firewall forbids (`InternalError`).
    #[test]
    fn whatever_keeps_a_connection_from_being_made_is_of_the_server_but_what_we_lack() {
        let because = |kind: ErrorType, code: Errno| {
            let cause = io::Error::from_raw_os_error(code.raw_os_error());
            Error::because(ErrorType::InternalError, "Fail to connect", Error::because(kind, "", cause))
        };
        for error in [
            because(ErrorType::BindError, Errno::ADDRNOTAVAIL),
            because(ErrorType::InternalError, Errno::ACCESS),
            Error::new(ErrorType::BindError),
            Error::new(ErrorType::InternalError),
            Error::new(ErrorType::HandshakeError),
            Error::new(ErrorType::ConnectRefused),
            Error::new(ErrorType::TLSHandshakeTimedout),
        ] {
            assert!(is_of_the_server(&error), "{error}");
        }
        for error in [
            Error::new(ErrorType::H2Error),
            because(ErrorType::SocketError, Errno::MFILE),
            because(ErrorType::SocketError, Errno::NFILE),
        ] {
            assert!(!is_of_the_server(&error), "{error}");
        }
    }
}
