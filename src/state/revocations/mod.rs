//! The list of revocations as requests ask it: tables of marks in memory, changed by whoever follows the list. A
//! lookup takes tens of nanoseconds, and a kind that nobody uses costs nothing.
//!
//! It must never pass anything while the list is not known, or is older than it may be: doubt closes the gate.

mod filter;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::mpsc;

use crate::core::denial::Denial;
use crate::core::revocation::marks::{GrantMarks, Mark, MarkKey, SignerMarks, TokenMarks};
use crate::core::revocation::standing::{End, Standing};
use crate::core::revocation::{Change, GrantFacts, Kind, Target, TokenFacts, Whose};
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use table::{Scoped, Table};

/// Into how many parts a table is cut. Tokens are millions; of the rest there are so few that their parts must be, too, to
/// stay in a processor's cache.
const TOKENS: usize = 256;
const OTHERS: usize = 16;
/// What no watermark reaches.
const YOUNGEST: Timestamp = Timestamp::from_millis(i64::MAX);
/// Changes that may wait for who listens.
const WAITING: usize = 100_000;

/// What was taken back, and how old that knowledge is.
#[derive(Debug)]
pub struct Revocations {
    key: MarkKey,
    tokens: Table<End>,
    jti: Scoped<End>,
    kid: Scoped<End>,
    family: Table<End>,
    sid: Scoped<Standing>,
    sub: Scoped<Standing>,
    client: Scoped<Standing>,
    issuer: Table<Standing>,
    freshness: Freshness,
    /// Who else is told of changes.
    listener: ArcSwapOption<mpsc::Sender<Change>>,
}

impl Revocations {
    /// `key`: random. Nothing is known yet: everything is refused.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            key: MarkKey::from_random(&key),
            tokens: Table::new(TOKENS),
            jti: Scoped::new(TOKENS),
            kid: Scoped::new(OTHERS),
            family: Table::new(TOKENS),
            sid: Scoped::new(OTHERS),
            sub: Scoped::new(OTHERS),
            client: Scoped::new(OTHERS),
            issuer: Table::new(OTHERS),
            freshness: Freshness::default(),
            listener: ArcSwapOption::empty(),
        }
    }

    /// What a token is looked up by; to be made once for each.
    pub fn marks_of(&self, token: &TokenFacts<'_>) -> TokenMarks {
        TokenMarks::of(&self.key, token)
    }

    /// The same for a token that may have been noted by its text.
    pub fn marks_by_text_too(&self, token: &TokenFacts<'_>, by_text: TokenId) -> TokenMarks {
        self.marks_of(token).or_by_text(&self.key, by_text)
    }

    /// Whether this token may pass.
    ///
    /// # Errors
    /// [`Denial::Revoked`]; [`Denial::RevocationsUnavailable`] while the list is not known or too old.
    pub fn admit_token(
        &self,
        marks: &TokenMarks,
        issued_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Denial> {
        self.check_fresh()?;
        let refused = self.tokens.refuses(marks.token, issued_at, now)
            || marks.by_text.is_some_and(|(_, mark)| self.tokens.refuses(mark, issued_at, now))
            || self.jti.refuses(marks.jti.as_ref(), issued_at, now)
            || self.kid.refuses(marks.kid.as_ref(), issued_at, now)
            || self.sid.refuses(marks.sid.as_ref(), issued_at, now)
            || self.sub.refuses(marks.sub.as_ref(), issued_at, now)
            || self.client.refuses(marks.client.as_ref(), issued_at, now)
            || self.issuer.refuses(marks.issuer, issued_at, now);
        if refused { Err(Denial::Revoked) } else { Ok(()) }
    }

    /// What a grant is looked up by.
    pub fn marks_of_grant(&self, grant: &GrantFacts<'_>) -> GrantMarks {
        GrantMarks::of(&self.key, grant)
    }

    /// Whether the grant behind a session may go on; `false`: it was taken back.
    ///
    /// # Errors
    /// [`Denial::RevocationsUnavailable`] while the list is not known or too old.
    pub fn admits_grant(&self, grant: &GrantFacts<'_>, now: Timestamp) -> Result<bool, Denial> {
        self.admits_marked_grant(&self.marks_of_grant(grant), grant.signed_in_at, now)
    }

    /// The same, of a grant with these marks. `since`: when its person signed in.
    ///
    /// # Errors
    /// As [`Self::admits_grant`].
    pub fn admits_marked_grant(
        &self,
        marks: &GrantMarks,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<bool, Denial> {
        self.check_fresh()?;
        let refused = self.family.refuses(marks.family, since, now)
            || self.sid.refuses(marks.sid.as_ref(), since, now)
            || self.sub.refuses(marks.sub.as_ref(), since, now)
            || self.client.refuses(Some(&marks.client), since, now)
            || self.issuer.refuses(marks.issuer, since, now);
        Ok(!refused)
    }

    /// Whether what this key of an issuer signs may be believed; `false`: key or issuer were taken back.
    ///
    /// # Errors
    /// As [`Self::admits_grant`].
    pub fn admits_signer(&self, iss: &str, kid: Option<&str>, now: Timestamp) -> Result<bool, Denial> {
        self.check_fresh()?;
        let marks = SignerMarks::of(&self.key, iss, kid);
        let refused = self.kid.refuses(marks.kid.as_ref(), YOUNGEST, now)
            || self.issuer.refuses(marks.issuer, YOUNGEST, now);
        Ok(!refused)
    }

    /// Whether the list names this very token.
    pub fn names_token(&self, token: TokenId, now: Timestamp) -> bool {
        self.tokens.refuses(Mark::of(&self.key, &Target::token(token)), now, now)
    }

    fn check_fresh(&self) -> Result<(), Denial> {
        if self.freshness.holds() { Ok(()) } else { Err(Denial::RevocationsUnavailable) }
    }

    /// Every change from here on, in its order. It ends where more of them wait than anybody should leave.
    pub fn listen(&self) -> mpsc::Receiver<Change> {
        let (tell, heard) = mpsc::channel(WAITING);
        self.listener.store(Some(Arc::new(tell)));
        heard
    }

    fn tell(&self, changes: &[Change]) {
        let Some(listener) = self.listener.load_full() else { return };
        if !changes.iter().all(|change| listener.try_send(change.clone()).is_ok()) {
            self.listener.store(None);
        }
    }

    /// Nobody says any more what is taken back: nothing passes from here on, until somebody does again. Nor does it at
    /// whoever listens.
    pub fn nobody_follows(&self) {
        self.freshness.ends();
        self.listener.store(None);
    }

    /// Takes changes of the list in, in their order. Any of them may come again.
    pub fn apply(&self, changes: &[Change]) {
        self.tell(changes);
        for change in changes {
            let target = &change.revocation().target;
            let mark = Mark::of(&self.key, target);
            let all = target.whose == Whose::All;
            match target.kind {
                Kind::Jti => self.jti.of(all).change(mark, change),
                Kind::Token => self.tokens.change(mark, change),
                Kind::Sid => self.sid.of(all).change(mark, change),
                Kind::Sub => self.sub.of(all).change(mark, change),
                Kind::Client => self.client.of(all).change(mark, change),
                Kind::Kid => self.kid.of(all).change(mark, change),
                Kind::Family => self.family.change(mark, change),
                Kind::Issuer => self.issuer.change(mark, change),
            }
        }
    }

    /// All that was acknowledged anywhere before `as_of` has been applied. The gate stays open for `staleness` after
    /// it, `None`: for good.
    pub fn is_complete(&self, as_of: Instant, staleness: Option<Duration>) {
        self.freshness.set(as_of, staleness);
    }

    /// As the gate sees it now.
    pub fn currency(&self) -> Currency {
        self.freshness.currency()
    }

    /// How many of a kind are in memory; some may have ended.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Jti => self.jti.len(),
            Kind::Token => self.tokens.len(),
            Kind::Sid => self.sid.len(),
            Kind::Sub => self.sub.len(),
            Kind::Client => self.client.len(),
            Kind::Kid => self.kid.len(),
            Kind::Family => self.family.len(),
            Kind::Issuer => self.issuer.len(),
        }
    }

    /// Forgets what has ended. Blocks for a second or so over millions.
    pub fn sweep(&self, now: Timestamp) {
        for table in [&self.tokens, &self.family].into_iter().chain(self.jti.both()).chain(self.kid.both()) {
            table.sweep(now);
        }
        let scoped = [&self.sid, &self.sub, &self.client];
        for table in scoped.into_iter().flat_map(Scoped::both).chain([&self.issuer]) {
            table.sweep(now);
        }
    }
}

/// How far the list can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Currency {
    /// It was never loaded.
    Unknown,
    /// It is complete as of so long ago.
    Current { age: Duration },
    /// It is complete as of so long ago, which is too long.
    Stale { age: Duration },
}

/// Moments in milliseconds since `born`, plus one; 0: never.
#[derive(Debug)]
struct Freshness {
    born: Instant,
    as_of: AtomicU64,
    until: AtomicU64,
}

const FOR_GOOD: u64 = u64::MAX;

impl Default for Freshness {
    fn default() -> Self {
        Self { born: Instant::now(), as_of: AtomicU64::new(0), until: AtomicU64::new(0) }
    }
}

impl Freshness {
    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.born).as_millis();
        u64::try_from(millis).unwrap_or(FOR_GOOD - 2).saturating_add(1)
    }

    fn set(&self, as_of: Instant, staleness: Option<Duration>) {
        let until = match staleness {
            None => FOR_GOOD,
            // No moment is so late. Doubt closes the gate.
            Some(staleness) => as_of.checked_add(staleness).map_or(0, |until| self.millis(until)),
        };
        self.as_of.fetch_max(self.millis(as_of), Ordering::AcqRel);
        self.until.fetch_max(until, Ordering::AcqRel);
    }

    fn ends(&self) {
        self.until.store(1, Ordering::Release);
    }

    fn holds(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            FOR_GOOD => true,
            until => self.millis(Instant::now()) < until,
        }
    }

    fn currency(&self) -> Currency {
        let as_of = self.as_of.load(Ordering::Acquire);
        if as_of == 0 {
            return Currency::Unknown;
        }
        let age = match self.until.load(Ordering::Acquire) {
            FOR_GOOD => Duration::ZERO,
            _ => Duration::from_millis(self.millis(Instant::now()).saturating_sub(as_of)),
        };
        if self.holds() { Currency::Current { age } } else { Currency::Stale { age } }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::core::revocation::Revocation;
    use crate::core::revocation::testing::{SomeChange, SomeFacts, moment};

    fn loaded() -> Revocations {
        let revocations = Revocations::new([7; 16]);
        revocations.is_complete(Instant::now(), None);
        revocations
    }

    #[test]
    fn tables_say_what_the_list_says() {
        bolero::check!().with_type::<(Vec<SomeChange>, SomeFacts, u8)>().for_each(|(changes, facts, now)| {
            let (tables, now) = (loaded(), Timestamp::from_secs(moment(*now).as_secs()));
            let mut list: HashMap<_, Revocation> = HashMap::new();
            for change in changes.iter().map(|change| change.change()) {
                tables.apply(std::slice::from_ref(&change));
                match change {
                    Change::Add(new) => {
                        let new = match list.get(&new.id()) {
                            Some(old) => new.in_place_of(old),
                            None => new,
                        };
                        list.insert(new.id(), new);
                    }
                    Change::Lift(gone) => drop(list.remove(&gone.id())),
                }
            }
            let token = facts.token();
            let refused = list.values().any(|revocation| revocation.refuses_token(&token, now));
            let check = || tables.admit_token(&tables.marks_of(&token), token.issued_at, now).is_err();
            assert_eq!(check(), refused);
            let grant = facts.grant();
            let grant_refused = list.values().any(|revocation| revocation.refuses_grant(&grant, now));
            assert_eq!(tables.admits_grant(&grant, now), Ok(!grant_refused));
            let signer_refused = list.values().any(|entry| entry.refuses_signer(token.iss, token.kid, now));
            assert_eq!(tables.admits_signer(token.iss, token.kid, now), Ok(!signer_refused));
            tables.sweep(now);
            assert_eq!(check(), refused, "after what has ended was forgotten");
            assert_eq!(tables.admits_grant(&grant, now), Ok(!grant_refused));
            for kind in Kind::ALL {
                let in_force = |revocation: &&Revocation| {
                    revocation.target.kind == kind && revocation.until.is_none_or(|until| now < until)
                };
                assert!(tables.count(kind) <= list.values().filter(in_force).count());
            }
        });
    }

    #[test]
    fn nothing_passes_before_the_list_is_known_or_when_it_is_too_old() {
        let revocations = Revocations::new([7; 16]);
        let facts = |revocations: &Revocations| {
            let token = TokenFacts {
                id: crate::core::token::id::TokenId::from_bytes([1; 32]),
                iss: "https://as",
                jti: None,
                sid: None,
                sub: None,
                client: None,
                kid: None,
                issued_at: moment(0),
            };
            revocations.admit_token(&revocations.marks_of(&token), moment(0), moment(1))
        };
        assert_eq!(revocations.currency(), Currency::Unknown);
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        revocations.is_complete(Instant::now(), Some(Duration::MAX));
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable), "no moment is so late");
        revocations.is_complete(Instant::now(), Some(Duration::ZERO));
        assert!(matches!(revocations.currency(), Currency::Stale { .. }));
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        revocations.is_complete(Instant::now(), Some(Duration::from_secs(300)));
        assert!(matches!(revocations.currency(), Currency::Current { .. }));
        assert_eq!(facts(&revocations), Ok(()));
        revocations.is_complete(Instant::now(), Some(Duration::ZERO));
        assert_eq!(facts(&revocations), Ok(()), "an older word does not take back a newer one");
        revocations.nobody_follows();
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        revocations.is_complete(Instant::now(), None);
        assert_eq!(facts(&revocations), Ok(()), "somebody follows again");
    }
}
