//! Checks that the bearer of a token may use it. A token bound to a key is for the holder of the key, who
//! proves it with each request (RFC 9449 section 7); a token bound to none is for whoever has it. Neither
//! passes as the other.
//!
//! Called only for valid tokens, so that nobody without one has a proof judged. Reads memory only.

use crate::core::denial::Denial;
use crate::core::path::CanonicalPath;
use crate::core::request::RequestHead;
use crate::core::time::Timestamp;
use crate::core::token::bearer::Scheme;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::uri::HttpUri;
use crate::core::token::dpop::{Plausible, Proof, Request, ValidProof, Wrong, carried};
use crate::flows::Gate;
use crate::state::live::Live;
use crate::state::used_proofs::{Holder, Use, UsedProofs};
use crate::state::verified_tokens::KnownCaller;

/// How a request shows that it may use its token.
#[derive(Clone, Copy, Debug)]
pub enum Presentation<'a> {
    /// It has the token, and shows nothing else (`Bearer`).
    Having,
    /// It brings a DPoP proof of this request, judged with this path.
    Proof { head: &'a RequestHead<'a>, path: &'a CanonicalPath },
    /// Its client has just obtained the token from its issuer, with a proof of this key if any.
    Issuance(Option<Thumbprint>),
}

impl<'a> Presentation<'a> {
    /// The presentation that a scheme stands for.
    pub const fn scheme(scheme: Scheme, head: &'a RequestHead<'a>, path: &'a CanonicalPath) -> Self {
        match scheme {
            Scheme::Bearer => Self::Having,
            Scheme::Dpop => Self::Proof { head, path },
        }
    }
}

/// Checks that the token may be used as it came. `text`: the token itself.
///
/// # Errors
/// `BoundTokenAsBearer` or `TokenNotBound` when token and scheme do not fit; what is wrong with the proof;
/// `ProofReplayed`; `NoRoomForProofs` while it cannot be told whether the proof was used.
pub(in crate::flows) fn prove_possession(
    gate: &Gate,
    live: &Live,
    found: &KnownCaller,
    text: &[u8],
    by: Presentation<'_>,
) -> Result<(), Denial> {
    match (found.token().bound_to(), by) {
        (None, Presentation::Having | Presentation::Issuance(_)) => Ok(()),
        (None, Presentation::Proof { .. }) => Err(Denial::TokenNotBound),
        (Some(_), Presentation::Having | Presentation::Issuance(None)) => Err(Denial::BoundTokenAsBearer),
        (Some(key), Presentation::Issuance(Some(proven))) => {
            if key == proven {
                Ok(())
            } else {
                Err(Denial::ProofOfAnotherKey)
            }
        }
        (Some(key), Presentation::Proof { head, path }) => {
            check_proof(gate, live, found, (text, key), head, path)
        }
    }
}

/// Reads the clock anew: the token's issuer may have been asked meanwhile.
fn check_proof(
    gate: &Gate,
    live: &Live,
    found: &KnownCaller,
    token: (&[u8], Thumbprint),
    head: &RequestHead<'_>,
    path: &CanonicalPath,
) -> Result<(), Denial> {
    let proof = Proof::parse(carried(head.headers)?.ok_or(Denial::ProofMissing)?)?;
    let host = head.host_name()?;
    let request = Request {
        method: head.method,
        uri: &HttpUri::new(live.settings.public_url.at(host), path),
        token: Some(token),
        clock_skew: found.notes.issuer.settings.rules.clock_skew,
        has_nonces: false,
    };
    let now = gate.clock.now();
    match take_once(&gate.used_proofs, proof.check(&request, now)?, holder_of(found, token.1), now) {
        Ok(_) => Ok(()),
        Err(NotTaken::Wrong(wrong)) => Err(wrong.into()),
        Err(NotTaken::Again) => Err(Denial::ProofReplayed),
        Err(NotTaken::NoRoom) => Err(Denial::NoRoomForProofs),
    }
}

/// The holder whose share the proofs with a token take; the token is bound to this key.
fn holder_of(found: &KnownCaller, key: Thumbprint) -> Holder<'_> {
    let iss = &found.notes.issuer.settings.rules.iss;
    found.token().subject().map_or(Holder::Key(key), |sub| Holder::Subject { iss, sub })
}

/// Why a plausible proof is refused.
pub(in crate::flows) enum NotTaken {
    Wrong(Wrong),
    /// It was used before.
    Again,
    /// Nobody can say whether it was.
    NoRoom,
}

/// Takes a proof for one request, charged to `holder`. Whether it was used is looked up before its signature
/// is verified, so that a replay costs no more than that. It is noted after its signature, so that nobody can
/// use up the proofs of others.
pub(in crate::flows) fn take_once(
    used: &UsedProofs,
    proof: Plausible<'_>,
    holder: Holder<'_>,
    now: Timestamp,
) -> Result<ValidProof, NotTaken> {
    if used.knows(&proof, now) {
        return Err(NotTaken::Again);
    }
    let proven = proof.verify().map_err(NotTaken::Wrong)?;
    match used.note(&proven, holder, now) {
        Use::First => Ok(proven),
        Use::Again => Err(NotTaken::Again),
        Use::TooOld => Err(NotTaken::Wrong(Wrong::OutOfTime)),
        Use::NoRoom => Err(NotTaken::NoRoom),
    }
}
