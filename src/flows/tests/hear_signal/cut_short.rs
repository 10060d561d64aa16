//! Words about an account that are cut short by an outage, or overtaken by somebody else, at whatever call.

use std::pin::pin;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;
use crate::core::revocation::holders::Hand;
use crate::core::revocation::{Change, RevocationId};
use crate::flows::ports::{
    EntryAsSeen, ListQuery, Listed, RevocationLog, Store, StoreFault, StoreKey, Stored, Value as Kept,
    Version,
};
use crate::state::revocations::Revocations;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The call is not made.
    IsAway,
    /// It is made, and whoever made it hears of a fault.
    LosesTheAnswer,
    /// Somebody else is faster.
    IsOvertaken,
    /// The same, and then the list cannot be written.
    IsOvertakenAndAway,
    /// The same, but the call is made, and the next is not.
    IsOvertakenAndCutShort,
}

/// Store and list of one replica, in trouble at one call.
#[derive(Debug)]
struct Troubled {
    store: Arc<FakeStore>,
    log: Arc<MemoryLog>,
    /// How many calls are made before it; negative: it is over, or never to come.
    left: AtomicI64,
    trouble: Mutex<Trouble>,
    reached: Semaphore,
    goes_on: Semaphore,
}

impl Troubled {
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreFault>>) -> Result<T, StoreFault> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 0 {
            return call.await;
        }
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::IsAway => return Err(StoreFault::Deadline),
            Trouble::LosesTheAnswer => {
                call.await?;
                return Err(StoreFault::Unfinished("the connection broke".to_owned()));
            }
            Trouble::IsOvertaken | Trouble::IsOvertakenAndAway | Trouble::IsOvertakenAndCutShort => {}
        }
        self.reached.add_permits(1);
        self.goes_on.acquire().await.unwrap().forget();
        self.log.set_away(trouble == Trouble::IsOvertakenAndAway);
        let done = call.await;
        if trouble == Trouble::IsOvertakenAndCutShort {
            *self.trouble.lock().unwrap() = Trouble::IsAway;
            self.left.store(0, Ordering::SeqCst);
        }
        done
    }
}

impl Store for Troubled {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        self.call(self.store.get(key)).boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Kept,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        self.call(self.store.put_if(key, expected, value)).boxed()
    }
}

impl RevocationLog for Troubled {
    fn append<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, Result<(), StoreFault>> {
        self.call(self.log.append(changes)).boxed()
    }

    fn append_if<'a>(
        &'a self,
        found: &'a [EntryAsSeen],
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<bool, StoreFault>> {
        self.call(self.log.append_if(found, changes)).boxed()
    }

    fn find(&self, id: RevocationId) -> BoxFuture<'_, Result<Option<Revocation>, StoreFault>> {
        self.call(self.log.find(id)).boxed()
    }

    fn list<'a>(&'a self, part: &'a ListQuery) -> BoxFuture<'a, Result<Listed, StoreFault>> {
        self.log.list(part)
    }

    fn follow(&self, tables: Arc<Revocations>) -> BoxFuture<'_, ()> {
        self.log.follow(tables)
    }
}

impl Listening {
    /// One that can get into trouble.
    fn careful() -> (Self, Arc<Troubled>) {
        let mut here = Self::new();
        let (store, log) = (here.store.clone(), here.log.clone());
        let troubled = Arc::new(Troubled {
            store,
            log,
            left: AtomicI64::new(-1),
            trouble: Mutex::new(Trouble::IsAway),
            reached: Semaphore::new(0),
            goes_on: Semaphore::new(0),
        });
        let gate = Arc::get_mut(&mut here.scene.gate).unwrap();
        (gate.store, gate.revocation_log) = (troubled.clone(), troubled.clone());
        (here, troubled)
    }

    /// Is told, with trouble at this call, and sends again what it did not take. `else_where`: what happens
    /// meanwhile, or afterwards. Returns whether it came to it.
    async fn is_told_in_trouble(
        &self,
        troubled: &Troubled,
        (trouble, call): (Trouble, i64),
        set: &str,
        elsewhere: impl Future<Output = ()>,
    ) -> bool {
        *troubled.trouble.lock().unwrap() = trouble;
        troubled.left.store(call, Ordering::SeqCst);
        let mut telling = pin!(self.is_told(set));
        let told = tokio::select! {
            biased;
            told = &mut telling => Some(told),
            _ = troubled.reached.acquire() => None,
        };
        let came_to_it = troubled.left.swap(-1, Ordering::SeqCst) < 0;
        elsewhere.await;
        let told = match told {
            Some(told) => told,
            None => {
                troubled.goes_on.add_permits(1);
                telling.await
            }
        };
        self.log.set_away(false);
        troubled.left.store(-1, Ordering::SeqCst);
        if told.is_err() {
            self.is_told(set).await.unwrap();
        }
        came_to_it
    }
}

/// Every trouble at every call of being told `set`, in a scene of its own each: `prepare`, then what happens
/// elsewhere.
async fn in_every_trouble<F, G>(run: F)
where
    F: Fn(Listening, Arc<Troubled>, (Trouble, i64)) -> G,
    G: Future<Output = bool>,
{
    for trouble in [
        Trouble::IsAway,
        Trouble::LosesTheAnswer,
        Trouble::IsOvertaken,
        Trouble::IsOvertakenAndAway,
        Trouble::IsOvertakenAndCutShort,
    ] {
        let mut calls = 0;
        loop {
            let (here, troubled) = Listening::careful();
            if !run(here, troubled, (trouble, calls)).await {
                break;
            }
            calls += 1;
        }
        assert!(calls >= 4, "{trouble:?}: {calls}");
    }
}

#[tokio::test]
async fn whatever_is_cut_short_or_overtaken_the_latest_word_counts_in_the_end() {
    for (older, newer) in [(ENABLED, DISABLED), (DISABLED, ENABLED)] {
        for choices in 0..8 {
            let [was_disabled, is_newer_in_trouble, is_sent_again] = [1, 2, 4].map(|bit| choices & bit != 0);
            in_every_trouble(async |here: Listening, troubled: Arc<Troubled>, at| {
                let ago =
                    |event, seconds| here.set(event, json!({ "toe": here.clock.now().as_secs() - seconds }));
                if was_disabled {
                    here.is_told(&ago(DISABLED, 9)).await.unwrap();
                }
                let (one, other) = (ago(older, 2), ago(newer, 1));
                let (one, other) = if is_newer_in_trouble { (other, one) } else { (one, other) };
                let elsewhere = async {
                    here.other_is_told(&other).await.unwrap();
                    // By whoever did not wait for the answer. Cut short as well it is more than is promised.
                    if is_sent_again && at.0 != Trouble::IsOvertakenAndCutShort {
                        here.other_is_told(&one).await.unwrap();
                    }
                };
                let came_to_it = here.is_told_in_trouble(&troubled, at, &one, elsewhere).await;
                let shown =
                    format!("{older} {newer} {was_disabled} {is_newer_in_trouble} {is_sent_again} {at:?}");
                assert_eq!(here.is_blocked(), newer == DISABLED, "{shown}");
                let reasons: Vec<_> = here.listed().into_iter().filter_map(|entry| entry.reason).collect();
                assert!(reasons.iter().all(|reason| reason == "account-disabled"), "{shown}: {reasons:?}");
                came_to_it
            })
            .await;
        }
    }
}

#[tokio::test]
async fn an_operators_block_that_comes_while_an_account_is_enabled_or_disabled_stays() {
    for event in [ENABLED, DISABLED] {
        in_every_trouble(async |here: Listening, troubled: Arc<Troubled>, at| {
            let ago =
                |event, seconds| here.set(event, json!({ "toe": here.clock.now().as_secs() - seconds }));
            here.is_told(&ago(DISABLED, 9)).await.unwrap();
            let elsewhere = async { drop(here.operator_blocks("bob", Some(600)).await) };
            let came_to_it = here.is_told_in_trouble(&troubled, at, &ago(event, 1), elsewhere).await;
            let held = here.listed()[0].holders();
            let names: std::collections::BTreeSet<_> = held.iter().map(|holder| holder.hand.name()).collect();
            let expected = if event == ENABLED { vec!["bob"] } else { vec!["bob", TRANSMITTER] };
            assert_eq!(Vec::from_iter(names), expected, "{event} {at:?}");
            came_to_it
        })
        .await;
    }
}

#[tokio::test]
async fn what_an_operator_lifted_stays_lifted_once_the_word_was_carried_out() {
    in_every_trouble(async |here: Listening, troubled: Arc<Troubled>, at| {
        let ago = |seconds: i64| json!({ "toe": here.clock.now().as_secs() - seconds });
        let came_to_it = here.is_told_in_trouble(&troubled, at, &here.set(DISABLED, ago(9)), async {}).await;
        lift(&here.gate, here.listed()[0].id()).await.unwrap();
        // Older ones, and the same with another id.
        for (event, seconds) in [(DISABLED, 9), (DISABLED, 10), (ENABLED, 10)] {
            here.is_told(&here.set(event, ago(seconds))).await.unwrap();
            assert!(!here.is_blocked(), "{event} {seconds} {at:?}");
        }
        came_to_it
    })
    .await;
}

#[tokio::test]
async fn what_a_transmitter_says_while_a_block_is_lifted_stands_or_is_told_to_whoever_lifted_it() {
    for call in 0..2 {
        let (here, troubled) = Listening::careful();
        let block = here.operator_blocks("bob", None).await;
        *troubled.trouble.lock().unwrap() = Trouble::IsOvertaken;
        troubled.left.store(call, Ordering::SeqCst);
        let (lifted, ()) = tokio::join!(lift(&here.gate, block.id()), async {
            troubled.reached.acquire().await.unwrap().forget();
            here.other_is_told(&here.set(DISABLED, json!({}))).await.unwrap();
            troubled.goes_on.add_permits(1);
        });
        let holders = |block: &Revocation| block.holders().into_iter().map(|holder| holder.hand).collect();
        let hands: Vec<Hand> = match here.is_blocked() {
            true => holders(&here.listed()[0]),
            false => holders(&lifted.unwrap().expect("what was lifted")),
        };
        assert!(hands.contains(&Hand::Transmitter(TRANSMITTER.to_owned())), "{call}: {hands:?}");
    }
}

#[tokio::test]
async fn a_watermark_that_is_moved_while_it_is_lifted_stands_or_is_told_to_whoever_lifted_it() {
    for call in 0..2 {
        let (here, troubled) = Listening::careful();
        let wanted = serde_json::from_value(json!({ "kind": "sub", "value": "alice" })).unwrap();
        let made = revoke(&here.gate, vec![wanted], None).await.unwrap().remove(0);
        here.scene.pass(60);
        // As she does who signs out everywhere.
        let later = Revocation { rule: Rule::Before(here.clock.now()), ..made.clone() };
        *troubled.trouble.lock().unwrap() = Trouble::IsOvertaken;
        troubled.left.store(call, Ordering::SeqCst);
        let (lifted, ()) = tokio::join!(lift(&here.gate, made.id()), async {
            troubled.reached.acquire().await.unwrap().forget();
            here.log.append(&[Change::Add(later.clone())]).await.unwrap();
            troubled.goes_on.add_permits(1);
        });
        let there = here.listed().into_iter().chain(lifted.unwrap());
        let known: Vec<_> = there.map(|entry| entry.rule).collect();
        assert_eq!(known, [later.rule], "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_whose_answer_was_lost_ends_the_sessions_also_where_nobody_says_it_again() {
    let mut was_lost = false;
    for call in 0..10 {
        let (here, troubled) = Listening::careful();
        let id_token =
            id_token(&json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": "alice" }));
        let claims = json!({ "jti": "t", "sub": null, "client_id": null });
        let (_, token) = here.signed_in_with(claims, Some(&id_token)).await;
        *troubled.trouble.lock().unwrap() = Trouble::LosesTheAnswer;
        troubled.left.store(call, Ordering::SeqCst);
        let told = here.is_told(&here.set(DISABLED, json!({}))).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        was_lost |= told.is_err() && here.is_blocked();
        assert_eq!(here.takes(&token).await.is_err(), here.is_blocked(), "{call}");
    }
    assert!(was_lost);
}
