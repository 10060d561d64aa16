//! What an exchange costs Tollgate that is answered again: tabs of one browser that ask with the same cookie.
//! The upstream plays the authorization server, and is asked once for all of them.

use std::io::{Read, Write};
use std::time::Duration;

use crate::Failure;
use crate::asking::{Answer, connect, read};
use crate::place::Running;

const SIGN_IN: &str = "grant_type=authorization_code&client_id=web-app&code=one\
                       &redirect_uri=http%3A%2F%2Flocalhost%3A8080%2Fcallback\
                       &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// From its start on.
const PATIENCE: Duration = Duration::from_secs(10);
const REFRESH: &str = "grant_type=refresh_token&client_id=web-app";

/// A new session: its cookie.
///
/// # Errors
/// When nobody can sign in, or a cookie is taken that was tampered with.
pub(crate) fn sign_in(running: &Running) -> Result<String, Failure> {
    let (answer, head) = loop {
        let (answer, head) = post(running, SIGN_IN, None)?;
        // Until it knows the authorization server.
        if answer.status != 503 || running.begun.elapsed() > PATIENCE {
            break (answer, head);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    if answer.status != 200 {
        return Err(format!("a sign-in was answered {}: {}", answer.status, answer.body).into());
    }
    let field = head.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: "));
    let cookie =
        field.and_then(|field| field.split([' ', ';']).nth(1)).ok_or("a sign-in without a cookie")?;
    let mut forged = cookie.to_owned();
    let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(last);
    let (answer, _) = post(running, REFRESH, Some(&forged))?;
    if answer.status == 200 {
        return Err("a cookie that nobody sealed was taken".into());
    }
    Ok(cookie.to_owned())
}

fn post(running: &Running, body: &str, cookie: Option<&str>) -> Result<(Answer, String), Failure> {
    let mut stream = connect(running.address)?;
    let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST /oauth/token HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\nOrigin: http://localhost:8080\r\n\
         Sec-Fetch-Site: same-origin\r\n{cookie}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    read(&answer)
}
