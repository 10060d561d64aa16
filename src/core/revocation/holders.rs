//! Who holds a block. The list has one block for a target, but several may want it: operators, and each
//! transmitter of signals that reports the account as suspended. Each has a hold of its own, with its own end
//! and reason, and the block lasts as long as any hold.
//!
//! Operators share one hold: what one of them says replaces what another said.
//!
//! One holder must never let in an account that another shut out, or end another's hold.
//!
//! The entry also has the sum of its holds (the latest end, all names), so that a reader that does not know
//! holders refuses the same.

use serde::{Deserialize, Serialize};

use super::{Change, Revocation, Rule, Target};
use crate::core::time::Timestamp;

/// The name shown for an operator without one, beside other holders.
const NAMELESS: &str = "operator";

/// One hold on a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub hand: Hand,
    /// `None`: until the holder lets go.
    pub until: Option<Timestamp>,
    pub made_at: Timestamp,
    pub reason: Option<String>,
}

/// The holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hand {
    /// All operators, with the name of the last one who spoke, if known.
    Operator(Option<String>),
    /// The `iss` of a transmitter.
    Transmitter(String),
    /// A transmitter that reported the account as purged: it never lets go.
    ForGood(String),
}

impl Hand {
    /// Whether both are the same holder, so that one replaces the other.
    pub fn is(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Operator(_), Self::Operator(_))) || self == other
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Operator(name) => name.as_deref().unwrap_or(NAMELESS),
            Self::Transmitter(iss) | Self::ForGood(iss) => iss,
        }
    }
}

impl Holder {
    /// Whether this statement of a holder counts over another of the same; the clocks that dated them may
    /// differ.
    fn counts_over(&self, other: &Self) -> bool {
        // `None` is the latest.
        let end = |holder: &Self| (holder.until.is_none(), holder.until);
        (end(self), self.made_at) > (end(other), other.made_at)
    }

    fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Revocation {
    /// The block with these holders; `None`: there are none.
    pub fn block(target: Target, mut holders: Vec<Holder>) -> Option<Self> {
        let last = holders.last()?;
        if let ([one], Hand::Operator(name)) = (holders.as_slice(), &last.hand) {
            let (until, made_at, made_by) = (one.until, one.made_at, name.clone());
            let reason = holders.pop().and_then(|one| one.reason);
            return Some(Self {
                target,
                rule: Rule::Block,
                until,
                made_at,
                made_by,
                reason,
                held_by: holders,
            });
        }
        // `None` is the latest.
        let ends = holders.iter().map(|holder| holder.until).collect::<Option<Vec<_>>>();
        Some(Self {
            target,
            rule: Rule::Block,
            until: ends.and_then(|ends| ends.into_iter().max()),
            made_at: holders.iter().map(|holder| holder.made_at).max()?,
            made_by: joined(holders.iter().map(|holder| holder.hand.name()), " "),
            reason: joined(holders.iter().filter_map(|holder| holder.reason.as_deref()), "; "),
            held_by: holders,
        })
    }

    /// The holders of this block.
    pub fn holders(&self) -> Vec<Holder> {
        if !self.held_by.is_empty() {
            return self.held_by.clone();
        }
        let Self { until, made_at, reason, .. } = self;
        let hold = |hand| Holder { hand, until: *until, made_at: *made_at, reason: reason.clone() };
        // Before holders were kept their names stood in `made_by`. No operator's has `://`: it came as the
        // name of Basic (RFC 7617), or is an address.
        let words = self.made_by.as_deref().unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        let (transmitters, operator): (Vec<_>, Vec<_>) = words.partition(|word| word.contains("://"));
        if transmitters.is_empty() {
            return vec![hold(Hand::Operator(self.made_by.clone()))];
        }
        let operator = (!operator.is_empty()).then(|| Hand::Operator(Some(operator.join(" "))));
        let transmitters = transmitters.into_iter().map(|iss| Hand::Transmitter(iss.to_owned()));
        operator.into_iter().chain(transmitters).map(hold).collect()
    }

    /// This block, added to what is in the list (`standing`): its other holders stay.
    pub fn beside(self, standing: Option<&Self>, now: Timestamp) -> Self {
        let own = self.holders();
        let is_other =
            |holder: &Holder| holder.is_in_force(now) && !own.iter().any(|own| own.hand.is(&holder.hand));
        let mut holders = standing.map(Self::holders).unwrap_or_default();
        holders.retain(is_other);
        if holders.is_empty() {
            return self;
        }
        holders.extend(own);
        Self::block(self.target.clone(), holders).unwrap_or(self)
    }

    /// This block with the holders of both, of which either may know less. Of two statements by one holder
    /// the one that lasts longer counts; if both end at the same time, the later one.
    pub fn united(&self, other: &Self, now: Timestamp) -> Self {
        let mut holders = self.holders();
        for theirs in other.holders() {
            match holders.iter_mut().find(|ours| ours.hand.is(&theirs.hand)) {
                None => holders.push(theirs),
                Some(ours) if theirs.counts_over(ours) => *ours = theirs,
                Some(_) => {}
            }
        }
        if holders.iter().any(|holder| holder.is_in_force(now)) {
            holders.retain(|holder| holder.is_in_force(now));
        }
        Self::block(self.target.clone(), holders).unwrap_or_else(|| self.clone())
    }

    /// The change when `hand` lets go of this block; `None`: it does not hold it.
    pub fn without(&self, hand: &Hand, now: Timestamp) -> Option<Change> {
        let mut holders = self.holders();
        let before = holders.len();
        holders.retain(|holder| !holder.hand.is(hand));
        if holders.len() == before {
            return None;
        }
        holders.retain(|holder| holder.is_in_force(now));
        let left = Self::block(self.target.clone(), holders);
        Some(left.map_or_else(|| Change::Lift(self.clone()), Change::Add))
    }
}

fn joined<'t>(texts: impl Iterator<Item = &'t str>, by: &str) -> Option<String> {
    let mut distinct: Vec<&str> = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    (!distinct.is_empty()).then(|| distinct.join(by))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::revocation::{Kind, Whose};

    const ONE: &str = "https://one";
    const TWO: &str = "https://two";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    fn alice() -> Target {
        Target { kind: Kind::Sub, whose: Whose::Of("https://as".to_owned()), value: "alice".to_owned() }
    }

    fn held(hand: Hand, until: Option<i64>, reason: &str) -> Revocation {
        let (until, reason) = (until.map(at), Some(reason.to_owned()));
        Revocation::block(alice(), vec![Holder { hand, until, made_at: at(0), reason }]).unwrap()
    }

    fn operator(name: &str, until: Option<i64>) -> Revocation {
        held(Hand::Operator(Some(name.to_owned())), until, "left")
    }

    fn transmitter(iss: &str) -> Revocation {
        held(Hand::Transmitter(iss.to_owned()), None, "account-disabled")
    }

    fn let_go(block: &Revocation, iss: &str, now: i64) -> Option<Change> {
        block.without(&Hand::Transmitter(iss.to_owned()), at(now))
    }

    #[test]
    fn an_operators_block_alone_is_kept_as_before_there_were_holders() {
        let block = operator("bob", Some(60));
        assert!(block.held_by.is_empty());
        assert_eq!((block.until, block.made_by.as_deref()), (Some(at(60)), Some("bob")));
        assert_eq!(Revocation::from_bytes(&block.to_bytes()), Some(block.clone()));
        assert!(!String::from_utf8_lossy(&block.to_bytes()).contains("held_by"));
        assert_eq!(
            operator("eve", Some(30)).beside(Some(&block), at(1)),
            operator("eve", Some(30)),
            "the newer"
        );
    }

    #[test]
    fn whoever_comes_to_a_block_holds_it_beside_the_others_in_either_order() {
        let (bob, one) = (operator("bob", Some(60)), transmitter(ONE));
        for both in [bob.clone().beside(Some(&one), at(1)), one.clone().beside(Some(&bob), at(1))] {
            assert_eq!(both.until, None, "the latest end");
            let named = both.made_by.as_deref().unwrap();
            assert!(named == "bob https://one" || named == "https://one bob", "{named}");
            assert_eq!(Revocation::from_bytes(&both.to_bytes()), Some(both.clone()));
            assert_eq!(
                let_go(&both, ONE, 2),
                Some(Change::Add(bob.clone())),
                "his end and his reason are back"
            );
            assert_eq!(let_go(&both, ONE, 60), Some(Change::Lift(both.clone())), "his is over");
            assert_eq!(let_go(&both, TWO, 2), None);
            let without_bob = both.without(&Hand::Operator(None), at(2));
            assert_eq!(without_bob, Some(Change::Add(one.clone())));
        }
        let again = transmitter(ONE).beside(Some(&bob.beside(Some(&one), at(1))), at(1));
        assert_eq!(again.holders().len(), 2, "each once");
        assert_eq!(again.reason.as_deref(), Some("left; account-disabled"));
        let two = transmitter(TWO).beside(Some(&one), at(1));
        assert_eq!(let_go(&two, TWO, 2), Some(Change::Add(one)));
    }

    #[test]
    fn of_two_that_know_of_others_nobody_is_lost_whichever_is_asked() {
        let (bob, one, two) = (operator("bob", Some(60)), transmitter(ONE), transmitter(TWO));
        let here = one.clone().beside(Some(&bob), at(1));
        let there = two.beside(Some(&one), at(1));
        for (some, others) in [(&here, &there), (&there, &here)] {
            let all = some.united(others, at(1));
            let names: std::collections::BTreeSet<_> =
                all.holders().into_iter().map(|holder| holder.hand.name().to_owned()).collect();
            assert_eq!(Vec::from_iter(names), ["bob", ONE, TWO]);
            assert_eq!((all.holders().len(), all.until), (3, None));
            assert_eq!(all.united(others, at(1)), all, "it has them already");
            assert_eq!(all.united(others, at(60)).holders().len(), 2, "his is over");
        }
    }

    #[test]
    fn of_what_one_hand_says_that_counts_which_lasts_longer_and_of_one_end_the_later() {
        let said = |when, until: Option<i64>| {
            let (hand, until) = (Hand::Operator(Some("eve".to_owned())), until.map(at));
            Revocation::block(alice(), vec![Holder { hand, until, made_at: at(when), reason: None }]).unwrap()
        };
        let (bob, short, again, endless) =
            (operator("bob", Some(600)), said(5, Some(60)), said(7, Some(600)), said(0, None));
        for (one, other, counts) in
            [(&bob, &short, &bob), (&bob, &again, &again), (&again, &endless, &endless)]
        {
            assert_eq!(&one.united(other, at(6)), counts);
            assert_eq!(&other.united(one, at(6)), counts);
        }
        assert_eq!(short.united(&short, at(100)), short, "what is over is no other for it");
    }

    #[test]
    fn what_has_ended_is_held_by_nobody() {
        let over = operator("bob", Some(60));
        assert_eq!(transmitter(ONE).beside(Some(&over), at(60)), transmitter(ONE));
    }

    #[test]
    fn holders_are_read_from_entries_that_only_name_them() {
        let old = |made_by: Option<&str>| Revocation {
            made_by: made_by.map(str::to_owned),
            held_by: Vec::new(),
            ..transmitter(ONE)
        };
        let hands =
            |made_by| old(made_by).holders().into_iter().map(|holder| holder.hand).collect::<Vec<_>>();
        let bob = || Hand::Operator(Some("Bob Smith".to_owned()));
        assert_eq!(hands(Some("Bob Smith")), [bob()]);
        assert_eq!(hands(None), [Hand::Operator(None)]);
        assert_eq!(hands(Some(ONE)), [Hand::Transmitter(ONE.to_owned())]);
        assert_eq!(hands(Some("Bob Smith https://one")), [bob(), Hand::Transmitter(ONE.to_owned())]);
        let left = let_go(&old(Some("Bob Smith https://one")), ONE, 1).unwrap();
        assert_eq!(left.revocation().made_by.as_deref(), Some("Bob Smith"));
    }
}
