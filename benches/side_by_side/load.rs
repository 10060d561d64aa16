//! The load: wrk with one thread, whose requests are made beforehand (load.lua). It must cost less than
//! what is measured, so that a proxy is never waiting for it.

use std::process::Command;

use crate::Failure;
use crate::process::pinned;
use crate::systems::{Place, Running};
use crate::tokens::{MANY, Tokens};

/// Whose requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// One token again and again.
    One,
    /// [`MANY`] tokens in turn, over 256 paths.
    Many,
}

impl Load {
    pub(crate) const BOTH: &[Self] = &[Self::One, Self::Many];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "one token",
            Self::Many => "10,000 tokens",
        }
    }

    pub(crate) const fn tokens(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Many => MANY as u64,
        }
    }
}

/// Sends requests for so many seconds; how many were answered.
///
/// # Errors
/// When one was refused, or a connection broke.
pub(crate) fn send(
    running: &Running,
    load: Load,
    tokens: &Tokens,
    place: &Place,
    seconds: u64,
    connections: usize,
) -> Result<u64, Failure> {
    let mut command: Command = pinned(&place.gateways.join("usr/bin/wrk"), place.others_cores.as_deref());
    command
        .env("LD_LIBRARY_PATH", place.libraries())
        .args(["--threads", "1", "--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s"), "--timeout", "30s", "--script"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/load.lua"))
        .arg(format!("http://{}", running.address))
        .arg("--")
        .arg(tokens.file(running.system.algorithm))
        .arg(load.tokens().to_string());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    match read(&said) {
        Some([sent, 0, 0]) if sent > 0 => Ok(sent),
        _ => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: the load failed: {said}{stderr}", running.system.name).into())
        }
    }
}

/// `sent 1 refused 2 broken 3`, the last line of load.lua.
fn read(said: &str) -> Option<[u64; 3]> {
    let line = said.lines().find(|line| line.starts_with("sent "))?;
    let mut numbers = line.split(' ').skip(1).step_by(2).map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}
