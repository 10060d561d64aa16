//! One try to send a permitted request to a server: which server, and whether another try is safe when it
//! fails (RFC 9110 section 9.2.2).
//!
//! It must never send again what a server may have acted on.

use std::io;
use std::time::Duration;

use http::{StatusCode, Version};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, RetryType};
use rustix::io::Errno;

use crate::config::settings::Timeouts;
use crate::core::denial::Denial;
use crate::edge::errors::denial_of_upstream;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::downstream::Downstream;
use crate::edge::proxy::sending::Sending;
use crate::edge::request::inflow::Taking;
use crate::edge::request::watched::Watch;
use crate::edge::upstreams::{allow_switch, over_http1, set_upstream_timeouts};
use crate::state::metrics::{Metrics, UpstreamResult};

/// The timeout given to pingora where `watched` tells when an upstream is silent.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The versions of HTTP that one attempt may end up with.
#[derive(Clone, Copy, Debug)]
struct MaySpeak {
    http1: bool,
    http2: bool,
}

impl MaySpeak {
    fn of(peer: &HttpPeer) -> Self {
        let alpn = &peer.options.alpn;
        Self { http1: alpn.get_min_http_version() == 1, http2: alpn.get_max_http_version() == 2 }
    }
}

/// Chooses the server and the address for this attempt. Without a permit there is none.
///
/// # Errors
/// [`Denial::UpstreamUnavailable`] when no server is well, or no name resolves.
pub(crate) async fn peer(
    session: &mut Session,
    context: &mut Context,
    metrics: &Metrics,
) -> Result<Box<HttpPeer>, Denial> {
    let permit = context.permit.as_ref().ok_or(Denial::Internal)?;
    let route = permit.route();
    let upstream = route.upstream.as_ref().and_then(|name| context.serving.upstreams.get(name));
    let upstream = upstream.cloned().ok_or(Denial::Internal)?;
    let timeouts = upstream.settings.timeouts.but(route.forwarding.timeouts);
    let (downstream, sending) = (&mut context.downstream, &mut context.sending);
    sending.upstream = Some(upstream.clone());
    // A body that is sent again is counted from the start.
    downstream.body_bytes = 0;
    let client = downstream.client_address();
    let mut peer = loop {
        let chosen = sending.choose_server(&upstream, permit, client);
        let server = chosen.ok_or(Denial::UpstreamUnavailable)?;
        let failed = sending.turn.as_ref().map(|turn| &turn.failed[..]).unwrap_or_default();
        let unknown = match server.peer(failed, timeouts.connect).await {
            Ok(peer) => break peer,
            Err(unknown) => unknown,
        };
        let failed = sending.turn.as_ref().and_then(|turn| turn.denial.clone());
        if failed.is_none() {
            // If some of its addresses failed, each of those was counted already.
            server.count(metrics, UpstreamResult::ConnectFailed);
        }
        if !sending.give_up_server(&upstream, &server) {
            return Err(failed.unwrap_or(unknown));
        }
    };
    set_upstream_timeouts(&mut peer, timeouts);
    let upgrades = downstream.upgrades;
    let is_old = session.req_header().version == Version::HTTP_10;
    let offered = MaySpeak::of(&peer);
    // An upgrade is HTTP/1.1 on both sides (RFC 9113 section 8.6). And an answer over HTTP/2 without a length
    // would go out in chunks, which a client of HTTP/1.0 cannot read.
    sending.forces_http1 = (upgrades || is_old || sending.wanted_http1) && offered.http1 && offered.http2;
    if sending.forces_http1 {
        over_http1(&mut peer);
    }
    if upgrades && offered.http1 {
        let silent = context.serving.live.settings.patience.conversation_silent;
        sending.switch = Some(allow_switch(&mut peer, timeouts.read, silent));
    }
    let may_speak = MaySpeak { http2: offered.http2 && !sending.forces_http1, ..offered };
    sending.watch = watch(session, downstream, &mut peer, timeouts, may_speak);
    Ok(peer)
}

/// Makes a request whose body is still to come, and may go over HTTP/2, end when it should and not before.
/// Returns the watch over it, if it needs one.
fn watch(
    session: &mut Session,
    downstream: &Downstream,
    peer: &mut HttpPeer,
    timeouts: Timeouts,
    may_speak: MaySpeak,
) -> Option<Watch> {
    let inflow = downstream.inflow.as_ref()?;
    let is_watched = may_speak.http2 && !session.is_body_done();
    inflow.upstream_may_take(timeouts, Taking { may_be_http1: may_speak.http1, is_watched });
    if !is_watched {
        return None;
    }
    peer.options.read_timeout = Some(LONG.max(timeouts.read));
    // When the upstream takes no more of the body, pingora reads from neither side until its long timeout.
    if let Some(connection) = downstream.connection.as_ref().filter(|_| !downstream.is_http2) {
        connection.let_in.tell_of_body(inflow.clone());
    }
    Some(Watch::new(inflow.clone(), timeouts.read))
}

/// Decides what follows a failed connection. Nothing was sent, so another address or server may be tried
/// whatever the method.
pub(crate) fn failed_to_connect(
    session: &Session,
    context: &mut Context,
    peer: &HttpPeer,
    error: &mut Error,
    metrics: &Metrics,
) {
    let sending = &mut context.sending;
    let (Some(upstream), Some(server)) = (sending.upstream.clone(), sending.server.clone()) else { return };
    let (again, result) = if speaks_http2_alone(sending, error) {
        sending.turn = None;
        (false, UpstreamResult::Failed)
    } else if !is_of_the_server(error) {
        sending.turn = None;
        (sending.may_try_again(), UpstreamResult::Failed)
    } else {
        let goes_on =
            sending.turn.as_mut().is_some_and(|turn| turn.try_next_address(&server, peer, error.etype()));
        (goes_on || sending.give_up_server(&upstream, &server), UpstreamResult::ConnectFailed)
    };
    error.set_retry(again);
    note(session, context, error, result, metrics);
}

/// Decides what follows a failure after the connection was made. Something may have been sent, so the request
/// is tried again only if it may be sent twice (RFC 9110 section 9.2.2), its body is still at hand, nothing
/// of an answer has come, and time is left.
pub(crate) fn broke_off(session: &Session, context: &mut Context, error: &mut Error, metrics: &Metrics) {
    context.sending.turn = None;
    if context.failure == Some(Denial::UpstreamUnavailable) {
        context.sending.count(metrics, UpstreamResult::Failed);
    }
    if context.downstream.upstream_was_silent() || is_silent_before_switch(context, error) {
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
        && context.downstream.inflow.as_ref().is_some_and(|inflow| !inflow.is_complete())
    {
        // The body is still arriving, so the client is too slow, not the upstream.
        context.failure = Some(Denial::BodyTooSlow);
        error.set_retry(false);
        return;
    }
    let is_whole = !session.as_ref().retry_buffer_truncated() && !has_heard(session);
    let decided = error.retry == RetryType::Decided(true);
    if *error.etype() == ErrorType::H2Downgrade && decided && !context.sending.wanted_http1 {
        // The server has not processed it (RFC 9113 section 7), and is asked once more over HTTP/1.1, as it
        // wants.
        if let Some(server) = &context.sending.server {
            server.allow_http2_again();
        }
        context.sending.wanted_http1 = true;
        error.set_retry(is_whole);
        note(session, context, error, result(error), metrics);
        return;
    }
    let safe = is_whole && (session.req_header().method.is_idempotent() || is_unprocessed(error));
    let in_time = denial_of_upstream(error.etype()) != Denial::UpstreamTimeout;
    error.set_retry(safe && in_time && context.sending.may_try_again());
    note(session, context, error, result(error), metrics);
}

/// Whether any part of an answer was written to the client. A `100 Continue` is none, and the gateway may
/// have sent that itself.
fn has_heard(session: &Session) -> bool {
    session.response_written().is_some_and(|answer| answer.status != StatusCode::CONTINUE)
}

/// Whether the upstream was asked to switch protocols and did not complete its answer within `timeouts.read`.
fn is_silent_before_switch(context: &Context, error: &Error) -> bool {
    context.sending.switch.is_some()
        && context.failure.is_none()
        && *error.esource() == ErrorSource::Upstream
        && cause(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

/// Whether an HTTP/2 server says that it has not processed the request: by `REFUSED_STREAM`, or by a `GOAWAY`
/// with a lower last stream (RFC 9113 section 8.7). pingora marks exactly these as retryable.
fn is_unprocessed(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry == RetryType::Decided(true)
}

/// Whether the TLS handshake failed because HTTP/2 was not offered, as far as can be told. That says nothing
/// about the server's health, and another server would fail the same way.
fn speaks_http2_alone(sending: &Sending, error: &Error) -> bool {
    sending.forces_http1 && *error.etype() == ErrorType::TLSHandshakeFailure
}

/// Whether a connection error counts against the server. All do, however pingora classes them, except two: a
/// pooled HTTP/2 connection that takes no more requests, where the next attempt makes a new one; and a lack
/// of file descriptors here.
fn is_of_the_server(error: &Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let code = cause(error).and_then(io::Error::raw_os_error);
    *error.etype() != ErrorType::H2Error && !code.is_some_and(|code| ours.contains(&code))
}

fn cause(error: &Error) -> Option<&io::Error> {
    error.root_cause().downcast_ref()
}

/// The metrics' label for a failure after a connection was made.
fn result(error: &Error) -> UpstreamResult {
    match denial_of_upstream(error.etype()) {
        Denial::UpstreamTimeout => UpstreamResult::Timeout,
        _ if cause(error).is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut) => {
            UpstreamResult::Timeout
        }
        _ => UpstreamResult::Failed,
    }
}

fn note(session: &Session, context: &mut Context, error: &Error, result: UpstreamResult, metrics: &Metrics) {
    let Some(server) = &context.sending.server else { return };
    let cause = cause(error).map(ToString::to_string);
    let broken_off = has_heard(session);
    tracing::warn!(
        request_id = %context.downstream.request_id(), upstream = %server.upstream, server = server.authority,
        kind = error.etype().as_str(), cause, broken_off, tried_again = error.retry(), "an upstream failed"
    );
    if context.sending.sent_to.is_some() {
        context.sending.count(metrics, result);
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
