//! `POST /oauth/backchannel-logout`: an issuer tells that somebody has signed out there (OpenID Connect
//! Back-Channel Logout 1.0 sections 2.5 to 2.8). What the token must be like is `core::token::logout_token`;
//! here it becomes a revocation, by the same list as an operator's.
//!
//! Both are watermarks: `sid` what began by then in one session at the issuer, `sub` alone everything that
//! the person began by then. The cut-off is when the issuer made the token, or, within the clock skew, when
//! it arrived: so a token that is sent again later ends no session that began after it, and an issuer with a
//! slow clock still ends those that existed. A `sid` is not refused for good: an issuer may end one client's
//! part of a session that goes on there (Keycloak, when somebody takes their consent back), and who signs in
//! again has the same.
//!
//! It must never answer that somebody was signed out before that is durable, nor note the token as spent
//! before: whoever was told 503 may send it again.
//!
//! Anybody may send something here: unknown keys, size and refusals have the same brakes as those of access
//! tokens. What a browser sends is not looked at: no page of anybody's can use up what its visitor's address
//! may get wrong.
//!
//! Tested in `src/flows/tests/backchannel_logout.rs`, against an authorization server of its own.

use std::sync::Arc;

use crate::core::denial::Denial;
use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::revocation::{Kind, Revocation, Rule, Target, Whose};
use crate::core::session::oauth::request::Parameters;
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::jwt::Unverified;
use crate::core::token::logout_token::{Over, Plausible, VerifiedLogoutToken};
use crate::core::token::to_client::Wrong;
use crate::flows::heard::{Once, audit, check_signer, is_of_a_browser, names_people};
use crate::flows::keep_keys_fresh::{Means, keys_for_one_time_message};
use crate::flows::ports::StoreFault;
use crate::flows::revoke::{carry_out, hold};
use crate::flows::{Gate, brake};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;

/// What else may be in the body (section 2.5), in bytes.
const BESIDE: usize = 4 * 1024;

/// Who has signed out, for the log.
#[derive(Debug)]
pub struct SignedOutByIssuer {
    /// The first client that was told.
    pub client: Option<ClientName>,
    pub subject: Option<String>,
}

/// The longest body that can hold a token, in bytes.
pub fn body_limit(live: &Live) -> usize {
    live.settings.limits.token.saturating_add(BESIDE)
}

/// Takes back what the token in the body says is over. `body` is whole and within its limit.
///
/// # Errors
/// `InvalidRequest`, `LogoutTokenRefused`, `LogoutTokenForged` or `LogoutTokenOver` (400); `TooManyDenials`
/// (429) before work for who had too many; `KeysUnavailable`, `KeyNotKnownYet`, `StoreUnavailable` or
/// `RevocationsUnavailable` (503) when it is to be sent again.
pub async fn backchannel_logout(
    gate: &Arc<Gate>,
    live: &Live,
    head: &RequestHead<'_>,
    body: &[u8],
) -> Result<SignedOutByIssuer, Denial> {
    if is_of_a_browser(head.headers) {
        return Err(Denial::InvalidRequest(
            "An issuer sends its logout tokens itself, not through a browser.",
        ));
    }
    let parameters = Parameters::read_form(head.headers, body)?;
    let text = parameters.get("logout_token").ok_or(Denial::InvalidRequest("logout_token is missing."))?;
    let now = gate.clock.now();
    let (token, issuer) = verify(gate, live, head, text, now).await?;
    let rules = &issuer.settings.rules;
    let once = Once::of("logout", &rules.iss, token.id());
    if once.is_spent(gate).await.map_err(|fault| unavailable(&fault))? {
        return Err(Denial::LogoutTokenOver("The token was used before."));
    }
    let revocation = revocation(live, rules, &token, now);
    carry_out(gate, std::slice::from_ref(&revocation)).await.map_err(|fault| unavailable(&fault))?;
    let is_shown = revocation.target.kind != Kind::Sub || names_people(live);
    let value = is_shown.then_some(revocation.target.value.as_str());
    audit(head, "revoked", &revocation, value, revocation.reason.as_deref());
    let lifetime = token.expires_at().plus(rules.clock_skew).since(now);
    once.spend(gate, lifetime).await.map_err(|fault| unavailable(&fault))?;
    Ok(SignedOutByIssuer {
        client: client_of(live, &issuer, &token),
        subject: token.subject().map(ToOwned::to_owned),
    })
}

async fn verify(
    gate: &Gate,
    live: &Live,
    head: &RequestHead<'_>,
    text: &str,
    now: Timestamp,
) -> Result<(VerifiedLogoutToken, Arc<IssuerState>), Denial> {
    let refused = |wrong: Wrong| {
        // Few servers keep what they are answered, and this line is the one place where it can be read.
        tracing::info!(why = wrong.why(), "a logout token was refused");
        match wrong {
            Wrong::EXPIRED => Denial::LogoutTokenOver(wrong.why()),
            // The issuer itself brings whatever its other clients, or anybody with an account there, make it
            // send here. Only what it cannot have made, and what cost work to tell, counts against the
            // address.
            _ if is_forged(wrong) => Denial::LogoutTokenForged(wrong.why()),
            _ => Denial::LogoutTokenRefused(wrong.why()),
        }
    };
    let unverified =
        Unverified::parse(text, live.settings.limits.token).map_err(|failed| refused(failed.into()))?;
    let issuer = live.issuers.by_iss(unverified.iss());
    let issuer = issuer.ok_or_else(|| refused(Denial::UnknownIssuer.into()))?;
    let plausible = Plausible::check(unverified, &issuer.settings.rules, now).map_err(refused)?;
    brake::before_work(gate, live, head.client_address, now)?;
    let keys =
        keys_for_one_time_message(Means::of(gate), issuer, now, |keys| plausible.key_is_known(keys)).await;
    let keys = keys.map_err(|denial| match denial {
        Denial::UnknownKey => refused(denial.into()),
        unavailable => unavailable,
    })?;
    let token = plausible.verify(&keys).map_err(refused)?;
    check_signer(gate, &issuer.settings.rules.iss, token.kid(), now).map_err(|denial| match denial {
        Denial::Revoked => refused(denial.into()),
        unavailable => unavailable,
    })?;
    Ok((token, issuer.clone()))
}

fn is_forged(wrong: Wrong) -> bool {
    [Denial::UnknownKey, Denial::BadSignature, Denial::Revoked]
        .into_iter()
        .any(|denial| Wrong::from(denial) == wrong)
}

fn revocation(live: &Live, rules: &TokenRules, token: &VerifiedLogoutToken, now: Timestamp) -> Revocation {
    let (kind, value) = match token.over() {
        Over::Session(sid) => (Kind::Sid, sid),
        Over::EverySessionOf(sub) => (Kind::Sub, sub),
    };
    let earliest = token.issued_at();
    let rule = Rule::Before(now.clamp(earliest, earliest.plus(rules.clock_skew)));
    let target = Target { kind, whose: Whose::Of(rules.iss.clone()), value: value.clone() };
    Revocation {
        until: Some(hold(live, &target).ends(now)),
        made_by: Some(rules.iss.clone()),
        reason: Some("back-channel logout".to_owned()),
        ..Revocation::new(target, rule, now)
    }
}

fn client_of(live: &Live, issuer: &IssuerState, token: &VerifiedLogoutToken) -> Option<ClientName> {
    let is_told = |client_id: &str| token.clients().iter().any(|told| told == client_id);
    let mut all = live.settings.registered_clients();
    all.find(|client| *client.issuer == issuer.settings.name && is_told(client.client_id))
        .map(|client| client.name.clone())
}

fn unavailable(fault: &StoreFault) -> Denial {
    tracing::error!(%fault, "an issuer says that somebody has signed out, and it cannot be written down; it was told to say so again");
    Denial::StoreUnavailable
}
