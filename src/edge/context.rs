//! What is known of one request, from its header to its log line.

use std::sync::Arc;
use std::time::Instant;

use pingora::{Error, ErrorType};

use crate::core::denial::Denial;
use crate::core::ids::{RequestId, RouteName};
use crate::core::route::Route;
use crate::core::route::permit::Permit;
use crate::core::token::jwt::VerifiedToken;
use crate::edge::connection_guard::Connection;
use crate::edge::headers::Identification;
use crate::edge::upstreams::Server;
use crate::flows::Gate;
use crate::state::live::Live;

/// One request.
pub(crate) struct Context {
    gate: Arc<Gate>,
    pub(crate) live: Arc<Live>,
    pub(crate) started: Instant,
    pub(crate) connection: Option<Arc<Connection>>,
    pub(crate) who: Option<Identification>,
    pub(crate) permit: Option<Permit>,
    pub(crate) server: Option<Arc<Server>>,
    /// Why it fails, where a phase can only tell pingora that it does.
    pub(crate) failure: Option<Denial>,
    pub(crate) body_bytes: u64,
    pub(crate) upstream_answered: bool,
    // For the log.
    pub(crate) route: Option<RouteName>,
    pub(crate) outcome: &'static str,
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
}

impl Drop for Context {
    fn drop(&mut self) {
        self.gate.metrics.in_flight().dec();
        if let Some(connection) = &self.connection {
            connection.request_ended();
        }
    }
}

impl Context {
    /// A request whose header has not been looked at.
    pub(crate) fn new(gate: Arc<Gate>) -> Self {
        gate.metrics.in_flight().inc();
        Self {
            live: gate.live.load_full(),
            gate,
            started: Instant::now(),
            connection: None,
            who: None,
            permit: None,
            server: None,
            failure: None,
            body_bytes: 0,
            upstream_answered: false,
            route: None,
            outcome: "ok",
            client: None,
            subject: None,
        }
    }

    pub(crate) fn fail(&mut self, denial: Denial) -> Box<Error> {
        let status = denial.facts().status.as_u16();
        self.failure = Some(denial);
        Error::explain(ErrorType::HTTPStatus(status), "refused")
    }

    /// Keeps for the log what is known.
    pub(crate) fn keep(&mut self, route: Option<&Route>, caller: Option<&VerifiedToken>) {
        self.route = route.map(|route| route.name.clone());
        self.subject = caller.and_then(VerifiedToken::subject).map(str::to_owned);
        self.client = caller.and_then(VerifiedToken::client).map(str::to_owned);
    }

    pub(crate) fn request_id(&self) -> RequestId {
        self.who.as_ref().map_or_else(|| RequestId::new("unknown"), |who| who.ids.request_id.clone())
    }
}
