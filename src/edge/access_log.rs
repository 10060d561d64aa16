//! One line a request, to standard output: who asked for what, by which route, and what became of
//! it. Written by a thread of its own, so that a slow terminal or pipe does not slow requests.
//!
//! It must never hold a token, a cookie or a query. When the writer cannot keep up, lines are dropped
//! and counted in the log itself; a stop writes all that was taken.

use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use http::Method;
use parking_lot::Mutex;
use serde::Serialize;

use crate::config::settings::{LogFormat, SubjectInLog};
use crate::core::ids::{RequestId, RouteName, UpstreamName};
use crate::core::session::grant::FamilyId;

/// Lines that may wait for the writer.
const WAITING: usize = 16 * 1024;
/// Lines are written together up to so many bytes: what a pipe takes in one piece (POSIX PIPE_BUF on Linux), so that
/// the lines of two processes, of which one hands over to the other, do not mix.
const TOGETHER: usize = 4096;
/// The longest path that is written whole, in bytes.
const PATH: usize = 2 * 1024;

/// What is known of a request when it is over.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) at: SystemTime,
    pub(crate) request_id: RequestId,
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) route: Option<RouteName>,
    pub(crate) status: u16,
    /// `ok`, the label of a denial, or how an exchange ended.
    pub(crate) outcome: &'static str,
    /// The label of the denial that the route only reports; the request went on as nobody's.
    pub(crate) report_only: Option<&'static str>,
    /// The client at the authorization server, where one is known.
    pub(crate) client: Option<String>,
    pub(crate) subject: Option<String>,
    /// The session, by the name under which it can be revoked.
    pub(crate) family: Option<FamilyId>,
    pub(crate) address: IpAddr,
    pub(crate) took: Duration,
    pub(crate) upstream: Option<UpstreamName>,
    /// Of the answer's body.
    pub(crate) bytes: usize,
}

enum Message {
    Line(Box<Entry>),
    Stop,
}

/// The log, as requests see it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl AccessLog {
    /// # Errors
    /// When no thread can be had.
    pub(crate) fn start(
        format: LogFormat,
        subject: SubjectInLog,
        sink: Box<dyn Write + Send>,
    ) -> std::io::Result<Self> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            format,
            subject,
            sink: BufWriter::with_capacity(TOGETHER, sink),
            dropped: dropped.clone(),
        };
        let thread =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(&waiting))?;
        Ok(Self { lines, dropped, writer: Mutex::new(Some(thread)) })
    }

    pub(crate) fn write(&self, entry: Entry) {
        if self.lines.try_send(Message::Line(Box::new(entry))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Self::stop`], from within a runtime.
    pub(crate) async fn stopped(self: Arc<Self>) {
        let _ = tokio::task::spawn_blocking(move || self.stop()).await;
    }

    /// Writes what was taken so far, then ends. Blocks until that is done.
    pub(crate) fn stop(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        if self.lines.send(Message::Stop).is_ok() {
            let _ = writer.join();
        }
    }
}

struct Writer {
    format: LogFormat,
    subject: SubjectInLog,
    sink: BufWriter<Box<dyn Write + Send>>,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    /// A write that fails is not tried again: there is nobody left to tell.
    fn run(mut self, waiting: &Receiver<Message>) {
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Line(entry) => self.line(&entry),
                    Message::Stop => {
                        self.flush();
                        return;
                    }
                }
                next = waiting.try_recv().ok();
            }
            self.flush();
        }
    }

    fn line(&mut self, entry: &Entry) {
        let line = match self.format {
            LogFormat::Json => json(entry, self.subject),
            LogFormat::Text => text(entry, self.subject),
        };
        let _ = self.sink.write_all(&line);
    }

    fn flush(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ = match self.format {
                LogFormat::Json => writeln!(self.sink, r#"{{"dropped_lines":{dropped}}}"#),
                LogFormat::Text => writeln!(self.sink, "{dropped} lines dropped"),
            };
        }
        let _ = self.sink.flush();
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    status: u16,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    report_only: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    address: IpAddr,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    bytes: usize,
}

fn line(entry: &Entry, subject: SubjectInLog) -> Line<'_> {
    Line {
        time: humantime::format_rfc3339_millis(entry.at).to_string(),
        request_id: entry.request_id.as_str(),
        method: entry.method.as_str(),
        path: shortened(&entry.path),
        route: entry.route.as_ref().map(RouteName::as_str),
        status: entry.status,
        outcome: entry.outcome,
        report_only: entry.report_only,
        client: entry.client.as_deref(),
        subject: entry.subject.as_deref().and_then(|name| shown(name, subject)),
        family: entry.family.map(|family| family.to_string()),
        address: entry.address,
        duration_ms: (entry.took.as_secs_f64() * 1e6).round() / 1e3,
        upstream: entry.upstream.as_ref().map(UpstreamName::as_str),
        bytes: entry.bytes,
    }
}

fn json(entry: &Entry, subject: SubjectInLog) -> Vec<u8> {
    let mut line = serde_json::to_vec(&line(entry, subject)).unwrap_or_default();
    line.push(b'\n');
    line
}

/// For people at a terminal. Whatever came from outside is escaped, so that no line can be forged.
fn text(entry: &Entry, subject: SubjectInLog) -> Vec<u8> {
    let line = line(entry, subject);
    let mut text = format!(
        "{} {} {} {} {} {}ms {} {}",
        line.time,
        line.status,
        line.method.escape_debug(),
        line.path.escape_debug(),
        line.outcome,
        line.duration_ms,
        line.address,
        line.request_id,
    );
    let details = [
        ("route", line.route),
        ("report_only", line.report_only),
        ("client", line.client),
        ("subject", line.subject.as_deref()),
        ("family", line.family.as_deref()),
    ];
    for (name, value) in details.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        text.push_str(&format!(" {name}={:?}", value));
    }
    text.push('\n');
    text.into_bytes()
}

fn shortened(path: &str) -> &str {
    let end = path.char_indices().map(|(at, _)| at).take_while(|at| *at <= PATH).last().unwrap_or(0);
    if path.len() <= PATH { path } else { path.get(..end).unwrap_or("") }
}

/// `hash` is the first 64 bits of SHA-256: the same subject can be followed, its name is not there.
fn shown(subject: &str, how: SubjectInLog) -> Option<String> {
    match how {
        SubjectInLog::Plain => Some(subject.to_owned()),
        SubjectInLog::None => None,
        SubjectInLog::Hash => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, subject.as_bytes());
            Some(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;

    fn entry(path: &str) -> Entry {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            request_id: RequestId::new("0123456789abcdef"),
            method: Method::GET,
            path: path.to_owned(),
            route: Some(RouteName::new("/api/*")),
            status: 200,
            outcome: "ok",
            report_only: None,
            client: Some("web-app".to_owned()),
            subject: Some("alice".to_owned()),
            family: None,
            address: Ipv4Addr::LOCALHOST.into(),
            took: Duration::from_micros(1234),
            upstream: None,
            bytes: 2,
        }
    }

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stop_loses_no_line() {
        let sink = Sink::default();
        let log = AccessLog::start(LogFormat::Json, SubjectInLog::Plain, Box::new(sink.clone())).unwrap();
        for _ in 0..1000 {
            log.write(entry("/api/x"));
        }
        log.stop();
        let written = String::from_utf8(sink.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 1000);
        let first: serde_json::Value = serde_json::from_str(written.lines().next().unwrap()).unwrap();
        assert_eq!(first["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(first["duration_ms"], 1.234);
        assert_eq!(first["subject"], "alice");
    }

    #[test]
    fn the_subject_is_written_as_asked() {
        let of = |how| serde_json::from_slice::<serde_json::Value>(&json(&entry("/"), how)).unwrap();
        assert_eq!(of(SubjectInLog::Hash)["subject"], "2bd806c97f0e00af");
        assert!(of(SubjectInLog::None).get("subject").is_none());
    }

    #[test]
    fn a_path_forges_no_line() {
        let line = String::from_utf8(text(&entry("/a\n2026 200 GET /forged"), SubjectInLog::None)).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        let line = String::from_utf8(json(&entry("/a\n{}"), SubjectInLog::None)).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
