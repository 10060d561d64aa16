//! The list in Redis, with real servers: two replicas, connections that are cut, a log that was cut, a Redis
//! that lost everything, and what a replica does alone.

mod clocks;
mod failover;
mod late_file;
mod lost_records;
mod meanwhile;
mod narrow;
mod refused;
mod unreadable;
mod unwritten;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::config::settings::{OnOutage, Redis, RedisCredentials, Topology};
use crate::flows::ports::{Clock, Exclusive as _, HandedTo, StoreFault, StoreHealth};
use crate::flows::testing::FakeStore;
use crate::io::revocations::redis::{RedisLog, Tuning};
use crate::io::store::redis::RedisStore;
use crate::io::store::redis::link::KeptLink;
use crate::io::store::tests::redis::{ACL, Certificate, acl, credentials, patient_link, settings};
use crate::io::store::tests::servers::{self, Server, cluster, sentinel};
use crate::io::store::tests::{DAY, HOUR, TestClock};
use crate::io::store_file::Backend;
use crate::io::store_file::faults::Faults;

const STALENESS: Duration = Duration::from_secs(300);
const KEY: &str = "tollgate:{revocations}:";

/// A replica: its log, its tables and its file.
struct Replica {
    log: Arc<RedisLog>,
    tables: Arc<Revocations>,
    following: tokio::task::JoinHandle<()>,
    folder: TempDir,
    link: Arc<KeptLink>,
}

impl Replica {
    fn start_as(
        settings: Redis,
        folder: TempDir,
        clock: Arc<dyn Clock>,
        is_closed: bool,
        tuning: Tuning,
    ) -> Self {
        crate::io::install_crypto_providers();
        let link = patient_link(settings, clock.clone());
        let log = RedisLog::start_as(link.clone(), folder.path(), STALENESS, clock, is_closed, tuning);
        let (log, tables) = (Arc::new(log), tables());
        let (following, followed) = (log.clone(), tables.clone());
        let following = tokio::spawn(async move { following.follow(followed).await });
        Self { log, tables, following, folder, link }
    }

    fn start(settings: Redis, folder: TempDir) -> Self {
        Self::start_as(settings, folder, Arc::new(SystemClock), false, patient())
    }

    async fn of(server: &Server) -> Self {
        let replica = Self::start(settings(&[server]), folder());
        loaded(&replica.tables).await;
        replica
    }

    /// As at the end of a process; returns what it leaves on the disk.
    async fn stop(mut self) -> TempDir {
        self.following.abort();
        let _ = (&mut self.following).await;
        self.log.close().await.unwrap();
        std::mem::replace(&mut self.folder, folder())
    }

    fn refuses(&self, named: &Revocation) -> bool {
        refuses(&self.tables, named)
    }

    async fn is_away(&self) {
        until("the outage", async || matches!(self.link.health(), StoreHealth::Away { .. })).await;
    }

    async fn is_up(&self) {
        until("the link", async || self.link.health() == StoreHealth::Up).await;
    }

    /// Waits until its file has this.
    async fn has_kept(&self, named: &Revocation) {
        let part = ListQuery { value: Some(named.target.value.clone()), limit: 10, ..ListQuery::default() };
        until("the file", async || !all(&*self.log, part.clone()).await.is_empty()).await;
    }
}

/// A busy machine may take longer than a gateway has patience.
fn patient() -> Tuning {
    Tuning { own: LONG / 2, ..Tuning::default() }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// How long it took.
async fn took(what: &str, mut ready: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    until(what, async || ready()).await;
    began.elapsed()
}

/// Most of what took so long took less than a second. A busy machine may hold up any of it.
fn were_within_a_second(what: &str, mut times: Vec<Duration>) {
    times.sort();
    assert!(times[times.len() / 2] < Duration::from_secs(1), "{what} took {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_list_in_redis_with_a_narrow_acl_keeps_every_promise_of_a_list() {
    let server = Server::start(&acl(&ACL[..1]).iter().map(String::as_str).collect::<Vec<_>>());
    let with = Redis { credentials: credentials(Some("gate"), "acl-hunter2"), ..settings(&[&server]) };
    let replica = Replica::start(with.clone(), folder());
    loaded(&replica.tables).await;
    suite::holds_for(&*replica.log, &replica.tables).await;
    let late = Replica::start(with, folder());
    loaded(&late.tables).await;
    suite::is_what_it_left(&late.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_list_in_a_cluster_over_tls_with_a_narrow_acl_keeps_every_promise_of_a_list() {
    let certificate = Certificate::of("127.0.0.1");
    let servers = cluster(|| [certificate.arguments(), acl(&[ACL[0], ACL[3]])].concat());
    let credentials = credentials(Some("gate"), "acl-hunter2");
    let asked = Redis { topology: Topology::Cluster, credentials, ..certificate.settings(&[&servers[1]]) };
    let replica = Replica::start(asked.clone(), folder());
    loaded(&replica.tables).await;
    suite::holds_for(&*replica.log, &replica.tables).await;
    let late = Replica::start(asked, folder());
    loaded(&late.tables).await;
    suite::is_what_it_left(&late.tables);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_see_each_others_changes_within_a_second_and_their_own_at_once() {
    let server = Server::start(&[]);
    let (one, two) = (Replica::of(&server).await, Replica::of(&server).await);
    let (mut additions, mut lifts) = (Vec::new(), Vec::new());
    for n in 0..10 {
        add(&*one.log, [jti(n), block(n)]).await;
        assert!(one.refuses(&jti(n)), "its own");
        additions.push(took("the other's", || two.refuses(&jti(n)) && two.refuses(&block(n))).await);
        lift(&*two.log, &block(n)).await;
        assert!(!two.refuses(&block(n)));
        lifts.push(took("the lift", || !one.refuses(&block(n))).await);
    }
    were_within_a_second("the other's", additions);
    were_within_a_second("the lift", lifts);
    let (late, early) = (before("alice", 100), before("alice", 200));
    let longer = Revocation { until: late.until.map(|until| until.plus(LONG)), ..early };
    add(&*one.log, [late.clone()]).await;
    add(&*two.log, [longer.clone()]).await;
    for replica in [&one, &two] {
        let there = replica.log.find(late.id()).await.unwrap().unwrap();
        assert_eq!(
            (there.rule, there.until),
            (late.rule, longer.until),
            "the later of both, whoever says it"
        );
    }
    until("the moment", async || refuses_aged(&one.tables, &late, 199, now())).await;
    assert!(!refuses_aged(&one.tables, &late, 90, now()));
    let third = Replica::of(&server).await;
    assert!(third.refuses(&jti(0)) && !third.refuses(&block(0)), "one that comes later has all of it");
}

/// Through it a replica reaches Redis, until it is cut.
struct Cable {
    port: u16,
    cut: tokio::sync::broadcast::Sender<()>,
    is_pulled: Arc<AtomicBool>,
    /// Nothing that Redis says gets through.
    is_mute: Arc<AtomicBool>,
    /// So many bytes a second get through of what Redis says; 0: all.
    narrow: Arc<AtomicUsize>,
    listening: tokio::task::JoinHandle<()>,
}

impl Cable {
    async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), server.address());
        let cut = tokio::sync::broadcast::Sender::new(1);
        let (is_pulled, is_mute) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (cuts, pulled, mute) = (cut.clone(), is_pulled.clone(), is_mute.clone());
        let narrow = Arc::new(AtomicUsize::new(0));
        let width = narrow.clone();
        let listening = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if pulled.load(Ordering::SeqCst) {
                    continue;
                }
                let (mut cut, mute, width) = (cuts.subscribe(), mute.clone(), width.clone());
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
                    let ((mut said, mut asking), (mut answered, mut told)) = (near.split(), far.split());
                    let answering = async {
                        let mut bytes = vec![0; 65_536];
                        while let Ok(length @ 1..) = answered.read(&mut bytes).await {
                            if let width @ 1.. = width.load(Ordering::SeqCst) {
                                tokio::time::sleep(Duration::from_secs(1) * length as u32 / width as u32)
                                    .await;
                            }
                            if !mute.load(Ordering::SeqCst)
                                && asking.write_all(&bytes[..length]).await.is_err()
                            {
                                break;
                            }
                        }
                    };
                    tokio::select! {
                        _ = tokio::io::copy(&mut said, &mut told) => {}
                        () = answering => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { port, cut, is_pulled, is_mute, narrow, listening }
    }

    /// Those of `server`, through it.
    fn settings(&self, server: &Server) -> Redis {
        let mut settings = settings(&[server]);
        settings.servers[0].port = self.port;
        settings
    }

    fn cut(&self) {
        let _ = self.cut.send(());
    }

    /// Cut, and out until it is plugged in again.
    fn pull(&self) {
        self.is_pulled.store(true, Ordering::SeqCst);
        self.cut();
    }

    fn plug_in(&self) {
        self.is_pulled.store(false, Ordering::SeqCst);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_cut_in_a_burst_leaves_no_gap() {
    let server = Server::start(&[]);
    let writer = Replica::of(&server).await;
    let cable = Cable::to(&server).await;
    let reader = Replica::start(cable.settings(&server), folder());
    loaded(&reader.tables).await;
    let burst = async {
        for part in 0..100 {
            add(&*writer.log, (part * 100..(part + 1) * 100).map(jti)).await;
            if part % 20 == 10 {
                let before = reader.link.times_reached();
                cable.cut();
                until("the next connection", async || reader.link.times_reached() > before).await;
            }
        }
    };
    burst.await;
    reader.is_up().await;
    until("the last", async || reader.refuses(&jti(9999))).await;
    let missing: Vec<_> = (0..10_000).filter(|n| !reader.refuses(&jti(n))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(reader.tables.count(Kind::Jti), 10_000);
    let part = ListQuery { limit: 5000, ..ListQuery::default() };
    until("the file", async || all(&*reader.log, part.clone()).await.len() == 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_lifted_while_a_replica_was_away_and_the_log_was_cut_is_lifted() {
    let server = Server::start(&[]);
    let (one, two) = (Replica::of(&server).await, Replica::of(&server).await);
    add(&*one.log, (0..3000).map(block)).await;
    until("the others", async || two.refuses(&block(2999))).await;
    two.has_kept(&block(2999)).await;
    let folder = two.stop().await;
    lift(&*one.log, &block(7)).await;
    lift(&*one.log, &block(8)).await;
    add(&*one.log, [block(8), jti("new")]).await;
    assert_eq!(server.ask(&format!("XTRIM {KEY}log MAXLEN 1")), ":3003");
    let two = Replica::start(settings(&[&server]), folder);
    loaded(&two.tables).await;
    until("the list to be read whole", async || !two.refuses(&block(7)) && two.refuses(&jti("new"))).await;
    assert!(two.refuses(&block(8)) && (9..3000).all(|n| two.refuses(&block(n))));
    until("the file", async || {
        all(&*two.log, ListQuery { limit: 5000, ..ListQuery::default() }).await.len() == 3000
    })
    .await;
    assert_eq!(server.ask(&format!("HLEN {KEY}records")), ":3000", "nothing came back");
    let folder = two.stop().await;
    drop((one, server));
    let alone = Replica::start(settings(&[&Server::start(&[])]), folder);
    loaded(&alone.tables).await;
    assert!(!alone.refuses(&block(7)) && alone.refuses(&block(8)) && alone.refuses(&jti("new")));
}

fn server_has(server: &Server, count: usize) -> bool {
    server.ask(&format!("HLEN {KEY}records")) == format!(":{count}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_starts_while_redis_is_away_on_a_list_that_is_young_enough() {
    let mut server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    add(&*replica.log, [jti("a"), block("bob")]).await;
    replica.has_kept(&block("bob")).await;
    until("a list that is complete", async || is_current(&replica.tables)).await;
    let folder = replica.stop().await;
    server.kill();
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("revocations.redb"), copy.path().join("revocations.redb")).unwrap();

    let young = Replica::start(settings(&[&server]), folder);
    loaded(&young.tables).await;
    assert!(young.refuses(&jti("a")) && young.refuses(&block("bob")) && !young.refuses(&jti("b")));

    let later = TestClock::start();
    later.pass(STALENESS + LONG);
    let old = Replica::start_as(settings(&[&server]), copy, later, false, patient());
    let none = Replica::start(settings(&[&server]), tempfile::tempdir().unwrap());
    until("both to have tried", async || {
        matches!(old.link.health(), StoreHealth::Away { .. }) && old.tables.count(Kind::Jti) == 1
    })
    .await;
    none.is_away().await;
    assert!(!is_current(&old.tables) && !is_current(&none.tables));

    server.start_again();
    for replica in [&young, &old, &none] {
        until("the list", async || is_current(&replica.tables) && replica.refuses(&jti("a"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_cannot_be_written_or_is_damaged_costs_nothing_while_redis_is_there() {
    let server = Server::start(&[]);
    let faults = Arc::new(Faults::default());
    let tuning = Tuning { backend: Backend { faults: Some(faults.clone()) }, ..patient() };
    let replica = Replica::start_as(settings(&[&server]), folder(), Arc::new(SystemClock), false, tuning);
    loaded(&replica.tables).await;
    add(&*replica.log, [jti(0)]).await;
    replica.has_kept(&jti(0)).await;
    for (round, fault) in [&faults.full, &faults.loses].into_iter().enumerate() {
        fault.store(true, Ordering::SeqCst);
        let changes = |from: usize| (from..from + 100).map(move |n| jti(format!("{round}:{n}")));
        for n in 0..5 {
            add(&*replica.log, changes(n * 100)).await;
            assert!(changes(n * 100).all(|named| replica.refuses(&named)));
        }
        until("the fault", async || replica.log.list(&ListQuery::default()).await.is_err()).await;
        assert!(matches!(replica.log.health(), StoreHealth::Away { alone: true, .. }));
        lift(&*replica.log, &jti(0)).await;
        fault.store(false, Ordering::SeqCst);
        let count = 500 * (round + 1);
        let part = ListQuery { limit: 5000, ..ListQuery::default() };
        until("the file to catch up", async || {
            replica.log.list(&part).await.is_ok_and(|listed| listed.revocations.len() == count)
        })
        .await;
        assert_eq!(replica.log.health(), StoreHealth::Up);
        add(&*replica.log, [jti(0)]).await;
        lift(&*replica.log, &jti(0)).await;
    }
    // One that hangs holds up nobody either.
    faults.hangs.store(true, Ordering::SeqCst);
    let mut times = Vec::new();
    for n in 0..20 {
        let began = Instant::now();
        add(&*replica.log, [jti(format!("hangs:{n}"))]).await;
        assert!(replica.refuses(&jti(format!("hangs:{n}"))));
        times.push(began.elapsed());
    }
    faults.hangs.store(false, Ordering::SeqCst);
    were_within_a_second("a change", times);
    replica.has_kept(&jti("hangs:19")).await;
    let damaged = folder();
    std::fs::write(damaged.path().join("revocations.redb"), "not a list").unwrap();
    let other = Replica::start(settings(&[&server]), damaged);
    loaded(&other.tables).await;
    assert!(other.refuses(&jti("0:0")) && other.log.list(&ListQuery::default()).await.is_err());
    let kept = std::fs::read(other.folder.path().join("revocations.redb")).unwrap();
    assert_eq!(kept, b"not a list", "it is never thrown away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_file_is_handed_over_and_taken_back_while_the_list_goes_on() {
    let server = Server::start(&[]);
    let old = Replica::of(&server).await;
    add(&*old.log, [jti("a"), block("bob")]).await;
    old.has_kept(&jti("a")).await;
    let path: &Path = old.folder.path();
    let link = patient_link(settings(&[&server]), Arc::new(SystemClock));
    let new = Arc::new(RedisLog::start(link, path, STALENESS, Arc::new(SystemClock), true));
    let new_tables = followed(&new).await;
    assert!(refuses(&new_tables, &jti("a")), "it has the list before it has the file");
    old.log.close().await.unwrap();
    add(&*old.log, [jti("b")]).await;
    lift(&*old.log, &block("bob")).await;
    new.open().await.unwrap();
    let part = ListQuery { limit: 10, ..ListQuery::default() };
    until("the new one's file", async || {
        new.list(&part).await.is_ok_and(|listed| listed.revocations.len() == 2)
    })
    .await;
    add(&*new, [jti("c")]).await;
    new.close().await.unwrap();
    old.log.open().await.unwrap();
    until("the old one's file", async || {
        old.log.list(&part).await.is_ok_and(|listed| listed.revocations.len() == 3)
    })
    .await;
    until("the old one", async || old.refuses(&jti("c")) && !old.refuses(&block("bob"))).await;

    // For good: whoever has the file reads it for the old one too.
    old.log.close().await.unwrap();
    assert!(old.log.list(&part).await.is_err());
    new.open().await.unwrap();
    let store = Arc::new(FakeStore::new(Arc::new(SystemClock)));
    old.log.mark_handed_over(Some(&HandedTo { store, revocations: new.clone() }));
    until("the new one's file", async || {
        old.log.list(&part).await.is_ok_and(|listed| listed.revocations.len() == 3)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_from_many_replicas_at_once_leave_all_with_one_list() {
    let server = Server::start(&[]);
    let replicas = join_all((0..3).map(|_| Replica::of(&server))).await;
    let write = async |n: usize| {
        let replica = &replicas[n % 3];
        let named = block(n % 17);
        let change = if n.is_multiple_of(2) { Change::Add(named) } else { Change::Lift(named) };
        append(&*replica.log, &[change, Change::Add(before("alice", 100_000 - 100 * n as u64))]).await;
    };
    join_all((0..300).map(write)).await;
    for n in 0..17 {
        let there = replicas[0].log.find(block(n).id()).await.unwrap().is_some();
        for replica in &replicas {
            until("one list", async || replica.refuses(&block(n)) == there).await;
        }
    }
    for replica in &replicas {
        until("the latest moment", async || {
            refuses_aged(&replica.tables, &before("alice", 0), 70_199, now())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_cannot_be_read_in_redis_closes_the_gate_in_time() {
    let server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    add(&*replica.log, [jti("a")]).await;
    assert_eq!(server.ask(&format!("HSET {KEY}records x 1:2:x")), ":1");
    // As a gateway starts it: an answer waits a second for its own tables.
    let tuning = Tuning::default();
    let late = Replica::start_as(settings(&[&server]), folder(), Arc::new(SystemClock), false, tuning);
    late.is_up().await;
    let fault = late.log.append(&[Change::Add(jti("b"))]).await;
    assert_eq!(fault, Err(StoreFault::NotHereYet), "it is made, but does not count here");
    assert_eq!(late.tables.currency(now()), Currency::Unknown, "it does not know all of the list");
    until("who follows the log", async || replica.refuses(&jti("b"))).await;
    assert_eq!(server.ask(&format!("HDEL {KEY}records x")), ":1");
    loaded(&late.tables).await;
}
