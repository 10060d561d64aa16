//! The load: wrk with one thread, whose requests are made beforehand (load.lua), and h2load for HTTP/2. It
//! must cost less than what is measured, so that a proxy is never waiting for it.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::asking::PATH;
use crate::exchange;
use crate::place::{Place, Running};
use crate::process::pinned;
use crate::systems::{Load, STREAMS};
use crate::tls::CIPHER_SUITE;
use crate::tokens::Tokens;

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) seconds: u64,
    /// Requests at a time.
    pub(crate) connections: usize,
}

/// Sends requests; how many were answered.
///
/// # Errors
/// When one was refused, or a connection broke.
pub(crate) fn send(
    running: &Running,
    load: Load,
    tokens: &Tokens,
    place: &Place,
    extent: Extent,
) -> Result<u64, Failure> {
    let mut command = match load {
        Load::One | Load::Many | Load::Https => wrk(running, load, tokens, place, extent),
        Load::Http2 => h2load(running, tokens, place, extent)?,
        Load::Exchanges => exchanges(running, place, extent)?,
        Load::Handshakes => handshakes(running, tokens, place, extent)?,
    };
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let counted = if load == Load::Http2 { read_h2load(&said) } else { read(&said) };
    match counted {
        Some([sent, 0, 0]) if sent > 0 => Ok(sent),
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: the load failed: {said}{stderr}", running.system.name).into())
        }
    }
}

fn wrk(running: &Running, load: Load, tokens: &Tokens, place: &Place, extent: Extent) -> Command {
    let mut command = wrk_with("load.lua", place, extent);
    let scheme = if running.system.tls { "https" } else { "http" };
    command
        .arg(format!("{scheme}://{}", running.address))
        .arg("--")
        .arg(tokens.file(running.system.algorithm))
        .arg(load.tokens().to_string());
    command
}

fn wrk_with(script: &str, place: &Place, extent: Extent) -> Command {
    let mut command = unpacked("usr/bin/wrk", place);
    command
        .args(["--threads", "1", "--connections", &extent.connections.to_string()])
        .args(["--duration", &format!("{}s", extent.seconds), "--timeout", "30s", "--script"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
    command
}

fn exchanges(running: &Running, place: &Place, extent: Extent) -> Result<Command, Failure> {
    let cookie = exchange::sign_in(running)?;
    let mut command = wrk_with("exchange.lua", place, extent);
    command.args([&format!("http://{}/oauth/token", running.address), "--", &cookie]);
    Ok(command)
}

/// The same headers as load.lua.
fn h2load(running: &Running, tokens: &Tokens, place: &Place, extent: Extent) -> Result<Command, Failure> {
    let mut command = unpacked("usr/bin/h2load", place);
    let connections = extent.connections.div_ceil(STREAMS);
    command
        .args(["--threads", "1", "--clients", &connections.to_string()])
        .args(["--max-concurrent-streams", &STREAMS.to_string(), "--duration", &extent.seconds.to_string()])
        .args(["--tls13-ciphers", CIPHER_SUITE])
        .args(["--header", "accept: application/json", "--header", "accept-encoding: gzip, br"])
        .args(["--header", "user-agent: tollgate-bench", "--header"])
        .arg(format!("authorization: Bearer {}", tokens.good(running.system.algorithm)?))
        .arg(format!("--connect-to={}", running.address))
        .arg(format!("https://localhost:8080{PATH}"));
    Ok(command)
}

fn handshakes(running: &Running, tokens: &Tokens, place: &Place, extent: Extent) -> Result<Command, Failure> {
    let mut command = pinned(&std::env::current_exe()?, place.others_cores.as_deref());
    command
        .args([crate::HANDSHAKES, &running.address.to_string()])
        .arg(tokens.file(running.system.algorithm))
        .args([extent.seconds.to_string(), extent.connections.div_ceil(STREAMS).to_string()]);
    Ok(command)
}

fn unpacked(program: &str, place: &Place) -> Command {
    let mut command = pinned(&place.gateways.join(program), place.others_cores.as_deref());
    command.env("LD_LIBRARY_PATH", place.libraries());
    command
}

/// `sent 1 refused 2 broken 3`, the last line of load.lua.
fn read(said: &str) -> Option<[u64; 3]> {
    let line = said.lines().find(|line| line.starts_with("sent "))?;
    let mut numbers = line.split(' ').skip(1).step_by(2).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}

/// The same from h2load, if it spoke what all are to be asked in: `requests: 9 total, 9 started, 9 done, 6
/// succeeded, 3 failed, 1 errored, 0 timeout`, where those that were refused have failed.
fn read_h2load(said: &str) -> Option<[u64; 3]> {
    let spoken =
        [("TLS Protocol: ", "TLSv1.3"), ("Cipher: ", CIPHER_SUITE), ("Application protocol: ", "h2")];
    let is_said = |(name, value): &(&str, &str)| said.lines().any(|line| line == format!("{name}{value}"));
    if !spoken.iter().all(is_said) {
        return None;
    }
    let line = said.lines().find_map(|line| line.strip_prefix("requests: "))?;
    let count = |name: &str| {
        let part = line.split(", ").find_map(|part| part.strip_suffix(name))?;
        part.trim().parse::<u64>().ok()
    };
    let (failed, broken) = (count("failed")?, count("errored")? + count("timeout")?);
    Some([count("succeeded")?, failed.saturating_sub(broken), broken])
}
