//! What is known of how one request is sent to its upstream: which server was chosen, which one has it, and
//! what is still to be counted of that. Where a try fails there may be another (`attempt`).

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
    /// The server that was last chosen.
    pub(super) server: Option<Arc<Server>>,
    /// How often a server was chosen.
    tries: usize,
    /// The turn of the server that was last chosen, while it goes on.
    pub(super) turn: Option<Turn>,
    /// The server that has the request; how that ended is not counted yet.
    pub(super) sent_to: Option<Arc<Server>>,
    /// Told when the upstream of this try has opened the WebSocket.
    pub(super) switch: Option<Switch>,
    /// Whether this try is over HTTP/1.1 to a server that may speak HTTP/2.
    pub(super) forces_http1: bool,
    /// Whether a server wanted it over HTTP/1.1.
    pub(super) wanted_http1: bool,
    /// Watches the session while the upstream is waited for, where its body may go over HTTP/2.
    pub(super) watch: Option<Watch>,
}

impl Sending {
    /// Chooses the server for this try: the last one while its turn goes on, or the next. `None`: no server
    /// is well. `client`: its address.
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

    /// Whether another try is allowed, if it is safe.
    pub(super) fn may_try_again(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| self.tries <= upstream.settings.retries)
    }

    /// Counts what became of it at the server that it was sent to: once for each time that it was sent.
    pub(super) fn count(&mut self, metrics: &Metrics, result: UpstreamResult) {
        if let Some(server) = self.sent_to.take() {
            server.count(metrics, result);
        }
    }

    /// Where it is watched, its upstream is waited for from here on.
    pub(super) fn begin_watching(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.put_on(session);
        }
    }

    /// Ends a body that trailers follow, whose end pingora does not see. Returns whether it will hear of it
    /// by the session.
    pub(super) fn end_body(&mut self, session: &mut Session) -> bool {
        self.watch.as_mut().is_some_and(|watch| {
            watch.end_body(session);
            true
        })
    }

    /// Gives its session back as what it is.
    pub(super) fn stop_watching(&mut self, session: &mut Session) {
        if let Some(watch) = &mut self.watch {
            watch.take_off(session);
        }
    }
}
