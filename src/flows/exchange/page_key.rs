//! The key of a page that asks for tokens bound to it (RFC 9449 section 5). The page makes its proof for the
//! token endpoint of the authorization server, which judges it; the gateway passes it on as it came.
//!
//! The gateway judges it too, before anything comes of it: an answer at hand is given without asking anybody,
//! so the gateway itself must see that it goes only to the holder of its key.

use http::{HeaderValue, Method};
use tokio::time::timeout;

use crate::core::denial::Denial;
use crate::core::revocation::GrantIdentity;
use crate::core::session::grant::Grant;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::uri::HttpUri;
use crate::core::token::dpop::{DPOP, Proof, Request, Wrong, carried};
use crate::flows::client_request::ClientRequest;
use crate::flows::keep_keys_fresh::endpoints;
use crate::flows::prove_possession::{NotTaken, take_once};
use crate::state::used_proofs::Holder;

/// The share of the memory of proofs that this session's proofs take, whatever keys its page makes.
pub(in crate::flows) fn holder_of(grant: &Grant) -> Holder<'_> {
    let GrantIdentity { family, iss, sub, .. } = GrantIdentity::of(grant);
    sub.map_or(Holder::Session(family), |sub| Holder::Subject { iss, sub })
}

/// A page's proof, and the key that it is of.
#[derive(Clone, Debug)]
pub(in crate::flows) struct PageKey {
    pub(super) key: Thumbprint,
    /// As it came.
    pub(super) proof: HeaderValue,
}

/// A proof that came along. Nothing but its form is known to be right.
pub(super) struct UnjudgedProof<'a> {
    proof: Proof<'a>,
    field: &'a HeaderValue,
}

/// The proof that the page brings, if any.
///
/// # Errors
/// `InvalidDpopProof`
pub(super) fn read_proof(at: ClientRequest<'_>) -> Result<Option<UnjudgedProof<'_>>, Denial> {
    let Some(text) = carried(at.head.headers).map_err(invalid)? else { return Ok(None) };
    let proof = Proof::parse(text).map_err(invalid)?;
    let field = at.head.headers.get(DPOP).ok_or(Denial::Internal)?;
    Ok(Some(UnjudgedProof { proof, field }))
}

/// The key that a page proves which exchanges a code; `None` where it proves none, and gets tokens that are
/// good for whoever has them.
///
/// # Errors
/// As [`read_proof`] and [`UnjudgedProof::prove`].
pub(super) async fn prove_key(at: ClientRequest<'_>) -> Result<Option<PageKey>, Denial> {
    match read_proof(at)? {
        None => Ok(None),
        Some(brought) => brought.prove(at, Holder::Address(at.head.client_address.into())).await.map(Some),
    }
}

impl UnjudgedProof<'_> {
    /// The key that it names, whoever made it.
    pub(super) const fn claimed(&self) -> Thumbprint {
        self.proof.key()
    }

    /// The judgement; it counts as used from here on, in the share of `holder`.
    ///
    /// # Errors
    /// `InvalidDpopProof`, `DpopProofForged`, `DpopProofReplayed`; `AuthorizationServerUnavailable` while
    /// nobody knows where the AS is; `NoRoomForProofs`.
    pub(super) async fn prove(self, at: ClientRequest<'_>, holder: Holder<'_>) -> Result<PageKey, Denial> {
        let issuer = at.live.issuers.by_name(&at.client.issuer).ok_or(Denial::Internal)?;
        let known = timeout(at.patience(), endpoints(at.gate, issuer)).await;
        let known = known.map_err(|_| Denial::AuthorizationServerUnavailable)??;
        let uri = known.token.as_ref().and_then(|url| HttpUri::parse(url.as_str()));
        let request = Request {
            method: &Method::POST,
            uri: &uri.ok_or(Denial::AuthorizationServerUnavailable)?,
            token: None,
            clock_skew: issuer.settings.rules.clock_skew,
            has_nonces: true,
        };
        let now = at.gate.clock.now();
        let plausible = self.proof.check(&request, now).map_err(invalid)?;
        let proven =
            take_once(&at.gate.used_page_proofs, plausible, holder, now).map_err(|not| match not {
                NotTaken::Wrong(wrong) => invalid(wrong),
                NotTaken::Again => Denial::DpopProofReplayed,
                NotTaken::NoRoom => Denial::NoRoomForProofs,
            })?;
        let mut proof = self.field.clone();
        proof.set_sensitive(true);
        Ok(PageKey { key: proven.key, proof })
    }
}

fn invalid(wrong: Wrong) -> Denial {
    match wrong {
        Wrong::Forged => Denial::DpopProofForged,
        Wrong::WrongUri => Denial::InvalidDpopProof(
            "The proof's htu must be the authorization server's token endpoint, as its metadata has it.",
        ),
        other => Denial::InvalidDpopProof(other.why()),
    }
}
