//! Spellings of paths and of header names, made at random and sent as bytes: none reaches an upstream under a
//! weaker policy than the one of its canonical form, and none of a reserved header arrives. What an upstream
//! may make of what it got is spelled out here once more.

use crate::support::client::{Answer, Client, HOST};
use crate::support::frames::{DATA, END_HEADERS, END_STREAM, End, HEADERS, RawHttp2, block, frame};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};

/// Choices that are the same in each run (SplitMix64).
struct Choices(u64);

impl Choices {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.number() % u64::try_from(count).unwrap()).unwrap()
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// A client of HTTP/1.1 that connects again when it was shown the door.
struct Persistent<'g> {
    gateway: &'g Gateway,
    client: Option<Client>,
}

impl<'g> Persistent<'g> {
    fn new(gateway: &'g Gateway) -> Self {
        Self { gateway, client: None }
    }

    /// The answer, where there was one.
    async fn send(&mut self, bytes: &[u8], method: &str) -> Option<Answer> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => self.gateway.connect().await,
        };
        if !client.try_send(bytes).await {
            client = self.gateway.connect().await;
            client.send(bytes).await;
        }
        let answer = client.whole(method).await?;
        if answer.keeps_alive() && answer.status < 400 {
            self.client = Some(client);
        }
        Some(answer)
    }
}

async fn over_http_2(gateway: &Gateway, fields: &[(&str, &str)], trailers: &[(&str, &str)]) -> End {
    let mut connection = RawHttp2::connect(gateway.public, &[]).await;
    let bytes = if trailers.is_empty() {
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
    } else {
        let head = frame(HEADERS, END_HEADERS, 1, &block(fields));
        let end = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers));
        [head, frame(DATA, 0, 1, b"hello"), end].concat()
    };
    connection.send(&bytes).await;
    connection.end_of(1).await
}

// Paths.

/// What a segment of a path may be spelled with.
const PIECES: [&str; 46] = [
    "/",
    "/",
    "/",
    "admin",
    "api",
    "public",
    "..",
    ".",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%252e%252e",
    "..;",
    "..;x=y",
    "%2f",
    "%2F",
    "%252f",
    "x%2fy",
    "/x%2Fadmin",
    "/admin%2fx",
    "\\",
    "%5c",
    "%255c",
    "//",
    "/./",
    "/../",
    "%00",
    "%0d%0a",
    "%09",
    "#",
    "?",
    "?/../admin",
    ";",
    "%3b",
    "%61dmin",
    "%2561dmin",
    "%25%36%31dmin",
    "a%64min",
    "ADMIN",
    "Admin",
    "%41dmin",
    "%2541dmin",
    "%C0%AE%C0%AE",
    "%ef%bc%8f",
    "x",
    "%",
];
const BEGINNINGS: [&str; 21] = [
    "/public/",
    "/public",
    "/api/",
    "/api",
    "/admin/",
    "/admin",
    "/%61dmin/",
    "/ADMIN/",
    "/Api/",
    "/api/Admin%2F",
    "/%2561dmin/",
    "/public;/",
    "/public%2f",
    "/public/x%2f",
    "/api/admin%2F",
    "/api/x%2Fy",
    "/kept%2f",
    "/./",
    "//",
    "/%70ublic/",
    "/api;x/",
];

fn spelled_path(choices: &mut Choices) -> String {
    let mut path = choices.of(&BEGINNINGS).to_owned();
    for _ in 0..choices.below(7) {
        path.push_str(choices.of(&PIECES));
    }
    path
}

/// What becomes of an encoded slash at an upstream.
#[derive(Clone, Copy)]
enum Slash {
    /// It decodes, then looks for slashes.
    Splits,
    /// It looks for slashes, then decodes.
    IsData,
}

/// The first segments that an upstream finds which decodes so many times, cuts `;parameters` off, resolves
/// dots, and may ignore case.
fn first_segments(path: &str, slash: Slash, times: usize, cut: bool, ignores_case: bool) -> [Vec<u8>; 2] {
    let path = path.split(['?', '#']).next().unwrap();
    let decoded =
        |text: &[u8]| (0..times).fold(text.to_vec(), |bytes, _| tollgate::core::percent::decode(&bytes));
    let segments: Vec<Vec<u8>> = match slash {
        Slash::Splits => {
            decoded(path.as_bytes()).split(|byte| matches!(byte, b'/' | b'\\')).map(<[u8]>::to_vec).collect()
        }
        Slash::IsData => path.split('/').map(|segment| decoded(segment.as_bytes())).collect(),
    };
    let mut resolved: Vec<&[u8]> = Vec::new();
    for segment in &segments {
        let segment = if cut { segment.split(|byte| *byte == b';').next().unwrap() } else { segment };
        match segment {
            b"" | b"." => {}
            b".." => drop(resolved.pop()),
            _ => resolved.push(segment),
        }
    }
    let mut resolved = resolved
        .into_iter()
        .map(|segment| if ignores_case { segment.to_ascii_lowercase() } else { segment.to_vec() });
    [(); 2].map(|()| resolved.next().unwrap_or_default())
}

/// Whether a caller with `scopes` may reach what any upstream makes of this path.
fn was_allowed(seen: &Received, scopes: &[&str]) -> bool {
    let ways = [(1, false), (1, true), (2, false), (2, true), (3, false), (3, true)];
    let ways = ways.into_iter().flat_map(|way| [(Slash::Splits, way), (Slash::IsData, way)]);
    let mut ways = ways.flat_map(|way| [(way, false), (way, true)]);
    ways.all(|((slash, (times, cut)), ignores_case)| {
        let [first, second] = first_segments(seen.path(), slash, times, cut, ignores_case);
        let needed: &[&str] = match (&first[..], &second[..]) {
            (b"admin", _) | (b"api", b"admin") => &["api:read", "admin"],
            (b"api", _) => &["api:read"],
            _ => &[],
        };
        needed.iter().all(|scope| scopes.contains(scope))
    })
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_an_upstream_under_a_weaker_policy() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    // Everything has a route: what is not known to be protected is public.
    for slash in ["refuse", "keep"] {
        let gateway = Gateway::with(&format!(
            "routes:
  - {{ path: /*, to: \"{to}\", public: true, encoded_slash: {slash} }}
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }}, encoded_slash: {slash} }}
  - {{ path: /api/admin/*, to: \"{to}\", require: {{ scope: [api:read, admin] }} }}
  - {{ path: /admin/*, to: \"{to}\", require: {{ scope: [api:read, admin] }} }}
"
        ))
        .await;
        let slashes = no_path_reaches(&upstream, &gateway).await;
        assert!(if slash == "keep" { slashes > 50 } else { slashes == 0 }, "{slashes} with encoded slashes");
    }
}

/// How many that had an encoded slash passed where they may.
async fn no_path_reaches(upstream: &Upstream, gateway: &Gateway) -> usize {
    let callers: [(&str, &[&str]); 3] =
        [("", &[]), ("api:read", &["api:read"]), ("api:read admin", &["api:read", "admin"])];
    let bearers = callers.map(|(scope, _)| gateway.bearer("alice", scope));
    let mut choices = Choices(7);
    let mut client = Persistent::new(gateway);
    let (mut passed, mut refused, mut slashes) = (0, 0, 0);
    for round in 0..2_000 {
        let path = spelled_path(&mut choices);
        let at = choices.below(3);
        let before = upstream.received().len();
        let bearer = (at > 0).then(|| bearers[at].as_str());
        if round % 5 == 0 {
            let mut fields =
                vec![(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", &path)];
            fields.extend(bearer.map(|bearer| ("authorization", bearer)));
            over_http_2(gateway, &fields, &[]).await;
        } else {
            let field = bearer.map(|bearer| format!("Authorization: {bearer}\r\n")).unwrap_or_default();
            let text = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n");
            client.send(text.as_bytes(), "GET").await;
        }
        let seen = upstream.received().split_off(before);
        assert!(seen.len() <= 1, "{path} became two requests: {seen:?}");
        for seen in &seen {
            let (scope, scopes) = callers[at];
            assert!(was_allowed(seen, scopes), "{path:?} reached {:?} with {scope:?}", seen.path());
            let sent = seen.path().split('?').next().unwrap();
            assert!(!sent.contains("%2f"), "it has one spelling: {sent}");
            slashes += usize::from(sent.contains("%2F"));
        }
        if seen.is_empty() { refused += 1 } else { passed += 1 }
    }
    assert!(passed > 100 && refused > 100, "{passed} passed and {refused} did not: that proves nothing");
    slashes
}

// Names.

const RESERVED: [&str; 20] = [
    "x-auth-subject",
    "x-auth-subject",
    "x-auth-client",
    "x-auth-scope",
    "x-auth-issuer",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-whatever",
    "forwarded",
    "client-cert",
    "client-cert-chain",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "script-name",
    "daphne-root-path",
    "x-http-method-override",
    "x-request-id",
    "proxy",
];
/// What a name may have in place of `-` (RFC 9110 section 5.6.2).
const SEPARATORS: [char; 15] = ['-', '-', '_', '_', '.', '~', '!', '#', '$', '%', '&', '\'', '*', '^', '|'];

/// A reserved name in a spelling of its own; over HTTP/2 in lower case, as it must be.
fn spelled_name(choices: &mut Choices, capitals: bool) -> String {
    let name = choices.of(&RESERVED);
    let letters = name.chars().map(|letter| match letter {
        '-' => choices.of(&SEPARATORS),
        _ if capitals && choices.one_in(2) => letter.to_ascii_uppercase(),
        _ => letter,
    });
    letters.collect()
}

fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Of what came from outside nothing is left, and what is ours is there once.
fn is_ours_alone(seen: &Received, subject: Option<&str>) {
    let body = String::from_utf8_lossy(&seen.raw_body);
    assert!(!seen.head.contains("forged") && !body.contains("forged"), "{}{body}", seen.head);
    let subjects: Vec<&str> =
        seen.fields().filter(|(name, _)| folded(name) == "x-auth-subject").map(|(_, value)| value).collect();
    assert_eq!(subjects, subject.into_iter().collect::<Vec<_>>(), "{}", seen.head);
    assert_eq!(seen.header("x-harmless"), Some("kept"), "{}", seen.head);
}

#[tokio::test]
async fn no_spelling_of_a_reserved_header_arrives_in_whatever_way_it_comes() {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(&upstream).await;
    let bearer = gateway.bearer("alice", "api:read");
    let mut choices = Choices(11);
    let mut client = Persistent::new(&gateway);
    let mut passed = 0;
    for round in 0..600 {
        let is_http_2 = round % 4 == 0;
        let mut name = || spelled_name(&mut choices, !is_http_2);
        let forged: Vec<String> = (0..4).map(|_| name()).collect();
        let in_trailers: Vec<String> = (0..2).map(|_| name()).collect();
        let nominated = format!("{}, x-auth-subject, {}, x-request-id", forged[0], name());
        let (with_trailers, with_token) = (choices.one_in(2), choices.one_in(2));
        let path = if with_token { "/api/x" } else { "/public/x" };
        let before = upstream.received().len();
        if is_http_2 {
            let method = if with_trailers { "POST" } else { choices.of(&["GET", "OPTIONS"]) };
            let mut fields =
                vec![(":method", method), (":scheme", "http"), (":authority", HOST), (":path", path)];
            fields.push(("x-harmless", "kept"));
            fields.extend(forged.iter().map(|name| (name.as_str(), "forged")));
            if with_token {
                fields.push(("authorization", &bearer));
            }
            let trailers: Vec<(&str, &str)> =
                in_trailers.iter().map(|name| (name.as_str(), "forged")).collect();
            over_http_2(&gateway, &fields, if with_trailers { &trailers } else { &[] }).await;
        } else {
            let method = if with_trailers { "POST" } else { choices.of(&["GET", "OPTIONS", "DELETE"]) };
            let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Harmless: kept\r\n");
            for name in &forged {
                text.push_str(&format!("{name}:{}forged\r\n", choices.of(&["", " ", "\t"])));
            }
            if choices.one_in(2) {
                text.push_str(&format!("Connection: {nominated}\r\n"));
            }
            if with_token {
                text.push_str(&format!("Authorization: {bearer}\r\n"));
            }
            if with_trailers {
                let trailers: String = in_trailers.iter().map(|name| format!("{name}: forged\r\n")).collect();
                text.push_str(&format!("TE: trailers\r\nTrailer: {}\r\n", in_trailers.join(", ")));
                text.push_str(&format!(
                    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"
                ));
            } else {
                text.push_str("\r\n");
            }
            client.send(text.as_bytes(), method).await;
        }
        let seen = upstream.received().split_off(before);
        assert!(seen.len() <= 1, "one became two: {seen:?}");
        for seen in &seen {
            is_ours_alone(seen, with_token.then_some("alice"));
            passed += 1;
        }
    }
    assert!(passed > 400, "only {passed} came through: that proves nothing");
}
