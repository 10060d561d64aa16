//! What the routes are read against: all that comes before them in the file.

use crate::config::cors::Allowed;
use crate::config::network::Network;
use crate::config::settings::{Client, Issuer};
use crate::core::ids::IssuerName;

pub(in crate::config) struct RouteContext<'a> {
    pub(in crate::config) network: &'a Network,
    /// Those that could be read.
    pub(in crate::config) issuers: &'a [Issuer],
    /// Every name under `issuers` and `clients`, also of those that could not be read.
    pub(in crate::config) issuer_names: &'a [&'a str],
    pub(in crate::config) client_names: &'a [&'a str],
    /// The issuers that are asked about opaque tokens.
    pub(in crate::config) introspecting: &'a [IssuerName],
    /// Name, issuer and `client_id` of the clients that could be read.
    pub(in crate::config) clients: &'a [(String, IssuerName, String)],
    /// Those of them whose pages run in browsers.
    pub(in crate::config) pages: &'a [Client],
    /// The names of the others.
    pub(in crate::config) natives: &'a [&'a str],
    /// What pages may send.
    pub(in crate::config) cors: &'a Allowed,
}
