//! The embedded store: what outlives the process, and what becomes of a bad disk and a bad file.

mod handing_over;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;

use super::{DAY, HOUR, LONG, TestClock, bytes_of, durable, held, key, passing, suite, until, value};
use crate::flows::ports::{Exclusive as _, Keep, Store, StoreFault, StoreHealth};
use crate::io::store::embedded::{EmbeddedStore, Tuning};
use crate::io::store_file::faults::Faults;
use crate::io::store_file::{Backend, StoreFileError};
use crate::io::system::SystemClock;

const FILE: &str = "store.redb";

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, Arc::new(SystemClock)).unwrap()
}

/// One whose disk does what `Faults` say, and which is swept all the time.
fn faulty(folder: &Path, clock: Arc<TestClock>) -> (EmbeddedStore, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, sweep: Duration::from_millis(1), ..Tuning::default() };
    (EmbeddedStore::open_as(folder, clock, tuning).unwrap(), faults)
}

/// One whose calls do not wait for long.
fn impatient(folder: &Path) -> EmbeddedStore {
    let tuning = Tuning { patience: Duration::from_millis(300), ..Tuning::default() };
    EmbeddedStore::open_as(folder, Arc::new(SystemClock), tuning).unwrap()
}

/// What a process finds that starts on what is on the disk now.
fn after_a_crash(folder: &Path) -> (EmbeddedStore, TempDir) {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.join(FILE), copy.path().join(FILE)).unwrap();
    (open(copy.path()), copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_store_keeps_every_promise_of_a_store() {
    let folder = folder();
    suite::holds_for(Arc::new(open(folder.path()))).await;
}

#[tokio::test]
async fn what_is_durable_outlives_a_crash_and_what_is_not_a_good_end() {
    let folder = folder();
    let store = open(folder.path());
    let durable_version = store.put_if(&key("durable"), None, durable("a")).await.unwrap().unwrap();
    let passing_version = store.put_if(&key("passing"), None, passing("b")).await.unwrap().unwrap();
    store.put_if(&key("both"), None, durable("first")).await.unwrap().unwrap();
    let both = held(&store, &key("both")).await.unwrap().0;
    store.put_if(&key("both"), Some(both), passing("second")).await.unwrap().unwrap();
    {
        let (crashed, _copy) = after_a_crash(folder.path());
        assert_eq!(held(&crashed, &key("durable")).await, Some((durable_version, "a".into())));
        assert_eq!(held(&crashed, &key("passing")).await, None);
        assert_eq!(held(&crashed, &key("both")).await, Some((both, "first".into())));
    }
    store.close().await.unwrap();
    let next = open(folder.path());
    assert_eq!(held(&next, &key("durable")).await, Some((durable_version, "a".into())));
    assert_eq!(held(&next, &key("passing")).await, Some((passing_version, "b".into())));
    assert_eq!(bytes_of(&next, &key("both")).await.unwrap(), "second");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folder.path().join(FILE)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

/// Not a test: what `every_put_that_was_answered_outlives_a_kill` kills.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn victim() {
    let Some(folder) = std::env::var_os("TOLLGATE_VICTIM") else { return };
    let store = open(Path::new(&folder));
    let began = std::time::Instant::now();
    for round in 0.. {
        let puts = (0..7).map(|n| (round * 7 + n, key(round * 7 + n)));
        let put = async |(n, key)| (n, store.put_if(&key, None, durable(format!("value {n}"))).await);
        for (n, put) in join_all(puts.map(put)).await {
            put.unwrap().unwrap();
            println!("\nanswered {n}");
        }
        assert!(began.elapsed() < 5 * LONG, "nobody kills it");
    }
}

#[tokio::test]
async fn every_put_that_was_answered_outlives_a_kill() {
    for after in [1, 40, 300] {
        let folder = folder();
        let victim = ["--exact", "io::store::tests::embedded::victim", "--ignored", "--nocapture"];
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(victim)
            .env("TOLLGATE_VICTIM", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut answered: Vec<usize> =
            lines.filter_map(|line| line.strip_prefix("answered ")?.parse().ok()).take(after).collect();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(answered.len(), after);
        answered.sort_unstable();
        let store = open(folder.path());
        for n in answered {
            assert_eq!(bytes_of(&store, &key(n)).await.unwrap(), format!("value {n}"), "{after}");
        }
    }
}

#[tokio::test]
async fn a_durable_put_is_answered_and_seen_once_it_is_on_the_disk() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let first = store.put_if(&key("x"), None, durable("first")).await.unwrap().unwrap();
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(true, Ordering::SeqCst);
    let x = key("x");
    let mut second = store.put_if(&x, Some(first), durable("second"));
    assert!((&mut second).now_or_never().is_none());
    until("the disk to be asked", async || faults.syncs.load(Ordering::SeqCst) > before).await;
    assert!((&mut second).now_or_never().is_none(), "it is not on the disk");
    assert_eq!(held(&store, &key("x")).await, Some((first, "first".into())), "and nobody sees it");
    let mut third = store.put_if(&x, Some(first), passing("third"));
    assert!((&mut third).now_or_never().is_none(), "the key is being written");
    assert!(store.put_if(&key("y"), None, passing("y")).await.unwrap().is_some(), "other keys are not");
    faults.hangs.store(false, Ordering::SeqCst);
    let second = second.await.unwrap().unwrap();
    assert_eq!(third.await.unwrap(), None);
    assert_eq!(held(&store, &key("x")).await, Some((second, "second".into())));
    let after = faults.syncs.load(Ordering::SeqCst);
    store
        .put_if(&key("y"), Some(held(&store, &key("y")).await.unwrap().0), passing("z"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(faults.syncs.load(Ordering::SeqCst), after, "what passes costs no write");
}

#[tokio::test]
async fn a_put_whose_caller_left_is_done_all_the_same() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    faults.hangs.store(true, Ordering::SeqCst);
    assert!(store.put_if(&key("x"), None, durable("x")).now_or_never().is_none());
    faults.hangs.store(false, Ordering::SeqCst);
    until("the value", async || bytes_of(&store, &key("x")).await.is_some_and(|bytes| bytes == "x")).await;
    let there = held(&store, &key("x")).await.map(|(version, _)| version);
    assert!(store.put_if(&key("x"), there, durable("y")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_put_that_was_given_up_before_it_was_begun_is_not_done_when_the_disk_goes_on() {
    let (folder, faults) = (folder(), Arc::new(Faults::default()));
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, patience: Duration::from_millis(300), ..Tuning::default() };
    let store = EmbeddedStore::open_as(folder.path(), Arc::new(SystemClock), tuning).unwrap();
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(true, Ordering::SeqCst);
    let x = key("x");
    let mut begun = store.put_if(&x, None, durable("x"));
    assert!((&mut begun).now_or_never().is_none());
    until("the disk to be asked", async || faults.syncs.load(Ordering::SeqCst) > before).await;
    assert_eq!(store.put_if(&key("y"), None, durable("late")).await, Err(StoreFault::Deadline));
    faults.hangs.store(false, Ordering::SeqCst);
    let again = loop {
        match store.put_if(&key("y"), None, durable("again")).await {
            Err(StoreFault::Deadline) => {}
            put => break put.unwrap(),
        }
    };
    assert!(again.is_some(), "nothing is there, and the key may be changed");
    assert_eq!(bytes_of(&store, &key("y")).await.unwrap(), "again");
}

#[tokio::test]
async fn after_an_fsync_that_failed_the_file_is_a_copy_that_is_on_the_disk() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let there = store.put_if(&key("there"), None, durable("x")).await.unwrap();
    let file = || fs::metadata(folder.path().join(FILE)).unwrap();
    for (fault, is_copied) in [(&faults.full, false), (&faults.loses, true)] {
        let before = file().ino();
        fault.store(true, Ordering::SeqCst);
        store.put_if(&key("large"), None, durable(vec![7; 100_000])).await.unwrap_err();
        fault.store(false, Ordering::SeqCst);
        until("the store to write again", async || store.health() == StoreHealth::Up).await;
        assert_eq!(file().ino() != before, is_copied);
        assert_eq!(file().mode() & 0o777, 0o600);
        assert_eq!(held(&store, &key("there")).await.map(|(version, _)| version), there);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }
    let (crashed, _copy) = after_a_crash(folder.path());
    assert_eq!(held(&crashed, &key("there")).await.map(|(version, _)| version), there);
}

#[tokio::test]
async fn what_waits_for_the_disk_is_written_together() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    store.put_if(&key("one"), None, durable("x")).await.unwrap();
    let one = faults.syncs.load(Ordering::SeqCst);
    store.put_if(&key("two"), None, durable("x")).await.unwrap();
    let a_commit = faults.syncs.load(Ordering::SeqCst) - one;
    faults.hangs.store(true, Ordering::SeqCst);
    let keys: Vec<_> = (0..500).map(key).collect();
    let mut puts = Box::pin(join_all(keys.iter().map(|key| store.put_if(key, None, durable("x")))));
    assert!((&mut puts).now_or_never().is_none());
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(false, Ordering::SeqCst);
    assert!(puts.await.into_iter().all(|put| put.unwrap().is_some()));
    let commits = (faults.syncs.load(Ordering::SeqCst) - before).div_ceil(a_commit);
    assert!(commits <= 3, "{commits} commits for 500 puts");
}

#[tokio::test]
async fn lifetimes_go_on_while_the_process_is_down() {
    let (folder, clock) = (folder(), TestClock::start());
    let store = EmbeddedStore::open(folder.path(), clock.clone()).unwrap();
    store.put_if(&key("short"), None, value("x", HOUR, Keep::Durably)).await.unwrap().unwrap();
    store.put_if(&key("long"), None, value("y", 3 * HOUR, Keep::Durably)).await.unwrap().unwrap();
    store.close().await.unwrap();
    drop(store);
    clock.pass(2 * HOUR);
    let store = EmbeddedStore::open(folder.path(), clock.clone()).unwrap();
    assert_eq!(bytes_of(&store, &key("short")).await, None);
    assert_eq!(bytes_of(&store, &key("long")).await.unwrap(), "y");
}

#[tokio::test]
async fn what_has_ended_leaves_memory_and_file_and_neither_grows_for_ever() {
    let (folder, clock) = (folder(), TestClock::start());
    let (store, _) = faulty(folder.path(), clock.clone());
    let size = || fs::metadata(folder.path().join(FILE)).unwrap().len();
    clock.pass(HOUR);
    store.put_if(&key("lasting"), None, durable("x")).await.unwrap().unwrap();
    let mut sizes = Vec::new();
    for round in 0..30 {
        let put = async |n: usize| {
            let value = value(vec![7; 2000], Duration::from_secs(60), Keep::Durably);
            store.put_if(&key(format!("{round}:{n}")), None, value).await.unwrap().unwrap();
        };
        join_all((0..300).map(put)).await;
        clock.pass(Duration::from_secs(61));
        until("the sweep", async || store.len() == 1).await;
        sizes.push(size());
    }
    assert!(sizes[29] <= sizes[4] * 2, "{sizes:?}");
    assert_eq!(bytes_of(&store, &key("lasting")).await.unwrap(), "x");
    store.close().await.unwrap();
    let full = size();
    let store = open(folder.path());
    assert_eq!(bytes_of(&store, &key("lasting")).await.unwrap(), "x");
    store.close().await.unwrap();
    assert!(size() <= full);
}

#[tokio::test]
async fn a_clock_that_runs_ahead_for_a_while_or_at_the_start_or_at_the_end_costs_no_value() {
    let (folder, clock) = (folder(), TestClock::start());
    let (store, _) = faulty(folder.path(), clock.clone());
    clock.pass(HOUR);
    clock.is_swept_by().await;
    let (family, receipt) = (key("family"), key("receipt"));
    store.put_if(&family, None, value("spent", HOUR / 6, Keep::Durably)).await.unwrap().unwrap();
    store.put_if(&receipt, None, value("used", HOUR / 6, Keep::WhileRunning)).await.unwrap().unwrap();
    for ahead in [HOUR, 100 * DAY] {
        clock.is_ahead(ahead);
        clock.is_swept_by().await;
        assert_eq!(bytes_of(&store, &family).await, None, "as long as the clock says so");
        clock.is_back(ahead);
        assert_eq!(bytes_of(&store, &family).await.unwrap(), "spent", "{ahead:?}");
        assert_eq!(bytes_of(&store, &receipt).await.unwrap(), "used", "{ahead:?}");
    }
    clock.is_ahead(HOUR);
    store.close().await.unwrap();
    drop(store);
    let (store, _) = faulty(folder.path(), clock.clone());
    clock.is_swept_by().await;
    clock.is_back(HOUR);
    clock.is_swept_by().await;
    assert_eq!(bytes_of(&store, &family).await.unwrap(), "spent");
    assert_eq!(bytes_of(&store, &receipt).await.unwrap(), "used");
    clock.pass(HOUR);
    until("what has ended to go", async || store.len() == 0).await;
}

#[tokio::test]
async fn a_file_that_is_much_too_large_is_made_smaller_at_start() {
    let (folder, clock) = (folder(), TestClock::start());
    let store = EmbeddedStore::open(folder.path(), clock.clone()).unwrap();
    let put = async |n: usize| {
        // What lasts stands between what does not.
        let lifetime = if n.is_multiple_of(10) { DAY } else { Duration::from_secs(60) };
        let value = value(vec![7; 100_000], lifetime, Keep::Durably);
        store.put_if(&key(n), None, value).await.unwrap().unwrap();
    };
    for n in 0..100 {
        put(n).await;
    }
    store.close().await.unwrap();
    let size = || fs::metadata(folder.path().join(FILE)).unwrap().len();
    let before = size();
    assert!(before > 10_000_000);
    clock.pass(Duration::from_secs(61));
    // What has ended goes when that is sure.
    let (store, _) = faulty(folder.path(), clock.clone());
    assert_eq!(store.len(), 100);
    clock.pass(HOUR);
    until("the sweep", async || store.len() == 10).await;
    store.close().await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(folder.path(), clock).unwrap();
    for n in (0..100).step_by(10) {
        assert_eq!(bytes_of(&store, &key(n)).await.unwrap(), vec![7; 100_000]);
    }
    store.close().await.unwrap();
    assert!(size() < before / 4, "{} of {before}", size());
}

#[tokio::test]
async fn a_file_that_another_process_has_is_an_error_that_names_it() {
    let folder = folder();
    let first = open(folder.path());
    let error = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap_err();
    assert!(matches!(error, StoreFileError::InUse { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(folder.path().join(FILE).to_str().unwrap()) && text.contains("`store`"), "{text}");
    assert!(first.put_if(&key("x"), None, durable("x")).await.unwrap().is_some(), "the first goes on");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = folder();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    let error = EmbeddedStore::open(&file.join("data"), Arc::new(SystemClock)).unwrap_err();
    assert!(error.to_string().contains("a-file") && error.to_string().contains("`store`"), "{error}");
}

/// Damages a good file in many ways: each is either told, or has cost nothing. The file is never changed by a
/// start that fails, and never begun anew.
#[tokio::test]
async fn a_damaged_file_is_told_and_never_thrown_away() {
    let folder = folder();
    let store = open(folder.path());
    let keys: Vec<_> = (0..40).map(key).collect();
    join_all(keys.iter().map(|key| store.put_if(key, None, durable(vec![7; 3000])))).await;
    let last = store.put_if(&key("last"), None, durable("x")).await.unwrap().unwrap();
    store.close().await.unwrap();
    let good = fs::read(folder.path().join(FILE)).unwrap();
    let mut damages: Vec<(String, Vec<u8>)> = vec![
        ("empty".to_owned(), Vec::new()),
        ("other".to_owned(), b"something else".to_vec()),
        ("zeros".to_owned(), vec![0; good.len()]),
    ];
    damages.extend(
        [1, 100, 4096, good.len() / 2, good.len() - 1]
            .map(|length| (format!("cut to {length}"), good[..length].to_vec())),
    );
    damages.extend((0..good.len()).step_by(good.len() / 400).map(|at| {
        let mut damaged = good.clone();
        damaged[at] ^= 0x55;
        (format!("byte {at}"), damaged)
    }));
    damages.extend((0..good.len()).step_by(4096).map(|at| {
        let mut damaged = good.clone();
        let end = (at + 4096).min(good.len());
        damaged[at..end].fill(0);
        (format!("page at {at}"), damaged)
    }));
    let mut told = 0;
    for (what, damaged) in damages {
        let copy = tempfile::tempdir().unwrap();
        let file = copy.path().join(FILE);
        fs::write(&file, &damaged).unwrap();
        match EmbeddedStore::open(copy.path(), Arc::new(SystemClock)) {
            Ok(store) => {
                for key in &keys {
                    assert_eq!(bytes_of(&store, key).await.unwrap(), vec![7; 3000], "{what}");
                }
                assert_eq!(held(&store, &key("last")).await.unwrap().0, last, "{what}");
            }
            Err(error) => {
                told += 1;
                assert!(!matches!(error, StoreFileError::InUse { .. }), "{what}: {error}");
                assert!(error.to_string().contains(file.to_str().unwrap()), "{what}: {error}");
                assert!(error.to_string().contains("move it away"), "{what}: {error}");
                let left = fs::read(&file).unwrap();
                let is_begun_anew = left.len() < damaged.len() || damaged.is_empty() != left.is_empty();
                assert!(!is_begun_anew, "{what}: {} bytes became {}", damaged.len(), left.len());
            }
        }
    }
    assert!(told > 30, "{told}");
}

#[tokio::test]
async fn a_writer_that_ends_by_a_panic_is_told_and_nobody_waits_for_it() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let version = store.put_if(&key("x"), None, durable("x")).await.unwrap().unwrap();
    faults.panics.store(true, Ordering::SeqCst);
    for expected in [Some(version), None] {
        let fault = store.put_if(&key("x"), expected, durable("y")).await;
        assert!(matches!(fault, Err(StoreFault::Unfinished(_)) | Ok(None)), "{fault:?}");
    }
    until("the store to say so", async || matches!(store.health(), StoreHealth::Away { .. })).await;
    assert!(store.put_if(&key("new"), None, durable("y")).await.is_err());
    assert_eq!(bytes_of(&store, &key("x")).await.unwrap(), "x");
    assert!(store.close().await.is_err());
}

#[tokio::test]
async fn a_full_disk_is_told_refuses_what_must_last_and_goes_on_by_itself() {
    let folder = folder();
    let (store, faults) = faulty(folder.path(), TestClock::start());
    let there = store.put_if(&key("there"), None, durable("old")).await.unwrap().unwrap();
    for fault in [&faults.full, &faults.loses] {
        fault.store(true, Ordering::SeqCst);
        let there_now = held(&store, &key("there")).await.unwrap().0;
        let refused =
            store.put_if(&key("there"), Some(there_now), durable(vec![7; 100_000])).await.unwrap_err();
        assert!(refused.to_string().contains(FILE), "{refused}");
        let StoreHealth::Away { why, alone: false, .. } = store.health() else { panic!() };
        assert!(why.contains(FILE), "{why}");
        assert_eq!(held(&store, &key("there")).await.unwrap().0, there_now, "what is known stays");
        assert!(store.put_if(&key("other"), None, durable("x")).await.is_err());
        let doubtful = store.put_if(&key("there"), Some(there_now), passing("x")).await;
        assert!(doubtful.is_err(), "nobody knows what the disk has of it: {doubtful:?}");
        let passing_key = key("passing");
        let passed = held(&store, &passing_key).await.map(|(version, _)| version);
        assert!(store.put_if(&passing_key, passed, passing("x")).await.unwrap().is_some());
        fault.store(false, Ordering::SeqCst);
        until("the store to write again", async || store.health() == StoreHealth::Up).await;
        let (version, _) = held(&store, &key("there")).await.unwrap();
        let (crashed, _copy) = after_a_crash(folder.path());
        assert_eq!(held(&crashed, &key("there")).await.unwrap().0, version, "memory says what the disk says");
        store.put_if(&key("there"), Some(version), durable("again")).await.unwrap().unwrap();
    }
    assert_ne!(held(&store, &key("there")).await.unwrap().0, there);
    assert!(store.put_if(&key("other"), None, durable("x")).await.unwrap().is_some());
}
