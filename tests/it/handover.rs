//! One gateway hands over to another, over the same sockets, and is never worse off for having tried.
//! `after`: what is left at the old one then. `shared_store`: what the new one must be able to do with a
//! Redis.

mod after;
mod shared_store;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tollgate::app::{App, HandOverError, Outside, StartError, take_over};
use tollgate::config::settings::Settings;
use tollgate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};
use tollgate::flows::ports::{Exclusive, HandedTo};
use tollgate::io::handover::questions::Answers;
use tollgate::io::handover::{Channel, Message};

use crate::support::client::{Client, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, ISS, Issuer};
use crate::support::upstream::Upstream;
use crate::support::{PATIENCE, eventually, within};

/// Files that only one can have open, and what became of them.
#[derive(Clone, Debug, Default)]
struct Files(Arc<Mutex<(Option<&'static str>, Vec<String>)>>);

impl Files {
    fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }

    fn of(&self, process: &'static str) -> Store {
        Store { files: self.clone(), process, full: false, hangs: watch::Sender::default() }
    }
}

/// The store of one process, over those files.
#[derive(Debug)]
struct Store {
    files: Files,
    process: &'static str,
    /// Not everything can be written.
    full: bool,
    /// The disk does not answer. Where it is to close, nobody waits for the clock.
    hangs: watch::Sender<bool>,
}

impl Store {
    fn open(&self) -> Result<(), String> {
        let (open_in, events) = &mut *self.files.0.lock().unwrap();
        if let Some(other) = open_in.filter(|other| *other != self.process) {
            return Err(format!("store: the {other} process has it open"));
        }
        if open_in.replace(self.process).is_none() {
            events.push(format!("the {} process opens", self.process));
        }
        Ok(())
    }
}

impl Exclusive for Store {
    fn open(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let mut hangs = self.hangs.subscribe();
            hangs.wait_for(|hangs| !hangs).await.map_err(|_| "the store is gone")?;
            Store::open(self)
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            // What is being written takes its time.
            tokio::task::yield_now().await;
            if *self.hangs.borrow() {
                self.files.0.lock().unwrap().0 = None;
                tokio::time::pause();
                std::future::pending::<()>().await;
            }
            let (open_in, events) = &mut *self.files.0.lock().unwrap();
            *open_in = None;
            events.push(format!("the {} process closes", self.process));
            if self.full { Err("the disk is full".to_owned()) } else { Ok(()) }
        })
    }

    fn mark_handed_over(&self, _to: Option<&HandedTo>) {
        self.files.0.lock().unwrap().1.push(format!("the {} process has handed over", self.process));
    }
}

/// A route to `upstream`, and one issuer whose keys are in a file.
fn rest(upstream: &str) -> String {
    format!(
        "issuers: {{ test: {{ url: \"http://127.0.0.1:9/issuer\", audience: \"{AUDIENCE}\", jwks_file: jwks.json }} }}
routes: [{{ path: /public/*, to: \"{upstream}\", public: true }}, {{ path: /api/*, to: \"{upstream}\" }}]"
    )
}

fn old(upstream: &Upstream, files: &Files) -> Gateway {
    with_store(upstream, files.of("old"))
}

fn with_store(upstream: &Upstream, store: Store) -> Gateway {
    store.open().unwrap();
    Gateway::outside(&rest(&upstream.url()), |outside| outside.exclusive.push(Arc::new(store))).unwrap()
}

/// A process with the same configuration that takes over.
async fn new(from: Channel, old: &std::path::Path, store: Store) -> Result<App, StartError> {
    new_as(from, old, store, |_| {}).await
}

/// The same, with what no key of config.yaml can say.
async fn new_as(
    from: Channel,
    old: &std::path::Path,
    store: Store,
    adjust: impl FnOnce(&mut Settings),
) -> Result<App, StartError> {
    let mut loaded = tollgate::config::load(&old.join("config.yaml"), &|_| None).unwrap();
    adjust(&mut loaded.settings);
    let settings = Arc::new(loaded.settings);
    let outside = Outside {
        access_log: Box::new(std::io::sink()),
        exclusive: vec![Arc::new(store)],
        ..Outside::system(&settings)?
    };
    take_over(from, settings, outside).await
}

#[tokio::test]
async fn the_store_moves_first_and_then_the_other_process_serves_at_the_same_sockets() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let (public, admin) = (gateway.public, gateway.admin);
    let mut busy = gateway.connect().await;
    busy.send(request("GET", "/public/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 1).await;

    let (mut to_new, to_old) = Channel::pair().unwrap();
    let (handed, taken) = within("the hand-over", async {
        tokio::join!(gateway.app.hand_over(&mut to_new), new(to_old, gateway.folder(), files.of("new")))
    })
    .await;
    let (answers, taken) = (handed.unwrap(), taken.unwrap());
    assert_eq!(files.events(), ["the old process opens", "the old process closes", "the new process opens"]);
    assert_eq!((taken.running.public[0], taken.running.admin), (public, admin));

    let leaving = tokio::spawn(async move { gateway.app.leave(to_new, &answers).await });
    eventually("the news of it", || files.events().len() == 4).await;
    assert_eq!(files.events()[3], "the old process has handed over");
    for _ in 0..20 {
        assert_eq!(Client::connect(public).await.get("/public/x", &[]).await.status, 200);
    }
    assert!(!leaving.is_finished(), "it waits for the request");
    upstream.release(1);
    let answer = busy.answer().await;
    assert!(answer.status == 200 && !answer.keeps_alive(), "{answer:?}");
    within("the old process", leaving).await.unwrap();
    assert_eq!(Client::connect(public).await.get("/public/x", &[]).await.status, 200);
    within("the stop", taken.stop(Duration::ZERO)).await;
    assert!(tokio::net::TcpStream::connect(public).await.is_err(), "nobody has the socket any more");
    assert!(tokio::net::TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn what_the_new_process_takes_back_ends_at_the_old_one_too() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let [hers, his] = ["alice", "bob"].map(|sub| {
        let claims = json!({ "sub": sub, "jti": sub, "scope": "api:read" });
        format!("Bearer {}", gateway.issuer.token_with(claims))
    });
    let (mut busy, mut other) = (gateway.connect().await, gateway.connect().await);
    for (client, bearer) in [(&mut busy, &hers), (&mut other, &his)] {
        client.send(request("GET", "/api/hold", &[("Authorization", bearer)], b"")).await;
    }
    eventually("both at the upstream", || upstream.received().len() == 2).await;
    let (mut to_new, to_old) = Channel::pair().unwrap();
    let (handed, taken) = within("the hand-over", async {
        tokio::join!(gateway.app.hand_over(&mut to_new), new(to_old, gateway.folder(), files.of("new")))
    })
    .await;
    let (answers, taken) = (handed.unwrap(), taken.unwrap());
    let leaving = tokio::spawn(async move { gateway.app.leave(to_new, &answers).await });
    let target = Target { kind: Kind::Jti, whose: Whose::Of(ISS.into()), value: "alice".into() };
    let revocation = Revocation::new(target, Rule::Outright, taken.gate.clock.now());
    taken.gate.revocation_log.append(&[Change::Add(revocation)]).await.unwrap();
    assert!(busy.is_closed().await, "ended, by the old process");
    upstream.release(2);
    assert_eq!(other.answer().await.status, 200);
    within("the old process", leaving).await.unwrap();
    within("the stop", taken.stop(Duration::ZERO)).await;
}

#[tokio::test]
async fn one_slow_exchange_does_not_hold_up_the_others_before_the_store_moves() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let exchanges = &gateway.app.gate.exchanges;
    let slow = exchanges.take_off().await;
    let (mut to_new, to_old) = Channel::pair().unwrap();
    let (handed, taken, ()) = within("the hand-over", async {
        tokio::join!(
            gateway.app.hand_over(&mut to_new),
            new(to_old, gateway.folder(), files.of("new")),
            async {
                let is_held = || exchanges.take_off().now_or_never().is_none();
                eventually("exchanges to be held back", is_held).await;
                eventually("them to go on while one is slow", || !is_held()).await;
                assert_eq!(files.events(), ["the old process opens"]);
                drop(slow);
            }
        )
    })
    .await;
    handed.unwrap();
    assert_eq!(files.events(), ["the old process opens", "the old process closes", "the new process opens"]);
    taken.unwrap().stop(Duration::ZERO).await;
}

/// However far the other process gets before it fails.
#[tokio::test]
async fn a_process_that_fails_to_take_over_changes_nothing() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let mut kept = gateway.connect().await;
    let ready = || Message::Ready { without_keys: vec![], without_store: None };
    for (says, closed) in [
        (vec![], false),
        (vec![Message::Serving { answers: Answers::default() }], false),
        (vec![ready()], true),
        (vec![ready(), ready()], true),
    ] {
        let told = format!("{says:?}");
        let (mut to_new, mut to_old) = Channel::pair().unwrap();
        let other = async move {
            let sockets = to_old.take().await.unwrap();
            assert_eq!(sockets.len(), 2, "public and admin");
            for message in says {
                to_old.say(&message).await.unwrap();
            }
            // It has gone once its end of the channel is.
        };
        let before = files.events().len();
        let (handed, ()) =
            within("the failure", async { tokio::join!(gateway.app.hand_over(&mut to_new), other) }).await;
        assert!(matches!(handed, Err(HandOverError::Channel(_))), "{told}: {handed:?}");
        gateway.app.take_back().await.unwrap();
        let events = files.events().split_off(before);
        assert_eq!(events.len(), if closed { 2 } else { 0 }, "{told}: {events:?}");
        assert!(files.of("new").open().is_err(), "{told}: open in the old process");
        for client in [&mut kept, &mut gateway.connect().await] {
            let answer = client.get("/public/x", &[]).await;
            assert!(answer.status == 200 && answer.keeps_alive(), "{told}: {answer:?}");
        }
        assert_eq!(gateway.admin("/readyz").await.status, 200, "{told}");
    }
}

/// What the new process would read of the store would be older than what clients were told.
#[tokio::test]
async fn a_store_that_cannot_be_written_stays() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = with_store(&upstream, Store { full: true, ..files.of("old") });
    let (to_new, to_old) = Channel::pair().unwrap();
    let new = new(to_old, gateway.folder(), files.of("new"));
    let old = async { gateway.app.hand_over(&mut { to_new }).await };
    let (handed, taken) = within("the failure", async { tokio::join!(old, new) }).await;
    assert!(matches!(&handed, Err(HandOverError::Unwritten(why)) if why == "the disk is full"), "{handed:?}");
    taken.unwrap_err();
    gateway.app.take_back().await.unwrap();
    assert_eq!(files.events().last().unwrap(), "the old process opens");
    assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200);
}

#[tokio::test]
async fn a_disk_that_hangs_fails_the_hand_over_in_time_and_is_waited_for_behind_everybodys_back() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let store = files.of("old");
    let hangs = store.hangs.clone();
    let gateway = with_store(&upstream, store);
    hangs.send_replace(true);
    let (to_new, to_old) = Channel::pair().unwrap();
    let new = new(to_old, gateway.folder(), files.of("new"));
    let old = async { gateway.app.hand_over(&mut { to_new }).await };
    let (handed, taken) = within("the failure", async { tokio::join!(old, new) }).await;
    let is_late = |why: &str| why == "the disk does not answer";
    assert!(matches!(&handed, Err(HandOverError::Unwritten(why)) if is_late(why)), "{handed:?}");
    taken.unwrap_err();
    let back = within("the disk, in vain", gateway.app.take_back()).await;
    assert!(back.as_ref().is_err_and(|why| is_late(why)), "{back:?}");
    tokio::time::resume();
    hangs.send_replace(false);
    eventually("it to be open again", || files.events().len() == 2).await;
    assert_eq!(files.events(), ["the old process opens"; 2]);
    assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_opened_again_is_tried_until_it_can() {
    for waits in [true, false] {
        let (upstream, files) = (Upstream::start().await, Files::default());
        let gateway = old(&upstream, &files);
        let (mut to_new, to_old) = Channel::pair().unwrap();
        let third = files.of("third");
        let other = async {
            let mut to_old = to_old;
            to_old.take().await.unwrap();
            to_old.say(&Message::Ready { without_keys: vec![], without_store: None }).await.unwrap();
            to_old.hear().await.unwrap();
            third.open().unwrap();
        };
        let (handed, ()) =
            within("the failure", async { tokio::join!(gateway.app.hand_over(&mut to_new), other) }).await;
        handed.unwrap_err();
        if waits {
            assert_eq!(gateway.app.take_back().await.unwrap_err(), "store: the third process has it open");
        }
        // For whoever is told to end and does not wait: once, and not again where it is under way.
        gateway.app.take_back_meanwhile();
        Exclusive::close(&third).await.unwrap();
        eventually("it to be open again", || files.events().last().unwrap() == "the old process opens").await;
    }
}

#[tokio::test]
async fn a_process_that_cannot_open_the_store_does_not_serve() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    // Another one than the old process closes.
    let others = Files::default();
    others.of("third").open().unwrap();
    let (mut to_new, to_old) = Channel::pair().unwrap();
    let (handed, taken) = within("the failure", async {
        tokio::join!(gateway.app.hand_over(&mut to_new), new(to_old, gateway.folder(), others.of("new")))
    })
    .await;
    handed.unwrap_err();
    assert_eq!(taken.unwrap_err().to_string(), "store: the third process has it open");
    gateway.app.take_back().await.unwrap();
    assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200);
}

#[tokio::test]
async fn tokens_that_are_accepted_before_are_accepted_after() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let hand_over = async |without: &str| {
        let (to_new, mut to_old) = Channel::pair().unwrap();
        let other = async move {
            to_old.take().await.unwrap();
            to_old
                .say(&Message::Ready { without_keys: vec![without.to_owned()], without_store: None })
                .await
                .unwrap();
            let Ok(Message::Go {}) = to_old.hear().await else { return };
            to_old.say(&Message::Serving { answers: Answers::default() }).await.unwrap();
        };
        // The other process hears of a refusal by the end of the channel.
        let handing = async { gateway.app.hand_over(&mut { to_new }).await };
        within("the outcome", async { tokio::join!(handing, other) }).await.0
    };
    let refused = hand_over("test").await.unwrap_err();
    assert!(matches!(&refused, HandOverError::WithoutKeys(names) if names == &["test"]), "{refused:?}");
    assert_eq!(files.events(), ["the old process opens"], "and the store stays where it is");
    hand_over("of-the-new-configuration-alone").await.unwrap();
}

#[tokio::test]
async fn the_new_process_waits_for_its_keys() {
    let (upstream, files) = (Upstream::start().await, Files::default());
    let gateway = old(&upstream, &files);
    let keys = gateway.issuer.jwks().to_string();
    let server = Upstream::answering(Arc::new(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{keys}",
            keys.len()
        )
        .into_bytes()
    }))
    .await;
    // The configuration that the new process reads.
    let uri = format!("{}/hold", server.url());
    let text = gateway.text.replace("jwks_file: jwks.json", &format!("jwks_uri: \"{uri}\""));
    std::fs::write(gateway.folder().join("config.yaml"), text).unwrap();

    let (mut to_new, to_old) = Channel::pair().unwrap();
    let meanwhile = async {
        eventually("the question for the keys", || !server.received().is_empty()).await;
        assert_eq!(files.events(), ["the old process opens"], "it is not ready without them");
        server.release(1);
    };
    let (handed, taken, ()) = within("the hand-over", async {
        tokio::join!(
            gateway.app.hand_over(&mut to_new),
            new(to_old, gateway.folder(), files.of("new")),
            meanwhile
        )
    })
    .await;
    handed.unwrap();
    let live = taken.unwrap().gate.live.load_full();
    assert!(live.issuers.iter().all(|issuer| issuer.keys_ready()));
}

/// The binary, with a service manager that listens.
struct Service {
    child: Child,
    news: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start() -> Self {
        Self::before("http://127.0.0.1:9", Stdio::null())
    }

    /// `says`: where both processes say what they do.
    fn before(upstream: &str, says: Stdio) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = "public_url: http://gate.localhost:8080\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0";
        let text = format!("{top}\n{}", rest(upstream));
        std::fs::write(folder.path().join("jwks.json"), Issuer::new().jwks().to_string()).unwrap();
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        let socket = folder.path().join("notify");
        let news = UnixDatagram::bind(&socket).unwrap();
        news.set_read_timeout(Some(PATIENCE)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .arg("run")
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(says)
            .spawn()
            .unwrap();
        Self { child, news, _folder: folder }
    }

    /// Has it hand over. Gives the process that serves from then on.
    fn hands_over(&self) -> u32 {
        signal("QUIT", self.child.id());
        // Both tell that there is a service; the old one, which is believed, also who it is.
        let news = [self.hears(), self.hears()].concat();
        let successor = news.split_once("MAINPID=").and_then(|(_, rest)| rest.lines().next());
        successor.unwrap_or_else(|| panic!("{news}")).parse().unwrap()
    }

    fn hears(&self) -> String {
        let mut text = [0; 256];
        let count = self.news.recv(&mut text).expect("news");
        String::from_utf8_lossy(&text[..count]).into_owned()
    }
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn the_service_manager_hears_which_process_is_the_service() {
    let mut service = Service::start();
    let id = service.child.id();
    assert_eq!(service.hears(), "READY=1\n");
    let successor = service.hands_over();
    assert_ne!(successor, id);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = service.child.try_wait().unwrap() {
            break status;
        }
        assert!(began.elapsed() < PATIENCE, "the old process goes on");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert_eq!(status.code(), Some(0));
    signal("TERM", successor);
    assert_eq!(service.hears(), "STOPPING=1\n");
}

/// Its service manager sees that the new process has crashed when the old one, whose child it is, has ended.
#[tokio::test]
async fn when_the_new_process_crashes_the_old_one_does_not_finish_what_it_has_begun() {
    let upstream = Upstream::start().await;
    let said = tempfile::NamedTempFile::new().unwrap();
    let mut service = Service::before(&upstream.url(), said.reopen().unwrap().into());
    assert_eq!(service.hears(), "READY=1\n");
    let lines = || std::fs::read_to_string(said.path()).unwrap();
    eventually("its first words", || lines().contains("tollgate runs")).await;
    let first = lines();
    let runs: serde_json::Value =
        serde_json::from_str(first.lines().find(|line| line.contains("tollgate runs")).unwrap()).unwrap();
    let public = runs["listen"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
    let mut busy = Client::connect(public).await;
    busy.send(request("GET", "/public/hold", &[], b"")).await;
    eventually("the request at the upstream", || upstream.received().len() == 1).await;

    let successor = service.hands_over();
    eventually("the drain", || lines().contains("draining")).await;
    assert!(service.child.try_wait().unwrap().is_none(), "its request is under way");
    let began = Instant::now();
    signal("KILL", successor);
    let mut status = None;
    eventually("the end of the old process", || {
        status = service.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    // The drain is 30 seconds.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let told = lines();
    assert!(told.contains("the new process has crashed, and serves nobody"), "{told}");
    assert!(told.contains("\"how\":\"signal 9\""), "{told}");
}
