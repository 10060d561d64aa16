//! Another master, one that lost everything, and none.

use futures_util::FutureExt as _;

use super::*;
use crate::core::revocation::holders::{Hand, Holder};
use crate::flows::ports::EntryAsSeen;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_lost_everything_gets_it_back_from_any_replica() {
    let mut server = Server::start(&[]);
    let (one, two) = (Replica::of(&server).await, Replica::of(&server).await);
    add(&*one.log, (0..2500).map(jti)).await;
    add(&*one.log, [before("alice", 10), block("bob")]).await;
    lift(&*one.log, &block("bob")).await;
    one.has_kept(&jti(2499)).await;
    two.has_kept(&jti(2499)).await;
    // What is lifted in a log that is lost before a replica has read it is there again.
    until("the lift", async || !two.refuses(&block("bob"))).await;
    let has_all = || server_has(&server, 2501);
    for loss in 0..3 {
        match loss {
            0 => assert_eq!(server.ask("FLUSHALL"), "+OK"),
            // Only the log and what is known of it.
            1 => assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}records")), ":2"),
            _ => assert_eq!(server.ask(&format!("DEL {KEY}log {KEY}records {KEY}ends")), ":3"),
        }
        until("the list in Redis", async || has_all()).await;
        assert!(one.refuses(&jti(0)) && two.refuses(&jti(0)) && !one.refuses(&block("bob")));
        let third = Replica::of(&server).await;
        until("one that comes later", async || third.refuses(&jti(2499)) && third.refuses(&jti(0))).await;
        add(&*third.log, [jti(format!("after {loss}"))]).await;
        until("the others", async || {
            one.refuses(&jti(format!("after {loss}"))) && two.refuses(&jti(format!("after {loss}")))
        })
        .await;
        lift(&*third.log, &jti(format!("after {loss}"))).await;
        let refuse =
            || [&one, &two].into_iter().any(|replica| replica.refuses(&jti(format!("after {loss}"))));
        until("the lift", async || !refuse()).await;
    }
    server.kill();
    one.is_away().await;
    server.start_again();
    until("the list after a restart without persistence", async || server_has(&server, 2501)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_redis_is_away_nothing_is_revoked_what_is_known_holds_and_it_goes_on_by_itself() {
    // Sessions may go on without it, `on_outage` says; of the list that makes no difference.
    for on_outage in [OnOutage::Refuse, OnOutage::Serve] {
        let mut server = Server::start(&["--appendonly", "yes"]);
        let replica = Replica::start(Redis { on_outage, ..settings(&[&server]) }, folder());
        loaded(&replica.tables).await;
        add(&*replica.log, [jti("a")]).await;
        replica.has_kept(&jti("a")).await;
        server.kill();
        replica.is_away().await;
        let fault = replica.log.append(&[Change::Add(jti("b"))]).now_or_never().expect("an answer at once");
        assert!(matches!(fault, Err(StoreFault::Unavailable(_))), "{fault:?}");
        assert!(replica.refuses(&jti("a")) && !replica.refuses(&jti("b")));
        assert!(replica.log.find(jti("a").id()).await.unwrap().is_some(), "the file is asked meanwhile");
        assert_eq!(all(&*replica.log, ListQuery { limit: 10, ..ListQuery::default() }).await.len(), 1);
        server.start_again();
        replica.is_up().await;
        add(&*replica.log, [jti("b")]).await;
        until("the change", async || replica.refuses(&jti("b"))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn giving_a_long_list_back_reads_the_log_once() {
    let server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    for part in 0..20 {
        add(&*replica.log, (part * 1000..(part + 1) * 1000).map(jti)).await;
    }
    replica.has_kept(&jti(19_999)).await;
    assert_eq!(server.ask("CONFIG RESETSTAT"), "+OK");
    assert_eq!(server.ask("FLUSHALL"), "+OK");
    until("the list in Redis", async || server_has(&server, 20_000)).await;
    let stats = server.ask_all("INFO commandstats");
    let reads = stats.split_once("cmdstat_xrange:calls=").unwrap().1.split_once(',').unwrap().0;
    // Twenty pieces, each with the page behind it; whoever began anew each time read it a hundred times.
    assert!(reads.parse::<usize>().unwrap() < 70, "{reads}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_is_read_over_another_connection_is_read_from_its_beginning() {
    let server = Server::start(&[]);
    let scans = || {
        let stats = server.ask_all("INFO commandstats");
        let (_, scans) = stats.split_once("cmdstat_hscan:calls=").unwrap();
        scans.split_once(',').unwrap().0.parse::<usize>().unwrap()
    };
    let writer = Replica::of(&server).await;
    for part in 0..5 {
        add(&*writer.log, (part * 1000..(part + 1) * 1000).map(jti)).await;
    }
    assert_eq!(server.ask("CONFIG RESETSTAT"), "+OK");
    let _undisturbed = Replica::of(&server).await;
    let all = scans();

    let cable = Cable::to(&server).await;
    cable.pull();
    let (reader, faults) = held_up_after_the_first_part(cable.settings(&server), || {
        assert_eq!(server.ask("CONFIG RESETSTAT"), "+OK");
        cable.plug_in();
    })
    .await;
    let reached = reader.link.times_reached();
    cable.cut();
    until("the next connection", async || reader.link.times_reached() > reached).await;
    faults.hangs.store(false, Ordering::SeqCst);
    loaded(&reader.tables).await;
    assert!((0..5000).all(|n| reader.refuses(&jti(n))));
    assert!(scans() > all, "another server numbers its parts otherwise: {} after {all}", scans());
}

/// A reader whose disk hangs after the first part of the list.
async fn held_up_after_the_first_part(settings: Redis, plug_in: impl FnOnce()) -> (Replica, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let tuning = Tuning { backend: Backend { faults: Some(faults.clone()) }, ..patient() };
    let reader = Replica::start_as(settings, folder(), Arc::new(SystemClock), false, tuning);
    until("the file", async || reader.log.list(&ListQuery::default()).await.is_ok()).await;
    let before = faults.syncs.load(Ordering::SeqCst);
    faults.hangs.store(true, Ordering::SeqCst);
    plug_in();
    until("the first part", async || faults.syncs.load(Ordering::SeqCst) > before).await;
    (reader, faults)
}

/// The slot of a cluster in which the list is moves from one server to another.
fn move_the_list(servers: &[Server; 3]) {
    let slot = servers[0].ask("CLUSTER KEYSLOT {revocations}");
    let slot = slot.trim_start_matches(':');
    let has_it = |server: &&Server| server.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")) == ":4";
    let from = servers.iter().find(has_it).unwrap();
    let to = servers.iter().find(|server| server.port != from.port).unwrap();
    let id = |server: &Server| server.ask_all("CLUSTER MYID").lines().nth(1).unwrap().to_owned();
    let (source, target) = (id(from), id(to));
    assert_eq!(to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}")), "+OK");
    assert_eq!(from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")), "+OK");
    let keys = ["records", "ends", "log", "about"].map(|key| format!("{KEY}{key}")).join(" ");
    let migrate = format!("MIGRATE 127.0.0.1 {} \"\" 0 30000 KEYS {keys}", to.port);
    assert_eq!(from.ask(&migrate), "+OK");
    for server in [to, from] {
        assert_eq!(server.ask(&format!("CLUSTER SETSLOT {slot} NODE {target}")), "+OK");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_moves_in_its_cluster_while_it_is_read_is_read_from_its_beginning() {
    let servers = cluster(Vec::new);
    let asked = Redis { topology: Topology::Cluster, ..settings(&[&servers[0], &servers[1]]) };
    let writer = Replica::start(asked.clone(), folder());
    loaded(&writer.tables).await;
    for part in 0..5 {
        add(&*writer.log, (part * 1000..(part + 1) * 1000).map(jti)).await;
    }
    drop(writer.stop().await);
    let cable = Cable::to(&servers[0]).await;
    cable.pull();
    let behind = Redis { topology: Topology::Cluster, ..cable.settings(&servers[0]) };
    let (reader, faults) = held_up_after_the_first_part(behind, || cable.plug_in()).await;
    // The library follows it by itself, over the same connection as far as anybody is told.
    move_the_list(&servers);
    faults.hangs.store(false, Ordering::SeqCst);
    loaded(&reader.tables).await;
    assert!((0..5000).all(|n| reader.refuses(&jti(n))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_file_lacks_is_not_said_to_be_nowhere_while_redis_is_away() {
    let mut server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    add(&*replica.log, [jti("kept")]).await;
    replica.has_kept(&jti("kept")).await;
    assert_eq!(replica.log.find(jti("never").id()).await, Ok(None));
    server.kill();
    replica.is_away().await;
    assert!(matches!(replica.log.find(jti("kept").id()).await, Ok(Some(_))), "its file has it");
    let never = replica.log.find(jti("never").id()).await;
    assert!(matches!(never, Err(StoreFault::Unavailable(_))), "Redis may have it: {never:?}");
}

/// A master, the server that takes over from it, and the Sentinel that says which it is.
pub(super) struct Masters {
    master: Server,
    pub(super) next: Server,
    sentinel: Server,
}

impl Masters {
    pub(super) async fn start() -> Self {
        let master = Server::start(&["--repl-diskless-sync-delay", "0"]);
        let of = ["--replicaof", "127.0.0.1", &master.port.to_string()];
        let next = Server::start(&of);
        let sentinel = sentinel(master.port, &[]);
        let masters = Self { master, next, sentinel };
        until("the Sentinel to know the next", async || masters.is_known()).await;
        masters
    }

    fn is_known(&self) -> bool {
        let told = self.sentinel.ask_all("SENTINEL REPLICAS mymaster");
        told.contains(&self.next.port.to_string()) && told.contains("master-link-status\n$2\nok")
    }

    pub(super) fn settings(&self) -> Redis {
        let topology =
            Topology::Sentinel { master: "mymaster".to_owned(), credentials: RedisCredentials::default() };
        Redis { topology, ..settings(&[&self.sentinel]) }
    }

    pub(super) fn is_replicated(&self) -> bool {
        self.master.ask("WAIT 1 60000") == ":1"
    }

    /// The next one hears nothing of the master any more.
    pub(super) fn part(&self) {
        self.next.hang();
        assert_eq!(self.master.ask("CLIENT KILL TYPE replica"), ":1");
    }

    /// The master dies, and the next one takes over. Meanwhile all of `still` is refused.
    pub(super) async fn fail_over(&mut self, replicas: [&Replica; 2], still: &[Revocation]) {
        let reached = replicas.map(|replica| replica.link.times_reached());
        self.master.kill();
        self.next.go_on();
        servers::fail_over(&self.sentinel, None);
        for (replica, reached) in replicas.into_iter().zip(reached) {
            // An outage as short as this may be over before anybody looks.
            until("the next master", async || {
                assert!(still.iter().all(|revoked| replica.refuses(revoked)), "meanwhile");
                replica.link.times_reached() > reached
            })
            .await;
            replica.is_up().await;
        }
    }

    async fn two_replicas(&self) -> (Replica, Replica) {
        let (one, two) =
            (Replica::start(self.settings(), folder()), Replica::start(self.settings(), folder()));
        loaded(&one.tables).await;
        loaded(&two.tables).await;
        (one, two)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_before_a_failover_holds_after_it_also_what_the_next_master_never_heard_of() {
    let mut masters = Masters::start().await;
    let (one, two) = masters.two_replicas().await;
    add(&*one.log, (0..100).map(jti)).await;
    add(&*one.log, [block("bob"), block("lifted")]).await;
    lift(&*one.log, &block("lifted")).await;
    assert!(masters.is_replicated());
    masters.part();
    add(&*one.log, [jti("late"), block("alice")]).await;
    until("the other", async || two.refuses(&jti("late")) && two.refuses(&block("alice"))).await;
    let still = [jti(0), jti(99), jti("late"), block("bob"), block("alice")];
    masters.fail_over([&one, &two], &still).await;
    until("the next master to get what it lacks", async || server_has(&masters.next, 103)).await;
    let third = Replica::start(masters.settings(), folder());
    loaded(&third.tables).await;
    until("one that comes later", async || still.iter().all(|revoked| third.refuses(revoked))).await;
    add(&*two.log, [jti("after")]).await;
    for replica in [&one, &two, &third] {
        until("what was revoked after it", async || replica.refuses(&jti("after"))).await;
        assert!(still.iter().all(|revoked| replica.refuses(revoked)));
        assert!(!replica.refuses(&block("lifted")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_lifted_and_made_again_holds_after_a_failover_that_knows_the_lift_alone() {
    let mut masters = Masters::start().await;
    let (one, two) = masters.two_replicas().await;
    let first = [jti("x"), before("alice", 1000), block("bob")];
    add(&*one.log, first.clone()).await;
    for named in &first {
        lift(&*one.log, named).await;
    }
    let lifted = jti("lifted");
    add(&*one.log, [lifted.clone()]).await;
    lift(&*one.log, &lifted).await;
    assert!(masters.is_replicated());
    masters.part();
    let made_at = now().plus(Duration::from_secs(1));
    let again = |named: Revocation| Revocation { made_at, ..named };
    let (x, watermark, bob) = (again(jti("x")), again(before("alice", 10)), again(block("bob")));
    add(&*one.log, [x.clone(), watermark.clone(), bob.clone()]).await;
    let knows = |replica: &Replica| {
        let has_watermark = refuses_aged(&replica.tables, &watermark, 100, now());
        has_watermark && replica.refuses(&x) && replica.refuses(&bob)
    };
    until("the other", async || knows(&two)).await;
    one.has_kept(&x).await;
    two.has_kept(&x).await;
    masters.fail_over([&one, &two], &[x.clone(), bob.clone()]).await;
    until("the next master to get what it lacks", async || server_has(&masters.next, 3)).await;
    let third = Replica::start(masters.settings(), folder());
    loaded(&third.tables).await;
    add(&*third.log, [jti("after")]).await;
    for replica in [&one, &two, &third] {
        until("what was revoked after it", async || replica.refuses(&jti("after"))).await;
        assert!(knows(replica) && !replica.refuses(&lifted));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_takes_the_numbers_of_what_a_failover_lost_counts_on_every_replica() {
    let mut masters = Masters::start().await;
    let (one, two) = masters.two_replicas().await;
    add(&*one.log, (0..10).map(jti)).await;
    assert!(masters.is_replicated());
    masters.part();
    // Of this the next master lacks nothing but the numbers.
    add(&*one.log, [block("bob")]).await;
    until("the other", async || two.refuses(&block("bob"))).await;
    lift(&*one.log, &block("bob")).await;
    until("the lift", async || !two.refuses(&block("bob"))).await;
    masters.fail_over([&one, &two], &[jti(0)]).await;
    for n in ["a", "b", "c"] {
        add(&*two.log, [jti(n)]).await;
        assert!(two.refuses(&jti(n)), "its own, also where the number is one that it knew");
        for replica in [&one, &two] {
            until("what was revoked after it", async || replica.refuses(&jti(n))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_loss_while_the_file_catches_up_is_seen_whether_the_log_is_shorter_or_as_long_afterwards() {
    for count in [1, 4, 9] {
        let server = Server::start(&[]);
        let writer = Replica::of(&server).await;
        let cable = Cable::to(&server).await;
        let reader = Replica::start(cable.settings(&server), folder());
        loaded(&reader.tables).await;
        add(&*writer.log, [jti("kept")]).await;
        reader.has_kept(&jti("kept")).await;
        let last = || server.ask(&format!("XLEN {KEY}log")).trim_start_matches(':').parse::<u64>().unwrap();
        let kept = last();
        reader.log.close().await.unwrap();
        for _ in 0..2 {
            add(&*writer.log, [block("bob")]).await;
            until("the change", async || reader.refuses(&block("bob"))).await;
            lift(&*writer.log, &block("bob")).await;
            until("the lift", async || !reader.refuses(&block("bob"))).await;
        }
        cable.pull();
        reader.is_away().await;
        reader.log.open().await.unwrap();
        for seq in kept + 1..=last() {
            assert_eq!(server.ask(&format!("XDEL {KEY}log {seq}-0")), ":1");
        }
        assert_eq!(server.ask(&format!("XSETID {KEY}log {kept}-0")), "+OK");
        assert_eq!(server.ask(&format!("HSET {KEY}about seq {kept}")), ":0");
        let news = (0..count).map(|n| Change::Add(jti(n)));
        for change in news {
            append(&*writer.log, &[change]).await;
        }
        cable.plug_in();
        until("what was revoked after it", async || (0..count).all(|n| reader.refuses(&jti(n)))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_later_moment_that_a_failover_lost_is_given_back_and_nobody_forgets_it() {
    let mut masters = Masters::start().await;
    let (one, two) = masters.two_replicas().await;
    let lasts = |value: &str, hours: u64| Revocation {
        until: Some(now().plus(Duration::from_secs(3600 * hours))),
        ..block(value)
    };
    let (longer, endless) = (lasts("longer", 9), Revocation { until: None, ..block("endless") });
    add(&*one.log, [lasts("longer", 1), lasts("endless", 1), before("alice", 1000)]).await;
    assert!(masters.is_replicated());
    masters.part();
    let late = before("alice", 10);
    add(&*one.log, [longer.clone(), endless.clone(), late.clone()]).await;
    let in_hours = |hours: u64| now().plus(Duration::from_secs(3600 * hours));
    let knows = |replica: &Replica| {
        refuses_aged(&replica.tables, &longer, 0, in_hours(8))
            && refuses_aged(&replica.tables, &endless, 0, in_hours(1000))
            && refuses_aged(&replica.tables, &late, 100, now())
    };
    until("the other", async || knows(&two)).await;
    masters.fail_over([&one, &two], &[longer.clone(), endless.clone()]).await;
    let moments = async |id| {
        let there = one.log.find(id).await.ok()??;
        Some((there.rule, there.until))
    };
    for named in [&longer, &endless, &late] {
        until("the later moment", async || moments(named.id()).await == Some((named.rule, named.until)))
            .await;
    }
    let third = Replica::start(masters.settings(), folder());
    loaded(&third.tables).await;
    add(&*third.log, [jti("after")]).await;
    for replica in [&one, &two, &third] {
        until("what was revoked after it", async || replica.refuses(&jti("after"))).await;
        assert!(knows(replica));
    }
}

/// A block that this hand holds without an end.
fn held_by(hand: Hand) -> Revocation {
    let holder = Holder { hand, until: None, made_at: now(), reason: None };
    Revocation::block(block("alice").target, vec![holder]).unwrap()
}

fn transmitter() -> Hand {
    Hand::Transmitter("https://transmitter.example".to_owned())
}

fn bob() -> Hand {
    Hand::Operator(Some("bob".to_owned()))
}

/// Who holds the block of alice, as this replica's Redis says; empty: nobody, or it cannot be asked.
async fn holders(replica: &Replica) -> Vec<Hand> {
    let found = replica.log.find(block("alice").id()).await.ok().flatten();
    let mut hands: Vec<_> = found.iter().flat_map(Revocation::holders).map(|holder| holder.hand).collect();
    hands.sort_by_key(|hand| hand.name().to_owned());
    hands
}

async fn let_go(replica: &Replica, hand: &Hand) {
    until("its turn", async || {
        let Ok(Some(found)) = replica.log.find(block("alice").id()).await else { return false };
        let seen = [EntryAsSeen { id: found.id(), entry: Some(found.clone()) }];
        let change = found.without(hand, now()).unwrap();
        replica.log.append_if(&seen, &[change]).await == Ok(true)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_holds_a_block_holds_it_after_a_failover_that_lost_their_word_alone() {
    for is_enabled_meanwhile in [false, true] {
        let mut masters = Masters::start().await;
        let (one, two) = masters.two_replicas().await;
        let disabled = held_by(transmitter());
        add(&*one.log, [disabled.clone()]).await;
        assert!(masters.is_replicated());
        masters.part();
        let both = held_by(bob()).beside(Some(&disabled), now());
        add(&*one.log, [both.clone()]).await;
        for replica in [&one, &two] {
            let part = ListQuery { limit: 10, ..ListQuery::default() };
            let has_both = async || all(&*replica.log, part.clone()).await == [both.clone()];
            until("the file", has_both).await;
        }
        // What a replica of the master still has is given back by one that hears of it late, too.
        let late = two.stop().await;
        masters.fail_over([&one, &one], std::slice::from_ref(&both)).await;
        if is_enabled_meanwhile {
            let_go(&one, &transmitter()).await;
        }
        let two = Replica::start(masters.settings(), late);
        loaded(&two.tables).await;
        let third = Replica::start(masters.settings(), folder());
        loaded(&third.tables).await;
        let names = if is_enabled_meanwhile { vec![bob()] } else { vec![bob(), transmitter()] };
        for replica in [&one, &two, &third] {
            until("all who hold it", async || holders(replica).await == names).await;
            assert!(replica.refuses(&both));
        }
        if !is_enabled_meanwhile {
            let_go(&two, &transmitter()).await;
        }
        add(&*third.log, [jti("after")]).await;
        for replica in [&one, &two, &third] {
            until("what was revoked after it", async || replica.refuses(&jti("after"))).await;
            assert_eq!(holders(replica).await, [bob()]);
            assert!(replica.refuses(&both));
        }
        let_go(&one, &bob()).await;
        for replica in [&one, &two, &third] {
            until("the lift", async || !replica.refuses(&both)).await;
        }
    }
}
