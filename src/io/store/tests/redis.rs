//! Redis, with real servers: one, with TLS, with a password and an ACL, behind Sentinels, as a cluster; and
//! what becomes of one that hangs, dies, comes back empty, or takes no writes.

mod alone;
mod client_certificate;
mod eviction;
mod rights;

use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use rustls_pki_types::CertificateDer;

use super::servers::{Server, cluster, fail_over, own_port, sentinel, tls};
use super::*;
use crate::config::settings::{
    ClientIdentity, OnOutage, Redis, RedisCredentials, RedisServer, RedisTls, ShownCertificate, Topology,
};
use crate::core::secret::Secret;
use crate::core::time::Timestamp;
use crate::flows::ports::{StoreFault, StoreHealth};
use crate::flows::testing::lines::Lines;
use crate::io::store::alone::RedisOrAlone;
use crate::io::store::redis::RedisStore;
use crate::io::store::redis::link::{KeptLink, Patience};

/// What a call may take that takes at most a second, on a busy machine.
const A_DEADLINE: Duration = Duration::from_secs(25);
/// The patience of tests in which Redis answers: a busy machine may take longer than a gateway has patience.
const PATIENT: Patience = Patience { call: Duration::from_secs(30), reach: Duration::from_secs(30) };

pub(in crate::io) fn settings(servers: &[&Server]) -> Redis {
    let at = |server: &&Server| RedisServer { host: "127.0.0.1".to_owned(), port: server.port };
    Redis {
        servers: servers.iter().map(at).collect(),
        topology: Topology::Single,
        tls: None,
        database: 0,
        credentials: RedisCredentials::default(),
        prefix: "tollgate:".to_owned(),
        on_outage: OnOutage::Refuse,
        max_staleness: Duration::from_secs(300),
    }
}

pub(in crate::io) fn credentials(username: Option<&str>, password: &str) -> RedisCredentials {
    RedisCredentials { username: username.map(str::to_owned), password: Some(password.into()) }
}

/// A way to it for a test in which Redis answers, in whatever time.
pub(in crate::io) fn patient_link(settings: Redis, clock: Arc<dyn Clock>) -> Arc<KeptLink> {
    KeptLink::start_as(settings, clock, PATIENT)
}

/// As a gateway starts it, which waits a second for an answer.
fn start(settings: Redis) -> RedisStore {
    crate::io::install_crypto_providers();
    RedisStore::start(settings, Arc::new(SystemClock))
}

/// For a test in which Redis answers, in whatever time.
fn start_patient(settings: Redis) -> RedisStore {
    crate::io::install_crypto_providers();
    RedisStore::over(patient_link(settings, Arc::new(SystemClock)))
}

async fn up(settings: Redis) -> RedisStore {
    let store = start_patient(settings);
    is_up(&store).await;
    store
}

pub(in crate::io) async fn is_up(store: &dyn Store) {
    until("the store to be up", async || store.health() == StoreHealth::Up).await;
}

/// Waits until it is away for a reason in which `part` stands.
async fn is_away(store: &dyn Store, part: &str) {
    let mut last = String::new();
    let began = Instant::now();
    loop {
        if let StoreHealth::Away { why, .. } = store.health() {
            if why.contains(part) {
                return;
            }
            last = why;
        }
        assert!(began.elapsed() < LONG, "{part} is not why: {last}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_keeps_every_promise_of_a_store() {
    let server = Server::start(&[]);
    suite::holds_for(Arc::new(up(settings(&[&server])).await)).await;
    let mut keys: Vec<_> = server.ask_all("KEYS *").lines().map(str::to_owned).collect();
    keys.retain(|line| !line.starts_with(['*', '$']));
    assert!(keys.len() > 1000 && keys.iter().all(|key| key.starts_with("tollgate:")), "{keys:?}");
    let lasting = keys.iter().filter(|key| server.ask(&format!("PTTL {key}")) == ":-1");
    assert_eq!(lasting.count(), 0, "nothing stays for ever");
}

/// The client library may repeat a put when a connection breaks in a cluster.
#[tokio::test]
async fn a_put_that_is_repeated_is_done_once_and_one_that_comes_late_is_not_done() {
    let server = Server::start(&[]);
    let client = ::redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut put = async |expected: &str, version: &str, bytes: &str, latest: i64| {
        let mut command = ::redis::cmd("EVAL");
        command.arg(crate::io::store::redis::PUT).arg(1).arg("x");
        command.arg(expected).arg(version).arg(bytes).arg(60_000).arg(latest);
        let (outcome, now): (u8, i64) = command.query_async(&mut connection).await.unwrap();
        (outcome, now)
    };
    let (first, now) = put("", "version1", "a", 0).await;
    assert_eq!((first, put("", "version1", "a", 0).await.0), (1, 1));
    assert_eq!(put("version1", "version2", "b", now - 1).await.0, 2, "too late");
    assert_eq!(put("version1", "version2", "b", now + 60_000).await.0, 1);
    assert_eq!(put("version1", "version2", "b", now - 1).await.0, 1, "it was done in time");
    assert_eq!(put("", "version1", "a", 0).await.0, 0, "somebody was faster since");
    assert_eq!(server.ask_all("GET x").lines().nth(1).unwrap(), "version2b");
}

#[tokio::test]
async fn two_prefixes_and_two_databases_do_not_meet() {
    let server = Server::start(&[]);
    let plain = settings(&[&server]);
    let (one, two) = (up(plain.clone()).await, up(Redis { prefix: "b:".to_owned(), ..plain.clone() }).await);
    let three = up(Redis { database: 3, ..plain.clone() }).await;
    let same = up(plain).await;
    one.put_if(&key("x"), None, durable("of one")).await.unwrap().unwrap();
    assert_eq!(bytes_of(&same, &key("x")).await.unwrap(), "of one", "replicas share it");
    for other in [&two, &three] {
        assert_eq!(bytes_of(other, &key("x")).await, None);
        other.put_if(&key("x"), None, durable("of another")).await.unwrap().unwrap();
    }
    assert_eq!(bytes_of(&one, &key("x")).await.unwrap(), "of one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_on_several_replicas_one_wins() {
    let server = Server::start(&[]);
    let replicas = join_all((0..3).map(|_| up(settings(&[&server])))).await;
    for round in 0..20 {
        let key = key(round);
        let puts = replicas.iter().flat_map(|replica| {
            let key = &key;
            (0..20).map(move |_| replica.put_if(key, None, durable("x")))
        });
        let won = join_all(puts).await.into_iter().filter(|put| put.as_ref().unwrap().is_some());
        assert_eq!(won.count(), 1);
    }
}

/// A certificate for this name or address, in a file, and its key.
pub(in crate::io) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
    _folder: tempfile::TempDir,
}

impl Certificate {
    pub(in crate::io) fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("x.pem"), folder.path().join("x.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let (der, key_der) = (made.cert.der().clone(), made.signing_key.serialize_der());
        Self { certificate, key, der, key_der, _folder: folder }
    }

    pub(in crate::io) fn arguments(&self) -> Vec<String> {
        tls(&self.certificate, &self.key)
    }

    fn server(&self) -> Server {
        let arguments = self.arguments();
        Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// These servers, over TLS.
    pub(in crate::io) fn settings(&self, servers: &[&Server]) -> Redis {
        let at = |server: &&Server| {
            let port = server.argument("--tls-port").parse().unwrap();
            RedisServer { host: "127.0.0.1".to_owned(), port }
        };
        let tls = Some(RedisTls { authorities: vec![self.der.clone()], identity: None });
        Redis { servers: servers.iter().map(at).collect(), tls, ..settings(&[]) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_over_tls_keeps_every_promise_of_a_store() {
    let certificate = Certificate::of("127.0.0.1");
    let server = certificate.server();
    suite::holds_for(Arc::new(up(certificate.settings(&[&server])).await)).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_no_store() {
    let certificate = Certificate::of("127.0.0.1");
    let server = certificate.server();
    let good = certificate.settings(&[&server]);
    is_away(&start(Redis { tls: Some(RedisTls::default()), ..good.clone() }), "certificate").await;
    let other = Certificate::of("127.0.0.1");
    is_away(&start(other.settings(&[&server])), "certificate").await;
    is_away(&start(Redis { tls: None, ..good }), "").await;
    let elsewhere = Certificate::of("redis.example");
    let server = elsewhere.server();
    is_away(&start(elsewhere.settings(&[&server])), "certificate").await;
}

/// What docs/deployment.md says that an ACL needs: always, with Sentinels, of the Sentinels, with a cluster.
pub(in crate::io) const ACL: [&str; 4] = [
    "user gate on >acl-hunter2 ~tollgate:* resetchannels -@all +eval +get +getrange +set +time \
     +del +exists +hdel +hget +hincrby +hscan +hset +xadd +xrange +zadd +zrange +zrem",
    "+role",
    "user gate on >acl-hunter2 resetchannels -@all +role +sentinel|masters",
    "+ping +info +cluster|slots",
];

/// As on the command line.
pub(in crate::io) fn acl(rules: &[&str]) -> Vec<String> {
    let rules = rules.join(" ").replacen("user ", "--user ", 1);
    rules.split(' ').map(str::to_owned).collect()
}

#[test]
fn the_acl_that_is_tested_is_the_one_that_is_documented() {
    let page = include_str!("../../../../docs/deployment.md").replace("<password>", "acl-hunter2");
    for rules in ACL {
        // In one line: redis.conf and files of users know no other.
        let rules = rules.replace("user gate", "user tollgate");
        assert!(page.lines().any(|line| line.contains(&rules)), "{rules}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn redis_with_a_password_or_a_narrow_acl_keeps_every_promise_of_a_store() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    let with = Redis { credentials: credentials(None, "hunter2"), ..settings(&[&server]) };
    suite::holds_for(Arc::new(up(with).await)).await;
    let server = Server::start(&acl(&ACL[..1]).iter().map(String::as_str).collect::<Vec<_>>());
    let with = Redis { credentials: credentials(Some("gate"), "acl-hunter2"), ..settings(&[&server]) };
    suite::holds_for(Arc::new(up(with).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sentinels_and_clusters_work_over_tls_with_a_narrow_acl() {
    let certificate = Certificate::of("127.0.0.1");
    let user = credentials(Some("gate"), "acl-hunter2");

    let arguments = [certificate.arguments(), acl(&ACL[..2])].concat();
    let master = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let watched = master.argument("--tls-port").parse().unwrap();
    let sentinel = sentinel(watched, &[certificate.arguments(), acl(&ACL[2..3])].concat());
    let mut asked = certificate.settings(&[&sentinel]);
    asked.credentials = user.clone();
    asked.topology = Topology::Sentinel { master: "mymaster".to_owned(), credentials: user.clone() };
    suite::holds_for(Arc::new(up(asked).await)).await;

    let servers = cluster(|| [certificate.arguments(), acl(&[ACL[0], ACL[3]])].concat());
    let mut asked = certificate.settings(&[&servers[0], &servers[1]]);
    (asked.credentials, asked.topology) = (user, Topology::Cluster);
    suite::holds_for(Arc::new(up(asked).await)).await;
}

#[tokio::test]
async fn wrong_credentials_are_told_and_shown_nowhere() {
    let server = Server::start(&["--requirepass", "hunter2"]);
    for (credentials, part) in [
        (RedisCredentials::default(), "NOAUTH"),
        (credentials(Some("gate"), "wrong-hunter3"), "authentication failed"),
    ] {
        let store = start(Redis { credentials, ..settings(&[&server]) });
        is_away(&store, part).await;
        let fault = store.get(&key("x")).await.unwrap_err();
        let told = format!("{fault} {fault:?} {store:?} {:?}", store.health());
        assert!(!told.contains("hunter"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_master_that_a_sentinel_names_keeps_every_promise_and_so_does_the_next_one() {
    let both = ["--requirepass", "hunter2", "--masterauth", "hunter2", "--repl-diskless-sync-delay", "0"];
    let mut master = Server::start(&both);
    let of = ["--replicaof", "127.0.0.1", &master.port.to_string()];
    let replica = Server::start(&[&both[..], &of[..]].concat());
    let more = ["--sentinel", "auth-pass", "mymaster", "hunter2", "--requirepass", "sentinel-hunter2"];
    let sentinel = sentinel(master.port, &more.map(str::to_owned));
    let gone = own_port();
    let mut asked = settings(&[&sentinel]);
    asked.servers.insert(0, RedisServer { host: "127.0.0.1".to_owned(), port: gone });
    asked.credentials = credentials(None, "hunter2");
    asked.topology = Topology::Sentinel {
        master: "mymaster".to_owned(),
        credentials: credentials(None, "sentinel-hunter2"),
    };
    let store = Arc::new(up(asked).await);
    suite::holds_for(store.clone()).await;

    let version = store.put_if(&key("x"), None, durable("x")).await.unwrap().unwrap();
    assert!(master.ask_with(Some("hunter2"), "WAIT 1 60000").starts_with(":1"), "the replica has it");
    let port = replica.port.to_string();
    let known = || sentinel.ask_with(Some("sentinel-hunter2"), "SENTINEL REPLICAS mymaster");
    until("the Sentinel to know the replica", async || known().contains(&port)).await;
    master.kill();
    is_away(&*store, "").await;
    fail_over(&sentinel, Some("sentinel-hunter2"));
    is_up(&*store).await;
    assert_eq!(
        held(&*store, &key("x")).await,
        Some((version, "x".into())),
        "nobody was told what was not replicated"
    );
    assert!(store.put_if(&key("x"), Some(version), durable("y")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_every_promise_of_a_store_also_while_slots_move() {
    let servers = cluster(Vec::new);
    let asked = Redis { topology: Topology::Cluster, ..settings(&[&servers[1]]) };
    let store = Arc::new(up(asked.clone()).await);
    suite::holds_for(store.clone()).await;

    // `tollgate:test:moved` is put, and then its slot goes from one server to another.
    let version = store.put_if(&key("moved"), None, durable("x")).await.unwrap().unwrap();
    let slot: usize = servers[0].ask("CLUSTER KEYSLOT tollgate:test:moved")[1..].parse().unwrap();
    let (from, to) = (&servers[slot / 5462], &servers[(slot / 5462 + 1) % 3]);
    let id = |server: &Server| server.ask_all("CLUSTER MYID").lines().nth(1).unwrap().to_owned();
    let (from_id, to_id) = (id(from), id(to));
    assert_eq!(to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")), "+OK");
    assert_eq!(from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")), "+OK");
    let moving = format!("MIGRATE 127.0.0.1 {} tollgate:test:moved 0 5000", to.port);
    assert_eq!(from.ask(&moving), "+OK");
    assert_eq!(held(&*store, &key("moved")).await, Some((version, "x".into())), "half way (ASK)");
    for server in [to, from] {
        assert_eq!(server.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")), "+OK");
    }
    let next = store.put_if(&key("moved"), Some(version), durable("y")).await.unwrap().unwrap();
    assert_eq!(held(&*store, &key("moved")).await, Some((next, "y".into())), "moved (MOVED)");
    assert_eq!((store.health(), store.times_reached()), (StoreHealth::Up, 1));

    let noticing = start(asked);
    is_up(&noticing).await;
    servers[2].hang();
    is_away(&noticing, "").await;
    servers[2].go_on();
    is_up(&noticing).await;
    is_up(&*store).await;
    assert_eq!(held(&*store, &key("moved")).await, Some((next, "y".into())));
}

#[tokio::test]
async fn a_redis_that_hangs_costs_a_call_its_deadline_and_later_calls_nothing() {
    let server = Server::start(&[]);
    let (patient, store) = (up(settings(&[&server])).await, start(settings(&[&server])));
    let before = patient.put_if(&key("x"), None, durable("x")).await.unwrap().unwrap();
    is_up(&store).await;
    server.hang();
    let began = Instant::now();
    let (x, given_up) = (key("x"), key("given up"));
    let calls = (0..50).map(|n| match n % 2 {
        0 => store.get(&x).map(|got| got.map(drop)).boxed(),
        _ => store.put_if(&given_up, None, durable("late")).map(|put| put.map(drop)).boxed(),
    });
    let faults = join_all(calls).await;
    assert!(faults.iter().all(Result::is_err), "{faults:?}");
    assert!(faults.contains(&Err(StoreFault::Deadline)), "{faults:?}");
    assert!(began.elapsed() < A_DEADLINE, "{:?}", began.elapsed());
    is_away(&store, "no answer").await;
    for _ in 0..100 {
        assert!(store.get(&x).now_or_never().expect("an answer at once").is_err());
        assert!(
            store.put_if(&x, Some(before), durable("y")).now_or_never().expect("an answer at once").is_err()
        );
    }
    // What was given up is not done when Redis goes on much later: nobody waits for it any more.
    until("time to pass", async || began.elapsed() > Duration::from_secs(3)).await;
    server.go_on();
    is_up(&store).await;
    is_up(&patient).await;
    for _ in 0..20 {
        assert_eq!(held(&patient, &given_up).await, None);
    }
    assert_eq!(held(&patient, &x).await, Some((before, "x".into())));
    assert!(patient.put_if(&x, Some(before), durable("y")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_without_any_call() {
    let server = Server::start(&[]);
    let store = start(settings(&[&server]));
    is_up(&store).await;
    server.hang();
    is_away(&store, "no answer").await;
    assert!(store.get(&key("x")).now_or_never().expect("an answer at once").is_err());
    server.go_on();
    is_up(&store).await;
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_empty_is_found_again_and_no_old_version_counts() {
    let mut server = Server::start(&[]);
    let store = up(settings(&[&server])).await;
    let version = store.put_if(&key("x"), None, durable("x")).await.unwrap().unwrap();
    server.kill();
    let fault = store.put_if(&key("x"), Some(version), durable("y")).await.unwrap_err();
    assert_ne!(fault, StoreFault::NotHereYet);
    is_away(&store, "refused").await;
    let fault = store.get(&key("x")).now_or_never().expect("an answer at once").unwrap_err();
    assert!(fault.to_string().contains("refused"), "{fault}");
    server.start_again();
    is_up(&store).await;
    assert_eq!(held(&store, &key("x")).await, None);
    assert_eq!(store.put_if(&key("x"), Some(version), durable("y")).await.unwrap(), None);
    let next = store.put_if(&key("x"), None, durable("y")).await.unwrap().unwrap();
    assert_ne!(version, next);
}

#[tokio::test]
async fn a_store_starts_before_its_redis_and_calls_wait_for_the_first_answer() {
    let mut server = Server::start(&[]);
    let store = start_patient(settings(&[&server]));
    assert!(store.put_if(&key("x"), None, durable("x")).await.unwrap().is_some(), "the first call waits");
    server.kill();
    let store = start(settings(&[&server]));
    assert!(matches!(store.health(), StoreHealth::Away { alone: false, .. }));
    assert!(store.get(&key("x")).await.is_err());
    server.start_again();
    is_up(&store).await;
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_away_until_it_does() {
    let server = Server::start(&[]);
    let store = up(settings(&[&server])).await;
    let limit = |limit: &str| assert_eq!(server.ask(&format!("CONFIG SET maxmemory {limit}")), "+OK");
    let of = |master: &str| assert_eq!(server.ask(&format!("REPLICAOF {master}")), "+OK");
    limit("1");
    is_away(&store, "OOM").await;
    assert!(store.get(&key("x")).await.is_err(), "half of a store is none");
    limit("0");
    is_up(&store).await;
    of(&format!("127.0.0.1 {}", own_port()));
    is_away(&store, "").await;
    of("NO ONE");
    is_up(&store).await;
    assert_eq!(server.ask("LPUSH tollgate:test:other x"), ":1");
    assert!(store.get(&key("other")).await.is_err(), "somebody else's key is no value");
    assert_eq!(server.ask("SET tollgate:test:short x"), "+OK");
    assert!(store.get(&key("short")).await.is_err());
    is_up(&store).await;
}
