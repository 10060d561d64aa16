//! What a replica puts into Redis again, because Redis had acknowledged it and lost it.
//!
//! What Redis acknowledged is kept, at a price: an entry that was lifted or shortened may count again if the
//! surviving log does not say so. A replica that was away for long may have many; it gives them back all the
//! same, since it may be the only one with the latest. The log names what came back.
//!
//! The id of an entry is made of what it names, so one that was lifted and made again has the same id: a lift
//! says nothing of what was made after it.
//!
//! A block may be held by some in Redis and by others here: then all of them hold it, except those who let go
//! of it according to the log.

use std::collections::HashMap;

use super::Shared;
use super::follower::Follower;
use super::hearing::Hearing;
use super::scripts;
use crate::core::clock_watch::SureTime;
use crate::core::revocation::holders::Holder;
use crate::core::revocation::{Change, Revocation, RevocationId, Rule};
use crate::core::time::Timestamp;
use crate::flows::ports::{EntryAsSeen, StoreFault};

/// How often somebody else may change a block in between.
const TRIES: usize = 16;
/// How many ids one line of the log names.
const NAMED: usize = 64;

impl Follower {
    /// Puts into Redis what it lost: of what it has, the later moment, and of blocks all who hold them.
    pub(super) async fn give_back(
        &mut self,
        less: Vec<Revocation>,
        lacking: Vec<Revocation>,
        told: &mut LogView,
        hearing: &Hearing,
    ) -> Result<(), StoreFault> {
        let shared = self.shared.clone();
        // What has ended by a clock that is wrong is not to be lost for ever; what has ended does no harm
        // there.
        let now = shared.watched.sure().map_or(Timestamp::from_millis(0), SureTime::at);
        let holds = |revocation: &Revocation| revocation.until.is_none_or(|until| now < until);
        let is_block = |revocation: &Revocation| revocation.rule == Rule::Block;
        let (mut blocks, mut again): (Vec<_>, Vec<_>) = less.into_iter().filter(holds).partition(is_block);
        let (lacking_blocks, lacking): (Vec<_>, Vec<_>) =
            lacking.into_iter().filter(holds).partition(is_block);
        if !lacking.is_empty() || !lacking_blocks.is_empty() {
            told.read_on(&shared).await?;
        }
        // What Redis lacks because it was lifted is not lost.
        let (mut gone, lost): (Vec<_>, Vec<_>) =
            lacking.into_iter().partition(|lacking| told.has_lifted(lacking));
        let (lost_blocks, others): (Vec<_>, Vec<_>) =
            lacking_blocks.into_iter().partition(|block| !told.is_lifted(block.id()));
        let mut given = Vec::new();
        // All at once, which they mostly can be; else each by itself, as those of which something is there.
        for (lost, by_itself) in [(lost, &mut again), (lost_blocks, &mut blocks)] {
            let all_at_once = put_where_nothing_is(&shared, &lost).await?;
            if all_at_once { &mut given } else { by_itself }.extend(lost);
        }
        blocks.extend(others);
        for here in again.into_iter().chain(blocks) {
            let became = if is_block(&here) {
                give_back_block(&shared, &here, told, now).await?
            } else {
                give_back_entry(&shared, &here, told).await?
            };
            match became {
                Given::Back => given.push(here),
                Given::NoMore => gone.push(here),
                Given::Already => {}
            }
        }
        self.lift_here(gone, hearing).await;
        // What has ended in the meantime Redis had not lost.
        let wall = shared.clock.now();
        given.retain(|given| given.until.is_none_or(|until| wall < until));
        tell(&given);
        Ok(())
    }
}

fn tell(given: &[Revocation]) {
    for until_lifted in until_lifted(given) {
        tracing::warn!(
            count = given.len(),
            until_lifted,
            "Redis had lost revocations, and has them again; one that was lifted while this process did not hear of it is to be \
             lifted again"
        );
    }
}

/// The ids of those that stay until somebody lifts them, a line of the log each: among them may be one that
/// was lifted. One line at least, where any was given back.
fn until_lifted(given: &[Revocation]) -> Vec<String> {
    let lasting = given.iter().filter(|revocation| revocation.until.is_none());
    let ids: Vec<_> = lasting.map(|revocation| revocation.id().to_string()).collect();
    let lines: Vec<_> = ids.chunks(NAMED).map(|ids| ids.join(" ")).collect();
    if lines.is_empty() && !given.is_empty() { vec![String::new()] } else { lines }
}

/// What became of an entry that is not there as it is here.
enum Given {
    Back,
    /// It reaches as far there; of a block: all who hold it here hold it there, or let go of it there.
    Already,
    /// It was lifted.
    NoMore,
}

/// Puts them there if nothing is there of any: somebody may make one anew at the same moment. Returns whether
/// it did.
async fn put_where_nothing_is(shared: &Shared, lost: &[Revocation]) -> Result<bool, StoreFault> {
    let nothing: Vec<_> = lost.iter().map(|lost| EntryAsSeen { id: lost.id(), entry: None }).collect();
    let again: Vec<_> = lost.iter().cloned().map(Change::Add).collect();
    if again.is_empty() { Ok(true) } else { append(shared, &nothing, &again).await }
}

/// Puts an entry that is no block there, beside what is there of it: of two moments the later.
async fn give_back_entry(
    shared: &Shared,
    here: &Revocation,
    told: &mut LogView,
) -> Result<Given, StoreFault> {
    let (Shared { link, names, .. }, id) = (shared, here.id());
    for _ in 0..TRIES {
        let there = link.ask(async |line| scripts::find(line, names, id).await).await?;
        let both = if let Some(there) = &there {
            let both = later_of(there, here);
            if (both.rule, both.until) == (there.rule, there.until) {
                return Ok(Given::Already);
            }
            both
        } else {
            told.read_on(shared).await?;
            if told.has_lifted(here) {
                return Ok(Given::NoMore);
            }
            here.clone()
        };
        if append(shared, &[EntryAsSeen { id, entry: there }], &[Change::Add(both)]).await? {
            return Ok(Given::Back);
        }
    }
    Err(StoreFault::Unavailable("an entry that Redis lost is changed all the time".to_owned()))
}

/// What was made last, with the later moments of both.
fn later_of(there: &Revocation, here: &Revocation) -> Revocation {
    let (newer, older) = if there.made_at < here.made_at { (here, there) } else { (there, here) };
    // `None` is the latest.
    let until = newer.until.zip(older.until).map(|(newer, older)| newer.max(older));
    Revocation { until, ..newer.clone().in_place_of(older) }
}

/// Puts a block there beside what is there of it.
async fn give_back_block(
    shared: &Shared,
    here: &Revocation,
    told: &mut LogView,
    now: Timestamp,
) -> Result<Given, StoreFault> {
    let (Shared { link, names, .. }, id) = (shared, here.id());
    for tried in 1..=TRIES {
        let there = link.ask(async |line| scripts::find(line, names, id).await).await?;
        told.read_on(shared).await?;
        let all = match (&there, told.lost_of(here)) {
            // Not by whoever lifts it: then all of it is lost.
            (None, _) if !told.is_lifted(id) => here.clone(),
            (None, None) => return Ok(Given::NoMore),
            (Some(_), None) => return Ok(Given::Already),
            (None, Some(lost)) => lost,
            (Some(there), Some(lost)) => there.united(&lost, now),
        };
        if there.as_ref().is_some_and(|there| there.holders() == all.holders()) {
            return Ok(Given::Already);
        }
        // One that another release wrote may never be what was read of it: then by whoever is known to hold
        // it.
        let found = if tried < TRIES { vec![EntryAsSeen { id, entry: there }] } else { Vec::new() };
        if append(shared, &found, &[Change::Add(all)]).await? {
            return Ok(Given::Back);
        }
    }
    Ok(Given::Already)
}

async fn append(shared: &Shared, found: &[EntryAsSeen], changes: &[Change]) -> Result<bool, StoreFault> {
    let Shared { link, names, .. } = shared;
    link.ask(async |line| scripts::append(line, names, found, changes, scripts::nonce()).await).await
}

/// What the log in Redis says, as far as it was read.
#[derive(Default)]
pub(super) struct LogView {
    entries: HashMap<RevocationId, LoggedEntry>,
    /// Who held each block at any time.
    holders: HashMap<RevocationId, Vec<Holder>>,
    /// Who let go of one of which the log does not say that they held it, as they held it then: of a Redis
    /// that had lost that.
    let_go: HashMap<RevocationId, Vec<Holder>>,
    seq: u64,
    /// Which log it is; `None`: nothing was read of it.
    epoch: Option<u64>,
}

/// What the log says of one entry.
struct LoggedEntry {
    /// Whether that it was lifted came last.
    is_lifted: bool,
    /// The latest that it ever was.
    latest: Made,
}

/// When an entry was made, and the moment of a watermark; each the later of two.
#[derive(Clone, Copy)]
struct Made {
    at: Timestamp,
    before: Option<Timestamp>,
}

impl Made {
    const fn of(revocation: &Revocation) -> Self {
        let before = match revocation.rule {
            Rule::Before(before) => Some(before),
            Rule::Outright | Rule::Block => None,
        };
        Self { at: revocation.made_at, before }
    }

    fn or_later(self, other: Self) -> Self {
        Self { at: self.at.max(other.at), before: self.before.max(other.before) }
    }

    fn is_no_later_than(self, other: Self) -> bool {
        self.at <= other.at && self.before <= other.before
    }
}

impl LogView {
    fn is_lifted(&self, id: RevocationId) -> bool {
        self.entries.get(&id).is_some_and(|heard| heard.is_lifted)
    }

    /// Whether it is this that was lifted, and not what was made after that.
    fn has_lifted(&self, here: &Revocation) -> bool {
        let heard = self.entries.get(&here.id());
        heard.is_some_and(|heard| heard.is_lifted && Made::of(here).is_no_later_than(heard.latest))
    }

    /// What the log lost of a block: those who hold it here by what the log never heard of. Whoever else does
    /// not hold it there let go of it.
    fn lost_of(&self, here: &Revocation) -> Option<Revocation> {
        let known = self.holders.get(&here.id()).map(Vec::as_slice).unwrap_or_default();
        let mut holders = here.holders();
        let let_go = self.let_go.get(&here.id()).map(Vec::as_slice).unwrap_or_default();
        let has_let_go = |holder: &Holder| {
            let_go.iter().any(|gone| gone.hand.is(&holder.hand) && holder.made_at <= gone.made_at)
        };
        holders.retain(|holder| !known.contains(holder) && !has_let_go(holder));
        Revocation::block(here.target.clone(), holders)
    }

    /// Reads on, to the end of the log. Another log says nothing of what this one said.
    async fn read_on(&mut self, shared: &Shared) -> Result<(), StoreFault> {
        loop {
            let from = self.seq;
            let read = shared.read_log(from).await?;
            if *self.epoch.get_or_insert(read.epoch) != read.epoch {
                return Err(scripts::moved());
            }
            // Where the last page ended is read again.
            let news = read.entries.iter().filter(|entry| entry.seq > from);
            for change in news.filter_map(|entry| entry.change.as_ref()) {
                self.takes(change);
            }
            let Some(last) = read.entries.last() else { return Ok(()) };
            self.seq = last.seq;
            if last.seq <= from || last.seq >= read.last {
                return Ok(());
            }
        }
    }

    fn takes(&mut self, change: &Change) {
        let (revocation, id) = (change.revocation(), change.id());
        let (is_lifted, made) = (matches!(change, Change::Lift(_)), Made::of(revocation));
        let heard = self.entries.entry(id).or_insert(LoggedEntry { is_lifted, latest: made });
        *heard = LoggedEntry { is_lifted, latest: heard.latest.or_later(made) };
        if revocation.rule == Rule::Block {
            let known = self.holders.entry(id).or_default();
            for holder in revocation.holders() {
                if known.contains(&holder) {
                    continue;
                }
                if is_lifted {
                    self.let_go.entry(id).or_default().push(holder.clone());
                }
                known.push(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::core::revocation::holders::Hand;
    use crate::core::revocation::{Kind, Target, Whose};
    use crate::flows::ports::RevocationLog as _;
    use crate::io::revocations::file::Position;
    use crate::io::revocations::redis::RedisLog;
    use crate::io::store::tests::redis::{patient_link, settings};
    use crate::io::store::tests::servers::Server;
    use crate::io::store::tests::until;
    use crate::io::system::SystemClock;
    use crate::state::revocations::Revocations;

    const ONE: &str = "https://one";
    const TWO: &str = "https://two";

    /// A block that these transmitters hold, each since then.
    fn held(by: &[(&str, i64)]) -> Revocation {
        let target = Target { kind: Kind::Sub, whose: Whose::All, value: "alice".to_owned() };
        let holder = |(iss, since): &(&str, i64)| Holder {
            hand: Hand::Transmitter((*iss).to_owned()),
            until: None,
            made_at: Timestamp::from_secs(*since),
            reason: None,
        };
        Revocation::block(target, by.iter().map(holder).collect()).unwrap()
    }

    #[test]
    fn what_comes_back_until_somebody_lifts_it_is_named() {
        let block = held(&[(ONE, 1)]);
        let ends = Revocation { until: Some(Timestamp::from_secs(9)), ..block.clone() };
        assert_eq!(until_lifted(&[]), [] as [&str; 0]);
        assert_eq!(until_lifted(std::slice::from_ref(&ends)), [""], "that anything came back is said");
        assert_eq!(until_lifted(&[ends, block.clone()]), [block.id().to_string()]);
        let lines = until_lifted(&vec![block; NAMED + 1]);
        assert_eq!(lines.iter().map(|line| line.split(' ').count()).collect::<Vec<_>>(), [NAMED, 1]);
    }

    #[tokio::test]
    async fn what_is_made_anew_while_it_is_given_back_is_not_overtaken() {
        let (server, folder, clock) =
            (Server::start(&[]), tempfile::tempdir().unwrap(), Arc::new(SystemClock));
        let link = patient_link(settings(&[&server]), clock.clone());
        let log = RedisLog::start(link, folder.path(), Duration::from_secs(300), clock, true);
        let mut follower = Follower::new(log.shared.clone(), Arc::new(Revocations::new([1; 16])));
        let at = |seconds| Timestamp::from_secs(4_000_000_000 + seconds);
        let made = |rule, made_at, until: Option<i64>| {
            let target = Target { kind: Kind::Sub, whose: Whose::All, value: "alice".to_owned() };
            Revocation { until: until.map(at), ..Revocation::new(target, rule, at(made_at)) }
        };
        let before = |moment| Rule::Before(at(moment));
        // Here, as it is made there meanwhile, and what is there then.
        for (here, meanwhile, both) in [
            (
                made(Rule::Outright, 1, Some(10)),
                made(Rule::Outright, 2, Some(20)),
                made(Rule::Outright, 2, Some(20)),
            ),
            (made(Rule::Outright, 1, Some(10)), made(Rule::Outright, 2, None), made(Rule::Outright, 2, None)),
            (
                made(Rule::Outright, 1, Some(30)),
                made(Rule::Outright, 2, Some(20)),
                made(Rule::Outright, 2, Some(30)),
            ),
            (made(before(1), 1, Some(10)), made(before(2), 2, Some(20)), made(before(2), 2, Some(20))),
            (made(before(3), 1, Some(30)), made(before(2), 2, Some(20)), made(before(3), 2, Some(30))),
        ] {
            // It was lacking, or there was less, when that was asked.
            for is_less in [false, true] {
                let lift = Change::Lift(meanwhile.clone());
                for change in [lift, Change::Add(meanwhile.clone())] {
                    until("Redis", async || log.append(std::slice::from_ref(&change)).await.is_ok()).await;
                }
                let [less, lacking] = [is_less, !is_less].map(|is| Vec::from_iter(is.then(|| here.clone())));
                let begin = Position { epoch: 0, seq: 0, nonce: 0 };
                let hearing = Hearing::new(&follower.shared, &follower.tables, begin, None);
                follower.give_back(less, lacking, &mut LogView::default(), &hearing).await.unwrap();
                let there = log.find(both.id()).await.unwrap();
                assert_eq!(there, Some(both.clone()), "{is_less} {here:?} {meanwhile:?}");
            }
        }
    }

    #[test]
    fn what_the_log_never_heard_of_is_lost_and_who_let_go_there_is_not() {
        let (add, lift) = (|by: &[_]| Change::Add(held(by)), |by: &[_]| Change::Lift(held(by)));
        for (log, here, lost) in [
            (vec![], vec![(ONE, 1), (TWO, 2)], vec![(ONE, 1), (TWO, 2)]),
            (vec![add(&[(ONE, 1)])], vec![(ONE, 1), (TWO, 2)], vec![(TWO, 2)]),
            (vec![add(&[(ONE, 1), (TWO, 2)]), add(&[(TWO, 2)])], vec![(ONE, 1), (TWO, 2)], vec![]),
            (vec![add(&[(ONE, 1)]), lift(&[(ONE, 1)])], vec![(ONE, 1), (TWO, 2)], vec![(TWO, 2)]),
            // The same hand once more, by whatever clock.
            (vec![add(&[(ONE, 5)]), lift(&[(ONE, 5)])], vec![(ONE, 4)], vec![(ONE, 4)]),
            // It let go of what that Redis had lost.
            (vec![lift(&[(ONE, 9)])], vec![(ONE, 1), (TWO, 2)], vec![(TWO, 2)]),
            // And came to it once more, of which that Redis never heard.
            (vec![lift(&[(ONE, 9)])], vec![(ONE, 12)], vec![(ONE, 12)]),
            (vec![lift(&[(ONE, 9)])], vec![(ONE, 9)], vec![]),
        ] {
            let mut told = LogView::default();
            log.iter().for_each(|change| told.takes(change));
            let lost = (!lost.is_empty()).then(|| held(&lost));
            assert_eq!(told.lost_of(&held(&here)), lost, "{log:?}");
        }
    }

    #[test]
    fn what_was_made_after_the_lift_was_not_lifted() {
        let made = |rule, at: i64| {
            let target = Target { kind: Kind::Sub, whose: Whose::All, value: "alice".to_owned() };
            Revocation::new(target, rule, Timestamp::from_secs(at))
        };
        let outright = |at| made(Rule::Outright, at);
        let watermark = |before, at| made(Rule::Before(Timestamp::from_secs(before)), at);
        let (add, lift) = (Change::Add, Change::Lift);
        for (log, here, has_lifted) in [
            (vec![], outright(5), false),
            (vec![add(outright(5))], outright(5), false),
            (vec![add(outright(5)), lift(outright(5))], outright(5), true),
            (vec![add(outright(5)), lift(outright(5))], outright(6), false),
            // Of a log that was cut, and of one that was away since before it was made again.
            (vec![lift(outright(5))], outright(5), true),
            (vec![lift(outright(5))], outright(4), true),
            (vec![lift(outright(5))], outright(6), false),
            // Whoever lifted it had seen less than the log.
            (vec![add(outright(7)), lift(outright(5))], outright(7), true),
            (vec![lift(outright(5)), add(outright(7))], outright(5), false),
            (vec![lift(outright(5)), add(outright(7)), lift(outright(7))], outright(7), true),
            (vec![lift(watermark(5, 5))], watermark(5, 5), true),
            (vec![lift(watermark(5, 5))], watermark(3, 4), true),
            (vec![lift(watermark(5, 5))], watermark(7, 7), false),
            // By a clock that is behind.
            (vec![lift(watermark(5, 9))], watermark(6, 8), false),
            (vec![lift(watermark(5, 9))], watermark(5, 10), false),
            // Another rule is another entry.
            (vec![lift(outright(9))], watermark(5, 5), false),
        ] {
            let mut told = LogView::default();
            log.iter().for_each(|change| told.takes(change));
            assert_eq!(told.has_lifted(&here), has_lifted, "{log:?} {here:?}");
        }
    }
}
