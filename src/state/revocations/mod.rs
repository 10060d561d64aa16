//! The list of revocations as requests ask it: tables of marks in memory, changed by whoever follows the
//! list. A lookup takes tens of nanoseconds, and a kind that nobody uses costs nothing.
//!
//! It must never pass anything while the list is not known, or is older than it may be: doubt closes the
//! gate.
//!
//! - `table`: the marks of one kind; `filter`: spares most look-ups the table
//! - `names`: what else an issuer is called, and by which entries may name what is its
//! - `freshness`: how old what is known of the list is

mod filter;
mod freshness;
mod names;
mod table;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc;

use crate::core::clock_watch::SureTime;
use crate::core::denial::Denial;
use crate::core::ids::FamilyId;
use crate::core::revocation::marks::{GrantMarks, Mark, MarkKey, SignerMarks, TokenMarks};
use crate::core::revocation::standing::{End, Standing};
use crate::core::revocation::{Change, GrantIdentity, Kind, Target, TokenIdentity, Whose};
use crate::core::time::Timestamp;
use crate::core::token::TokenRules;
use crate::core::token::id::TokenId;
use freshness::Freshness;
use names::Names;
use table::{Scoped, Table};

pub use freshness::{AsOf, Currency};

/// Into how many parts a table is cut. Tokens are millions; of the rest there are so few that their parts
/// must be, too, to stay in a processor's cache.
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
    names: ArcSwap<Names>,
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
            names: ArcSwap::default(),
            freshness: Freshness::default(),
            listener: ArcSwapOption::empty(),
        }
    }

    /// What these issuers are called. What is made of a token or grant from here on is looked up by each of
    /// its issuer's names: an entry that was made under one of them stands when another becomes the `url`.
    pub fn set_issuers<'r>(&self, rules: impl Iterator<Item = &'r TokenRules>) {
        self.names.store(Arc::new(Names::of(rules)));
    }

    /// What a token is looked up by, as of an issuer that has no other name.
    pub fn marks_of(&self, token: &TokenIdentity<'_>) -> TokenMarks {
        TokenMarks::of(&self.key, token)
    }

    /// What a token with this text is looked up by; to be made once for each.
    pub fn marks_by_each_name(&self, token: &TokenIdentity<'_>, text: &str) -> TokenMarks {
        self.each_name(token, text, |facts| self.marks_of(facts))
    }

    /// The same for a token that may have been noted by its text.
    pub fn marks_by_text_too(&self, token: &TokenIdentity<'_>, text: &str) -> TokenMarks {
        self.each_name(token, text, |facts| {
            self.marks_of(facts).or_by_text(&self.key, TokenId::of(facts.iss, None, text))
        })
    }

    fn each_name(
        &self,
        token: &TokenIdentity<'_>,
        text: &str,
        marks: impl Fn(&TokenIdentity<'_>) -> TokenMarks,
    ) -> TokenMarks {
        let names = self.names.load();
        let others = names.others(token.iss).map(|iss| {
            let id = TokenId::of(iss, token.jti, text);
            marks(&TokenIdentity { id, iss, ..token.clone() })
        });
        marks(token).or_by_names(others)
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
        self.check_fresh(now)?;
        if self.refuses_token(marks, issued_at, now) { Err(Denial::Revoked) } else { Ok(()) }
    }

    /// What the tables say, whatever they are worth.
    pub(crate) fn refuses_token(&self, marks: &TokenMarks, issued_at: Timestamp, now: Timestamp) -> bool {
        self.refuses_by_name(marks, issued_at, now)
            || marks.by_other_names.iter().any(|marks| self.refuses_by_name(marks, issued_at, now))
    }

    #[inline]
    fn refuses_by_name(&self, marks: &TokenMarks, issued_at: Timestamp, now: Timestamp) -> bool {
        self.tokens.refuses(marks.token, issued_at, now)
            // Where the table is empty this part of a token's memory need not be read.
            || (self.tokens.is_in_use()
                && marks.by_text.is_some_and(|(_, mark)| self.tokens.refuses(mark, issued_at, now)))
            || self.jti.refuses(marks.jti.as_ref(), issued_at, now)
            || self.kid.refuses(marks.kid.as_ref(), issued_at, now)
            || self.sid.refuses(marks.sid.as_ref(), issued_at, now)
            || self.sub.refuses(marks.sub.as_ref(), issued_at, now)
            || self.client.refuses(marks.client.as_ref(), issued_at, now)
            || self.issuer.refuses(marks.issuer, issued_at, now)
    }

    /// What a grant is looked up by.
    pub fn marks_of_grant(&self, grant: &GrantIdentity<'_>) -> GrantMarks {
        let names = self.names.load();
        let others = names.others(grant.iss);
        let others = others.map(|iss| GrantMarks::of(&self.key, &GrantIdentity { iss, ..grant.clone() }));
        GrantMarks::of(&self.key, grant).or_by_names(others)
    }

    /// Whether the grant behind a session may go on; `false`: it was taken back.
    ///
    /// # Errors
    /// [`Denial::RevocationsUnavailable`] while the list is not known or too old.
    pub fn admits_grant(&self, grant: &GrantIdentity<'_>, now: Timestamp) -> Result<bool, Denial> {
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
        self.check_fresh(now)?;
        let mut by_each_name = std::iter::once(marks).chain(&marks.by_other_names);
        Ok(!by_each_name.any(|marks| self.refuses_grant(marks, since, now)))
    }

    fn refuses_grant(&self, marks: &GrantMarks, since: Timestamp, now: Timestamp) -> bool {
        self.family.refuses(marks.family, since, now)
            || self.sid.refuses(marks.sid.as_ref(), since, now)
            || self.sub.refuses(marks.sub.as_ref(), since, now)
            || self.client.refuses(Some(&marks.client), since, now)
            || self.issuer.refuses(marks.issuer, since, now)
    }

    /// Whether what this key of an issuer signs may be believed; `false`: key or issuer were taken back.
    ///
    /// # Errors
    /// As [`Self::admits_grant`].
    pub fn admits_signer(&self, iss: &str, kid: Option<&str>, now: Timestamp) -> Result<bool, Denial> {
        self.check_fresh(now)?;
        let names = self.names.load();
        let refused = std::iter::once(iss).chain(names.others(iss)).any(|iss| {
            let marks = SignerMarks::of(&self.key, iss, kid);
            self.kid.refuses(marks.kid.as_ref(), YOUNGEST, now)
                || self.issuer.refuses(marks.issuer, YOUNGEST, now)
        });
        Ok(!refused)
    }

    /// Whether the list names this very token.
    pub fn names_token(&self, token: TokenId, now: Timestamp) -> bool {
        self.tokens.refuses(Mark::of(&self.key, &Target::token(token)), now, now)
    }

    /// Whether the list names this very session.
    pub fn names_family(&self, family: FamilyId, now: Timestamp) -> bool {
        self.family.refuses(Mark::of(&self.key, &Target::family(family)), now, now)
    }

    fn check_fresh(&self, now: Timestamp) -> Result<(), Denial> {
        if self.freshness.holds(now) { Ok(()) } else { Err(Denial::RevocationsUnavailable) }
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

    /// Nobody says any more what is taken back: nothing passes from here on, until somebody does again. Nor
    /// does it at whoever listens.
    pub fn nobody_follows(&self) {
        self.freshness.close_gate();
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

    /// All that was acknowledged is applied, now and whenever something is: the gate is open for good.
    pub fn mark_complete(&self) {
        self.freshness.set_for_good();
    }

    /// All that was acknowledged anywhere before `as_of` has been applied. The gate stays open for
    /// `staleness` after it.
    pub fn mark_complete_as_of(&self, as_of: AsOf, staleness: Duration) {
        self.freshness.set(as_of, staleness);
    }

    /// As the gate sees it at `now`.
    pub fn currency(&self, now: Timestamp) -> Currency {
        self.freshness.currency(now)
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
    pub fn sweep(&self, now: SureTime) {
        for table in [&self.tokens, &self.family].into_iter().chain(self.jti.both()).chain(self.kid.both()) {
            table.sweep(now);
        }
        let scoped = [&self.sid, &self.sub, &self.client];
        for table in scoped.into_iter().flat_map(Scoped::both).chain([&self.issuer]) {
            table.sweep(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::*;
    use crate::core::clock_watch::ClockWatch;
    use crate::core::clock_watch::testing::sure;
    use crate::core::revocation::Revocation;
    use crate::core::revocation::testing::{SomeChange, SomeFacts, moment};

    const HOUR: Duration = Duration::from_secs(3600);

    fn loaded() -> Revocations {
        let revocations = Revocations::new([7; 16]);
        revocations.mark_complete();
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
            tables.sweep(sure(now));
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

    /// What becomes of a token of nobody in particular at `now`.
    fn admits(revocations: &Revocations, now: Timestamp) -> Result<(), Denial> {
        let token = TokenIdentity {
            id: TokenId::from_bytes([1; 32]),
            iss: "https://as",
            jti: None,
            sid: None,
            sub: None,
            client: None,
            kid: None,
            issued_at: moment(0),
        };
        revocations.admit_token(&revocations.marks_of(&token), moment(0), now)
    }

    #[test]
    fn nothing_passes_before_the_list_is_known_or_when_it_is_too_old() {
        let (revocations, now) = (Revocations::new([7; 16]), moment(1));
        let facts = |revocations: &Revocations| admits(revocations, now);
        let is_complete = |staleness| {
            revocations.mark_complete_as_of(AsOf { steady: Instant::now(), wall: now }, staleness);
        };
        assert_eq!(revocations.currency(now), Currency::Unknown);
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        is_complete(Duration::MAX);
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable), "no moment is so late");
        is_complete(Duration::ZERO);
        assert!(matches!(revocations.currency(now), Currency::Stale { .. }));
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        is_complete(Duration::from_secs(300));
        assert!(matches!(revocations.currency(now), Currency::Current { .. }));
        assert_eq!(facts(&revocations), Ok(()));
        is_complete(Duration::ZERO);
        assert_eq!(facts(&revocations), Ok(()), "an older word does not take back a newer one");
        revocations.nobody_follows();
        assert_eq!(facts(&revocations), Err(Denial::RevocationsUnavailable));
        revocations.mark_complete();
        assert_eq!(facts(&revocations), Ok(()), "somebody follows again");
        assert!(matches!(revocations.currency(now), Currency::Current { age: Duration::ZERO }));
        revocations.nobody_follows();
        let Currency::Stale { age } = revocations.currency(now) else { panic!("nobody follows") };
        assert!(age < HOUR, "{age:?}");
    }

    #[test]
    fn a_list_grows_old_while_the_machine_sleeps_and_no_younger_when_its_clock_is_put_back() {
        let (revocations, staleness) = (Revocations::new([7; 16]), Duration::from_secs(300));
        let (steady, now) = (Instant::now(), Timestamp::from_secs(1_800_000_000));
        revocations.mark_complete_as_of(AsOf { steady, wall: now }, staleness);
        assert_eq!(admits(&revocations, now.plus(Duration::from_secs(299))), Ok(()));
        // The clock that nobody sets stood still.
        let woken = now.plus(2 * HOUR);
        assert_eq!(admits(&revocations, woken), Err(Denial::RevocationsUnavailable));
        assert_eq!(admits(&revocations, now.plus(staleness)), Err(Denial::RevocationsUnavailable));
        let stale = revocations.currency(woken);
        assert!(matches!(stale, Currency::Stale { age } if age >= 2 * HOUR), "{stale:?}");
        // It is heard again.
        revocations.mark_complete_as_of(AsOf { steady: Instant::now(), wall: woken }, staleness);
        assert_eq!(admits(&revocations, woken), Ok(()));
        // The clock is put back, and what is heard then counts by it.
        assert_eq!(admits(&revocations, now), Ok(()));
        revocations.mark_complete_as_of(AsOf { steady: Instant::now(), wall: now }, staleness);
        assert_eq!(admits(&revocations, now.plus(2 * staleness)), Err(Denial::RevocationsUnavailable));

        let old = Revocations::new([7; 16]);
        let steady = Instant::now().checked_sub(staleness).expect("a machine that runs for some minutes");
        old.mark_complete_as_of(AsOf { steady, wall: now }, staleness);
        for back in [Duration::ZERO, HOUR] {
            assert_eq!(admits(&old, now.minus(back)), Err(Denial::RevocationsUnavailable), "{back:?}");
            assert!(matches!(old.currency(now.minus(back)), Currency::Stale { .. }), "{back:?}");
        }
    }

    #[test]
    fn a_clock_that_ran_ahead_for_a_while_makes_nobody_forget_what_holds() {
        let (revocations, began) = (loaded(), Timestamp::from_secs(1_800_000_000));
        let mut watch = ClockWatch::trusting(began);
        let (id, minute) = (TokenId::from_bytes([1; 32]), Duration::from_secs(60));
        let revoked = |until| Revocation {
            until: Some(until),
            ..Revocation::new(Target::token(id), crate::core::revocation::Rule::Outright, began)
        };
        revocations.apply(&[Change::Add(revoked(began.plus(10 * minute)))]);
        for ahead in [HOUR, 1000 * HOUR] {
            revocations.sweep(watch.look(began.plus(minute).plus(ahead), minute).unwrap());
        }
        assert_eq!(revocations.count(Kind::Token), 1);
        assert_eq!(admits(&revocations, began.plus(2 * minute)), Err(Denial::Revoked));
        // And goes when it has ended.
        revocations.sweep(watch.look(began.plus(11 * minute), 11 * minute).unwrap());
        assert_eq!(revocations.count(Kind::Token), 0);
    }
}
