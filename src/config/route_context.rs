//! What the routes are read against: all that comes before them in the file.

use crate::config::cors::Allowed;
use crate::config::network::Network;
use crate::config::settings::{Client, Issuer};
use crate::core::ids::IssuerName;

pub(super) struct RouteContext<'a> {
    pub(super) network: &'a Network,
    /// Those that could be read.
    pub(super) issuers: &'a [Issuer],
    /// Every name under `issuers` and `clients`, also of those that could not be read.
    pub(super) issuer_names: &'a [&'a str],
    pub(super) client_names: &'a [&'a str],
    /// The issuers that are asked about opaque tokens.
    pub(super) introspecting: &'a [IssuerName],
    /// Name, issuer and `client_id` of the clients that could be read.
    pub(super) clients: &'a [(String, IssuerName, String)],
    /// Those of them whose pages run in browsers.
    pub(super) pages: &'a [Client],
    /// The names of the others.
    pub(super) natives: &'a [&'a str],
    /// What pages may send.
    pub(super) cors: &'a Allowed,
}
