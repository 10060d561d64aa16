//! What the receivers of pushed tokens share ([`super::backchannel_logout`], [`super::hear_signal`]). They
//! accept nothing from browsers, nothing signed by a revoked key (nor does [`super::verify_id_token`]), and
//! each token once. What follows is logged like an operator's revocation.

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::config::settings::SubjectInLog;
use crate::core::denial::Denial;
use crate::core::digest::of_parts;
use crate::core::hex;
use crate::core::request::RequestHead;
use crate::core::revocation::Revocation;
use crate::core::session::fetch_metadata::SITE;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::ports::{Keep, StoreFault, StoreKey, Value};
use crate::state::live::Live;
use crate::state::log_targets::AUDIT;

/// Whether a browser sent it: browsers mark every POST of a page (Fetch section 3.2), servers do not. Such a
/// request is not looked at, nor passed on for a native client, so that no page can use up the denials of its
/// visitor's address.
pub(in crate::flows) fn is_of_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key(SITE)
}

/// Refuses a message whose signing key, or whole issuer, was revoked: what a stolen key signs is not its
/// owner's.
///
/// # Errors
/// [`Denial::Revoked`]; `RevocationsUnavailable` while the list is out of date.
pub(in crate::flows) fn check_signer(
    gate: &Gate,
    iss: &str,
    kid: Option<&str>,
    now: Timestamp,
) -> Result<(), Denial> {
    if gate.revocations.admits_signer(iss, kid, now)? { Ok(()) } else { Err(Denial::Revoked) }
}

/// The store key for these parts together.
pub(in crate::flows) fn key_of(kind: &'static str, parts: &[&str]) -> StoreKey {
    let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
    let mut id = String::with_capacity(64);
    // Writing to a String cannot fail.
    let _ = hex::write(&mut id, &of_parts(&parts));
    StoreKey::new(kind, id)
}

/// A token that counts once, on all replicas.
#[derive(Debug)]
pub(in crate::flows) struct Once(StoreKey);

impl Once {
    /// The token of this `iss` and `jti`. `kind`: tells the receivers apart.
    pub(in crate::flows) fn of(kind: &'static str, iss: &str, jti: &str) -> Self {
        Self(key_of(kind, &[iss, jti]))
    }

    /// Whether it was received before.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::flows) async fn is_spent(&self, gate: &Gate) -> Result<bool, StoreFault> {
        Ok(gate.store.get(&self.0).await?.value.is_some())
    }

    /// Notes that it was received. To be called once everything that follows from it is durable: a sender
    /// that was told to come again may.
    ///
    /// # Errors
    /// The store failed.
    pub(in crate::flows) async fn spend(
        &self,
        gate: &Gate,
        lifetime: std::time::Duration,
    ) -> Result<(), StoreFault> {
        let value = Value { bytes: Bytes::from_static(b"spent"), lifetime, keep: Keep::Durably };
        // If another replica was faster, it did the same.
        gate.store.put_if(&self.0, None, value).await.map(drop)
    }
}

/// Logs a revocation in the form of `edge::admin`, with names and reasons as far as the configuration allows.
/// `what`: what became of it.
pub(in crate::flows) fn audit(
    head: &RequestHead<'_>,
    what: &str,
    revocation: &Revocation,
    value: Option<&str>,
    reason: Option<&str>,
) {
    let Revocation { target, until, made_by, .. } = revocation;
    tracing::info!(
        target: AUDIT,
        event = "audit",
        who = %head.client_address,
        name = made_by.as_deref(),
        id = %revocation.id(),
        kind = target.kind.label(),
        value,
        until = until.map(Timestamp::to_rfc3339),
        reason,
        "{what}"
    );
}

/// Whether the log names people.
pub(in crate::flows) fn names_people(live: &Live) -> bool {
    live.settings.log.subject == SubjectInLog::Plain
}
