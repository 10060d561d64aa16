//! One process hands over to another, and no client notices. The order is: the new one is ready; the old one
//! finishes the exchanges that it has begun, for their answers must be in the store, and closes what only one
//! may have open, such as the files of its store; the new one opens it and accepts from the same sockets; the
//! old one accepts no more and finishes what it has begun. What that still needs of the store it asks the new
//! one for, from which it hears meanwhile what is taken back there. It leaves when its own predecessor, which
//! asks it, has left.
//!
//! Until the new one serves, the old one goes on accepting, and when the new one fails, the old one opens
//! again what it had closed: it must never be worse off for having tried.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all, try_join_all};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{App, ERRANDS, Outside, Standby, StartError};
use crate::config::settings::{Patience, Settings};
use crate::core::ids::IssuerName;
use crate::core::session::exchange::lease::FLIGHT;
use crate::edge::server::Inherited;
use crate::flows::Gate;
use crate::flows::ports::{Exclusive, HandedTo};
use crate::io::handover::answering::answer;
use crate::io::handover::questions::Answers;
use crate::io::handover::{Channel, Message, unexpected};
use crate::io::open_store::OpenStore;
use crate::state::exchanges::Hold;
use crate::state::live::Live;
use crate::state::revocations::Currency;

/// How long the new process may take until it is ready.
const READY: Duration = Duration::from_secs(60);
/// How long the new process waits for the keys of its issuers.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(10);
/// How long it waits for a Redis that is away, or whose list cannot be read.
const STORE: Duration = Duration::from_secs(3);
/// How long it may take to read the list there: less than [`READY`].
const LIST: Duration = Duration::from_secs(50);
/// How often it is looked whether that is read.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long exchanges that are under way may take: longer than any flight waits for its authorization server.
pub(super) const LANDING: Duration = FLIGHT.saturating_add(Duration::from_secs(5));
/// How long new ones wait for those under way, before it is taken for granted that one of these is slow.
const WAIT_FOR_REQUESTS: Duration = Duration::from_secs(3);
/// How long it may take to close what only one may have open. Requests wait for that.
const LONGEST_CLOSING: Duration = Duration::from_secs(10);
/// How long it may take to open what the old process has closed. Requests may wait for that.
const LONGEST_OPENING: Duration = Duration::from_secs(20);
/// How long the old process waits for it: longer, so that one that is late has given up before it is ended.
const SERVING: Duration = Duration::from_secs(30);
/// How long a process that has handed over may need the store yet: its requests, its exchanges, its errands.
pub(super) const LEAVING: Duration = Patience::DRAIN.saturating_add(LANDING).saturating_add(ERRANDS);
/// Pauses between attempts to open again what could not be opened.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);
const NO_ANSWER: &str = "the disk does not answer";

/// Why a hand-over did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    #[error("the other process is gone, or is not understood: {0}")]
    Channel(#[from] std::io::Error),
    #[error("the new process was not ready within {} s", .0.as_secs())]
    Late(Duration),
    #[error("the new process could not get the keys of {}, which the old one has", .0.join(", "))]
    WithoutKeys(Vec<String>),
    #[error("the new process could not use the store, which the old one can: {0}")]
    WithoutStore(String),
    #[error("{airborne} exchanges were still under way after {} s", LANDING.as_secs())]
    Airborne { airborne: usize },
    #[error("not everything could be written that the new process needs: {0}")]
    Unwritten(String),
}

impl App {
    /// Hands over to the process at the other end. `Ok`: it serves, answers this, and it is time to
    /// [`App::leave`]. Otherwise [`App::take_back`] once the other process has ended.
    ///
    /// # Errors
    /// When the other process did not get so far as to serve.
    pub async fn hand_over(&self, to: &mut Channel) -> Result<Answers, HandOverError> {
        self.reopening.replace(None);
        to.give(&self.running.sockets()?).await?;
        let ready = timeout(READY, to.hear()).await.map_err(|_| HandOverError::Late(READY))??;
        let Message::Ready { without_keys, without_store } = ready else { return Err(unexpected().into()) };
        self.would_not_miss(without_keys)?;
        if let Some(why) = without_store.filter(|_| why_without_store(&self.gate).is_none()) {
            return Err(HandOverError::WithoutStore(why));
        }
        let keeps_sessions = self.exclusive.iter().any(|exclusive| exclusive.keeps_sessions());
        let _hold = if keeps_sessions { Some(self.land().await?) } else { None };
        let closes = try_join_all(self.exclusive.iter().map(|exclusive| exclusive.close()));
        let closed = timeout(LONGEST_CLOSING, closes).await.unwrap_or_else(|_| Err(NO_ANSWER.to_owned()));
        closed.map_err(HandOverError::Unwritten)?;
        to.say(&Message::Go {}).await?;
        match timeout(SERVING, to.hear()).await.map_err(|_| HandOverError::Late(SERVING))?? {
            Message::Serving { answers } => Ok(answers),
            _ => Err(unexpected().into()),
        }
    }

    /// Waits until no exchange is under way, and none begins from then on. One that is slow does not hold up
    /// all others: it is waited for while they go on. Only who meets slow ones again and again makes them
    /// wait at last.
    async fn land(&self) -> Result<Hold, HandOverError> {
        let exchanges = &self.gate.exchanges;
        let mut left = 0;
        for patience in [WAIT_FOR_REQUESTS, WAIT_FOR_REQUESTS, LANDING] {
            let hold = exchanges.hold();
            let airborne = hold.airborne();
            if airborne > 0 && left == 0 {
                tracing::info!(airborne, "exchanges under way are finished before the store is handed over");
            }
            left = hold.landed(patience).await;
            if left == 0 {
                return Ok(hold);
            }
            drop(hold);
            exchanges.landed(LANDING).await;
        }
        Err(HandOverError::Airborne { airborne: left })
    }

    /// Tokens that are accepted here must be accepted there.
    fn would_not_miss(&self, without_keys: Vec<String>) -> Result<(), HandOverError> {
        let (live, now) = (self.gate.live.load(), self.gate.clock.now());
        let accepts = |name: &String| {
            live.issuers
                .by_name(&IssuerName::new(name.as_str()))
                .is_some_and(|issuer| issuer.keys_usable(now))
        };
        let missed: Vec<String> = without_keys.into_iter().filter(accepts).collect();
        if missed.is_empty() { Ok(()) } else { Err(HandOverError::WithoutKeys(missed)) }
    }

    /// Opens again what was closed for a process that then failed.
    ///
    /// # Errors
    /// What stays closed, as text, or is not open in time. It is tried until it is open, or another hand-over
    /// begins.
    pub async fn take_back(&self) -> Result<(), String> {
        match timeout(LONGEST_OPENING, self.reopen()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) | Err(_) => Err(NO_ANSWER.to_owned()),
        }
    }

    /// The same for whoever does not wait for it. It goes on if it has begun.
    pub fn take_back_meanwhile(&self) {
        if !self.reopening.is_under_way() {
            drop(self.reopen());
        }
    }

    /// What came of the first try.
    fn reopen(&self) -> oneshot::Receiver<Result<(), String>> {
        let exclusive = self.exclusive.clone();
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        let opens = tokio::spawn(async move {
            loop {
                let opened = open_again(&exclusive).await;
                let is_open = opened.is_ok();
                let is_late = tell.take().is_none_or(|tell| tell.send(opened).is_err());
                if is_open && is_late {
                    tracing::info!("what was closed for a hand-over is open again");
                }
                if is_open {
                    return;
                }
                tokio::time::sleep(OPEN_AGAIN_AFTER).await;
            }
        });
        self.reopening.replace(Some(opens));
        told
    }
}

/// Starts a gateway that takes over from the process at the other end.
///
/// # Errors
/// As [`App::start`], or when the other process changes its mind.
pub async fn take_over(
    mut from: Channel,
    settings: Arc<Settings>,
    outside: Outside,
) -> Result<App, StartError> {
    let sockets = from.take().await.map_err(HandOverError::from)?;
    let standby = Standby::new(settings, outside, Inherited::new(sockets), OpenStore::closed)?;
    let live = standby.gate.live.load_full();
    let waiting = Mutex::new(Waiting::since(Instant::now()));
    let (without_keys, without) = join(without_keys(&live), without_store(&standby, &waiting)).await;
    let without_store = match without {
        Some(why) => Some(why),
        // The keys may have taken longer.
        None => without_store(&standby, &waiting).await,
    };
    from.say(&Message::Ready { without_keys, without_store }).await.map_err(HandOverError::from)?;
    match from.hear().await.map_err(HandOverError::from)? {
        Message::Go {} => {}
        _ => return Err(HandOverError::from(unexpected()).into()),
    }
    let since = Instant::now();
    let opens = standby.exclusive.iter().map(|exclusive| exclusive.open());
    try_join_all(opens).await.map_err(StartError::Exclusive)?;
    if since.elapsed() > LONGEST_OPENING {
        return Err(HandOverError::Late(LONGEST_OPENING).into());
    }
    let gate = standby.gate.clone();
    let changes = gate.revocations.listen();
    let mut app = standby.serve();
    // If the old process is gone by now, all the better that there is a new one.
    if from.say(&Message::Serving { answers: Answers::ours() }).await.is_ok() {
        let own = HandedTo { store: gate.store.clone(), revocations: gate.revocation_log.clone() };
        app.predecessor = Predecessor(Some(tokio::spawn(answer(from, changes, own))));
    }
    Ok(app)
}

/// The process before, which asks this one for what it still needs.
#[derive(Debug, Default)]
pub(super) struct Predecessor(Option<JoinHandle<()>>);

impl Predecessor {
    /// Waits until it needs nothing any more, for so long at most.
    pub(super) async fn left(self, patience: Duration) {
        let Some(answering) = self.0 else { return };
        if timeout(patience, answering).await.is_err() {
            tracing::warn!("the process before still needs the store and gets it no more");
        }
    }
}

/// Each is tried, whatever becomes of the others.
async fn open_again(exclusive: &[Arc<dyn Exclusive>]) -> Result<(), String> {
    join_all(exclusive.iter().map(|exclusive| exclusive.open())).await.into_iter().collect()
}

/// What opens the rest of what was closed, behind everybody's back.
#[derive(Debug, Default)]
pub(super) struct Reopening(Mutex<Option<JoinHandle<()>>>);

impl Drop for Reopening {
    fn drop(&mut self) {
        self.replace(None);
    }
}

impl Reopening {
    fn is_under_way(&self) -> bool {
        self.0.lock().is_some()
    }

    fn replace(&self, opens: Option<JoinHandle<()>>) {
        if let Some(before) = std::mem::replace(&mut *self.0.lock(), opens) {
            before.abort();
        }
    }
}

/// Why this process cannot use the store that replicas share, as far as that is seen while the old one has
/// the file beside it. The list is read meanwhile: it may be long, and the old one serves.
async fn without_store(standby: &Standby, waiting: &Mutex<Waiting>) -> Option<String> {
    let is_shared = standby.gate.live.load().settings.store.redis.is_some();
    while let Some((why, patience)) = why_without_store(&standby.gate).filter(|_| is_shared) {
        if waiting.lock().go_on(patience, Instant::now()) {
            return Some(why);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    waiting.lock().reset();
    None
}

/// How long it has been waited for store and list. Each reason has its own patience: a Redis that is away for
/// a moment while its list is read is waited for as one that was away at first.
struct Waiting {
    began: Instant,
    /// The patience with what is waited for, and since when.
    reason: Option<(Duration, Instant)>,
}

impl Waiting {
    const fn since(began: Instant) -> Self {
        Self { began, reason: None }
    }

    /// Nothing is waited for any more, for now.
    const fn reset(&mut self) {
        self.reason = None;
    }

    /// Notes that it is still waited for, with this patience. Returns whether that was long enough: the old
    /// process does not wait for ever.
    fn go_on(&mut self, patience: Duration, now: Instant) -> bool {
        let goes_on = self.reason.filter(|(reason, _)| *reason == patience);
        let (_, since) = *self.reason.insert(goes_on.unwrap_or((patience, now)));
        now.duration_since(since) >= patience || now.duration_since(self.began) >= LIST + STORE
    }
}

/// What is wrong with store or list, and how long that may be so.
fn why_without_store(gate: &Gate) -> Option<(String, Duration)> {
    if let Some(why) = gate.store.health().why_away() {
        return Some((why, STORE));
    }
    if matches!(gate.revocations.currency(gate.clock.now()), Currency::Current { .. }) {
        return None;
    }
    let hindered = gate.revocation_log.health().why_away().map(|why| (why, STORE));
    Some(hindered.unwrap_or_else(|| ("the list of revocations is not read yet".to_owned(), LIST)))
}

/// The issuers whose keys do not come in time.
async fn without_keys(live: &Live) -> Vec<String> {
    let keys = live.issuers.iter().filter(|issuer| issuer.is_fetched()).map(async |issuer| {
        let mut landings = issuer.landings();
        while !issuer.keys_ready() && landings.changed().await.is_ok() {}
    });
    let _ = timeout(WAIT_FOR_KEYS, join_all(keys)).await;
    let without = live.issuers.iter().filter(|issuer| !issuer.keys_ready());
    without.map(|issuer| issuer.settings.name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_is_away_for_a_moment_late_is_waited_for_as_one_that_was_away_at_first() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut waiting = Waiting::since(began);
        // Each with what is wrong then, and whether it was waited for long enough.
        for (seconds, patience, is_over) in [
            (0, STORE, false),
            (2, STORE, false),
            (2, LIST, false),
            (20, LIST, false),
            (20, STORE, false),
            (22, STORE, false),
            (23, STORE, true),
            (24, LIST, false),
            (52, LIST, false),
            (53, LIST, true),
        ] {
            assert_eq!(waiting.go_on(patience, at(seconds)), is_over, "{seconds} s");
        }
        let mut waiting = Waiting::since(began);
        assert!(!waiting.go_on(STORE, at(1)));
        waiting.reset();
        assert!(!waiting.go_on(STORE, at(9)) && waiting.go_on(STORE, at(12)));
        assert!(LIST + STORE < READY);
    }
}
