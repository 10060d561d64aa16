//! How an access token reached us: with a request, or fresh from its issuer. That decides who pays for
//! judging it, whose it may be, and what must prove its use.

use std::net::IpAddr;

use crate::core::brake::Tally;
use crate::core::ids::IssuerName;
use crate::core::route::policy::Access;
use crate::core::token::binding::Thumbprint;
use crate::flows::prove_possession::Presentation;

/// How a token came.
#[derive(Clone, Copy, Debug)]
pub enum Brought<'a> {
    /// It came with a request to a route of this access, from this address, whose work it is when the token
    /// was never seen. `tally`: with whose denials a refusal of it counts.
    ByRequest { to: &'a Access, from: IpAddr, tally: Tally, by: Presentation<'a> },
    /// Fresh from its issuer's token endpoint, with the key that the requester proved, if any.
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
