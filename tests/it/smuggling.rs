//! Requests with two readings. Each is refused, or its upstream sees exactly one request that has one
//! reading, whatever parser it has; and the next request of somebody else is untouched
//! (RFC 9112 section 11.2).

use crate::streams::UPGRADE;
use crate::support::client::{Client, HOST, request};
use crate::support::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RawHttp2, block, frame};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};

/// A request that must never be taken for one.
const HIDDEN: &str = "GET /public/hidden HTTP/1.1\r\nHost: gate.localhost:8080\r\n\r\n";

/// What may become of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing reaches the upstream.
    Refused,
    /// One request, with this path and body.
    Passes(&'static str, String),
}
use Fate::{Passes, Refused};

/// Reads a request as the strictest parser would: path and body, or what is wrong with it.
fn strictly(seen: &Received) -> Result<(String, Vec<u8>), &'static str> {
    let head = seen.head.strip_suffix("\r\n\r\n").ok_or("no end")?;
    let mut lines = head.split("\r\n");
    if head.replace("\r\n", "").bytes().any(|byte| byte.is_ascii_control()) {
        return Err("a control character");
    }
    let line: Vec<&str> = lines.next().ok_or("no line")?.split(' ').collect();
    let [_, path, "HTTP/1.1"] = line[..] else { return Err("the request line") };
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if lines.any(|line| {
        !line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(token))
    }) {
        return Err("a field name");
    }
    if seen.all("host").len() != 1 {
        return Err("not one Host");
    }
    let spelled = |name: &str| {
        let is = |given: &str| {
            given.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-") == name
        };
        seen.fields().filter(|(given, _)| is(given)).count()
    };
    let body = match (&seen.all("content-length")[..], &seen.all("transfer-encoding")[..]) {
        ([], []) if seen.raw_body.is_empty() => Vec::new(),
        ([length], []) if length.parse() == Ok(seen.raw_body.len()) => seen.raw_body.clone(),
        ([], ["chunked"]) => unchunked(&seen.raw_body).ok_or("the chunks")?,
        _ => return Err("the framing"),
    };
    if spelled("content-length") + spelled("transfer-encoding") > 1 {
        return Err("framing in two spellings");
    }
    Ok((path.to_owned(), body))
}

/// The content of chunks that are written as plainly as can be, and after which nothing comes.
fn unchunked(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|two| two == b"\r\n")?;
        if end == 0 || !raw[..end].iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?, 16).ok()?;
        let (chunk, rest) = raw[end + 2..].split_at_checked(size)?;
        body.extend(chunk);
        raw = rest.strip_prefix(b"\r\n")?;
        if size == 0 {
            return raw.is_empty().then_some(body);
        }
    }
}

/// Sends each case on a connection of its own, and after each an honest request of somebody else.
async fn judge(cases: Vec<(&'static str, Vec<u8>, Vec<Fate>)>) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let mut wrong = Vec::new();
    for (name, bytes, may) in cases {
        let before = upstream.received().len();
        let mut client = Client::connect(gateway.public).await;
        client.try_send(&bytes).await;
        client.hears_soon().await;
        // Whoever waits for more hears that there is none.
        client.try_send(request("PUT", "/oauth/token", &[], b"")).await;
        client.finish().await;
        let answers = client.rest().await;
        let seen = upstream.received()[before..].to_vec();
        let fate = match &seen[..] {
            [] => Ok(Refused),
            [one] => strictly(one).map(|(path, body)| {
                let path = ["/public/x", "/public/x%20y", "/public/", "/"]
                    .into_iter()
                    .find(|known| *known == path)
                    .unwrap_or("?");
                Passes(path, String::from_utf8_lossy(&body).into_owned())
            }),
            _ => Err("several requests"),
        };
        if !fate.as_ref().is_ok_and(|fate| may.contains(fate)) {
            wrong.push(format!("{name}: {fate:?}\n{seen:#?}\n{answers}"));
        }
        if fate == Ok(Refused) && answers.starts_with("HTTP/1.1 2") {
            wrong.push(format!("{name}: refused and answered\n{answers}"));
        }
        let honest = Client::connect(gateway.public).await.get("/public/honest", &[]).await;
        let last = upstream.received().last().cloned().unwrap();
        if honest.status != 200 || strictly(&last) != Ok(("/public/honest".to_owned(), Vec::new())) {
            wrong.push(format!("{name}: the next request was harmed\n{honest:?}\n{last:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n{body}").into_bytes()
}

fn hello() -> Fate {
    Passes("/public/x", "hello".to_owned())
}

fn nothing() -> Fate {
    Passes("/public/x", String::new())
}

#[tokio::test]
async fn two_lengths_or_a_length_and_chunks_have_one_reading_or_none() {
    let chunked = "5\r\nhello\r\n0\r\n\r\n";
    let long = format!("Content-Length: {}\r\n", HIDDEN.len() + 5);
    let both = |order: bool| {
        let (a, b) = (long.as_str(), "Transfer-Encoding: chunked\r\n");
        if order { format!("{a}{b}") } else { format!("{b}{a}") }
    };
    let te = |value: &str| format!("Transfer-Encoding: {value}\r\nContent-Length: 5\r\n");
    let only = |value: &str| format!("Transfer-Encoding: {value}\r\n");
    let cl = |value: &str| format!("Content-Length: {value}\r\n");
    let hidden_chunk = format!("0\r\n\r\n{HIDDEN}");
    judge(vec![
        ("CL.TE", post(&both(true), &hidden_chunk), vec![Refused]),
        ("TE.CL", post(&both(false), &hidden_chunk), vec![Refused]),
        (
            "TE.CL, chunks longer",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked),
            vec![Refused],
        ),
        ("two equal lengths", post(&(cl("5") + &cl("5")), "hello"), vec![hello()]),
        ("a list of equal lengths", post(&cl("5, 5"), "hello"), vec![Refused, hello()]),
        ("two lengths", post(&(cl("5") + &cl("0")), "hello"), vec![Refused]),
        ("two lengths the other way", post(&(cl("0") + &cl("5")), "hello"), vec![Refused]),
        ("a list of lengths", post(&cl("5, 6"), "hello!"), vec![Refused]),
        ("a signed length", post(&cl("+5"), "hello"), vec![Refused]),
        ("a negative length", post(&cl("-5"), "hello"), vec![Refused]),
        ("a length in hex", post(&cl("0x5"), "hello"), vec![Refused]),
        ("a length with a fraction", post(&cl("5.0"), "hello"), vec![Refused]),
        ("a length in words", post(&cl("five"), "hello"), vec![Refused]),
        ("an empty length", post(&cl(""), "hello"), vec![Refused]),
        ("a length with a space inside", post(&cl("5 5"), "hello"), vec![Refused]),
        ("a length beyond 64 bits", post(&cl("18446744073709551621"), "hello"), vec![Refused]),
        ("a length at the end of 64 bits", post(&cl("18446744073709551615"), "hello"), vec![Refused]),
        ("TE: xchunked", post(&te("xchunked"), "hello"), vec![Refused]),
        ("TE: chunked, identity", post(&only("chunked, identity"), chunked), vec![Refused]),
        ("TE: identity, chunked", post(&only("identity, chunked"), chunked), vec![Refused]),
        ("TE: identity", post(&te("identity"), "hello"), vec![Refused]),
        ("TE: gzip, chunked", post(&only("gzip, chunked"), chunked), vec![Refused]),
        ("TE: \"chunked\"", post(&te("\"chunked\""), "hello"), vec![Refused]),
        ("TE: chunked;q=1", post(&te("chunked;q=1"), "hello"), vec![Refused]),
        ("TE: chunked, chunked", post(&only("chunked, chunked"), chunked), vec![Refused]),
        ("TE: CHUNKED", post(&only("CHUNKED"), chunked), vec![Refused, hello()]),
        ("TE with a tab before", post("Transfer-Encoding:\tchunked\r\n", chunked), vec![Refused, hello()]),
        ("TE with a vertical tab", post(&te("\u{b}chunked"), "hello"), vec![Refused]),
        ("an empty TE", post(&te(""), "hello"), vec![Refused]),
        ("TE twice", post(&(only("chunked") + &only("chunked")), chunked), vec![Refused]),
        ("TE twice, one unknown", post(&(only("chunked") + &only("x")), chunked), vec![Refused]),
        ("TE twice, identity first", post(&(only("identity") + &only("chunked")), chunked), vec![Refused]),
        (
            "TE in HTTP/1.0",
            format!("POST /public/x HTTP/1.0\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")
                .into(),
            vec![Refused],
        ),
        (
            "TE and CL in HTTP/1.0",
            format!("POST /public/x HTTP/1.0\r\nHost: {HOST}\r\n{}\r\n{hidden_chunk}", both(true)).into(),
            vec![Refused],
        ),
        ("a body that nobody announced", post("", "hello"), vec![Refused, nothing()]),
        (
            "a request in the body",
            post(&cl(&HIDDEN.len().to_string()), HIDDEN),
            vec![Passes("/public/x", HIDDEN.into())],
        ),
        ("a request after the body", post(&cl("5"), &format!("hello{HIDDEN}")), vec![hello()]),
        ("a request after the chunks", post(&only("chunked"), &format!("{chunked}{HIDDEN}")), vec![hello()]),
    ])
    .await;
}

#[tokio::test]
async fn odd_chunks_have_one_reading_or_none() {
    let with = |body: String| post("Transfer-Encoding: chunked\r\n", &body);
    let chunked = |size: &str, end: &str| with(format!("{size}\r\nhello{end}0\r\n\r\n{HIDDEN}"));
    let trailer = |field: &str| with(format!("5\r\nhello\r\n0\r\n{field}\r\n\r\n"));
    judge(vec![
        ("plain chunks", chunked("5", "\r\n"), vec![hello()]),
        ("leading zeros", chunked("0000005", "\r\n"), vec![Refused, hello()]),
        ("an extension", chunked("5;a=b", "\r\n"), vec![Refused, hello()]),
        ("a quoted extension", chunked("5;a=\"b\"", "\r\n"), vec![Refused, hello()]),
        ("LF in an extension", chunked("5;a\nb", "\r\n"), vec![Refused, hello()]),
        ("CR in an extension", chunked("5;a\rb", "\r\n"), vec![Refused]),
        ("NUL in an extension", chunked("5;a\0b", "\r\n"), vec![Refused, hello()]),
        (
            "LF in the last extension",
            with(format!("5\r\nhello\r\n0;a\n\r\n\r\n{HIDDEN}")),
            vec![Refused, hello()],
        ),
        (
            "an extension of 20 kB",
            chunked(&format!("5;{}", "x".repeat(20_000)), "\r\n"),
            vec![Refused, hello()],
        ),
        ("an extension that does not end", with(format!("5;{}", "x".repeat(200_000))), vec![Refused]),
        ("LF after the size", with("5\nhello\r\n0\r\n\r\n".into()), vec![Refused]),
        ("a size in 0x", chunked("0x5", "\r\n"), vec![Refused]),
        ("a signed size", chunked("+5", "\r\n"), vec![Refused]),
        ("a negative size", chunked("-5", "\r\n"), vec![Refused]),
        ("a space before the size", chunked(" 5", "\r\n"), vec![Refused]),
        ("a space after the size", chunked("5 ", "\r\n"), vec![Refused, hello()]),
        ("an underscore in the size", chunked("0_5", "\r\n"), vec![Refused]),
        ("no size", chunked("", "\r\n"), vec![Refused, nothing()]),
        ("a size that is no number", chunked("five", "\r\n"), vec![Refused]),
        ("a size beyond 64 bits", chunked("10000000000000005", "\r\n"), vec![Refused]),
        ("a size that overflows", chunked("ffffffffffffffff", "\r\n"), vec![Refused]),
        ("a chunk longer than its size", with("4\r\nhello\r\n0\r\n\r\n".into()), vec![Refused]),
        ("a chunk shorter than its size", with(format!("6\r\nhello\r\n0\r\n\r\n{HIDDEN}")), vec![Refused]),
        ("LF after a chunk", chunked("5", "\n"), vec![Refused]),
        ("nothing after a chunk", chunked("5", ""), vec![Refused]),
        ("two bytes of anything after a chunk", chunked("5", "XX"), vec![Refused]),
        ("LF at the end", with(format!("5\r\nhello\r\n0\n\n{HIDDEN}")), vec![Refused]),
        ("LF after the last chunk", with(format!("5\r\nhello\r\n0\r\n\n{HIDDEN}")), vec![Refused]),
        ("CR CR LF at the end", with(format!("5\r\nhello\r\n0\r\n\r\r\n{HIDDEN}")), vec![Refused]),
        ("a trailer", trailer("X-Checksum: 1"), vec![hello()]),
        ("a trailer with a reserved name", trailer("X-Auth-Subject: admin"), vec![hello()]),
        ("a trailer that frames", trailer("Content-Length: 100"), vec![Refused, hello()]),
        ("a trailer that is no field", trailer("GET /public/hidden HTTP/1.1"), vec![Refused, hello()]),
    ])
    .await;
}

#[tokio::test]
async fn odd_heads_have_one_reading_or_none() {
    let get = |fields: &str| format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: {HOST}\r\n\r\n").into_bytes();
    let cl = "Content-Length: 5\r\n";
    judge(vec![
        ("obs-fold", get("X-A: a\r\n b\r\n"), vec![Refused]),
        ("obs-fold with a tab", get("X-A: a\r\n\tb\r\n"), vec![Refused]),
        ("obs-fold of a length", post("Content-Length: 5\r\n 0\r\n", "hello"), vec![Refused]),
        ("obs-fold of TE", post("Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", "hello"), vec![Refused]),
        ("obs-fold at the first field", b"GET /public/x HTTP/1.1\r\n Host: a\r\nHost: gate.localhost:8080\r\n\r\n".to_vec(), vec![Refused]),
        ("bare LF", format!("GET /public/x HTTP/1.1\nHost: {HOST}\n\n").into(), vec![Refused, nothing()]),
        ("bare LF at one field", get("X-A: a\nX-B: b\r\n"), vec![Refused, nothing()]),
        ("bare LF before TE", post(&format!("X-A: a\nTransfer-Encoding: chunked\r\n{cl}"), "hello"), vec![Refused]),
        ("LF CR LF at the end", format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\n\r\n").into(), vec![Refused, nothing()]),
        ("bare CR", get("X-A: a\rX-B: b\r\n"), vec![Refused]),
        ("bare CR before TE", post(&format!("X-A: a\rTransfer-Encoding: chunked\r\n{cl}"), "hello"), vec![Refused]),
        ("NUL in a value", get("X-A: a\0b\r\n"), vec![Refused]),
        ("NUL in a name", get("X\0A: a\r\n"), vec![Refused]),
        ("a control character in a value", get("X-A: a\u{1}b\r\n"), vec![Refused]),
        ("DEL in a value", get("X-A: a\u{7f}b\r\n"), vec![Refused]),
        ("a space before the colon", post(&format!("Transfer-Encoding : chunked\r\n{cl}"), "hello"), vec![Refused]),
        ("a tab before the colon", post(&format!("Transfer-Encoding\t: chunked\r\n{cl}"), "hello"), vec![Refused]),
        ("a space before the name", post(&format!(" Transfer-Encoding: chunked\r\n{cl}"), "hello"), vec![Refused]),
        ("a field without a name", get(": a\r\n"), vec![Refused]),
        ("a field without a colon", get("X-A\r\n"), vec![Refused]),
        ("framing in another spelling", post(&format!("Transfer_Encoding: chunked\r\n{cl}"), "hello"), vec![hello()]),
        ("framing with a dot", post(&format!("Content.Length: 0\r\nTransfer.Encoding: chunked\r\n{cl}"), "hello"), vec![Refused, hello()]),
        ("two hosts", get(&format!("Host: {HOST}\r\n")), vec![Refused]),
        ("two hosts, one other", get("Host: evil.example\r\n"), vec![Refused]),
        ("a host with a path", line(&format!("GET /public/x HTTP/1.1\r\nHost: {HOST}/public/hidden")), vec![Refused]),
        ("HTTP/0.9", b"GET /public/x\r\n".to_vec(), vec![Refused]),
        ("HTTP/0.9 with a version", line("GET /public/x HTTP/0.9"), vec![Refused]),
        ("HTTP/1.2", line("GET /public/x HTTP/1.2"), vec![Refused, nothing()]),
        ("HTTP/2.0", line("GET /public/x HTTP/2.0"), vec![Refused]),
        ("lower case version", line("GET /public/x http/1.1"), vec![Refused]),
        ("no version", line("GET /public/x "), vec![Refused]),
        ("two spaces", line("GET  /public/x HTTP/1.1"), vec![Refused, nothing()]),
        ("a tab in the line", line("GET\t/public/x\tHTTP/1.1"), vec![Refused]),
        ("two versions", line("GET /public/x HTTP/1.1 HTTP/1.1"), vec![Refused]),
        ("a space in the target", line("GET /public/x y HTTP/1.1"), vec![Passes("/public/x%20y", String::new())]),
        ("a control character in the target", line("GET /public/\u{1}x HTTP/1.1"), vec![Refused]),
        ("a fragment", line("GET /public/x#y HTTP/1.1"), vec![Refused]),
        ("absolute form", line(&format!("GET http://{HOST}/public/x HTTP/1.1")), vec![nothing()]),
        ("absolute form of HTTP/1.0 without Host", format!("GET http://{HOST}/public/x HTTP/1.0\r\n\r\n").into(), vec![nothing()]),
        ("absolute form of HTTP/1.0 for another", b"GET http://evil.example/public/x HTTP/1.0\r\n\r\n".to_vec(), vec![Refused]),
        ("absolute form of HTTP/1.0 with another Host", format!("GET http://{HOST}/public/x HTTP/1.0\r\nHost: evil.example\r\n\r\n").into(), vec![Refused]),
        ("absolute form of HTTP/1.0 with a user", format!("GET http://{HOST}@evil.example/public/x HTTP/1.0\r\n\r\n").into(), vec![Refused]),
        ("absolute form of HTTP/1.0 with a user before our host", format!("GET http://evil.example@{HOST}/public/x HTTP/1.0\r\n\r\n").into(), vec![Refused]),
        ("absolute form of HTTP/1.0 without a host", b"GET http:///public/x HTTP/1.0\r\n\r\n".to_vec(), vec![Refused]),
        ("absolute form for another", line("GET http://evil.example/public/x HTTP/1.1"), vec![Refused]),
        ("absolute form of another scheme", line(&format!("GET ftp://{HOST}/public/x HTTP/1.1")), vec![Refused]),
        ("authority form", line(&format!("GET {HOST} HTTP/1.1")), vec![Refused]),
        ("OPTIONS *", line("OPTIONS * HTTP/1.1"), vec![Refused]),
        ("GET *", line("GET * HTTP/1.1"), vec![Refused]),
        ("CONNECT", line(&format!("CONNECT {HOST} HTTP/1.1")), vec![Refused]),
        ("CONNECT to a path", line("CONNECT /public/x HTTP/1.1"), vec![Refused]),
        ("TRACE", line("TRACE /public/x HTTP/1.1"), vec![Refused]),
        ("a method with a colon", line("GE:T /public/x HTTP/1.1"), vec![Refused]),
        ("lower case method", line("get /public/x HTTP/1.1"), vec![Refused]),
        ("TRACE in lower case", line("trace /public/x HTTP/1.1"), vec![Refused]),
        ("the preface of HTTP/2 as a request", line("PRI * HTTP/2.0"), vec![Refused]),
        ("empty lines before", format!("\r\n\r\nGET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").into(), vec![Refused, nothing()]),
        ("Connection: Host", get("Connection: Host\r\n"), vec![Refused]),
        ("Connection: Content-Length", post(&format!("Connection: Content-Length\r\n{cl}"), "hello"), vec![Refused, hello()]),
        ("Connection: Transfer-Encoding", post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), vec![Refused, hello()]),
        ("Expect with a surprise", post(&format!("Expect: 100-continue\r\n{cl}"), &format!("hello{HIDDEN}")), vec![hello()]),
        ("an upgrade with a body", post(&format!("{UPGRADE}{cl}"), &format!("hello{HIDDEN}")), vec![Refused, hello()]),
        ("an upgrade to HTTP/2", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"), vec![nothing()]),
        ("a request behind an upgrade", [get(UPGRADE), HIDDEN.into()].concat(), vec![nothing()]),
        ("two requests at once", [get(""), HIDDEN.into()].concat(), vec![nothing()]),
    ])
    .await;
}

#[tokio::test]
async fn what_connection_names_is_removed_and_nothing_of_ours_with_it() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let bearer = gateway.bearer("alice", "api:read");
    for named in [
        "Host",
        "hOST",
        "close, Host",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        ":authority",
        "\"X-A\"",
        "a, b, c, d, e, f, g, h, i, j",
    ] {
        for token in [bearer.as_str(), "Bearer none"] {
            let fields = [("Authorization", token), ("Connection", named)];
            let answer = gateway.connect().await.get("/api/x", &fields).await;
            assert_eq!(answer.status, 400, "{named}: {answer:?}");
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(detail.starts_with("Connection names"), "before the token is judged: {named}: {detail}");
        }
    }
    assert!(upstream.received().is_empty());
    for named in
        ["X-Auth-Subject", "X-Request-Id", "Authorization", "x_auth_subject", "a, b, c, d, e, f, g, h, i"]
    {
        let before = upstream.received().len();
        let fields = [("Authorization", bearer.as_str()), ("Connection", named), ("X-Auth-Subject", "admin")];
        let answer = gateway.connect().await.get("/api/x", &fields).await;
        let Some(seen) = upstream.received().get(before).cloned() else {
            assert_eq!(answer.status, 401, "{named}: {answer:?}");
            continue;
        };
        strictly(&seen).unwrap();
        assert_eq!(seen.header("x-auth-subject"), Some("alice"), "{named}");
        assert_eq!(seen.all("x-request-id").len(), 1, "{named}");
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"), "{named}");
        assert_eq!(seen.header("authorization"), None, "{named}");
    }
    assert!(!upstream.received().is_empty());
}

const PSEUDO: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/public/x")];

/// The head of a request over HTTP/2, with one pseudo-header replaced, and more fields.
fn head(replaced: &[(&'static str, &'static str)], more: &[(&'static str, &'static str)]) -> Vec<u8> {
    let pseudo = PSEUDO
        .iter()
        .map(|(name, value)| *replaced.iter().find(|(other, _)| other == name).unwrap_or(&(name, value)));
    block(&pseudo.chain(more.iter().copied()).collect::<Vec<_>>())
}

/// Header and DATA frames of stream 1.
fn frames(block: &[u8], body: Option<&[&str]>) -> Vec<u8> {
    let end = if body.is_none() { END_STREAM } else { 0 };
    let mut bytes = frame(HEADERS, END_HEADERS | end, 1, block);
    let parts = body.unwrap_or_default();
    for (at, part) in parts.iter().enumerate() {
        let end = if at + 1 == parts.len() { END_STREAM } else { 0 };
        bytes.extend(frame(DATA, end, 1, part.as_bytes()));
    }
    bytes
}

#[tokio::test]
async fn odd_requests_of_http_2_have_one_reading_or_none() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let with = |name, value| frames(&head(&[], &[(name, value)]), Some(&["hello"]));
    let pseudo = |name, value| frames(&head(&[(name, value)], &[]), Some(&["hello"]));
    let split = {
        let block = head(&[], &[("x-a", "b")]);
        let (a, b) = block.split_at(block.len() / 2);
        [
            frame(HEADERS, 0, 1, a),
            frame(CONTINUATION, END_HEADERS, 1, b),
            frame(DATA, END_STREAM, 1, b"hello"),
        ]
        .concat()
    };
    let trailers = |name, value| {
        [
            frame(HEADERS, END_HEADERS, 1, &head(&[], &[])),
            frame(DATA, 0, 1, b"hello"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(name, value)])),
        ]
        .concat()
    };
    let cases = [
        ("plain", frames(&head(&[], &[]), Some(&["hello"])), vec![hello()]),
        ("an empty end", frames(&head(&[], &[]), Some(&["hel", "lo", ""])), vec![hello()]),
        ("a header in two frames", split, vec![hello()]),
        ("a true length", with("content-length", "5"), vec![hello()]),
        ("a length too short", with("content-length", "4"), vec![Refused]),
        ("a length too long", with("content-length", "6"), vec![Refused]),
        ("a length of nothing", with("content-length", "0"), vec![Refused, nothing()]),
        ("a signed length", with("content-length", "+5"), vec![Refused]),
        ("a list of lengths", with("content-length", "5, 5"), vec![Refused, hello()]),
        (
            "two lengths",
            frames(&head(&[], &[("content-length", "5"), ("content-length", "6")]), Some(&["hello"])),
            vec![Refused],
        ),
        ("a length and no body", frames(&head(&[], &[("content-length", "5")]), None), vec![Refused]),
        ("a name in capitals", with("X-A", "b"), vec![Refused]),
        ("an empty name", with("", "b"), vec![Refused]),
        ("a name with a colon", with("x:a", "b"), vec![Refused]),
        ("a value that begins with a space", with("x-a", " b"), vec![Refused, hello()]),
        ("a value that ends with a tab", with("x-a", "b\t"), vec![Refused, hello()]),
        ("a value with a space in it", with("x-a", "b c"), vec![hello()]),
        ("a name with a space", with("x a", "b"), vec![Refused]),
        ("a name with CR LF", with("x-a\r\nx-b", "b"), vec![Refused]),
        ("CR LF in a value", with("x-a", "b\r\nx-auth-subject: admin"), vec![Refused]),
        ("LF in a value", with("x-a", "b\nc"), vec![Refused]),
        ("CR in a value", with("x-a", "b\rc"), vec![Refused]),
        ("NUL in a value", with("x-a", "b\0c"), vec![Refused]),
        ("connection", with("connection", "x-auth-subject"), vec![Refused]),
        ("keep-alive", with("keep-alive", "1"), vec![Refused]),
        ("proxy-connection", with("proxy-connection", "close"), vec![Refused]),
        ("upgrade", with("upgrade", "websocket"), vec![Refused]),
        ("transfer-encoding", with("transfer-encoding", "chunked"), vec![Refused]),
        ("te: gzip", with("te", "gzip"), vec![Refused, hello()]),
        ("transfer_encoding", with("transfer_encoding", "chunked"), vec![hello()]),
        (
            "a method twice",
            frames(&block(&[PSEUDO[0], PSEUDO[0], PSEUDO[1], PSEUDO[2], PSEUDO[3]]), None),
            vec![Refused],
        ),
        (
            "a path twice",
            frames(&block(&[PSEUDO[0], PSEUDO[1], PSEUDO[2], PSEUDO[3], (":path", "/public/hidden")]), None),
            vec![Refused],
        ),
        (
            "a pseudo-header after a field",
            frames(&block(&[PSEUDO[0], PSEUDO[1], PSEUDO[2], ("x-a", "b"), PSEUDO[3]]), None),
            vec![Refused],
        ),
        ("no path", frames(&block(&PSEUDO[..3]), None), vec![Refused]),
        ("no method", frames(&block(&PSEUDO[1..]), None), vec![Refused]),
        ("no authority", frames(&block(&[PSEUDO[0], PSEUDO[1], PSEUDO[3]]), None), vec![Refused]),
        ("a pseudo-header of an answer", with(":status", "200"), vec![Refused]),
        ("an unknown pseudo-header", with(":x", "y"), vec![Refused]),
        (
            "extended CONNECT",
            frames(&head(&[(":method", "CONNECT")], &[(":protocol", "websocket")]), Some(&["hello"])),
            vec![Refused],
        ),
        ("CONNECT", frames(&block(&[(":method", "CONNECT"), (":authority", HOST)]), None), vec![Refused]),
        ("TRACE", frames(&head(&[(":method", "TRACE")], &[]), None), vec![Refused]),
        ("a method in lower case", frames(&head(&[(":method", "delete")], &[]), None), vec![Refused]),
        ("a method with CR LF", pseudo(":method", "GET /public/hidden HTTP/1.1\r\nx:"), vec![Refused]),
        ("a method with a space", pseudo(":method", "GET /public/hidden"), vec![Refused]),
        ("an empty path", pseudo(":path", ""), vec![Refused]),
        ("a path of *", pseudo(":path", "*"), vec![Refused]),
        ("a path without a slash", pseudo(":path", "public/x"), vec![Refused]),
        ("a path with a space", pseudo(":path", "/public/x HTTP/1.1"), vec![Refused]),
        ("a path with CR LF", pseudo(":path", "/public/x HTTP/1.1\r\nx-a: b"), vec![Refused]),
        ("a path that is a URL", pseudo(":path", "http://evil.example/public/x"), vec![Refused]),
        ("a path with dots", pseudo(":path", "/public/../api"), vec![Refused]),
        ("a path with a fragment", pseudo(":path", "/public/x#y"), vec![Refused, hello()]),
        ("a scheme with CR LF", pseudo(":scheme", "http\r\nx-a: b"), vec![Refused]),
        (
            "a scheme with a path",
            pseudo(":scheme", "http://evil.example/public/hidden?"),
            vec![Refused, hello()],
        ),
        (
            "an authority with a path",
            pseudo(":authority", "gate.localhost:8080/public/hidden"),
            vec![Refused],
        ),
        ("an authority with userinfo", pseudo(":authority", "u@gate.localhost:8080"), vec![Refused]),
        ("an unknown authority", pseudo(":authority", "evil.example"), vec![Refused]),
        ("an authority against the host", with("host", "evil.example"), vec![Refused]),
        ("an authority with its host", with("host", HOST), vec![hello()]),
        ("two hosts", frames(&head(&[], &[("host", HOST), ("host", HOST)]), Some(&["hello"])), vec![Refused]),
        ("trailers", trailers("x-a", "b"), vec![hello()]),
        ("trailers with a reserved name", trailers("x-auth-subject", "admin"), vec![hello()]),
        ("trailers with a pseudo-header", trailers(":path", "/public/hidden"), vec![Refused, hello()]),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, may) in cases {
        let before = upstream.received().len();
        let mut client = RawHttp2::connect(gateway.public, &[]).await;
        client.send(&bytes).await;
        let end = client.end_of(1).await;
        drop(client);
        let honest = Client::connect(gateway.public).await.get("/public/honest", &[]).await;
        let seen = upstream.received()[before..].to_vec();
        let (last, seen) = seen.split_last().unwrap();
        let fate = match seen {
            [] => Ok(Refused),
            [one] => strictly(one).map(|(path, body)| {
                let path = if path == "/public/x" { "/public/x" } else { "?" };
                Passes(path, String::from_utf8_lossy(&body).into_owned())
            }),
            _ => Err("several requests"),
        };
        let agrees = fate != Ok(Refused) || end.is_refusal();
        if !agrees || !fate.as_ref().is_ok_and(|fate| may.contains(fate)) {
            wrong.push(format!("{name}: {end:?} {fate:?}\n{seen:#?}"));
        }
        if honest.status != 200 || strictly(last) != Ok(("/public/honest".to_owned(), Vec::new())) {
            wrong.push(format!("{name}: the next request was harmed\n{honest:?}\n{last:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n---\n"));
}

#[tokio::test]
async fn no_request_is_read_out_of_the_body_of_another() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let length = format!("Content-Length: {}\r\n", HIDDEN.len());
    let longer = format!("Content-Length: {}\r\n", HIDDEN.len() + 5);
    let mut passed = 0;
    for path in ["/api/x", "/public/x", "/oauth/token", "/nowhere", "/public/../x"] {
        for (fields, before) in [
            (length.clone(), ""),
            (format!("{UPGRADE}{length}"), ""),
            (UPGRADE.to_owned(), ""),
            (format!("Connection: content-length\r\n{length}"), ""),
            (format!("Expect: 100-continue\r\n{length}"), ""),
            (format!("{longer}Transfer-Encoding: chunked\r\n"), "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n".to_owned(), "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n".to_owned(), "0\r\n\r\n"),
            (format!("Transfer_Encoding: chunked\r\n{longer}"), "0\r\n\r\n"),
            (format!("Content-Length: 0\r\n{length}"), ""),
            (String::new(), ""),
        ] {
            for version in ["HTTP/1.1", "HTTP/1.0"] {
                let head = format!("POST {path} {version}\r\nHost: {HOST}\r\n{fields}\r\n");
                let mut client = gateway.connect().await;
                client.send(format!("{head}{before}{HIDDEN}")).await;
                let first = client.answer().await;
                passed += usize::from(first.status == 200);
                assert!(first.status != 200 || path == "/public/x", "{head}{first:?}");
                // The next request on the connection is the next one that was sent, or there is none.
                client.try_send(request("PUT", "/oauth/token", &[], b"")).await;
                if let Some(next) = client.answer_to("PUT").await {
                    assert_eq!(next.status, 405, "{head}{first:?}{next:?}");
                }
            }
        }
    }
    assert!(passed > 10);
    assert_eq!(upstream.received().len(), passed);
    for seen in upstream.received() {
        assert_eq!(seen.path(), "/public/x", "{seen:#?}");
    }
}

#[tokio::test]
async fn what_frames_a_request_has_no_second_spelling_at_the_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let fields = [("Transfer_Encoding", "chunked"), ("Content_Length", "7")];
    let mut client = gateway.connect().await;
    client.send(request("POST", "/public/x", &fields, b"hello")).await;
    assert_eq!(client.answer().await.status, 200);
    let seen = upstream.only();
    assert_eq!((seen.header("content-length"), &seen.raw_body[..]), (Some("5"), &b"hello"[..]));
    assert_eq!((seen.header("transfer_encoding"), seen.header("content_length")), (None, None));
}

#[tokio::test]
async fn two_framings_of_one_body_reach_no_upstream() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    for framing in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Content-Length: +2",
        "Content-Length: 0x2",
        "Transfer-Encoding : chunked",
    ] {
        let mut client = gateway.connect().await;
        client.send(format!("POST /public/x HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\nhi")).await;
        assert_eq!(client.answer().await.status, 400, "{framing}");
    }
    assert!(upstream.received().is_empty());
}
