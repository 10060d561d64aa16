//! The list in a file: what outlives the process.

mod disk;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::flows::ports::{Clock, EntryAsSeen, Exclusive as _, StoreFault, StoreHealth};
use crate::io::revocations::embedded::{EmbeddedLog, Tuning};
use crate::io::store::tests::{DAY, HOUR, TestClock};
use crate::io::store_file::faults::Faults;
use crate::io::store_file::{Backend, Phase, StoreFileError};

const FILE: &str = "revocations.redb";
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn open(folder: &Path) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::open(folder, Arc::new(SystemClock)).unwrap())
}

fn open_as(folder: &Path, clock: Arc<dyn Clock>, tuning: Tuning) -> Arc<EmbeddedLog> {
    Arc::new(EmbeddedLog::start(folder, clock, tuning, Phase::Open).unwrap())
}

/// One whose disk does what `Faults` say, which is swept all the time and read in small pieces.
fn faulty(folder: &Path, clock: Arc<dyn Clock>) -> (Arc<EmbeddedLog>, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, sweep: Duration::from_millis(10), piece: 7, ..Tuning::default() };
    (open_as(folder, clock, tuning), faults)
}

/// What a process finds that starts on what is on the disk now.
fn after_a_crash(folder: &Path) -> (Arc<EmbeddedLog>, TempDir) {
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.join(FILE), copy.path().join(FILE)).unwrap();
    (open(copy.path()), copy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_list_in_a_file_keeps_every_promise_of_a_list() {
    let folder = folder();
    keeps_every_promise(&open(folder.path())).await;
    let small_pieces = Tuning { piece: 3, ..Tuning::default() };
    let folder = tempfile::tempdir().unwrap();
    keeps_every_promise(&open_as(folder.path(), Arc::new(SystemClock), small_pieces)).await;
}

#[tokio::test]
async fn what_was_answered_outlives_a_crash_and_the_file_is_nobody_elses() {
    let folder = folder();
    let log = open(folder.path());
    add(&*log, [jti("a"), before("alice", 10), block("bob")]).await;
    lift(&*log, &block("bob")).await;
    let (crashed, _copy) = after_a_crash(folder.path());
    let tables = followed(&crashed).await;
    assert!(refuses(&tables, &jti("a")) && refuses_aged(&tables, &before("alice", 0), 100, now()));
    assert!(!refuses(&tables, &block("bob")));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(folder.path().join(FILE)).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
}

/// Not a test: what `every_revocation_that_was_answered_outlives_a_kill` kills.
#[tokio::test]
#[ignore = "the process that another test kills"]
async fn victim() {
    let Some(folder) = std::env::var_os("TOLLGATE_VICTIM") else { return };
    let log = open(Path::new(&folder));
    let tables = followed(&log).await;
    let began = std::time::Instant::now();
    let first: usize = std::env::var("TOLLGATE_FIRST").unwrap().parse().unwrap();
    for round in 0.. {
        let add = async |n: usize| {
            super::add(&*log, [jti(n)]).await;
            assert!(refuses(&tables, &jti(n)));
            println!("\nanswered {n}");
        };
        join_all((0..7).map(|n| add(first + round * 7 + n))).await;
        assert!(began.elapsed() < LONG, "nobody kills it");
    }
}

#[tokio::test]
async fn every_revocation_that_was_answered_outlives_a_kill() {
    let (folder, mut answered) = (folder(), Vec::<usize>::new());
    let kills = std::env::var("TOLLGATE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(25);
    for kill in 1..=kills {
        let victim = ["--exact", "io::revocations::tests::embedded::victim", "--ignored", "--nocapture"];
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(victim)
            .env("TOLLGATE_VICTIM", folder.path())
            .env("TOLLGATE_FIRST", (kill * 100_000).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let after = 1 + kill * 13 % 100;
        let mut now: Vec<usize> =
            lines.filter_map(|line| line.strip_prefix("answered ")?.parse().ok()).take(after).collect();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(now.len(), after);
        answered.append(&mut now);
        let log = open(folder.path());
        let tables = followed(&log).await;
        for n in &answered {
            assert!(refuses(&tables, &jti(n)), "{n} is gone after kill {kill}");
        }
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_short_list_is_known_before_anybody_is_let_in() {
    let folder = folder();
    let log = open(folder.path());
    add(&*log, [jti("a")]).await;
    log.close().await.unwrap();
    drop(log);
    let (log, tables) = (open(folder.path()), Arc::new(Revocations::new([1; 16])));
    log.load(&tables);
    assert!(is_current(&tables) && refuses(&tables, &jti("a")), "although nobody follows it yet");
    // Whoever follows goes on with it.
    let (followed, own) = (log.follow(tables.clone()), add(&*log, [jti("b")]));
    tokio::select! { () = followed => {} () = own => {} }
    assert!(refuses(&tables, &jti("b")));
}

#[tokio::test]
async fn a_change_is_answered_and_counts_once_it_is_on_the_disk() {
    let folder = folder();
    let (log, faults) = faulty(folder.path(), TestClock::start());
    let tables = followed(&log).await;
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(true, Ordering::SeqCst);
    let changes = [Change::Add(jti("a"))];
    let mut first = log.append(&changes);
    assert!((&mut first).now_or_never().is_none());
    until("the disk to be asked", async || faults.syncs.load(Ordering::SeqCst) > before).await;
    assert!((&mut first).now_or_never().is_none() && !refuses(&tables, &jti("a")), "it is not on the disk");
    // Whoever leaves does not take the change along.
    let others: Vec<_> = (0..500).map(|n| [Change::Add(jti(n))]).collect();
    for other in &others {
        assert!(log.append(other).now_or_never().is_none());
    }
    faults.hangs.store(false, Ordering::SeqCst);
    let during = faults.syncs.load(Ordering::SeqCst);
    first.await.unwrap();
    assert!(refuses(&tables, &jti("a")));
    until("the others", async || refuses(&tables, &jti(499))).await;
    let syncs = faults.syncs.load(Ordering::SeqCst) - during;
    assert!(syncs < 20, "{syncs} syncs for 500 changes: what waits is written together");
}

#[tokio::test]
async fn nothing_passes_before_the_list_is_loaded() {
    let folder = folder();
    let log = open(folder.path());
    add(&*log, (0..5000).map(jti)).await;
    log.close().await.unwrap();
    let (log, _) = faulty(folder.path(), TestClock::start());
    let tables = tables();
    follow(&log, &tables);
    loaded(&tables).await;
    assert!((0..5000).all(|n| refuses(&tables, &jti(n))), "all of it was there at that moment");
}

#[tokio::test]
async fn a_long_list_is_loaded_in_time() {
    let folder = folder();
    let log = open(folder.path());
    let value = |n: usize| format!("{n:032x}");
    for part in 0..100 {
        add(&*log, (part * 1000..(part + 1) * 1000).map(|n| jti(value(n)))).await;
    }
    log.close().await.unwrap();
    let began = Instant::now();
    let log = open(folder.path());
    let tables = followed(&log).await;
    let took = began.elapsed();
    assert_eq!(tables.count(Kind::Jti), 100_000);
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[tokio::test]
async fn what_has_ended_leaves_the_file_and_it_does_not_grow_for_ever() {
    let (folder, clock) = (folder(), TestClock::start());
    let (log, _) = faulty(folder.path(), clock.clone());
    let tables = followed(&log).await;
    let ends = |n: usize, seconds| Revocation {
        until: Some(clock.now().plus(Duration::from_secs(seconds))),
        ..jti(n)
    };
    clock.pass(HOUR);
    add(&*log, [jti("lasting"), Revocation { until: None, ..jti("for ever") }]).await;
    // What is put off does not end when it first would have.
    add(&*log, [ends(7_000_000, 1)]).await;
    add(&*log, [ends(7_000_000, 20_000)]).await;
    let size = || fs::metadata(folder.path().join(FILE)).unwrap().len();
    let mut sizes = Vec::new();
    for round in 0..12 {
        add(&*log, (0..300).map(|n| ends(round * 300 + n, 10))).await;
        assert!(log.len() >= 300);
        clock.pass(Duration::from_secs(30));
        assert!(log.find(jti(round * 300).id()).await.unwrap().is_some(), "clocks of replicas differ");
        clock.pass(Duration::from_secs(60));
        until("the sweep of the file", async || log.len() == 3).await;
        until("the sweep of the tables", async || tables.count(Kind::Jti) == 3).await;
        sizes.push(size());
    }
    let early = sizes[..4].iter().max().copied().unwrap();
    assert!(sizes[11] <= early * 2, "{sizes:?}");
    let listed = all(&*log, ListQuery { limit: 10, ..ListQuery::default() }).await;
    assert_eq!(listed.len(), 3);
    assert!(refuses_aged(&tables, &jti(7_000_000), 0, clock.now()));
}

#[tokio::test]
async fn a_clock_that_runs_ahead_for_a_while_or_at_the_start_makes_nobody_forget_what_was_revoked() {
    let (folder, clock) = (folder(), TestClock::start());
    let (log, _) = faulty(folder.path(), clock.clone());
    let tables = followed(&log).await;
    clock.pass(HOUR);
    let ending =
        |value: &str, minutes| Revocation { until: Some(clock.now().plus(minutes * MINUTE)), ..jti(value) };
    let signed_out = ending("signed out", 10);
    add(&*log, [signed_out.clone(), ending("ended", 1)]).await;
    clock.pass(3 * MINUTE);
    for ahead in [HOUR, 100 * DAY] {
        clock.is_ahead(ahead);
        clock.is_swept_by().await;
        clock.is_back(ahead);
        assert!(refuses_aged(&tables, &signed_out, 0, clock.now()), "{ahead:?}");
        assert_eq!(log.find(signed_out.id()).await.unwrap().as_ref(), Some(&signed_out), "{ahead:?}");
    }
    until("the sweeps of all the while", async || log.len() == 1 && tables.count(Kind::Jti) == 1).await;
    log.close().await.unwrap();
    drop(log);

    clock.is_ahead(100 * DAY);
    let (log, _) = faulty(folder.path(), clock.clone());
    let tables = followed(&log).await;
    clock.is_swept_by().await;
    clock.is_back(100 * DAY);
    clock.is_swept_by().await;
    assert!(refuses_aged(&tables, &signed_out, 0, clock.now()));
    assert_eq!(log.find(signed_out.id()).await.unwrap(), Some(signed_out));
    clock.pass(HOUR);
    until("what has ended to go", async || log.len() == 0 && tables.count(Kind::Jti) == 0).await;
}

#[tokio::test]
async fn a_list_is_given_up_and_taken_back_and_what_another_process_did_counts() {
    let folder = folder();
    let log = open(folder.path());
    let tables = followed(&log).await;
    add(&*log, [jti("ours"), block("bob"), block("carol")]).await;
    log.close().await.unwrap();
    log.close().await.unwrap();
    assert!(refuses(&tables, &jti("ours")), "what is known stays known");
    let waiting = [Change::Add(jti("waited"))];
    let mut append = log.append(&waiting);
    let mut find = log.find(block("bob").id());
    assert!((&mut append).now_or_never().is_none() && (&mut find).now_or_never().is_none());

    let next = open(folder.path());
    let refused = log.open().await.unwrap_err();
    assert!(refused.contains("in use by another process"), "{refused}");
    add(&*next, [jti("theirs")]).await;
    lift(&*next, &block("bob")).await;
    lift(&*next, &block("carol")).await;
    add(&*next, [block("carol")]).await;
    next.close().await.unwrap();

    log.open().await.unwrap();
    assert!(refuses(&tables, &jti("theirs")) && refuses(&tables, &jti("ours")));
    assert!(!refuses(&tables, &block("bob")) && refuses(&tables, &block("carol")));
    append.await.unwrap();
    assert_eq!(find.await.unwrap(), None);
    assert!(refuses(&tables, &jti("waited")));
    log.open().await.unwrap();
    assert!(refuses(&tables, &jti("waited")), "taking back what one has changes nothing");
}

#[tokio::test]
async fn a_list_that_begins_closed_has_all_of_it_when_it_is_open_and_one_that_handed_over_waits_for_nothing()
{
    let folder = folder();
    let old = open(folder.path());
    add(&*old, (0..100).map(jti)).await;
    let new = Arc::new(EmbeddedLog::closed(folder.path(), Arc::new(SystemClock)).unwrap());
    let tables = tables();
    follow(&new, &tables);
    tokio::task::yield_now().await;
    assert!(new.open().await.unwrap_err().contains("in use by another process"));
    assert_eq!(tables.currency(now()), Currency::Unknown);
    old.close().await.unwrap();
    let changes = [Change::Add(jti("late"))];
    let mut left = old.append(&changes);
    assert!((&mut left).now_or_never().is_none());
    new.open().await.unwrap();
    assert!((0..100).all(|n| refuses(&tables, &jti(n))), "all of it at that moment");
    old.mark_handed_over(None);
    let fault = left.now_or_never().expect("an answer at once").unwrap_err();
    assert!(fault.to_string().contains("another process"), "{fault}");
    drop(old);
    add(&*new, [jti("new")]).await;
}

#[tokio::test]
async fn calls_do_not_wait_for_ever_for_a_list_that_was_given_up() {
    let folder = folder();
    let tuning = Tuning { patience: Duration::from_millis(100), ..Tuning::default() };
    let log = open_as(folder.path(), Arc::new(SystemClock), tuning);
    log.close().await.unwrap();
    assert_eq!(log.append(&[Change::Add(jti("a"))]).await.unwrap_err(), StoreFault::Deadline);
    assert_eq!(log.find(jti("a").id()).await.unwrap_err(), StoreFault::Deadline);
    assert_eq!(log.list(&ListQuery::default()).await.unwrap_err(), StoreFault::Deadline);
}
