//! How one request is sent to its upstream: which server was chosen, which one has it, and what is still to
//! be counted. After a failed attempt there may be another (`attempt`).

use std::net::IpAddr;
use std::sync::Arc;

use pingora::proxy::Session;
use tokio::time::Instant;

use crate::core::route::permit::Permit;
use crate::edge::proxy::turn::Turn;
use crate::edge::request::watched::Watch;
use crate::edge::upstreams::{Server, Switch, Upstream};
use crate::state::metrics::{Metrics, UpstreamResult};

/// How one request is sent to its upstream.
#[derive(Default)]
pub(crate) struct Sending {
    pub(super) upstream: Option<Arc<Upstream>>,
    /// The server chosen last.
    pub(super) server: Option<Arc<Server>>,
    /// How often a server was chosen.
    tries: usize,
    /// The turn of that server, while it goes on.
    pub(super) turn: Option<Turn>,
    /// The server that has the request and whose outcome is not counted yet.
    pub(super) sent_to: Option<Arc<Server>>,
    /// Set when the upstream of this attempt has switched to WebSocket.
    pub(super) switch: Option<Switch>,
    /// Whether this attempt uses HTTP/1.1 with a server that may speak HTTP/2.
    pub(super) forces_http1: bool,
    /// Whether a server asked for HTTP/1.1 (RFC 9113 section 7, `HTTP_1_1_REQUIRED`).
    pub(super) wanted_http1: bool,
    /// The watch over the client's session, where the body may go over HTTP/2.
    pub(super) watch: Option<Watch>,
}

impl Sending {
    /// Chooses the server for this attempt: the same while its turn goes on, else the next. `None`: no server
    /// is well. `client`: the client's address.
    pub(super) fn choose_server(
        &mut self,
        upstream: &Upstream,
        permit: &Permit,
        client: IpAddr,
    ) -> Option<Arc<Server>> {
        if self.turn.is_none() {
            self.tries = self.tries.saturating_add(1);
            self.turn = Some(Turn::begin());
            self.server = Some(upstream.choose(permit, client, self.server.as_ref())?);
        }
        self.server.clone()
    }

    /// Ends the turn of a server to which no connection was made. Returns whether another may be tried.
    pub(super) fn give_up_server(&mut self, upstream: &Upstream, server: &Arc<Server>) -> bool {
        let began = self.turn.take().map_or_else(Instant::now, |turn| turn.began);
        upstream.could_not_connect(server, began) && self.may_try_again()
    }

    /// Whether another attempt is allowed, if it is safe.
    pub(super) fn may_try_again(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| self.tries <= upstream.settings.retries)
    }

    /// Counts the outcome at the server that has the request, once for each time it was sent.
    pub(super) fn count(&mut self, metrics: &Metrics, result: UpstreamResult) {
        if let Some(server) = self.sent_to.take() {
            server.count(metrics, result);
        }
    }

    /// Puts the watch on, if there is one: the upstream is waited for from now on.
    pub(super) fn begin_watching(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.put_on(session);
        }
    }

    /// Ends a body that trailers follow, an end that pingora does not see. Returns whether the watch tells
    /// pingora.
    pub(super) fn end_body(&mut self, session: &mut Session) -> bool {
        self.watch.as_mut().is_some_and(|watch| {
            watch.end_body(session);
            true
        })
    }

    /// Takes the watch off and puts the session back.
    pub(super) fn stop_watching(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.take_off(session);
        }
    }
}
