//! `tollgate explain`: what a gateway with this configuration would make of a request, and why. Decides what
//! is printed; what is judged is `flows::explain`'s. It must never print the token, nor a query, which may
//! hold one. Nothing is changed by it, and only an issuer is asked, for its keys.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::Surroundings;
use crate::config::settings::{KeySource, Settings};
use crate::core::denial::Denial;
use crate::core::request::{Host, RequestHead};
use crate::core::secret::{Secret, SecretString};
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::Unverified;
use crate::flows::explain::{Explanation, Outcome, Step, Verdict, explain};
use crate::flows::keep_keys_fresh::Means;
use crate::flows::ports::{Clock, HttpClient};
use crate::io::http_client::{Called, IssuerClients};
use crate::io::system::SystemClock;
use crate::state::live::Live;
use crate::state::metrics::Metrics;

/// The longest token or key file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// A request to explain.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The method, like GET
    method: Method,
    /// The URL, or its path alone: then at `public_url`
    url: String,
    /// The access token of the request, alone or after its scheme; --token-file keeps it out of the shell's
    /// history
    #[arg(long, conflicts_with = "token_file", value_parser = |text: &str| Ok::<_, String>(Token(Arc::new(text.into()))))]
    token: Option<Token>,
    /// The file with the access token; - is standard input
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// A file with the issuers' keys (a JWK Set), instead of fetching them
    #[arg(long)]
    jwks: Option<PathBuf>,
    /// The configuration [default: ./config.yaml, then /etc/tollgate/config.yaml]
    #[arg(long)]
    pub(super) config: Option<PathBuf>,
}

/// An argument that is never printed.
#[derive(Clone, Debug)]
struct Token(Arc<SecretString>);

impl Explain {
    /// The exit code: 0 it would pass, 1 it would be refused, 2 nobody can tell.
    pub(super) fn run(self, mut settings: Settings, around: &mut Surroundings<'_>) -> u8 {
        let told = self.ask(&mut settings, around.folder).and_then(|asked| asked.explained(settings));
        match told {
            Ok((text, code)) => {
                let written = around.out.write_all(text.as_bytes()).and_then(|()| around.out.flush());
                if written.is_ok() { code } else { 2 }
            }
            Err(why) => {
                let _ = writeln!(around.err, "{why}");
                2
            }
        }
    }

    fn ask(self, settings: &mut Settings, folder: &Path) -> Result<Asked, String> {
        let (host, target) = read_url(&self.url, settings.public_url.authority())?;
        let mut headers = HeaderMap::new();
        let token = match (self.token, &self.token_file) {
            (Some(token), _) => Some(Secret::new(token.0.expose().clone())),
            (None, Some(file)) => Some(read_token(file, folder)?),
            (None, None) => None,
        };
        if let Some(token) = token {
            let field = Secret::new(credential(token.expose().trim()));
            let mut value = HeaderValue::from_str(field.expose())
                .map_err(|_| "the token has characters that no header can hold".to_owned())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        if let Some(file) = &self.jwks {
            use_keys(settings, &folder.join(file))?;
        }
        Ok(Asked { method: self.method, host, target, headers })
    }
}

/// The credential that `text` is, or that a client makes of a token alone: as `DPoP` where it is bound to a
/// key.
fn credential(text: &str) -> String {
    if text.starts_with("Bearer ") || text.starts_with("DPoP ") {
        return text.to_owned();
    }
    let read = Unverified::parse(text, text.len()).ok();
    let is_bound =
        read.is_some_and(|read| read.says().claims.get("cnf").is_some_and(|cnf| cnf.get("jkt").is_some()));
    format!("{} {text}", if is_bound { "DPoP" } else { "Bearer" })
}

/// What is asked for.
struct Asked {
    method: Method,
    host: String,
    target: String,
    headers: HeaderMap,
}

impl Asked {
    fn explained(&self, settings: Settings) -> Result<(String, u8), String> {
        crate::io::install_crypto_providers();
        let issuers = settings.issuers.iter().map(|issuer| Called::from(&**issuer));
        let http: Arc<dyn HttpClient> =
            Arc::new(IssuerClients::new(issuers).map_err(|error| error.to_string())?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = Metrics::new().map_err(|error| error.to_string())?;
        let means = Means { http: &http, clock: &clock, metrics: &metrics };
        let live = Live::to_look_at(settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
        let head = RequestHead {
            method: &self.method,
            target: self.target.as_bytes(),
            host: Host::read(&self.host),
            headers: &self.headers,
            upgrades: false,
            client_address: std::net::Ipv4Addr::LOCALHOST.into(),
        };
        let explained = runtime.block_on(explain(means, &live, &head, clock.now()));
        Ok((self.text(&explained), code(&explained.verdict)))
    }

    fn text(&self, explained: &Explanation) -> String {
        let mut out = String::new();
        let path = self.target.split('?').next().unwrap_or_default();
        let query = if self.target.contains('?') { " and its query" } else { "" };
        line(&mut out, "request", &format!("{} {}{}{query}", self.method, self.host, escaped(path)));
        let mut part = "";
        for step in &explained.steps {
            let heading = if step.part == part { "" } else { step.part };
            part = step.part;
            line(&mut out, heading, &told(step));
        }
        let heading = if explained.claims_are_proven { "claims" } else { "unproven" };
        for (at, (name, value)) in explained.claims.iter().enumerate() {
            line(&mut out, if at == 0 { heading } else { "" }, &format!("{name}: {value}"));
        }
        self.verdict(&explained.verdict, &mut out);
        out
    }

    fn verdict(&self, verdict: &Verdict, out: &mut String) {
        match verdict {
            Verdict::Own => line(out, "verdict", "Tollgate answers it itself"),
            Verdict::Refused { denial: Denial::IntrospectionUnavailable, .. } => {
                line(out, "verdict", "nobody can tell here: the answer of the token's issuer decides");
            }
            Verdict::Refused { denial, challenges } => {
                line(out, "verdict", &format!("refused: {}", status(denial)));
                for challenge in challenges.iter().filter_map(|value| value.to_str().ok()) {
                    line(out, "", &format!("WWW-Authenticate: {challenge}"));
                }
                hint(denial, out);
            }
            Verdict::Passes(permit, upstream, asserted) => {
                for (at, server) in upstream.servers.iter().enumerate() {
                    let origin = server.url.as_str().trim_end_matches('/');
                    let query = if permit.query().is_some() { " and the query" } else { "" };
                    let sent = format!("{} {origin}{}{query}", self.method, permit.sent_path().as_str());
                    let text = if at == 0 { sent } else { format!("or {sent}") };
                    line(out, if at == 0 { "upstream" } else { "" }, &text);
                }
                for (name, value) in permit.identity() {
                    line(out, "", &format!("{name}: {}", value.to_str().unwrap_or_default()));
                }
                if let Some(name) = asserted {
                    line(out, "", &format!("{name}: the assertion, which a running gateway signs"));
                }
                if let Some(prefix) = permit.stripped_prefix() {
                    line(out, "", &format!("X-Forwarded-Prefix: {prefix}"));
                }
                for (name, _) in &upstream.headers {
                    line(out, "", &format!("{name}: a secret of Tollgate's own for {}", upstream.name));
                }
                let kept = if permit.forwards_access_token() { ", but for Authorization" } else { "" };
                line(
                    out,
                    "",
                    &format!("without what only Tollgate may set (headers, cookies of its names){kept}"),
                );
                line(
                    out,
                    "",
                    "with X-Request-Id, traceparent, X-Forwarded-* and Forwarded, as every request",
                );
                let verdict = match permit.reported() {
                    None => "passes".to_owned(),
                    Some(reported) => format!(
                        "passes anonymously, because the route is report_only; otherwise it would be refused: {}",
                        status(&reported.denial)
                    ),
                };
                line(out, "verdict", &verdict);
                if let Some(reported) = permit.reported() {
                    hint(&reported.denial, out);
                }
            }
        }
    }
}

fn hint(denial: &Denial, out: &mut String) {
    if *denial == Denial::KeysUnavailable {
        line(out, "", "its issuer's keys cannot be had from here; give them with --jwks");
    }
}

/// On a route that only reports, too, nobody can tell who would pass and what the upstream would get.
fn code(verdict: &Verdict) -> u8 {
    let (denial, otherwise) = match verdict {
        Verdict::Own => return 0,
        Verdict::Passes(permit, ..) => (permit.reported().map(|reported| &reported.denial), 0),
        Verdict::Refused { denial, .. } => (Some(denial), 1),
    };
    match denial {
        Some(Denial::KeysUnavailable | Denial::IntrospectionUnavailable) => 2,
        _ => otherwise,
    }
}

fn status(denial: &Denial) -> String {
    let facts = denial.facts();
    format!("{} {}: {}", facts.status.as_u16(), facts.label, facts.detail)
}

fn told(step: &Step) -> String {
    let outcome = match step.outcome {
        Outcome::Holds => "ok",
        Outcome::Fails => "NO",
        Outcome::NotReached => "-",
        Outcome::NotAsked => "?",
    };
    let width = if step.part == "token" { 14 } else { 0 };
    let about = if step.about.is_empty() { String::new() } else { format!("  {}", step.about) };
    format!("{outcome:<4}{:<width$}{about}", step.what).trim_end().to_owned()
}

fn line(out: &mut String, what: &str, text: &str) {
    out.push_str(&format!("{what:<10}{text}\n"));
}

/// What was typed, as a terminal may have it back.
fn escaped(text: &str) -> String {
    text.chars().flat_map(char::escape_debug).collect()
}

/// Host and target of a URL as a client would send them: nothing in the path is changed. `authority`: where a
/// path alone is asked for.
fn read_url(url: &str, authority: &str) -> Result<(String, String), String> {
    if url.starts_with('/') {
        return Ok((authority.to_owned(), url.to_owned()));
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let rest = rest.ok_or("write a URL like `https://api.example.com/orders`, or a path like `/orders`")?;
    let ends = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at_checked(ends).unwrap_or((rest, ""));
    if host.contains('@') {
        return Err("a URL with a user or password in it is no request to an API".to_owned());
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((host.to_ascii_lowercase(), format!("{slash}{target}")))
}

fn read_token(file: &Path, folder: &Path) -> Result<SecretString, String> {
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(LONGEST_FILE).read_to_string(&mut text)
    } else {
        let opened = std::fs::File::open(folder.join(file));
        opened.and_then(|opened| opened.take(LONGEST_FILE).read_to_string(&mut text))
    };
    let text = Secret::new(text);
    read.map_err(|error| format!("{}: {error}", file.display()))?;
    if text.expose().trim().is_empty() {
        return Err(format!("{}: there is no token in it", file.display()));
    }
    Ok(text)
}

/// Takes these keys for those of every issuer whose keys would be fetched.
fn use_keys(settings: &mut Settings, file: &Path) -> Result<(), String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let mut text = Vec::new();
    let opened =
        std::fs::File::open(file).and_then(|opened| opened.take(LONGEST_FILE).read_to_end(&mut text));
    opened.map_err(|error| wrong(error.to_string()))?;
    let (keys, skipped) = KeySet::parse(&text).map_err(|error| wrong(error.to_string()))?;
    if keys.is_empty() {
        let why: Vec<_> = skipped.iter().map(|skipped| skipped.why).collect();
        return Err(wrong(format!("no key in it verifies tokens ({})", why.join(", "))));
    }
    for issuer in settings.issuers.iter_mut().filter_map(Arc::get_mut) {
        if matches!(issuer.keys, KeySource::Discovery(_) | KeySource::JwksUri(_)) {
            issuer.keys = KeySource::JwksFile { path: file.to_owned(), text: text.clone() };
        }
    }
    Ok(())
}
