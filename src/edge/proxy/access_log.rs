//! One line a request, to standard output: who asked for what, by which route, and what became of
//! it. A request leaves its line in memory (`state::lines`), and `io::line_writer` writes what has gathered.
//!
//! It must never hold a token, a cookie or a query.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use serde::Serialize;

use crate::config::settings::{LogFormat, SubjectInLog};
use crate::core::hex;
use crate::core::ids::FamilyId;
use crate::state::lines::Lines;
use crate::state::metrics::{Reason, RequestOutcome};

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
    pub(crate) outcome: RequestOutcome,
    /// Why the route would have refused it, which only reports; the request went on as nobody's.
    pub(crate) report_only: Option<Reason>,
    /// The client at the authorization server, where one is known.
    pub(crate) client: Option<&'a str>,
    pub(crate) subject: Option<&'a str>,
    /// The session, by the name under which it can be revoked.
    pub(crate) family: Option<FamilyId>,
    pub(crate) address: IpAddr,
    pub(crate) took: Duration,
    pub(crate) upstream: Option<&'a str>,
    /// The size of the answer's body.
    pub(crate) bytes: usize,
}

/// The log, as requests see it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    pub(crate) format: LogFormat,
    pub(crate) subject: SubjectInLog,
    pub(crate) lines: Arc<Lines>,
}

impl AccessLog {
    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let line = match self.format {
            LogFormat::Json => json(entry, self.subject),
            LogFormat::Text => text(entry, self.subject),
        };
        if self.lines.write(&line) {
            tracing::warn!(
                "who reads the access log is too slow: lines are lost (tollgate_log_lines_lost_total)"
            );
        }
    }
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
        outcome: entry.outcome.label(),
        report_only: entry.report_only.map(Reason::label),
        client: entry.client,
        subject: entry.subject.and_then(|name| shown(name, subject)),
        family: entry.family.map(|family| family.to_string()),
        address: entry.address,
        duration_ms: (entry.took.as_secs_f64() * 1e6).round() / 1e3,
        upstream: entry.upstream,
        bytes: entry.bytes,
    }
}

/// Capacity of a new line, in bytes: most are shorter.
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

/// Writes one member. `name` is a literal with its punctuation, so that nothing in it is looked at for what
/// needs an escape.
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

    use super::*;
    use crate::core::denial::Denial;

    fn entry(path: &str) -> Entry<'_> {
        Entry {
            at: SystemTime::UNIX_EPOCH,
            request_id: "0123456789abcdef",
            method: &Method::GET,
            path,
            route: Some("/api/*"),
            status: 200,
            outcome: RequestOutcome::Ok,
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

    #[test]
    fn a_request_leaves_its_line() {
        let log = AccessLog { format: LogFormat::Json, subject: SubjectInLog::Plain, lines: Arc::default() };
        log.write(&entry("/api/x"));
        log.write(&entry("/api/y"));
        let mut written = Vec::new();
        log.lines.take(&mut written);
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written.lines().count(), 2);
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
            report_only: Some(Reason::from(&Denial::NoCredential)),
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
        assert_eq!(read["report_only"], "no_credential");
        assert_eq!(read["family"], FamilyId::from_bytes([1; 16]).to_string());
        assert_eq!(read.as_object().unwrap().len(), 15);
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
