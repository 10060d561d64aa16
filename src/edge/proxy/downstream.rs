//! The client's side of one request: the connection that it came on, who sent it, and its body.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method, Version};
use ipnet::IpNet;

use crate::core::forwarded::{self, Told};
use crate::edge::answers::request_headers::Identification;
use crate::edge::connection::connections::Connection;
use crate::edge::connection::door::Door;
use crate::edge::request::inflow::{Inflow, LetIn};
use crate::edge::request::request_places::RequestPlace;

/// The client's side of one request. Empty until its head was looked at.
#[derive(Default)]
pub(crate) struct Downstream {
    pub(in crate::edge) connection: Option<Arc<Connection>>,
    pub(in crate::edge) who: Option<Identification>,
    /// Its place among the requests in flight, given back at its end.
    pub(in crate::edge) place: Option<RequestPlace>,
    pub(in crate::edge) method: Method,
    /// Whether the client asks for a WebSocket.
    pub(in crate::edge) upgrades: bool,
    pub(in crate::edge) is_http2: bool,
    pub(in crate::edge) inflow: Option<Arc<Inflow>>,
    /// The bytes of the body so far; counted from the start again when it is sent again.
    pub(in crate::edge) body_bytes: u64,
}

impl Downstream {
    /// The scheme of the connection.
    fn scheme(&self) -> &'static str {
        match self.connection.as_ref().map(|connection| connection.door()) {
            Some(Door::Tls(_)) => "https",
            _ => "http",
        }
    }

    /// The forwarding headers for the upstream. For an unchanged host they are made once a connection, unless
    /// a trusted proxy speaks for the client, which may say something else each time. `host`: as requested.
    pub(in crate::edge) fn told(
        &self,
        who: &Identification,
        received: &HeaderMap,
        host: &str,
        trusted: &[IpNet],
    ) -> Arc<Told> {
        match &self.connection {
            Some(connection) if !forwarded::is_trusted(who.peer, trusted) => {
                connection.recurring.told(who.peer, host, self.scheme())
            }
            _ => Arc::new(Told::of(who.peer, received, trusted, host, self.scheme())),
        }
    }

    /// Whether the listener only redirects to https.
    pub(in crate::edge) fn redirects_to_https(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| matches!(connection.door(), Door::RedirectToHttps))
    }

    /// Whether its connection was ended because the drain was over.
    pub(in crate::edge) fn is_cut_off(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_cut_off())
    }

    /// The client's address; nobody's where it is not known.
    pub(in crate::edge) fn client_address(&self) -> IpAddr {
        self.who.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |who| who.client)
    }

    pub(in crate::edge) fn request_id(&self) -> &str {
        self.who.as_ref().map_or("unknown", |who| who.ids.request_id.as_str())
    }

    /// Where the app that serves the request learns that it must end.
    pub(in crate::edge) fn let_in(&self, version: Version) -> Option<&LetIn> {
        match version {
            Version::HTTP_2 => self.inflow.as_ref().map(|inflow| &inflow.let_in),
            _ => self.connection.as_ref().map(|connection| &connection.let_in),
        }
    }

    /// Whether the request was ended because its body stopped.
    pub(in crate::edge) fn was_given_up(&self) -> bool {
        self.inflow.as_ref().is_some_and(|inflow| inflow.was_given_up())
    }

    /// Whether the request ended because the upstream was silent.
    pub(in crate::edge) fn upstream_was_silent(&self) -> bool {
        self.inflow.as_ref().is_some_and(|inflow| inflow.upstream_was_silent())
    }
}
