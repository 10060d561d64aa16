//! What the gateway writes of requests and of itself, and readers of it that are slow, or never read.

use std::io::{BufRead as _, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use tollgate::config::settings::{Log, LogFormat, SubjectInLog};
use tollgate::io::handover::Channel;
use tollgate::io::handover::questions::Answers;
use tollgate::io::log;
use tracing::Level;

use crate::support::alone::said_alone;
use crate::support::client::{Client, request};
use crate::support::gateway::Gateway;
use crate::support::issuer::Issuer;
use crate::support::operator::Operator;
use crate::support::{until, within};

/// One route to where nobody listens.
const DOWN: &str =
    "issuers: { test: { url: \"http://127.0.0.1:9/issuer\", audience: a, jwks_file: jwks.json } }
routes: [{ path: /down/*, to: \"http://127.0.0.1:9\", public: true }]";

/// The binary, whose standard output and standard error nobody reads any more once it serves.
struct Unread {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    _unread: BufReader<std::process::ChildStderr>,
    folder: tempfile::TempDir,
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Unread {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = "public_url: http://gate.localhost:8080\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0";
        std::fs::write(folder.path().join("jwks.json"), Issuer::new().jwks().to_string()).unwrap();
        std::fs::write(folder.path().join("config.yaml"), format!("{top}\n{DOWN}")).unwrap();
        let mut child = run(folder.path());
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let (public, admin) = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended");
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if line["message"] == "tollgate runs" {
                let public = line["listen"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap();
                break (public, line["admin"].as_str().unwrap().parse().unwrap());
            }
        };
        Self { child, public, admin, _unread: said, folder }
    }

    async fn livez(&self) -> u16 {
        let mut client = Client::connect(self.admin).await;
        client.send(format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin)).await;
        client.answer().await.status
    }

    async fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut status = None;
        until("its end", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

fn run(folder: &std::path::Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("run").current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn a_gateway_whose_output_nobody_reads_serves_on_and_stops() {
    let mut gateway = Unread::start();
    let get = async |path: &str| Client::connect(gateway.public).await.get(path, &[]).await.status;
    // Each by itself: a busy machine takes its time for so many.
    for _ in 0..1000 {
        assert_eq!(within("a refusal", get("/down/x")).await, 502);
    }
    assert_eq!(within("/livez", gateway.livez()).await, 200);
    assert_eq!(get("/elsewhere").await, 404);
    assert_eq!(gateway.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn what_it_says_before_its_end_comes_out_whole_and_in_order() {
    let first = Unread::start();
    // Another with the same folder gets as far as its store, and says why it does not start.
    let output = run(first.folder.path()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let (last, before) = lines.split_last().unwrap();
    assert!(last.contains("in use by another process"), "{said}");
    assert!(before.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{said}");
}

#[test]
fn a_panic_comes_out_whole_and_in_order() {
    let Some(said) = said_alone(module_path!(), "a_panic_comes_out_whole_and_in_order") else {
        let log = Log { format: LogFormat::Text, level: Level::INFO, subject: SubjectInLog::Plain };
        let _messages = log::install(&log).unwrap();
        for at in ["before", "after"] {
            let _ = std::thread::spawn(move || panic!("{at}:\nit ends here")).join();
        }
        return;
    };
    let panics: Vec<&str> = said.split("thread '<unnamed>' panicked at tests/it/logs.rs:").skip(1).collect();
    let panics: Vec<Vec<&str>> = panics.iter().map(|said| said.lines().skip(1).take(2).collect()).collect();
    assert_eq!(panics, [["before:", "it ends here"], ["after:", "it ends here"]], "{said}");
}

#[test]
fn who_took_what_back_is_told_at_every_level() {
    let Some(said) = said_alone(module_path!(), "who_took_what_back_is_told_at_every_level") else {
        let log = Log { format: LogFormat::Json, level: Level::ERROR, subject: SubjectInLog::Plain };
        let messages = log::install(&log).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(revoke_a_token());
        messages.finish();
        return;
    };
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let audited: Vec<_> = lines.iter().filter(|line| line["event"] == "audit").collect();
    let [line] = audited.as_slice() else { panic!("{said}") };
    assert_eq!(
        (&line["level"], &line["message"], &line["value"]),
        (&json!("INFO"), &json!("revoked"), &json!("one"))
    );
    assert!(lines.iter().all(|line| line["event"] == "audit" || line["level"] == "ERROR"), "{said}");
}

async fn revoke_a_token() {
    let gateway = Gateway::with("routes: [{ path: /*, to: \"http://127.0.0.1:9\" }]").await;
    let wanted = json!({ "kind": "jti", "value": "one", "issuer": "test" });
    assert_eq!(Operator::of(&gateway).post("/revocations", &wanted).await.status, 201);
}

/// A reader that takes nothing as long as the other end is there.
struct Never(mpsc::Receiver<()>);

impl Write for Never {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A gateway whose access log nobody reads while the other part lives.
async fn unread(rest: &str) -> (Gateway, mpsc::Sender<()>) {
    let (reads, never) = mpsc::channel();
    let gateway = Gateway::outside(rest, |outside| outside.access_log = Box::new(Never(never))).unwrap();
    let mut client = gateway.connect().await;
    client.send(request("GET", "/elsewhere", &[], b"")).await;
    assert_eq!(client.answer().await.status, 404);
    (gateway, reads)
}

#[tokio::test]
async fn a_stop_waits_for_no_reader_of_the_access_log_and_the_store_is_closed() {
    let (gateway, reads) = unread(DOWN).await;
    let folder = gateway.folder().join("data");
    within("the stop", gateway.app.stop(Duration::ZERO)).await;
    let next = Gateway::unready(DOWN, |settings| settings.store.folder.clone_from(&folder));
    drop(next.expect("the store is closed"));
    drop(reads);
}

#[tokio::test]
async fn whoever_hands_over_waits_for_no_reader_of_the_access_log() {
    let (gateway, reads) = unread(DOWN).await;
    let (to_new, _new) = Channel::pair().unwrap();
    within("the old process", gateway.app.leave(to_new, &Answers::default())).await;
    drop(reads);
}

#[tokio::test]
async fn lines_that_nobody_could_write_are_counted() {
    struct Fails;

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let gateway = Gateway::outside(DOWN, |outside| outside.access_log = Box::new(Fails)).unwrap();
    let metrics = async || String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let line = |log, lines| format!("tollgate_log_lines_lost_total{{log=\"{log}\"}} {lines}\n");
    let before = metrics().await;
    assert!(before.contains(&line("access", 0)) && before.contains(&line("messages", 0)), "{before}");
    let mut client = gateway.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/elsewhere", &[]).await.status, 404);
    }
    until("the count", async || metrics().await.contains(&line("access", 3))).await;
    assert!(metrics().await.contains(&line("access", 3)), "each is counted once");
}
