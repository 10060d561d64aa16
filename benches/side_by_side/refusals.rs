//! Before anything is measured: a good token passes and reaches the upstream, and what a system claims to
//! check it refuses. A gateway that lets everything through is fast.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;
use crate::place::{ANSWER, Running};
use crate::tokens::Tokens;

/// What is asked for where one request is enough.
pub(crate) const PATH: &str = "/api/things/0?page=2";

/// # Errors
/// When a good token is refused or a bad one passes.
pub(crate) fn check(running: &Running, tokens: &Tokens) -> Result<(), Failure> {
    let (name, algorithm) = (running.system.name, running.system.algorithm);
    let Answer { status, body } = running.get(PATH, Some(&tokens.good(algorithm)?))?;
    if status != 200 || body != ANSWER {
        return Err(format!("{name}: a good token was answered {status}: {body}").into());
    }
    for bad in running.system.refuses {
        let token = tokens.bad(algorithm, *bad)?;
        let status = running.get(PATH, token.as_deref())?.status;
        if !matches!(status, 401 | 403) {
            return Err(format!("{name}: {bad:?} was answered {status}").into());
        }
    }
    Ok(())
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Whoever does not answer for long has failed.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The head of a request.
pub(crate) fn head(path: &str, token: Option<&str>, connection: &str) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nConnection: {connection}\r\n{authorization}\r\n")
}

/// Asks once, and reads until the connection ends.
///
/// # Errors
/// When there is no answer.
pub(crate) fn ask(mut stream: impl Read + Write, path: &str, token: Option<&str>) -> Result<Answer, Failure> {
    stream.write_all(head(path, token, "close").as_bytes())?;
    let mut answer = String::new();
    // Over TLS some end without saying so. Whether something is missing, the answer itself tells.
    let end = stream.read_to_string(&mut answer);
    if !matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof) {
        end?;
    }
    Ok(read(&answer)?.0)
}

/// A whole answer, and its head.
///
/// # Errors
/// When it is none.
pub(crate) fn read(answer: &str) -> Result<(Answer, String), Failure> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its header")?;
    let status = head.get(9..12).ok_or("an answer without a status")?.parse()?;
    Ok((Answer { status, body: body.to_owned() }, head.to_owned()))
}
