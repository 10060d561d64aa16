//! What every store promises (`flows::ports::Store`), by real time and by real racing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::{LONG, bytes_of, durable, held, key, passing, until, value};
use crate::flows::ports::{Clock as _, Keep, Store, Version};
use crate::io::system::SystemClock;

/// Runs the whole suite against an empty store. Keys of different parts never meet.
pub(super) async fn holds_for(store: Arc<dyn Store>) {
    let store = &*store;
    let whole = async {
        values_come_back_as_they_were_put(store).await;
        a_put_needs_the_version_that_is_there(store).await;
        versions_never_come_again(store).await;
        lifetimes_end_by_themselves_and_not_before(store).await;
        of_several_writers_one_wins(store).await;
        no_change_is_lost(store).await;
        many_keys_do_not_meet(store).await;
        the_clock_is_the_stores(store).await;
    };
    tokio::time::timeout(2 * LONG, whole).await.expect("the suite in time");
}

async fn values_come_back_as_they_were_put(store: &dyn Store) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect();
    for (id, bytes) in [("empty", Vec::new()), ("bytes", every_byte), ("large", large)] {
        for keep in [Keep::Durably, Keep::WhileRunning] {
            let key = key(format!("{id}:{keep:?}"));
            assert_eq!(held(store, &key).await, None, "{key:?}");
            let version = store.put_if(&key, None, value(bytes.clone(), LONG, keep)).await.unwrap().unwrap();
            assert_eq!(held(store, &key).await, Some((version, Bytes::from(bytes.clone()))), "{key:?}");
            assert_eq!(held(store, &key).await.unwrap().0, version, "reading changes nothing");
        }
    }
}

async fn a_put_needs_the_version_that_is_there(store: &dyn Store) {
    let key = key("versions");
    for keep in [Keep::Durably, Keep::WhileRunning] {
        let put = async |expected, bytes: &'static str| {
            store.put_if(&key, expected, value(bytes, LONG, keep)).await.unwrap()
        };
        let there = held(store, &key).await.map(|(version, _)| version);
        if there.is_none() {
            assert_eq!(put(Some(Version(1)), "nothing is there").await, None);
        }
        let first = put(there, "first").await.unwrap();
        assert_eq!(put(None, "something is there").await, None);
        assert_eq!(put(there.or(Some(Version(1))), "an older one").await, None);
        assert_eq!(bytes_of(store, &key).await.unwrap(), "first");
        let second = put(Some(first), "second").await.unwrap();
        assert_ne!(first, second);
        assert_eq!(put(Some(first), "it has changed").await, None);
        assert_eq!(held(store, &key).await, Some((second, Bytes::from("second"))));
    }
}

async fn versions_never_come_again(store: &dyn Store) {
    let key = key("again");
    let mut seen = HashSet::new();
    for round in 0..20 {
        let lifetime = Duration::from_millis(20);
        let keep = if round % 2 == 0 { Keep::Durably } else { Keep::WhileRunning };
        let version = store.put_if(&key, None, value("x", lifetime, keep)).await.unwrap().unwrap();
        assert!(seen.insert(version), "{version:?} came again");
        until("the end of the lifetime", async || held(store, &key).await.is_none()).await;
        assert_eq!(store.put_if(&key, Some(version), durable("late")).await.unwrap(), None, "it is gone");
    }
}

async fn lifetimes_end_by_themselves_and_not_before(store: &dyn Store) {
    let (short, renewed, lasting) = (key("short"), key("renewed"), key("lasting"));
    let lifetime = Duration::from_millis(400);
    for keep in [Keep::Durably, Keep::WhileRunning] {
        // A busy machine may come too late to renew it.
        until("a renewal in time", async || {
            let first = store.put_if(&renewed, None, value("x", lifetime, keep)).await.unwrap().unwrap();
            store.put_if(&renewed, Some(first), value("y", LONG, keep)).await.unwrap().is_some()
        })
        .await;
        let there = held(store, &lasting).await.map(|(version, _)| version);
        store.put_if(&lasting, there, value("x", LONG, keep)).await.unwrap().unwrap();
        let began = Instant::now();
        store.put_if(&short, None, value("x", lifetime, keep)).await.unwrap().unwrap();
        until("the end of the lifetime", async || held(store, &short).await.is_none()).await;
        // Clocks of stores count milliseconds.
        let lived = began.elapsed() + Duration::from_millis(1);
        assert!(lived >= lifetime, "it ended after {lived:?}");
        let (version, bytes) = held(store, &renewed).await.unwrap();
        assert_eq!(bytes, "y", "a put brings its own lifetime");
        assert!(held(store, &lasting).await.is_some());
        let gone = Duration::from_millis(1);
        store.put_if(&renewed, Some(version), value("z", gone, keep)).await.unwrap().unwrap();
        until("the end of what was shortened", async || held(store, &renewed).await.is_none()).await;
    }
}

async fn of_several_writers_one_wins(store: &dyn Store) {
    for round in 0..10 {
        let key = key(format!("race:{round}"));
        let mut expected = None;
        for _ in 0..3 {
            let put = |writer: usize| {
                let value =
                    if writer < 10 { durable(writer.to_string()) } else { passing(writer.to_string()) };
                store.put_if(&key, expected, value)
            };
            let outcomes = join_all((0..20).map(put)).await;
            let won: Vec<_> =
                outcomes.into_iter().enumerate().filter_map(|(n, put)| Some((n, put.unwrap()?))).collect();
            let [(writer, version)] = won[..] else { panic!("{won:?}") };
            assert_eq!(held(store, &key).await, Some((version, Bytes::from(writer.to_string()))));
            expected = Some(version);
        }
    }
}

async fn no_change_is_lost(store: &dyn Store) {
    let key = key("count");
    let add = async |writer: usize| {
        for _ in 0..10 {
            loop {
                let there = held(store, &key).await;
                let (version, count) = match there {
                    None => (None, 0),
                    Some((version, bytes)) => {
                        (Some(version), std::str::from_utf8(&bytes).unwrap().parse().unwrap())
                    }
                };
                let count: usize = count + 1;
                let next = count.to_string();
                let next = if writer == 0 { durable(next) } else { passing(next) };
                if store.put_if(&key, version, next).await.unwrap().is_some() {
                    break;
                }
            }
        }
    };
    join_all((0..8).map(add)).await;
    assert_eq!(bytes_of(store, &key).await.unwrap(), "80");
}

async fn many_keys_do_not_meet(store: &dyn Store) {
    let keys: Vec<_> = (0..2000).map(|id| key(format!("many:{id}"))).collect();
    let put = |(id, key)| store.put_if(key, None, durable(format!("value {id}")));
    let outcomes = join_all(keys.iter().enumerate().map(put)).await;
    let versions: HashSet<_> = outcomes.into_iter().map(|version| version.unwrap().unwrap()).collect();
    assert_eq!(versions.len(), keys.len());
    for (id, key) in keys.iter().enumerate() {
        assert_eq!(bytes_of(store, key).await.unwrap(), format!("value {id}"));
    }
}

/// On one machine that is the machine's.
async fn the_clock_is_the_stores(store: &dyn Store) {
    let key = key("clock");
    let mut last = store.get(&key).await.unwrap().now;
    assert!(last.since(SystemClock.now()).max(SystemClock.now().since(last)) < LONG, "{last:?}");
    until("time to pass", async || {
        let now = store.get(&key).await.unwrap().now;
        assert!(now >= last, "{now:?} after {last:?}");
        std::mem::replace(&mut last, now) < now
    })
    .await;
}
