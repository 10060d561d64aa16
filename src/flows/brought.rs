//! How an access token reached the gateway: with a request, or fresh from its issuer. That decides who is
//! charged for judging it, whose it may be, and what must prove its use.

use std::net::IpAddr;

use crate::core::brake::Tally;
use crate::core::ids::IssuerName;
use crate::core::route::policy::Access;
use crate::core::token::binding::Thumbprint;
use crate::flows::prove_possession::Presentation;

/// How a token came, and what follows from that.
#[derive(Clone, Copy, Debug)]
pub enum Brought<'a> {
    /// A request brought it, to a route with this access and from this address, which is charged for the work
    /// if the token is new. `tally`: the count that a refusal goes into.
    ByRequest { to: &'a Access, from: IpAddr, tally: Tally, by: Presentation<'a> },
    /// It is fresh from this issuer's token endpoint, with the key that the requester proved, if any.
    ByIssuer(&'a IssuerName, Option<Thumbprint>),
}

impl<'a> Brought<'a> {
    pub(in crate::flows) const fn by(self) -> Presentation<'a> {
        match self {
            Self::ByRequest { by, .. } => by,
            Self::ByIssuer(_, key) => Presentation::Issuance(key),
        }
    }
}
