//! `tollgate revoke`: takes access back through the admin listener of the gateway that runs with this
//! configuration, lists what was taken back, and lifts it. What it prints from the list is escaped: a value
//! can be anybody's text.

use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::{Surroundings, escaped};
use crate::io::admin_client::{AdminClient, Answered};

/// How many lines of a file are sent at once.
const LINES_AT_ONCE: usize = 500;
/// How often lines are sent again while the gateway's store is away, and the pause before.
const RETRIES: (u32, Duration) = (10, Duration::from_secs(2));

/// One of these says what is to be done.
const WANTED: [&str; 10] = ["jti", "sid", "sub", "client", "kid", "family", "issuer", "list", "file", "lift"];

/// What to take back.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = true)]
#[command(group(ArgGroup::new("wanted").required(true).multiple(true).args(WANTED)))]
#[allow(clippy::struct_excessive_bools)] // flags
pub(super) struct Revoke {
    /// The configuration of the gateway [default: ./config.yaml, then /etc/tollgate/config.yaml]
    #[arg(long)]
    pub(super) config: Option<PathBuf>,
    /// The admin listener to ask, like 10.0.0.1:8081, without reading a configuration
    #[arg(long, requires = "token_file", conflicts_with = "config")]
    pub(super) admin: Option<SocketAddr>,
    /// The file with the admin listener's token
    #[arg(long, requires = "admin")]
    pub(super) token_file: Option<PathBuf>,
    /// One access token, by its id
    #[arg(long, group = "what", allow_hyphen_values = true)]
    jti: Option<String>,
    /// A session at the issuer, with every token that it handed out
    #[arg(long, group = "what", allow_hyphen_values = true)]
    sid: Option<String>,
    /// A person: what was issued up to now, or with --block everything
    #[arg(long, group = "what", allow_hyphen_values = true)]
    sub: Option<String>,
    /// An application, by its client_id: what was issued up to now, or with --block everything
    #[arg(long, group = "what", allow_hyphen_values = true)]
    client: Option<String>,
    /// A key that signs tokens
    #[arg(long, group = "what", allow_hyphen_values = true)]
    kid: Option<String>,
    /// A session here, by its `family` in the log
    #[arg(long, group = "what", allow_hyphen_values = true)]
    family: Option<String>,
    /// Its issuer, by the name in the configuration, or * for all; alone: everything from this issuer
    #[arg(long)]
    issuer: Option<String>,
    /// Only what was issued up to then, like 2026-01-01T00:00:00Z (sub, client, issuer)
    #[arg(long)]
    before: Option<String>,
    /// Suspend: refuse everything until the block is lifted (sub, client, sid)
    #[arg(long)]
    block: bool,
    /// When a block ends by itself, like 2026-01-01T00:00:00Z
    #[arg(long)]
    until: Option<String>,
    /// Why, for the list and the audit log
    #[arg(long)]
    reason: Option<String>,
    /// List revocations, filtered by the other options; one JSON object a line
    #[arg(long, conflicts_with_all = ["before", "block", "until", "reason", "file", "lift"])]
    list: bool,
    /// Make the revocations of this file, a JSON object a line as for POST /revocations; - is standard input
    #[arg(long, conflicts_with_all = ["what", "issuer", "before", "block", "until", "lift"])]
    file: Option<PathBuf>,
    /// The line of --file at which to begin
    #[arg(long, requires = "file", default_value_t = 1)]
    from: usize,
    /// Restore access: lift the revocation with this id
    #[arg(long, conflicts_with_all = ["what", "issuer", "before", "block", "until", "reason"])]
    lift: Option<String>,
}

/// A line of a file, and what it asks for.
type Line = (usize, Map<String, Value>);

impl Revoke {
    /// The kind and its value.
    fn what(&self) -> Option<(&'static str, &str)> {
        let kinds = [
            ("jti", &self.jti),
            ("sid", &self.sid),
            ("sub", &self.sub),
            ("client", &self.client),
            ("kid", &self.kid),
            ("family", &self.family),
        ];
        kinds.into_iter().find_map(|(kind, value)| Some((kind, value.as_deref()?)))
    }

    /// Carries it out. The exit code: 0 done, 1 not, or not all.
    pub(super) async fn run(self, client: &AdminClient, around: &mut Surroundings<'_>) -> u8 {
        let done = if self.list {
            self.list(client, around).await
        } else if let Some(id) = &self.lift {
            lift(client, id, around).await
        } else if let Some(file) = self.file.clone() {
            match self.read(&file, around) {
                Ok(lines) => send(client, &lines, around).await,
                Err(why) => Err(why),
            }
        } else {
            self.one(client, around).await
        };
        match done {
            Ok(()) => 0,
            Err(why) => {
                let _ = writeln!(around.err, "{why}");
                1
            }
        }
    }

    async fn one(&self, client: &AdminClient, around: &mut Surroundings<'_>) -> Result<(), String> {
        let (kind, value, issuer) = match (self.what(), &self.issuer) {
            (Some((kind, value)), issuer) => (kind, value, issuer.as_deref()),
            (None, Some(issuer)) => ("issuer", issuer.as_str(), None),
            (None, None) => return Err("say what is to be taken back".to_owned()),
        };
        let mut wanted = Map::new();
        let mut put = |name: &str, value: Option<&str>| {
            if let Some(value) = value {
                wanted.insert(name.to_owned(), value.into());
            }
        };
        put("kind", Some(kind));
        put("value", Some(value));
        put("issuer", issuer);
        put("before", self.before.as_deref());
        put("until", self.until.as_deref());
        put("reason", self.reason.as_deref());
        if self.block {
            wanted.insert("block".to_owned(), true.into());
        }
        let answered =
            client.ask(Method::POST, "/revocations", Some(Value::from(wanted).to_string().into())).await?;
        match answered.status {
            StatusCode::CREATED => {
                let made: Value = read_json(&answered)?;
                let until = made.get("until").and_then(Value::as_str);
                let id = made.get("id").and_then(Value::as_str).unwrap_or_default();
                tell_doubts(std::slice::from_ref(&made), around);
                say(
                    around,
                    &format!("revoked {kind} {}{} (id {id})", value.escape_debug(), self.reach(kind, until)),
                )
            }
            _ => Err(refused(&answered, |_| None)),
        }
    }

    /// What is refused, and for how long it is. Only a block keeps anybody from signing in.
    fn reach(&self, kind: &str, until: Option<&str>) -> String {
        match until {
            None => ", until it is lifted".to_owned(),
            Some(until) if self.block => format!(", until {until}"),
            Some(until) => {
                let before = self.before.as_deref().unwrap_or("now");
                let issued = if matches!(kind, "sub" | "client") {
                    format!(": what was issued until {before}")
                } else {
                    String::new()
                };
                format!("{issued}; kept until {until}, when all of that has ended")
            }
        }
    }

    async fn list(&self, client: &AdminClient, around: &mut Surroundings<'_>) -> Result<(), String> {
        let mut query = form_urlencoded::Serializer::new("limit=1000".to_owned());
        if let Some((kind, value)) = self.what() {
            query.append_pair("kind", kind).append_pair("value", value);
        }
        if let Some(issuer) = self.issuer.as_deref() {
            query.append_pair("issuer", issuer);
        }
        let query = query.finish();
        let mut after = String::new();
        loop {
            let answered = client.ask(Method::GET, &format!("/revocations?{query}{after}"), None).await?;
            if answered.status != StatusCode::OK {
                return Err(refused(&answered, |_| None));
            }
            let page: Value = read_json(&answered)?;
            for entry in page.get("revocations").and_then(Value::as_array).into_iter().flatten() {
                // JSON escapes what a terminal would obey, but for DEL and the controls beyond it.
                let line: String = entry.to_string().chars().flat_map(escaped).collect();
                say(around, &line)?;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(()),
            }
        }
    }

    /// All lines from `from` on, read and whole before any is sent.
    fn read(&self, file: &PathBuf, around: &Surroundings<'_>) -> Result<Vec<Line>, String> {
        let opened: Box<dyn BufRead> = if file.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            let path = around.folder.join(file);
            let opened = std::fs::File::open(&path);
            Box::new(std::io::BufReader::new(opened.map_err(|error| format!("{}: {error}", path.display()))?))
        };
        let mut lines = Vec::new();
        let mut wrong = Vec::new();
        for (at, line) in opened.lines().enumerate().map(|(at, line)| (at.saturating_add(1), line)) {
            let line = line.map_err(|error| format!("line {at}: {error}"))?;
            if at < self.from || line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            match serde_json::from_str::<Map<String, Value>>(&line) {
                Ok(mut wanted) => {
                    if let (Some(reason), false) = (&self.reason, wanted.contains_key("reason")) {
                        wanted.insert("reason".to_owned(), reason.as_str().into());
                    }
                    lines.push((at, wanted));
                }
                Err(error) => wrong.push(format!(
                    "line {at}: {error}; a line is like {{\"kind\": \"sub\", \"value\": \"alice\"}}"
                )),
            }
        }
        if wrong.is_empty() {
            return Ok(lines);
        }
        let more = wrong.len().saturating_sub(10);
        wrong.truncate(10);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        Err(format!("{}\nnothing was revoked", wrong.join("\n")))
    }
}

/// Sends the lines of a file, and says how far it came.
async fn send(client: &AdminClient, lines: &[Line], around: &mut Surroundings<'_>) -> Result<(), String> {
    let mut done = 0_usize;
    for part in lines.chunks(LINES_AT_ONCE) {
        let first = part.first().map_or(1, |(at, _)| *at);
        let go_on =
            |why: String| format!("{why}\n{done} of {} were revoked; go on with --from {first}", lines.len());
        let wanted: Vec<_> = part.iter().map(|(_, wanted)| Value::from(wanted.clone())).collect();
        let answered = patiently(client, Value::from(wanted).to_string()).await.map_err(go_on)?;
        if answered.status != StatusCode::CREATED {
            let line_of = |at: usize| part.get(at).map(|(line, _)| *line);
            return Err(go_on(refused(&answered, line_of)));
        }
        let made = read_json(&answered).unwrap_or_default();
        tell_doubts(made.get("revocations").and_then(Value::as_array).map_or(&[], Vec::as_slice), around);
        done = done.saturating_add(part.len());
        let _ = writeln!(around.err, "{done} of {}", lines.len());
    }
    say(around, &format!("revoked {done}"))
}

/// What was revoked and may not be what was meant.
fn tell_doubts(made: &[Value], around: &mut Surroundings<'_>) {
    for one in made {
        let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().escape_debug();
        if one.get("doubt").is_some() {
            let _ = writeln!(around.err, "{} {}: {}", text("kind"), text("value"), text("doubt"));
        }
    }
}

/// Asks again while the store of the gateway is away: to revoke twice does no harm.
async fn patiently(client: &AdminClient, body: String) -> Result<Answered, String> {
    let (times, pause) = RETRIES;
    let mut left = times;
    loop {
        let answered = client.ask(Method::POST, "/revocations", Some(body.clone().into())).await?;
        if answered.status != StatusCode::SERVICE_UNAVAILABLE || left == 0 {
            return Ok(answered);
        }
        left = left.saturating_sub(1);
        tokio::time::sleep(pause).await;
    }
}

async fn lift(client: &AdminClient, id: &str, around: &mut Surroundings<'_>) -> Result<(), String> {
    let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let answered = client.ask(Method::DELETE, &format!("/revocations/{id}"), None).await?;
    match answered.status {
        StatusCode::OK => say(around, &format!("lifted {id}")),
        _ => Err(refused(&answered, |_| None)),
    }
}

fn read_json(answered: &Answered) -> Result<Value, String> {
    serde_json::from_slice(&answered.body)
        .map_err(|_| "the admin listener's answer cannot be read".to_owned())
}

/// What the admin listener says against it. `line_of`: where a mistake stands in the file.
fn refused(answered: &Answered, line_of: impl Fn(usize) -> Option<usize>) -> String {
    let Ok(said) = serde_json::from_slice::<Value>(&answered.body) else {
        let text = String::from_utf8_lossy(&answered.body);
        return format!("the admin listener says {}: {}", answered.status, text.trim().escape_debug());
    };
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().escape_debug().to_string()
    };
    let mistakes = said.get("mistakes").and_then(Value::as_array).into_iter().flatten().map(|mistake| {
        let at = mistake.get("at").and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
        let line = at.and_then(&line_of).map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}: {}", text(mistake, "member"), text(mistake, "what"))
    });
    std::iter::once(text(&said, "error")).chain(mistakes).collect::<Vec<_>>().join("\n")
}

fn say(around: &mut Surroundings<'_>, text: &str) -> Result<(), String> {
    writeln!(around.out, "{text}").map_err(|error| format!("this cannot be written: {error}"))
}
