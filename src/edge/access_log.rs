//! One line a request, to standard output: who asked for what, by which route, and what became of
//! it. A request leaves its line in memory; a thread writes what has gathered every few milliseconds, so that a slow
//! terminal or pipe does not slow requests, and no request has to wake anybody.
//!
//! It must never hold a token, a cookie or a query. When the writer cannot keep up, lines are dropped
//! and counted in the log itself; a stop writes all that was taken.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use http::Method;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use crate::config::settings::{LogFormat, SubjectInLog};
use crate::core::hex;
use crate::core::session::grant::FamilyId;

/// Lines that may wait for the writer, in bytes.
const WAITING: usize = 4 * 1024 * 1024;
/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// Lines are written together up to so many bytes: what a pipe takes in one piece (POSIX PIPE_BUF on Linux), so that
/// the lines of two processes, of which one hands over to the other, do not mix.
const TOGETHER: usize = 4096;
/// The longest path that is written whole, in bytes.
const PATH: usize = 2 * 1024;

/// What is known of a request when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) at: SystemTime,
    pub(crate) request_id: &'a str,
    pub(crate) method: &'a Method,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    /// `ok`, the label of a denial, how an exchange ended, or why the request was ended.
    pub(crate) outcome: &'static str,
    /// The label of the denial that the route only reports; the request went on as nobody's.
    pub(crate) report_only: Option<&'static str>,
    /// The client at the authorization server, where one is known.
    pub(crate) client: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    /// The session, by the name under which it can be revoked.
    pub(crate) family: Option<FamilyId>,
    pub(crate) address: IpAddr,
    pub(crate) took: Duration,
    pub(crate) upstream: Option<&'a str>,
    /// Of the answer's body.
    pub(crate) bytes: usize,
}

/// The log, as requests see it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: LogFormat,
    subject: SubjectInLog,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Between requests and the writer.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The first line waits, or the log stops.
    has_work: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    stops: bool,
}

impl AccessLog {
    /// # Errors
    /// When no thread can be had.
    pub(crate) fn start(
        format: LogFormat,
        subject: SubjectInLog,
        sink: Box<dyn Write + Send>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer { format, sink, shared: shared.clone() };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
        Ok(Self { format, subject, shared, writer: Mutex::new(Some(thread)) })
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let line = match self.format {
            LogFormat::Json => json(entry, self.subject),
            LogFormat::Text => text(entry, self.subject),
        };
        let mut waiting = self.shared.waiting.lock();
        if waiting.stops || waiting.lines.len().saturating_add(line.len()) > WAITING {
            waiting.dropped = waiting.dropped.saturating_add(1);
            return;
        }
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(&line);
        drop(waiting);
        if is_first {
            self.shared.has_work.notify_one();
        }
    }

    /// As [`Self::stop`], from within a runtime.
    pub(crate) async fn stopped(self: Arc<Self>) {
        let _ = tokio::task::spawn_blocking(move || self.stop()).await;
    }

    /// Writes what was taken so far, then ends. Blocks until that is done.
    pub(crate) fn stop(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        self.shared.waiting.lock().stops = true;
        self.shared.has_work.notify_one();
        let _ = writer.join();
    }
}

struct Writer {
    format: LogFormat,
    sink: Box<dyn Write + Send>,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self) {
        let mut lines = Vec::new();
        loop {
            let (dropped, stops) = self.take(&mut lines);
            self.write(&lines, dropped);
            if stops {
                return;
            }
        }
    }

    /// Takes what has gathered, and says how many lines had no room, and whether these are the last.
    fn take(&self, lines: &mut Vec<u8>) -> (u64, bool) {
        lines.clear();
        let mut waiting = self.shared.waiting.lock();
        while waiting.lines.is_empty() && !waiting.stops {
            self.shared.has_work.wait(&mut waiting);
        }
        if !waiting.stops {
            // Only a stop says anything meanwhile.
            self.shared.has_work.wait_for(&mut waiting, GATHER);
        }
        std::mem::swap(&mut waiting.lines, lines);
        (std::mem::take(&mut waiting.dropped), waiting.stops)
    }

    /// A write that fails is not tried again: there is nobody left to tell.
    fn write(&mut self, lines: &[u8], dropped: u64) {
        let mut rest = lines;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(whole_lines(rest));
            let _ = self.sink.write_all(piece);
            rest = behind;
        }
        if dropped > 0 {
            let said = match self.format {
                LogFormat::Json => format!("{{\"dropped_lines\":{dropped}}}\n"),
                LogFormat::Text => format!("{dropped} lines dropped\n"),
            };
            let _ = self.sink.write_all(said.as_bytes());
        }
        let _ = self.sink.flush();
    }
}

/// How long the lines are that go out together: as many as fit, one at least.
fn whole_lines(lines: &[u8]) -> usize {
    let ends = |bytes: &[u8]| bytes.iter().rposition(|byte| *byte == b'\n');
    let first = || lines.iter().position(|byte| *byte == b'\n');
    if lines.len() <= TOGETHER {
        return lines.len();
    }
    let end = lines.get(..TOGETHER).and_then(ends).or_else(first);
    end.map_or(lines.len(), |end| end.saturating_add(1))
}

struct Line<'a> {
    time: humantime::Rfc3339Timestamp,
    request_id: &'a str,
    method: &'a str,
    path: &'a str,
    route: Option<&'a str>,
    status: u16,
    outcome: &'static str,
    report_only: Option<&'static str>,
    client: Option<&'a str>,
    subject: Option<Cow<'a, str>>,
    family: Option<String>,
    address: IpAddr,
    duration_ms: f64,
    upstream: Option<&'a str>,
    bytes: usize,
}

fn line<'a>(entry: &Entry<'a>, subject: SubjectInLog) -> Line<'a> {
    Line {
        time: humantime::format_rfc3339_millis(entry.at),
        request_id: entry.request_id,
        method: entry.method.as_str(),
        path: shortened(entry.path),
        route: entry.route,
        status: entry.status,
        outcome: entry.outcome,
        report_only: entry.report_only,
        client: entry.client,
        subject: entry.subject.and_then(|name| shown(name, subject)),
        family: entry.family.map(|family| family.to_string()),
        address: entry.address,
        duration_ms: (entry.took.as_secs_f64() * 1e6).round() / 1e3,
        upstream: entry.upstream,
        bytes: entry.bytes,
    }
}

/// Most lines are shorter, in bytes.
const LINE: usize = 512;

fn json(entry: &Entry<'_>, subject: SubjectInLog) -> Vec<u8> {
    let line = line(entry, subject);
    let mut to = Vec::with_capacity(LINE);
    // What is written to memory is always written.
    let _ = write!(to, r#"{{"time":"{}""#, line.time);
    member(&mut to, br#","request_id":"#, line.request_id);
    member(&mut to, br#","method":"#, line.method);
    member(&mut to, br#","path":"#, line.path);
    optional(&mut to, br#","route":"#, line.route);
    member(&mut to, br#","status":"#, &line.status);
    member(&mut to, br#","outcome":"#, line.outcome);
    optional(&mut to, br#","report_only":"#, line.report_only);
    optional(&mut to, br#","client":"#, line.client);
    optional(&mut to, br#","subject":"#, line.subject.as_deref());
    optional(&mut to, br#","family":"#, line.family.as_deref());
    member(&mut to, br#","address":"#, &line.address);
    member(&mut to, br#","duration_ms":"#, &line.duration_ms);
    optional(&mut to, br#","upstream":"#, line.upstream);
    member(&mut to, br#","bytes":"#, &line.bytes);
    to.extend_from_slice(b"}\n");
    to
}

fn optional(to: &mut Vec<u8>, name: &[u8], value: Option<&str>) {
    if let Some(value) = value {
        member(to, name, value);
    }
}

/// Its name, with what stands around it, is never looked at for what needs an escape, as a serializer would each time.
fn member(to: &mut Vec<u8>, name: &[u8], value: &(impl Serialize + ?Sized)) {
    to.extend_from_slice(name);
    // Texts and numbers can always be written.
    let _ = serde_json::to_writer(to, value);
}

/// For people at a terminal. Whatever came from outside is escaped, so that no line can be forged.
fn text(entry: &Entry<'_>, subject: SubjectInLog) -> Vec<u8> {
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
    if path.len() <= PATH {
        return path;
    }
    (0..=PATH).rev().find_map(|end| path.get(..end)).unwrap_or_default()
}

/// `hash` is the first 64 bits of SHA-256: the same subject can be followed, its name is not there.
fn shown(subject: &str, how: SubjectInLog) -> Option<Cow<'_, str>> {
    match how {
        SubjectInLog::Plain => Some(subject.into()),
        SubjectInLog::None => None,
        SubjectInLog::Hash => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, subject.as_bytes());
            let mut text = String::with_capacity(16);
            // Writing to a String cannot fail.
            let _ = hex::write(&mut text, digest.as_ref().get(..8).unwrap_or_default());
            Some(text.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            request_id: "0123456789abcdef",
            method: &Method::GET,
            path,
            route: Some("/api/*"),
            status: 200,
            outcome: "ok",
            report_only: None,
            client: Some("web-app"),
            subject: Some("alice"),
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
            log.write(&entry("/api/x"));
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
    fn a_line_is_one_object_whatever_came_from_outside() {
        let text = |entry: &Entry<'_>| String::from_utf8(json(entry, SubjectInLog::Plain)).unwrap();
        assert_eq!(
            text(&entry("/api/x")),
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","request_id":"0123456789abcdef","method":"GET","path":"/api/x","#,
                r#""route":"/api/*","status":200,"outcome":"ok","client":"web-app","subject":"alice","#,
                r#""address":"127.0.0.1","duration_ms":1.234,"bytes":2}"#,
                "\n"
            )
        );
        let hostile = "a\"},{\\\r\n\u{0}\u{e9}\u{2028}";
        let all = Entry {
            request_id: hostile,
            route: Some(hostile),
            report_only: Some("scope_missing"),
            client: Some(hostile),
            subject: Some(hostile),
            family: Some(FamilyId::from_bytes([1; 16])),
            upstream: Some(hostile),
            ..entry(hostile)
        };
        let line = text(&all);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        for name in ["request_id", "path", "route", "client", "subject", "upstream"] {
            assert_eq!(read[name], hostile, "{name}");
        }
        assert_eq!(read["report_only"], "scope_missing");
        assert_eq!(read["family"], FamilyId::from_bytes([1; 16]).to_string());
        assert_eq!(read.as_object().unwrap().len(), 15);
    }

    /// What each write brought.
    #[derive(Clone, Default)]
    struct Pieces(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_written_whole_and_many_in_one_piece_that_a_pipe_takes() {
        let sink = Pieces::default();
        let log = AccessLog::start(LogFormat::Json, SubjectInLog::Plain, Box::new(sink.clone())).unwrap();
        let long = format!("/{}", "x".repeat(PATH));
        (0..100).for_each(|at| log.write(&entry(if at % 9 == 0 { &long } else { "/api/x" })));
        log.stop();
        let pieces = sink.0.lock().clone();
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n") && piece.len() <= TOGETHER));
        assert_eq!(pieces.concat().iter().filter(|byte| **byte == b'\n').count(), 100);
        assert!(pieces.len() < 50, "{}", pieces.len());
        let longer = [&b"x".repeat(2 * TOGETHER)[..], b"\n", b"y\n"].concat();
        assert_eq!(whole_lines(&longer), 2 * TOGETHER + 1, "a line is never cut");
    }

    /// A reader that does not read.
    struct Stuck(std::sync::mpsc::Receiver<()>, Sink);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_reads_too_slowly_loses_lines_and_is_told_how_many() {
        let (reads, sink) = (std::sync::mpsc::channel(), Sink::default());
        let stuck = Stuck(reads.1, sink.clone());
        let log = AccessLog::start(LogFormat::Json, SubjectInLog::Plain, Box::new(stuck)).unwrap();
        let long = format!("/{}", "x".repeat(PATH));
        let lines = 2 * WAITING / PATH + 100;
        (0..lines).for_each(|_| log.write(&entry(&long)));
        assert!(log.shared.waiting.lock().lines.len() <= WAITING);
        drop(reads.0);
        log.stop();
        let written = String::from_utf8(sink.0.lock().clone()).unwrap();
        let dropped = written.lines().filter_map(|line| line.strip_prefix(r#"{"dropped_lines":"#));
        let dropped: usize = dropped.map(|rest| rest.trim_end_matches('}').parse::<usize>().unwrap()).sum();
        assert!(dropped > 0);
        let whole = written.lines().filter(|line| line.contains("request_id")).count();
        assert_eq!(whole + dropped, lines);
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
