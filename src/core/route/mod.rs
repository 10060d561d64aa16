//! Routes: which requirement stands before a path, and the [`permit::Permit`] that only this folder makes.
//!
//! - `table`: the most specific route for host, path and method (a segment trie)
//! - `policy`: what a route requires of a token
//! - `resource`: what a route is called by those who ask for tokens for it
//! - `forwarding`: how a permitted request is sent on
//! - `identity`: what its upstream learns of the caller
//! - `permit`: the only way to an upstream

pub mod forwarding;
pub mod identity;
pub mod permit;
pub mod policy;
pub mod resource;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

use std::net::IpAddr;

use http::Method;

use crate::core::address::Networks;
use crate::core::cors::Sharing;
use crate::core::denial::Denial;
use crate::core::ids::{ClientName, RouteName, UpstreamName};
use crate::core::path;

/// One entry of `routes:`.
#[derive(Clone, Debug)]
pub struct Route {
    pub name: RouteName,
    pub path: path::PathPattern,
    pub host: Option<table::HostPattern>,
    /// `None`: every method.
    pub methods: Option<Vec<Method>>,
    pub access: policy::Access,
    /// Where a client must come from, whoever it is; `None`: anywhere.
    pub from: Option<Networks>,
    /// The session whose cookie counts here; `None`: nobody's.
    pub session: Option<TakesSession>,
    /// What would be refused for want of a good credential is reported and passes as nobody's.
    pub report_only: bool,
    pub dpop: Dpop,
    pub resource: resource::Resource,
    /// `None`: nothing is served here, a hole in what other routes cover.
    pub upstream: Option<UpstreamName>,
    /// Who speaks CORS with pages of other origins.
    pub cors: CorsSpeaker,
    /// The pages that may read what the gateway answers here.
    pub sharing: Sharing,
    pub forwarding: forwarding::Forwarding,
}

impl Route {
    /// Whether anything is there, or it is a hole.
    pub fn is_served(&self) -> bool {
        self.upstream.is_some()
    }

    /// Judges by the client's address alone, before anything that it brings is looked at. It stands in for
    /// nothing else that is required. `is_doubtful`: whether the address may be another's.
    ///
    /// # Errors
    /// [`Denial::AddressNotAllowed`]
    pub fn judge_address(&self, client: IpAddr, is_doubtful: impl FnOnce() -> bool) -> Result<(), Denial> {
        let Some(networks) = &self.from else { return Ok(()) };
        if networks.contains(client) && !is_doubtful() { Ok(()) } else { Err(Denial::AddressNotAllowed) }
    }
}

/// The session cookie of one client, as a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakesSession {
    pub client: ClientName,
    /// Navigations without a session go to sign-in.
    pub signs_in: bool,
    /// A request here is use of the session.
    pub counts_as_use: bool,
}

/// `routes[].dpop`: what becomes of tokens that are good for whoever has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dpop {
    /// They are taken, beside those that are bound to a key.
    #[default]
    Allowed,
    /// Only tokens that are bound to a key (RFC 9449) are.
    Required,
}

impl Dpop {
    /// As it is configured.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Required => "required",
        }
    }
}

/// `routes[].cors`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CorsSpeaker {
    /// The gateway answers preflights and says who may read.
    #[default]
    Gateway,
    /// Preflights go to the upstream, without any identity; what it says stays as it is.
    Upstream,
}
