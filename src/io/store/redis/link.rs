//! The way to Redis, and whether it holds. A task beside the requests asks Redis every second, for a read and
//! a write; it alone connects.
//!
//! After any fault calls fail at once, until that task has found Redis well again over a new connection: so a
//! Redis that hangs costs the requests under way their deadline, and later ones nothing. No call is ever
//! repeated here.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::RedisResult;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connect::connect;
use super::line::{Line, told};
use super::rights::{is_of_one_call, missing};
use super::{get, put};
use crate::config::settings::{OnOutage, Redis, Topology};
use crate::core::time::Timestamp;
use crate::flows::ports::{Clock, Keep, StoreFault, StoreHealth, Value, random};
use crate::io::names::Names;
use crate::io::system::SystemRandomness;

/// How often Redis is asked how it is.
const BEAT: Duration = Duration::from_secs(1);
/// Pauses between attempts to reach Redis.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many refusals are told apart.
const REFUSALS_TOLD_APART: usize = 32;

/// How long Redis may take. No key of config.yaml says it; tests say it.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct Patience {
    /// For a call.
    pub(in crate::io) call: Duration,
    /// For finding the right server and connecting to it.
    pub(in crate::io) reach: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { call: Duration::from_secs(1), reach: Duration::from_secs(5) }
    }
}

pub(in crate::io) struct Link {
    settings: Redis,
    patience: Patience,
    names: Names,
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
    /// A call met a fault.
    trouble: Notify,
    /// The key that is written to see whether that works; no other process has it.
    heartbeat: String,
    /// What Redis said of calls that it refuses, and told.
    refusals: Mutex<HashSet<String>>,
}

#[derive(Clone)]
enum State {
    /// Nobody knows yet.
    Starting {
        since: Timestamp,
    },
    Up(Arc<Line>),
    Away {
        since: Timestamp,
        why: String,
        times_reached: u64,
    },
}

/// A way that is kept open for as long as somebody holds this.
pub(in crate::io) struct KeptLink {
    link: Arc<Link>,
    keeping: AbortHandle,
}

impl KeptLink {
    /// Must be called inside a runtime. Waits for nothing.
    pub(in crate::io) fn start(settings: Redis, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::start_as(settings, clock, Patience::default())
    }

    pub(in crate::io) fn start_as(settings: Redis, clock: Arc<dyn Clock>, patience: Patience) -> Arc<Self> {
        let link = Arc::new(Link { patience, ..Link::new(settings, clock) });
        let keeping = tokio::spawn(link.clone().keep()).abort_handle();
        Arc::new(Self { link, keeping })
    }
}

impl Deref for KeptLink {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.link
    }
}

impl Drop for KeptLink {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// What is found out of a Redis at once.
pub(in crate::io) struct Reached {
    /// The commands that its user may not use, in words.
    pub(in crate::io) missing: Option<String>,
    /// How it throws away what it has no room for, where it does.
    pub(in crate::io) evicts: Option<String>,
}

impl Link {
    pub(in crate::io) fn new(settings: Redis, clock: Arc<dyn Clock>) -> Self {
        let id: [u8; 8] = random(&SystemRandomness);
        let heartbeat = format!("{}heartbeat:{:016x}", settings.prefix, u64::from_be_bytes(id));
        let state = watch::Sender::new(State::Starting { since: clock.now() });
        Self {
            settings,
            patience: Patience::default(),
            names: Names::default(),
            clock,
            state,
            trouble: Notify::new(),
            heartbeat,
            refusals: Mutex::default(),
        }
    }

    /// The name of a key in Redis.
    pub(in crate::io) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    /// Does what `asking` asks, within the deadline. Once it is sent nobody knows whether it is done: a
    /// connection may break before the answer, the library may have sent it before, and Redis undoes nothing
    /// of a script that ends with an error.
    pub(in crate::io) async fn ask<T>(
        &self,
        asking: impl AsyncFnOnce(&Line) -> RedisResult<Result<T, StoreFault>>,
    ) -> Result<T, StoreFault> {
        let until = Instant::now() + self.patience.call;
        let line = timeout_at(until, self.line()).await.map_err(|_| StoreFault::Deadline)??;
        match timeout_at(until, asking(&line)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let why = told(&error);
                if is_of_one_call(&error) {
                    self.refused(&why)
                } else {
                    self.fault(&line, &why)
                }
                Err(StoreFault::Unfinished(why))
            }
            Err(_) => {
                self.fault(&line, &no_answer(self.patience.call));
                Err(StoreFault::Deadline)
            }
        }
    }

    async fn line(&self) -> Result<Arc<Line>, StoreFault> {
        loop {
            match &*self.state.borrow() {
                State::Up(line) => return Ok(line.clone()),
                State::Away { why, .. } => return Err(StoreFault::Unavailable(why.clone())),
                State::Starting { .. } => {}
            }
            let mut states = self.state.subscribe();
            // The sender is ours, so this ends with a state that is known.
            drop(states.wait_for(|state| !matches!(state, State::Starting { .. })).await);
        }
    }

    /// One call is refused, and others may not be. Says so, each once for as long as the line holds.
    fn refused(&self, why: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < REFUSALS_TOLD_APART && refusals.insert(why.to_owned()) {
            let store = self.settings.to_string();
            tracing::error!(
                store,
                why,
                "the store refuses a call and answers others; see that its user may do all that docs/deployment.md lists: \
                 tollgate check --live names what is missing"
            );
        }
    }

    /// No call uses this line any more.
    fn fault(&self, line: &Line, why: &str) {
        let since = self.clock.now();
        let away = State::Away { since, why: why.to_owned(), times_reached: line.number };
        let changed = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(now) if now.number == line.number);
            if is_it {
                *state = away;
            }
            is_it
        });
        if changed {
            self.say_away(why);
            self.trouble.notify_one();
        }
    }

    pub(in crate::io) fn health(&self) -> StoreHealth {
        let alone = self.settings.on_outage == OnOutage::Serve;
        match &*self.state.borrow() {
            State::Up(_) => StoreHealth::Up,
            State::Starting { since } => {
                StoreHealth::Away { since: *since, why: "not reached yet".to_owned(), alone }
            }
            State::Away { since, why, .. } => StoreHealth::Away { since: *since, why: why.clone(), alone },
        }
    }

    pub(in crate::io) fn times_reached(&self) -> u64 {
        match &*self.state.borrow() {
            State::Starting { .. } => 0,
            State::Up(line) => line.number,
            State::Away { times_reached, .. } => *times_reached,
        }
    }

    /// Keeps the way open for as long as the task lives.
    pub(in crate::io) async fn keep(self: Arc<Self>) {
        let mut pause = Duration::ZERO;
        loop {
            let state = self.state.borrow().clone();
            if let State::Up(line) = state {
                let _ = timeout(BEAT, self.trouble.notified()).await;
                let is_up = matches!(&*self.state.borrow(), State::Up(now) if now.number == line.number);
                if is_up && let Err(why) = self.beat(&line).await {
                    self.fault(&line, &why);
                }
                continue;
            }
            sleep(pause).await;
            match self.reach().await {
                Ok(line) => {
                    self.say_back(&line);
                    self.refusals.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    let line = Arc::new(line);
                    self.state.send_replace(State::Up(line.clone()));
                    pause = Duration::ZERO;
                    // Another server may have another policy. Nobody waits for that.
                    self.warn_of_eviction(&line).await;
                }
                Err(why) => {
                    self.still_away(why);
                    pause = (2 * pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                }
            }
        }
    }

    /// Connects, reads and writes, and keeps nothing open.
    pub(in crate::io) async fn reach_once(&self) -> Result<Reached, String> {
        let line = self.connect().await?;
        let scratch = self
            .name(&format!("{{revocations}}:check:{:016x}", u64::from_be_bytes(random(&SystemRandomness))));
        let Patience { call, reach } = self.patience;
        let missing = missing(&line, &scratch, reach).await;
        let missing = missing.map_err(|_| no_answer(reach))?.map_err(|error| told(&error))?;
        if missing.is_none() {
            self.beat(&line).await?;
        }
        let evicts = timeout(call, line.connection.eviction()).await.ok().flatten();
        Ok(Reached { missing, evicts })
    }

    async fn reach(&self) -> Result<Line, String> {
        let line = self.connect().await?;
        self.beat(&line).await?;
        Ok(line)
    }

    async fn connect(&self) -> Result<Line, String> {
        let Patience { call, reach } = self.patience;
        let connecting = timeout(reach, connect(&self.settings, &self.names, call)).await;
        let connection = connecting.map_err(|_| no_answer(reach))?.map_err(|error| told(&error))?;
        let one_clock = self.settings.topology != Topology::Cluster;
        let clock = one_clock.then(|| Mutex::new((Instant::now(), Timestamp::from_millis(0))));
        Ok(Line { number: self.times_reached() + 1, connection, clock, deadline: call })
    }

    /// Whether it can be read and written over this line.
    async fn beat(&self, line: &Line) -> Result<(), String> {
        let beating = async {
            match line.all_answer().await {
                Err(error) if !is_of_one_call(&error) => return Err(error),
                // Who says that we may not ask does answer.
                Ok(()) | Err(_) => {}
            }
            let there = get(line, &self.heartbeat).await?;
            let expected = there.ok().and_then(|found| found.value).map(|(version, _)| version);
            let value = Value { bytes: Bytes::new(), lifetime: 10 * BEAT, keep: Keep::WhileRunning };
            put(line, &self.heartbeat, expected, &value).await
        };
        match timeout(self.patience.call, beating).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err(no_answer(self.patience.call)),
        }
    }

    fn still_away(&self, why: String) {
        let mut began = false;
        let now = self.clock.now();
        self.state.send_modify(|state| {
            let (since, times_reached) = match state {
                State::Away { since, times_reached, .. } => (*since, *times_reached),
                State::Starting { since } => (*since, 0),
                State::Up(line) => (now, line.number),
            };
            began = !matches!(state, State::Away { .. });
            *state = State::Away { since, why: why.clone(), times_reached };
        });
        if began {
            self.say_away(&why);
        }
    }

    fn say_away(&self, why: &str) {
        let store = self.settings.to_string();
        match self.settings.on_outage {
            OnOutage::Refuse => {
                tracing::error!(store, why, "the store is away: what needs it is refused until it is back");
            }
            OnOutage::Serve => tracing::error!(
                store,
                why,
                "the store is away: this process coordinates alone until it is back; replays are not noticed, and \
                 another replica may use the same refresh token"
            ),
        }
    }

    async fn warn_of_eviction(&self, line: &Line) {
        if let Ok(Some(policy)) = timeout(self.patience.call, line.connection.eviction()).await {
            let store = self.settings.to_string();
            tracing::warn!(
                store,
                maxmemory_policy = policy,
                "this Redis may throw away what keeps replays from going unnoticed; set maxmemory-policy noeviction"
            );
        }
    }

    fn say_back(&self, line: &Line) {
        let store = self.settings.to_string();
        let now = self.clock.now();
        match &*self.state.borrow() {
            State::Away { since, .. } => {
                tracing::warn!(store, away_seconds = now.since(*since).as_secs(), "the store is back");
            }
            _ => tracing::info!(store, times_reached = line.number, "the store is there"),
        }
    }
}

fn no_answer(within: Duration) -> String {
    format!("no answer within {} s", within.as_secs())
}
