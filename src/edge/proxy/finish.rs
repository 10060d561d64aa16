//! The end of a request, also if it was ended from outside: it is counted, leaves its line in the access log,
//! and gives back what it held.

use std::time::SystemTime;

use http::{Method, StatusCode};

use crate::core::denial::Denial;
use crate::core::ids::RouteName;
use crate::edge::proxy::access_log::Entry;
use crate::edge::proxy::context::Context;
use crate::state::metrics::{RequestOutcome, UpstreamResult};

/// The status in the log of a request that got no answer.
const NO_ANSWER: u16 = 499;

/// How a request ended.
#[derive(Debug)]
pub(crate) struct Finish<'a> {
    pub(super) method: &'a Method,
    /// Without the query.
    pub(super) path: &'a str,
    pub(super) route: &'a RouteName,
    /// `None`: there was no answer.
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: RequestOutcome,
    /// The size of the answer's body.
    pub(super) bytes: usize,
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            self.gate.open_requests.leave(open);
        }
        self.count_sent(false);
        self.note_if_ended();
        self.gate.metrics.in_flight().dec();
        if let Some(connection) = &self.downstream.connection {
            connection.end_request();
        }
    }
}

impl Context {
    /// Counts the request and writes its line.
    pub(super) fn note(&self, finish: &Finish<'_>) {
        let took = self.started.elapsed();
        let status = finish.status.map_or(NO_ANSWER, |status| status.as_u16());
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.serving.count(&self.gate.metrics, finish.route, code, took);
        self.serving.log.write(&Entry {
            at: SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH),
            request_id: self.downstream.request_id(),
            method: finish.method,
            path: finish.path,
            route: self.label().map(RouteName::as_str),
            status,
            outcome: finish.outcome,
            report_only: self.log.report_only,
            client: self.client(),
            subject: self.subject(),
            family: self.log.family,
            address: self.downstream.client_address(),
            took,
            upstream: self.sending.server.as_ref().map(|server| server.upstream.as_str()),
            bytes: finish.bytes,
        });
    }

    /// Notes for the log that the client has left.
    pub(super) fn note_client_gone(&mut self) {
        let is_cut_off = self.downstream.is_cut_off();
        self.log.outcome = if is_cut_off { RequestOutcome::DrainOver } else { RequestOutcome::ClientGone };
        self.answer.broke_off = true;
    }

    /// Counts the upstream's request as answered or abandoned; the upstream is not to blame. `is_whole`: the
    /// answer is complete.
    pub(super) fn count_sent(&mut self, is_whole: bool) {
        let was_answered = is_whole || self.answer.has_begun();
        let result = if was_answered { UpstreamResult::Ok } else { UpstreamResult::Abandoned };
        self.sending.count(&self.gate.metrics, result);
    }

    /// Writes the line of a request that was ended from outside, which pingora reports to nobody.
    fn note_if_ended(&self) {
        if self.log.is_noted {
            return;
        }
        let ending = self.open.as_ref().and_then(|open| open.ending());
        let stopped = self.downstream.was_given_up();
        let outcome = match ending {
            Some(ending) => RequestOutcome::Ended(ending),
            // Over HTTP/1.1 a client that stops is answered before.
            None if stopped && (self.downstream.upstream_was_silent() || !self.downstream.is_http2) => {
                RequestOutcome::from(&Denial::UpstreamTimeout)
            }
            None if stopped => RequestOutcome::from(&Denial::BodyTooSlow),
            None if self.downstream.is_cut_off() => RequestOutcome::DrainOver,
            None => return,
        };
        // Only requests to an upstream, and to endpoints that read a body, live long enough.
        let Some(route) = self.label() else { return };
        let path = self.permit.as_ref().map_or(route.as_str(), |permit| permit.path().as_str());
        let (method, status, bytes) = (&self.downstream.method, self.answer.status, self.answer.bytes);
        self.note(&Finish { method, path, route, status, outcome, bytes });
    }
}
