//! One request over a socket, where one is enough: what is asked for, and what comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Failure;

/// What is asked for.
pub(crate) const PATH: &str = "/api/things/0?page=2";

/// What the upstream answers, small as most answers of APIs.
pub(crate) const ANSWER: &str = r#"{"items":[{"id":1,"name":"a thing"},{"id":2,"name":"another thing"}]}"#;

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
