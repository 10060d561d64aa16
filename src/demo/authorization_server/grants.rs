//! What the authorization server remembers: codes for 60 seconds, grants until they end.
//!
//! A refresh token names its grant and its number in the grant, under a MAC with the grant's own
//! key. So one that was replaced is recognised without being kept: whoever presents it ends the
//! grant (RFC 9700 section 4.14.2). A code that comes twice ends what it gave (RFC 6749 section
//! 4.1.2). Memory is bounded: what has expired is swept, and beyond the limits nothing new begins.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::{random, sha256};
use crate::core::time::Timestamp;

/// How long a code is good for, and remembered.
pub(super) const CODE_LIFETIME: Duration = Duration::from_secs(60);
/// How long a grant lasts from sign-in.
const GRANT_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const MAX_CODES: usize = 10_000;
const MAX_GRANTS: usize = 100_000;

/// Who signed in, when, and for which client: what every token of a grant says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignIn {
    pub(super) client_id: String,
    pub(super) subject: String,
    /// Space-separated.
    pub(super) scope: String,
    pub(super) session_id: String,
    pub(super) auth_time: Timestamp,
    pub(super) nonce: Option<String>,
}

/// What a code was given for, and what must come along with it.
#[derive(Debug)]
pub(super) struct Authorization {
    pub(super) sign_in: SignIn,
    pub(super) redirect_uri: String,
    /// The S256 challenge (RFC 7636 section 4.2).
    pub(super) code_challenge: String,
}

/// Why a code or a refresh token is worth nothing; all of them are `invalid_grant` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Unknown,
    Expired,
    /// A code that was used before, or a refresh token that was replaced. The grant has ended.
    Replayed,
    WrongClient,
    WrongRedirectUri,
    WrongVerifier,
    /// The machine has no randomness, or too much is remembered already.
    NotNow,
}

type GrantId = [u8; 16];

#[derive(Debug)]
enum Code {
    Fresh(Box<Authorization>),
    /// Used; the grant that it gave, when it gave one.
    Spent(Option<GrantId>),
}

struct Grant {
    sign_in: SignIn,
    key: hmac::Key,
    /// The number of the refresh token that is good now.
    current: u64,
    ends: Timestamp,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("sign_in", &self.sign_in).finish_non_exhaustive()
    }
}

/// A grant as its holder sees it after an exchange.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) sign_in: SignIn,
    pub(super) refresh_token: String,
}

/// All codes and grants.
#[derive(Debug)]
pub(super) struct Grants {
    /// The codes, under the SHA-256 of each, so that no secret is compared byte by byte.
    codes: HashMap<[u8; 32], (Code, Timestamp)>,
    grants: HashMap<GrantId, Grant>,
    swept: Timestamp,
    /// How many replaced refresh tokens were presented.
    reuse_detected: u64,
}

impl Grants {
    pub(super) fn new() -> Self {
        Self {
            codes: HashMap::new(),
            grants: HashMap::new(),
            swept: Timestamp::from_secs(0),
            reuse_detected: 0,
        }
    }

    pub(super) fn reuse_detected(&self) -> u64 {
        self.reuse_detected
    }

    /// How many grants are alive at `now`.
    pub(super) fn alive(&self, now: Timestamp) -> usize {
        self.grants.values().filter(|grant| now < grant.ends).count()
    }

    /// A code for `authorization`, good once and for [`CODE_LIFETIME`].
    pub(super) fn issue_code(
        &mut self,
        now: Timestamp,
        authorization: Authorization,
    ) -> Result<String, Refused> {
        self.sweep(now);
        if self.codes.len() >= MAX_CODES {
            return Err(Refused::NotNow);
        }
        let code = URL_SAFE_NO_PAD.encode(random::<32>().ok_or(Refused::NotNow)?);
        let entry = (Code::Fresh(Box::new(authorization)), now.plus(CODE_LIFETIME));
        self.codes.insert(sha256(code.as_bytes()), entry);
        Ok(code)
    }

    /// Swaps a code for a grant. Whatever comes of it, the code is spent.
    pub(super) fn redeem(
        &mut self,
        now: Timestamp,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        code_verifier: &str,
    ) -> Result<Granted, Refused> {
        self.sweep(now);
        let id = sha256(code.as_bytes());
        let (code, ends) = self.codes.get_mut(&id).ok_or(Refused::Unknown)?;
        if *ends <= now {
            self.codes.remove(&id);
            return Err(Refused::Expired);
        }
        let authorization = match std::mem::replace(code, Code::Spent(None)) {
            Code::Fresh(authorization) => authorization,
            Code::Spent(grant) => {
                self.codes.remove(&id);
                grant.and_then(|grant| self.grants.remove(&grant));
                return Err(Refused::Replayed);
            }
        };
        authorization.check(client_id, redirect_uri, code_verifier)?;
        let (grant, granted) = self.begin(now, authorization.sign_in)?;
        if let Some((code, _)) = self.codes.get_mut(&id) {
            *code = Code::Spent(Some(grant));
        }
        Ok(granted)
    }

    fn begin(&mut self, now: Timestamp, sign_in: SignIn) -> Result<(GrantId, Granted), Refused> {
        if self.grants.len() >= MAX_GRANTS {
            return Err(Refused::NotNow);
        }
        let id: GrantId = random().ok_or(Refused::NotNow)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>().ok_or(Refused::NotNow)?);
        let grant = Grant { sign_in, key, current: 0, ends: now.plus(GRANT_LIFETIME) };
        let granted = Granted { sign_in: grant.sign_in.clone(), refresh_token: grant.refresh_token(id) };
        self.grants.insert(id, grant);
        Ok((id, granted))
    }

    /// Swaps a refresh token for its successor.
    pub(super) fn refresh(
        &mut self,
        now: Timestamp,
        token: &str,
        client_id: &str,
    ) -> Result<Granted, Refused> {
        self.sweep(now);
        let (id, number) = self.find(token).ok_or(Refused::Unknown)?;
        let grant = self.grants.get_mut(&id).ok_or(Refused::Unknown)?;
        if grant.sign_in.client_id != client_id {
            return Err(Refused::WrongClient);
        }
        if grant.ends <= now {
            self.grants.remove(&id);
            return Err(Refused::Expired);
        }
        if number != grant.current {
            self.grants.remove(&id);
            self.reuse_detected += 1;
            return Err(Refused::Replayed);
        }
        grant.current += 1;
        Ok(Granted { sign_in: grant.sign_in.clone(), refresh_token: grant.refresh_token(id) })
    }

    /// What a refresh token stands for, without using it.
    pub(super) fn look(&self, token: &str) -> Option<&SignIn> {
        let (id, _) = self.find(token)?;
        self.grants.get(&id).map(|grant| &grant.sign_in)
    }

    /// Ends the grant of a refresh token, current or replaced, of this client (RFC 7009 section 2.1).
    /// Whether there was one.
    pub(super) fn revoke(&mut self, token: &str, client_id: &str) -> bool {
        let Some((id, _)) = self.find(token) else { return false };
        let own = self.grants.get(&id).is_some_and(|grant| grant.sign_in.client_id == client_id);
        own && self.grants.remove(&id).is_some()
    }

    /// The grant that a refresh token names, and its number in it, when its MAC holds.
    fn find(&self, token: &str) -> Option<(GrantId, u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (number, mac) = rest.split_first_chunk::<8>()?;
        let grant = self.grants.get(id)?;
        hmac::verify(&grant.key, number, mac).ok()?;
        Some((*id, u64::from_be_bytes(*number)))
    }

    fn sweep(&mut self, now: Timestamp) {
        if now.since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.codes.retain(|_, (_, ends)| now < *ends);
        self.grants.retain(|_, grant| now < grant.ends);
    }
}

impl Authorization {
    fn check(&self, client_id: &str, redirect_uri: &str, code_verifier: &str) -> Result<(), Refused> {
        if self.sign_in.client_id != client_id {
            return Err(Refused::WrongClient);
        }
        if self.redirect_uri != redirect_uri {
            return Err(Refused::WrongRedirectUri);
        }
        let challenge = URL_SAFE_NO_PAD.encode(sha256(code_verifier.as_bytes()));
        verify_slices_are_equal(challenge.as_bytes(), self.code_challenge.as_bytes())
            .map_err(|_| Refused::WrongVerifier)
    }
}

impl Grant {
    fn refresh_token(&self, id: GrantId) -> String {
        let number = self.current.to_be_bytes();
        let mac = hmac::sign(&self.key, &number);
        URL_SAFE_NO_PAD.encode([&id[..], &number[..], mac.as_ref()].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const BACK: &str = "http://localhost:8080/";
    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn authorization() -> Authorization {
        let sign_in = SignIn {
            client_id: "web-app".into(),
            subject: "alice".into(),
            scope: "openid api:read".into(),
            session_id: "s1".into(),
            auth_time: NOW,
            nonce: None,
        };
        Authorization { sign_in, redirect_uri: BACK.into(), code_challenge: CHALLENGE.into() }
    }

    fn signed_in(grants: &mut Grants) -> String {
        let code = grants.issue_code(NOW, authorization()).unwrap();
        grants.redeem(NOW, &code, "web-app", BACK, VERIFIER).unwrap().refresh_token
    }

    #[test]
    fn a_code_is_good_once_and_the_second_time_ends_its_grant() {
        let mut grants = Grants::new();
        let code = grants.issue_code(NOW, authorization()).unwrap();
        let granted = grants.redeem(NOW, &code, "web-app", BACK, VERIFIER).unwrap();
        assert_eq!(granted.sign_in.subject, "alice");
        assert_eq!(grants.redeem(NOW, &code, "web-app", BACK, VERIFIER).unwrap_err(), Refused::Replayed);
        assert_eq!(grants.refresh(NOW, &granted.refresh_token, "web-app").unwrap_err(), Refused::Unknown);
        assert_eq!(grants.alive(NOW), 0);
    }

    #[test]
    fn a_code_ends_after_a_minute() {
        let mut grants = Grants::new();
        let code = grants.issue_code(NOW, authorization()).unwrap();
        let late = NOW.plus(CODE_LIFETIME);
        assert!(grants.redeem(late, &code, "web-app", BACK, VERIFIER).is_err());

        let code = grants.issue_code(late, authorization()).unwrap();
        let in_time = late.plus(CODE_LIFETIME).minus(Duration::from_millis(1));
        assert!(grants.redeem(in_time, &code, "web-app", BACK, VERIFIER).is_ok());
    }

    #[test]
    fn a_code_needs_its_client_redirect_uri_and_verifier_and_has_one_try() {
        for (client, back, verifier, why) in [
            ("other", BACK, VERIFIER, Refused::WrongClient),
            ("web-app", "http://localhost:8080/x", VERIFIER, Refused::WrongRedirectUri),
            ("web-app", BACK, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK", Refused::WrongVerifier),
            ("web-app", BACK, "", Refused::WrongVerifier),
        ] {
            let mut grants = Grants::new();
            let code = grants.issue_code(NOW, authorization()).unwrap();
            assert_eq!(grants.redeem(NOW, &code, client, back, verifier).unwrap_err(), why);
            let again = grants.redeem(NOW, &code, "web-app", BACK, VERIFIER);
            assert_eq!(again.unwrap_err(), Refused::Replayed, "a failed try spends the code");
        }
    }

    #[test]
    fn a_replaced_refresh_token_ends_the_whole_grant() {
        let mut grants = Grants::new();
        let first = signed_in(&mut grants);
        let second = grants.refresh(NOW, &first, "web-app").unwrap().refresh_token;
        assert_ne!(first, second);
        let third = grants.refresh(NOW, &second, "web-app").unwrap().refresh_token;
        assert_eq!(grants.refresh(NOW, &first, "web-app").unwrap_err(), Refused::Replayed);
        assert_eq!(grants.refresh(NOW, &third, "web-app").unwrap_err(), Refused::Unknown);
        assert_eq!(grants.reuse_detected(), 1);
    }

    #[test]
    fn a_refresh_token_of_another_client_is_refused_and_the_grant_lives_on() {
        let mut grants = Grants::new();
        let token = signed_in(&mut grants);
        assert_eq!(grants.refresh(NOW, &token, "other").unwrap_err(), Refused::WrongClient);
        assert!(!grants.revoke(&token, "other"));
        assert!(grants.refresh(NOW, &token, "web-app").is_ok());
    }

    #[test]
    fn a_forged_number_in_a_refresh_token_neither_passes_nor_ends_the_grant() {
        let mut grants = Grants::new();
        let token = signed_in(&mut grants);
        let mut forged = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for at in 0..forged.len() {
            forged[at] ^= 1;
            let text = URL_SAFE_NO_PAD.encode(&forged);
            assert_eq!(grants.refresh(NOW, &text, "web-app").unwrap_err(), Refused::Unknown, "byte {at}");
            assert!(!grants.revoke(&text, "web-app"), "byte {at}");
            forged[at] ^= 1;
        }
        assert!(grants.refresh(NOW, &token, "web-app").is_ok());
        assert_eq!(grants.reuse_detected(), 0);
    }

    #[test]
    fn revoking_any_token_of_a_grant_ends_it() {
        let mut grants = Grants::new();
        let first = signed_in(&mut grants);
        let second = grants.refresh(NOW, &first, "web-app").unwrap().refresh_token;
        assert!(grants.revoke(&first, "web-app"));
        assert!(!grants.revoke(&first, "web-app"));
        assert_eq!(grants.refresh(NOW, &second, "web-app").unwrap_err(), Refused::Unknown);
    }

    #[test]
    fn what_has_expired_is_swept() {
        let mut grants = Grants::new();
        signed_in(&mut grants);
        grants.issue_code(NOW, authorization()).unwrap();
        let later = NOW.plus(GRANT_LIFETIME);
        grants.issue_code(later, authorization()).unwrap();
        assert_eq!((grants.codes.len(), grants.grants.len()), (1, 0));
    }

    #[test]
    fn beyond_the_limit_no_code_is_issued() {
        let mut grants = Grants::new();
        for _ in 0..MAX_CODES {
            grants.issue_code(NOW, authorization()).unwrap();
        }
        assert_eq!(grants.issue_code(NOW, authorization()).unwrap_err(), Refused::NotNow);
        assert!(grants.issue_code(NOW.plus(CODE_LIFETIME), authorization()).is_ok());
    }
}
