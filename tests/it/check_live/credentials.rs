//! Whether issuers take what the gateway proves itself with: what is asked, and what is said of each answer.

use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::support::upstream::Received;

const TOKEN: &str = "/token";
const ASK: &str = "/ask";
const PUSH: &str = "/push";

/// What a server that takes everything answers.
const GOOD: [(&str, &str, &str); 3] = [
    (TOKEN, "400 Bad Request", r#"{"error":"invalid_grant","error_description":"no such token"}"#),
    (ASK, "200 OK", r#"{"active":false}"#),
    (PUSH, "201 Created", r#"{"request_uri":"urn:one","expires_in":60}"#),
];

/// Path, status and body of each answer to a POST.
type Answers = Arc<Mutex<Vec<(&'static str, String, String)>>>;

/// An authorization server that answers each POST as it is told to.
struct Server {
    upstream: Upstream,
    answers: Answers,
}

impl Server {
    async fn start(methods: &'static [&'static str]) -> Self {
        let keys = Issuer::new().jwks().to_string();
        let answers = Answers::default();
        let told = answers.clone();
        let upstream = Upstream::answering(Arc::new(move |asked| {
            let iss = format!("http://{}", asked.header("host").unwrap());
            let told = told.lock().unwrap();
            if let Some((_, status, body)) = told.iter().find(|(path, ..)| *path == asked.path()) {
                return answer(status, body);
            }
            let metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks"),
                "authorization_endpoint": format!("{iss}/authorize"), "token_endpoint": format!("{iss}{TOKEN}"),
                "introspection_endpoint": format!("{iss}{ASK}"), "end_session_endpoint": format!("{iss}/end"),
                "pushed_authorization_request_endpoint": format!("{iss}{PUSH}"),
                "token_endpoint_auth_methods_supported": methods });
            answer("200 OK", &if asked.path() == "/jwks" { keys.clone() } else { metadata.to_string() })
        }))
        .await;
        let server = Self { upstream, answers };
        server.answers_well();
        server
    }

    fn answers_well(&self) {
        let good = GOOD.map(|(path, status, body)| (path, status.to_owned(), body.to_owned()));
        *self.answers.lock().unwrap() = good.into();
    }

    /// From here on, at this endpoint.
    fn answers(&self, at: &str, status: &str, body: &str) {
        self.answers_well();
        for (_, with, text) in self.answers.lock().unwrap().iter_mut().filter(|(path, ..)| *path == at) {
            (*with, *text) = (status.to_owned(), body.to_owned());
        }
    }

    /// What was posted there.
    fn posted(&self, at: &str) -> Vec<Received> {
        let all = self.upstream.received().into_iter();
        all.filter(|asked| asked.line() == format!("POST {at}")).collect()
    }

    fn issuer(&self) -> String {
        let url = self.upstream.url();
        format!(
            "  one: {{ url: \"{url}\", audience: a, introspection: {{ client_id: g, secret: hunter3 }} }}"
        )
    }
}

fn fields(asked: &Received) -> Vec<(String, String)> {
    form_urlencoded::parse(&asked.raw_body).into_owned().collect()
}

fn field(asked: &Received, name: &str) -> Option<String> {
    fields(asked).into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[tokio::test]
async fn each_client_shows_what_it_has_once_for_tokens_that_nobody_has() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p256.pem"), include_str!("../../data/config/p256.pem")).unwrap();
    let (basics, posts) = (Server::start(&[]).await, Server::start(&["client_secret_post"]).await);
    let plain = Upstream::start().await;
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let clients = "clients:
  web: { mode: token, client_id: w, secret: hunter2, pushed: true, scope: \"openid api:read\" }
  key: { mode: session, private_key: { file: p256.pem } }
  open: { mode: token }
  app: { mode: native, secret: hunter4, redirect_uri: \"https://app.example/in\", grants: [authorization_code, refresh_token] }
  brings: { mode: native }";
    for (server, by) in [(&basics, "client_secret_basic"), (&posts, "client_secret_post")] {
        let (code, text) = check(folder.path(), &config(&server.issuer(), &upstreams, clients)).await;
        assert_eq!(code, 0, "{text}");
        for (of, says) in [
            ("client web:", format!("its secret counts, by {by}")),
            ("client web pushed", "its authorization requests are taken".to_owned()),
            ("client key", "its private key counts, by private_key_jwt with ES256".to_owned()),
            ("client open", "it is known there, without a secret".to_owned()),
            ("client app", format!("its secret counts, by {by}")),
            ("introspection one", format!("its secret counts, by {by}")),
        ] {
            let told = line(&text, of);
            assert!(told.starts_with("ok  ") && told.contains(&says), "{told}");
        }
        assert!(!text.contains("client brings") && !text.contains("hunter"), "{text}");
        let (tokens, asked, pushed) = (server.posted(TOKEN), server.posted(ASK), server.posted(PUSH));
        assert_eq!((tokens.len(), asked.len(), pushed.len()), (4, 1, 1), "each once");
        let is_nobodys = |token: Option<String>| {
            token.is_some_and(|token| token.starts_with("tollgate-check-live-") && token.len() > 80)
        };
        for asked in &tokens {
            assert_eq!(field(asked, "grant_type").as_deref(), Some("refresh_token"));
            assert!(is_nobodys(field(asked, "refresh_token")), "{:?}", fields(asked));
        }
        assert!(is_nobodys(field(&asked[0], "token")));
        let redirect_uri = field(&pushed[0], "redirect_uri");
        assert_eq!(redirect_uri.as_deref(), Some("http://gate.localhost:8080/oauth/callback"));
        assert_eq!(field(&pushed[0], "scope").as_deref(), Some("openid api:read"));
        let mut ids: Vec<_> = tokens.iter().filter_map(|asked| field(asked, "client_id")).collect();
        let mut shown: Vec<_> = tokens.iter().filter_map(|asked| asked.header("authorization")).collect();
        ids.sort();
        shown.sort_unstable();
        if by == "client_secret_basic" {
            let mut expected = [basic("w:hunter2"), basic("app:hunter4")];
            expected.sort();
            assert_eq!(shown, expected);
            assert_eq!(ids, ["key", "open"]);
            assert_eq!(asked[0].header("authorization"), Some(&*basic("g:hunter3")));
        } else {
            assert!(shown.is_empty());
            assert_eq!(ids, ["app", "key", "open", "w"]);
            assert_eq!(field(&asked[0], "client_secret").as_deref(), Some("hunter3"));
        }
        assert_eq!(tokens.iter().filter(|asked| field(asked, "client_assertion").is_some()).count(), 1);
    }
    assert!(plain.received().is_empty());
}

#[tokio::test]
async fn of_each_answer_it_is_said_what_it_shows_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (server, plain) = (Server::start(&[]).await, Upstream::start().await);
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let clients = "clients: { web: { mode: token, client_id: w, secret: \"hunter2/a\", pushed: true } }";
    let config = config(&server.issuer(), &upstreams, clients);
    let repeats = r#"{"error":"invalid_client","error_description":"hunter2/a is wrong"}"#;
    for (at, status, body, word, says) in [
        (
            TOKEN,
            "401 Unauthorized",
            r#"{"error":"invalid_client","error_description":"no"}"#,
            "NO",
            "401 invalid_client (no)",
        ),
        (
            TOKEN,
            "400 Bad Request",
            r#"{"error":"invalid_client"}"#,
            "NO",
            "see that `clients.web.secret` is the secret of the client `w`",
        ),
        (
            TOKEN,
            "401 Unauthorized",
            repeats,
            "NO",
            "401 invalid_client, so it does not take its secret by client_secret_basic",
        ),
        (TOKEN, "401 Unauthorized", repeats, "NO", "form-encodes some characters of this secret"),
        (TOKEN, "401 Unauthorized", r#"{"error":"unauthorized_client"}"#, "NO", "does not take its secret"),
        (TOKEN, "401 Unauthorized", r#"{"error":"access_denied"}"#, "NO", "does not take its secret"),
        (TOKEN, "401 Unauthorized", "no", "NO", "401 and no error of OAuth"),
        (TOKEN, "403 Forbidden", r#"{"error":"invalid_grant"}"#, "ok", "its secret counts"),
        (
            TOKEN,
            "400 Bad Request",
            r#"{"error":"unauthorized_client"}"#,
            "NO",
            "let the client `w` use the grant type refresh_token",
        ),
        (
            TOKEN,
            "400 Bad Request",
            r#"{"error":"unsupported_grant_type"}"#,
            "NO",
            "exchanges no refresh tokens",
        ),
        (TOKEN, "404 Not Found", "{}", "NO", "404 where"),
        (
            TOKEN,
            "400 Bad Request",
            r#"{"error":"invalid_request"}"#,
            "?",
            "400 invalid_request, which does not tell whether its secret counts",
        ),
        (TOKEN, "400 Bad Request", "", "?", "does not tell"),
        (TOKEN, "500 Internal Server Error", r#"{"error":"server_error"}"#, "?", "500 and no error of OAuth"),
        (
            TOKEN,
            "200 OK",
            r#"{"access_token":"hunter5","token_type":"Bearer"}"#,
            "?",
            "as servers for tests do",
        ),
        (PUSH, "401 Unauthorized", r#"{"error":"invalid_client"}"#, "NO", "does not take its secret"),
        (
            PUSH,
            "400 Bad Request",
            r#"{"error":"invalid_request","error_description":"redirect_uri"}"#,
            "NO",
            "invalid_request (redirect_uri); see that its `redirect_uri` http://gate.localhost:8080/oauth/callback is registered",
        ),
        (PUSH, "400 Bad Request", r#"{"error":"login_required"}"#, "?", "login_required"),
        (PUSH, "502 Bad Gateway", "", "?", "does not tell"),
        (
            ASK,
            "401 Unauthorized",
            "",
            "NO",
            "see that `issuers.one.introspection.secret` is the secret of the client `g`",
        ),
        (ASK, "400 Bad Request", r#"{"error":"invalid_client"}"#, "NO", "does not take its secret"),
        (ASK, "403 Forbidden", r#"{"error":"access_denied"}"#, "NO", "let the client `g` introspect tokens"),
        (ASK, "200 OK", r#"{"active":true}"#, "?", "calls a token active that nobody has"),
        (ASK, "200 OK", "[]", "NO", "not a JSON object"),
        (ASK, "500 Internal Server Error", "", "?", "does not tell"),
    ] {
        server.answers(at, status, body);
        let (code, text) = check(folder.path(), &config).await;
        let of = match at {
            TOKEN => "client web:",
            PUSH => "client web pushed:",
            _ => "introspection one:",
        };
        let told = line(&text, of);
        assert!(told.starts_with(&format!("{word:<4}")) && told.contains(says), "{status} {body}:\n{told}");
        assert_eq!(code, u8::from(word == "NO"), "{text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("ok  ")).count(),
            6 - usize::from(word != "ok"),
            "{text}"
        );
        assert!(!text.contains("hunter"), "{text}");
    }
}

#[tokio::test]
async fn nobody_is_tried_at_a_server_that_is_not_known() {
    let folder = tempfile::tempdir().unwrap();
    let (away, plain) = (Address::reserve(), Upstream::start().await);
    let one = format!(
        "  one: {{ url: \"{}\", audience: a, introspection: {{ client_id: g, secret: hunter3 }} }}",
        away.url()
    );
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let clients = "clients: { web: { mode: token, secret: hunter2 } }";
    let (code, text) = check(folder.path(), &config(&one, &upstreams, clients)).await;
    assert_eq!(code, 1, "{text}");
    for of in ["client web", "introspection one"] {
        let told = line(&text, of);
        assert!(told.starts_with("?   ") && told.contains("its secret was not tried"), "{told}");
    }
}
