//! What stands behind a session: the refresh token and everything needed to judge its next
//! exchange. It lives in the browser's cookie, sealed; here it is read, written and dated.
//!
//! A grant is never changed. Each exchange makes its successor: one generation on, with a new seed.

use std::time::Duration;

pub use crate::core::ids::FamilyId;
use crate::core::revocation::GrantIdentity;
use crate::core::secret::{Secret, SecretString};
use crate::core::session::oauth::Scope;
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;

const VERSION: u8 = 1;
const FROM_ACCESS_TOKEN: u8 = 1;
const FROM_ID_TOKEN: u8 = 2;

/// How many exchanges a family has had.
pub type Generation = u64;

/// Who signed in, and which token said so: an AS may name one person differently in an access token
/// and in an ID token, so the two are never compared with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub sub: String,
    pub source: SubjectSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectSource {
    AccessToken,
    IdToken,
}

/// What a browser's session holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// At the AS.
    pub client_id: String,
    /// The `iss` of the AS that the refresh token belongs to; it is sent nowhere else.
    pub iss: String,
    pub refresh_token: SecretString,
    pub subject: Option<Subject>,
    pub session_id: Option<String>,
    /// What was granted at sign-in, where the AS said it.
    pub scope: Option<Scope>,
    pub family: FamilyId,
    pub generation: Generation,
    /// New at each generation; keys for what is kept of this generation are derived from it.
    pub seed: Secret<[u8; 32]>,
    pub signed_in_at: Timestamp,
    pub last_used_at: Timestamp,
    pub exchanged_at: Timestamp,
}

/// How long a session may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Since its last use.
    pub idle: Duration,
    /// Since sign-in.
    pub absolute: Duration,
}

impl Timeouts {
    /// Why a session of these dates is over at `now`, if it is.
    pub fn ended(
        self,
        signed_in_at: Timestamp,
        last_used_at: Timestamp,
        now: Timestamp,
    ) -> Option<SessionEnd> {
        if now >= signed_in_at.plus(self.absolute) {
            Some(SessionEnd::AbsoluteTimeout)
        } else if now >= last_used_at.plus(self.idle) {
            Some(SessionEnd::IdleTimeout)
        } else {
            None
        }
    }
}

impl Grant {
    /// Why the session is over at `now`, if it is.
    pub fn ended(&self, timeouts: Timeouts, now: Timestamp) -> Option<SessionEnd> {
        timeouts.ended(self.signed_in_at, self.last_used_at, now)
    }

    /// Whether the exchange that made this grant was use of the session.
    pub fn counts_as_use(&self) -> bool {
        self.last_used_at >= self.exchanged_at
    }

    /// When the session ends unless it is used before.
    pub fn ends_at(&self, timeouts: Timeouts) -> Timestamp {
        self.ends_at_latest(timeouts).min(self.last_used_at.plus(timeouts.idle))
    }

    /// When the session ends however it is used.
    pub fn ends_at_latest(&self, timeouts: Timeouts) -> Timestamp {
        self.signed_in_at.plus(timeouts.absolute)
    }

    /// The grant after an exchange at `now`. `refresh_token`: the one in the answer; none, and the
    /// old one stays. `used`: somebody was there; a background exchange leaves the last use alone.
    #[must_use]
    pub fn successor(
        &self,
        refresh_token: Option<SecretString>,
        seed: [u8; 32],
        now: Timestamp,
        used: bool,
    ) -> Self {
        Self {
            refresh_token: refresh_token.unwrap_or_else(|| self.refresh_token.clone()),
            generation: self.generation.saturating_add(1),
            seed: Secret::new(seed),
            last_used_at: if used { self.last_used_at.max(now) } else { self.last_used_at },
            exchanged_at: now,
            ..self.clone()
        }
    }

    /// The form that is sealed.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let texts = self.client_id.len() + self.iss.len() + self.refresh_token.expose().len();
        let optional = self.subject.as_ref().map_or(0, |subject| subject.sub.len())
            + self.session_id.as_ref().map_or(0, String::len)
            + self.scope.as_ref().map_or(0, |scope| scope.to_string().len());
        let mut bytes = Secret::with_capacity(128 + texts + optional);
        let out = bytes.expose_mut();
        out.push(VERSION);
        out.extend_from_slice(self.family.as_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(self.seed.expose());
        for moment in [self.signed_in_at, self.last_used_at, self.exchanged_at] {
            out.extend_from_slice(&moment.as_millis().to_be_bytes());
        }
        out.push(match self.subject.as_ref().map(|subject| subject.source) {
            None => 0,
            Some(SubjectSource::AccessToken) => FROM_ACCESS_TOKEN,
            Some(SubjectSource::IdToken) => FROM_ID_TOKEN,
        });
        let scope = self.scope.as_ref().map(ToString::to_string);
        for text in [
            Some(self.client_id.as_str()),
            Some(self.iss.as_str()),
            Some(self.refresh_token.expose().as_str()),
            self.subject.as_ref().map(|subject| subject.sub.as_str()),
            self.session_id.as_deref(),
            scope.as_deref(),
        ] {
            write_text(out, text);
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let family = FamilyId::from_bytes(take(&mut rest)?);
        let generation = u64::from_be_bytes(take(&mut rest)?);
        let seed = Secret::new(take(&mut rest)?);
        let mut moment = || Some(Timestamp::from_millis(i64::from_be_bytes(take(&mut rest)?)));
        let (signed_in_at, last_used_at, exchanged_at) = (moment()?, moment()?, moment()?);
        let source = match take(&mut rest)? {
            [0] => None,
            [FROM_ACCESS_TOKEN] => Some(SubjectSource::AccessToken),
            [FROM_ID_TOKEN] => Some(SubjectSource::IdToken),
            _ => return None,
        };
        let mut text = || read_text(&mut rest);
        let client_id = text()??;
        let iss = text()??;
        let refresh_token = SecretString::new(text()??);
        let (sub, session_id, scope) = (text()?, text()?, text()?);
        let subject = match (sub, source) {
            (Some(sub), Some(source)) => Some(Subject { sub, source }),
            (None, None) => None,
            _ => return None,
        };
        let scope = match scope {
            Some(scope) => Some(Scope::parse(&scope)?),
            None => None,
        };
        rest.is_empty().then_some(Self {
            client_id,
            iss,
            refresh_token,
            subject,
            session_id,
            scope,
            family,
            generation,
            seed,
            signed_in_at,
            last_used_at,
            exchanged_at,
        })
    }

    /// The part that takes most room, and its bytes: what to name when a grant fits no cookie.
    pub fn largest_part(&self) -> (&'static str, usize) {
        let parts = [
            ("the refresh token", self.refresh_token.expose().len()),
            ("the scope", self.scope.as_ref().map_or(0, |scope| scope.to_string().len())),
            ("the subject", self.subject.as_ref().map_or(0, |subject| subject.sub.len())),
            ("the session id", self.session_id.as_ref().map_or(0, String::len)),
            ("the issuer", self.iss.len()),
            ("the client_id", self.client_id.len()),
        ];
        parts.into_iter().max_by_key(|(_, length)| *length).unwrap_or(("the grant", 0))
    }
}

/// Length + 1 in 32 bits, then the text; 0 for none.
fn write_text(out: &mut Vec<u8>, text: Option<&str>) {
    let length = text.map_or(0, |text| u32::try_from(text.len()).unwrap_or(u32::MAX - 1) + 1);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// The outer `None`: not readable; the inner: no text.
#[allow(clippy::option_option)]
fn read_text(rest: &mut &[u8]) -> Option<Option<String>> {
    let Some(length) = u32::from_be_bytes(take(rest)?).checked_sub(1) else { return Some(None) };
    let (text, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
}

impl<'g> GrantIdentity<'g> {
    pub fn of(grant: &'g Grant) -> Self {
        Self {
            family: grant.family,
            iss: &grant.iss,
            sid: grant.session_id.as_deref(),
            sub: grant.subject.as_ref().map(|subject| subject.sub.as_str()),
            client: &grant.client_id,
            signed_in_at: grant.signed_in_at,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn grant() -> Grant {
        Grant {
            client_id: "web-app".into(),
            iss: "https://as.example".into(),
            refresh_token: "rt-0".into(),
            subject: Some(Subject { sub: "alice".into(), source: SubjectSource::AccessToken }),
            session_id: None,
            scope: Scope::parse("openid api:read"),
            family: FamilyId::from_random([9; 16]),
            generation: 0,
            seed: Secret::new([1; 32]),
            signed_in_at: Timestamp::from_secs(1000),
            last_used_at: Timestamp::from_secs(1000),
            exchanged_at: Timestamp::from_secs(1000),
        }
    }

    const TIMEOUTS: Timeouts =
        Timeouts { idle: Duration::from_secs(100), absolute: Duration::from_secs(1000) };

    #[test]
    fn a_grant_is_read_as_it_was_written() {
        bolero::check!()
            .with_type::<(String, String, Option<(String, bool)>, Option<String>, u64, i64)>()
            .for_each(|(client, token, subject, session, generation, at)| {
                let written = Grant {
                    client_id: client.clone(),
                    refresh_token: SecretString::new(token.clone()),
                    subject: subject.clone().map(|(sub, id)| Subject {
                        sub,
                        source: if id { SubjectSource::IdToken } else { SubjectSource::AccessToken },
                    }),
                    session_id: session.clone(),
                    scope: None,
                    generation: *generation,
                    last_used_at: Timestamp::from_millis(*at),
                    ..grant()
                };
                let bytes = written.to_bytes();
                assert_eq!(Grant::from_bytes(bytes.expose()), Some(written));
                let cut = bytes.expose().len() - 1;
                assert_eq!(Grant::from_bytes(&bytes.expose()[..cut]), None);
            });
        assert_eq!(Grant::from_bytes(grant().to_bytes().expose()), Some(grant()));
    }

    #[test]
    fn any_bytes_can_be_read_without_harm() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Some(grant) = Grant::from_bytes(bytes) {
                assert_eq!(grant.to_bytes().expose().len(), bytes.len());
            }
        });
    }

    #[test]
    fn idle_counts_from_the_last_use_and_absolute_from_sign_in() {
        let at = Timestamp::from_secs;
        let first = grant();
        assert_eq!(first.ended(TIMEOUTS, at(1099)), None);
        assert_eq!(first.ended(TIMEOUTS, at(1100)), Some(SessionEnd::IdleTimeout));
        let used = first.successor(None, [2; 32], at(1090), true);
        assert_eq!(used.ended(TIMEOUTS, at(1189)), None);
        let polled = used.successor(None, [3; 32], at(1180), false);
        assert_eq!(polled.ended(TIMEOUTS, at(1190)), Some(SessionEnd::IdleTimeout));
        let late = first.successor(None, [2; 32], at(1999), true);
        assert_eq!(late.ends_at(TIMEOUTS), at(2000));
        assert_eq!(late.ended(TIMEOUTS, at(2000)), Some(SessionEnd::AbsoluteTimeout));
    }

    #[test]
    fn a_successor_keeps_what_sign_in_fixed_and_moves_on() {
        let next = grant().successor(Some("rt-1".into()), [2; 32], Timestamp::from_secs(1010), true);
        assert_eq!((next.generation, next.refresh_token.expose().as_str()), (1, "rt-1"));
        assert_eq!((next.family, next.signed_in_at), (grant().family, grant().signed_in_at));
        let kept = grant().successor(None, [2; 32], Timestamp::from_secs(1010), true);
        assert_eq!(kept.refresh_token.expose(), "rt-0");
    }

    #[test]
    fn a_grant_does_not_print_its_secrets() {
        let text = format!("{:?}", grant());
        assert!(!text.contains("rt-0") && text.contains("[secret]"), "{text}");
    }
}
