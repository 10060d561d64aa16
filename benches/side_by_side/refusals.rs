//! Before anything is measured: a good token passes and reaches the upstream, and what a system claims to check it
//! refuses. A gateway that lets everything through is fast.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;
use crate::systems::{ANSWER, Running};
use crate::tokens::Tokens;

/// # Errors
/// When a good token is refused or a bad one passes.
pub(crate) fn check(running: &Running, tokens: &Tokens) -> Result<(), Failure> {
    let (name, algorithm) = (running.system.name, running.system.algorithm);
    let (status, body) = http_get(running.address, PATH, Some(&tokens.good(algorithm)?))?;
    if status != 200 || body != ANSWER {
        return Err(format!("{name}: a good token was answered {status}: {body}").into());
    }
    for bad in running.system.refuses {
        let token = tokens.bad(algorithm, *bad)?;
        let (status, _) = http_get(running.address, PATH, token.as_deref())?;
        if !matches!(status, 401 | 403) {
            return Err(format!("{name}: {bad:?} was answered {status}").into());
        }
    }
    println!("  {name:<46} passes a good one, refuses {:?}", running.system.refuses);
    Ok(())
}

const PATH: &str = "/api/things/0?page=2";

/// Status and body of an answer.
///
/// # Errors
/// When there is none.
pub(crate) fn http_get(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
) -> Result<(u16, String), Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its header")?;
    let status = head.get(9..12).ok_or("an answer without a status")?.parse()?;
    Ok((status, body.to_owned()))
}
