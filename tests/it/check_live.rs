//! `tollgate check --live`: everybody that a gateway would talk to is asked, and of each it is said how it
//! is. `credentials`: whether issuers take what the gateway proves itself with.

mod credentials;

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tollgate::cli::{Next, Surroundings, prepare};
use tollgate::config::machine::Variables;

use crate::support::address::Address;
use crate::support::authorization_server::AuthorizationServer;
use crate::support::http2_upstream::{Http2Upstream, Tls};
use crate::support::issuer::Issuer;
use crate::support::proxy::{Does, Proxy};
use crate::support::redis::Server;
use crate::support::tls::Authority;
use crate::support::upstream::Upstream;
use crate::support::within;

/// Exit code and all that was printed.
async fn check(folder: &Path, config: &str) -> (u8, String) {
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    let folder = folder.to_owned();
    let checked = tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut around =
            Surroundings { machine: &Variables(&|_| None), folder: &folder, out: &mut out, err: &mut err };
        let arguments = ["tollgate", "check", "--live"].map(std::ffi::OsString::from);
        let Next::Done(code) = prepare(arguments, &mut around) else { panic!("it goes on") };
        (code, String::from_utf8([out, err].concat()).unwrap())
    });
    within("the check", checked).await.unwrap()
}

/// An authorization server whose metadata has these endpoints beside its keys, and says yes to what begins
/// with `require`. It takes whatever clients prove themselves with.
async fn authorization_server(endpoints: &'static [&'static str]) -> Upstream {
    let keys = Issuer::new().jwks().to_string();
    Upstream::answering(Arc::new(move |asked| {
        let iss = format!("http://{}", asked.header("host").unwrap());
        let mut metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks") });
        for endpoint in endpoints {
            let is_endpoint = !endpoint.starts_with("require");
            metadata[*endpoint] = if is_endpoint { json!(format!("{iss}/{endpoint}")) } else { json!(true) };
        }
        match asked.path() {
            "/jwks" => answer("200 OK", &keys),
            "/token_endpoint" => answer("400 Bad Request", r#"{"error":"invalid_grant"}"#),
            "/introspection_endpoint" => answer("200 OK", r#"{"active":false}"#),
            "/pushed_authorization_request_endpoint" => {
                answer("201 Created", r#"{"request_uri":"urn:one","expires_in":60}"#)
            }
            _ => answer("200 OK", &metadata.to_string()),
        }
    }))
    .await
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

fn config(issuers: &str, upstreams: &str, more: &str) -> String {
    let routes: String = upstreams
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| format!("  - {{ path: /{name}, to: {name}, issuers: one }}\n"))
        .collect();
    format!(
        "public_url: http://gate.localhost:8080\nlisten: 127.0.0.1:0\nissuers:\n{issuers}\nupstreams:\n{upstreams}\nroutes:\n{routes}{more}\n"
    )
}

/// The line about this one.
#[track_caller]
fn line<'t>(text: &'t str, of: &str) -> &'t str {
    let found = text.lines().find(|line| line.get(4..).is_some_and(|who| who.starts_with(of)));
    found.unwrap_or_else(|| panic!("{of}:\n{text}"))
}

#[tokio::test]
async fn everybody_who_is_there_is_said_to_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        authorization_server(&["token_endpoint", "authorization_endpoint", "introspection_endpoint"]).await;
    let (plain, authority) = (Upstream::start().await, Authority::new());
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let identity = authority.sign(&["localhost"]);
    let tls = Tls { identity: &identity, protocols: &["h2"], clients: None };
    let secure = Http2Upstream::start(Some(tls)).await;
    let redis = Server::start(&["--requirepass", "hunter2"]);
    let url = server.url();
    let one = format!(
        "  one: {{ url: \"{url}\", audience: a, introspection: {{ client_id: g, secret: hunter3 }} }}"
    );
    let upstreams = format!(
        "  plain: {{ url: \"{}\" }}\n  secure: {{ url: \"https://localhost:{}\", tls: {{ ca: ca.pem }} }}",
        plain.url(),
        secure.address.port()
    );
    let shared = format!(
        "store: {{ url: \"redis://:hunter2@127.0.0.1:{}\" }}\nsessions: {{ keys: [\"{}\"] }}\n\
         admin: {{ address: 127.0.0.1:0, token: 0123456789abcdef }}\nclients: {{ web: {{ mode: token }} }}",
        redis.port,
        "0a".repeat(32)
    );
    let (code, text) = check(folder.path(), &config(&one, &upstreams, &shared)).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.starts_with("config.yaml is valid."), "{text}");
    for (of, says) in [
        (
            "issuer one",
            "1 key; its metadata has no end_session_endpoint, so a sign-out ends the session here only",
        ),
        ("client web", "it is known there, without a secret"),
        ("introspection one", "its secret counts, by client_secret_basic"),
        ("upstream plain", "takes connections"),
        ("upstream secure", "its certificate counts"),
        ("store redis://127.0.0.1", "can be read and written"),
    ] {
        let line = line(&text, of);
        assert!(line.starts_with("ok  ") && line.contains(says), "{line}");
    }
    assert!(!text.contains("hunter"), "{text}");
    assert!(plain.received().is_empty(), "no request was sent");

    let (code, text) = check(folder.path(), &config(&one, &upstreams, "store: new/data")).await;
    assert!(code == 0 && line(&text, "store ").contains("can be written"), "{text}");
    assert!(!folder.path().join("new").exists(), "and nothing is made");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nor left");
}

/// As Logto, which signs with ES384 unless it is told otherwise.
#[tokio::test]
async fn an_issuer_whose_keys_fit_no_algorithm_that_counts_is_said_to_be_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let server = authorization_server(&["token_endpoint"]).await;
    let upstream = Upstream::start().await;
    let issuer = |algorithms: &str| {
        let one = format!("  one: {{ url: \"{}\", audience: a{algorithms} }}", server.url());
        config(&one, &format!("  plain: {{ url: \"{}\" }}", upstream.url()), "")
    };
    let (code, text) = check(folder.path(), &issuer(", algorithms: [RS256, EdDSA]")).await;
    assert_eq!(code, 1, "{text}");
    let told = line(&text, "issuer one");
    assert!(told.contains("its keys are for ES256") && told.contains("RS256, EdDSA alone"), "{told}");
    assert!(told.contains("`issuers.one.algorithms`"), "{told}");
    assert_eq!(check(folder.path(), &issuer("")).await.0, 0);
    // Who is asked about each token may sign what nobody brings here.
    let asked = ", algorithms: [RS256], introspection: { client_id: g, secret: hunter3 }";
    let (_, text) = check(folder.path(), &issuer(asked)).await;
    assert!(!line(&text, "issuer one").contains("algorithms"), "{text}");
}

#[tokio::test]
async fn an_issuer_that_wants_requests_pushed_or_is_to_get_them_so_needs_the_place_for_it() {
    const PLACE: &str = "pushed_authorization_request_endpoint";
    const REQUIRED: &str = "require_pushed_authorization_requests";
    let folder = tempfile::tempdir().unwrap();
    let upstream = Upstream::start().await;
    let upstreams = format!("  plain: {{ url: \"{}\" }}", upstream.url());
    let asked = async |more: &'static [&'static str], client: &str| {
        let server = authorization_server(more).await;
        let one = format!("  one: {{ url: \"{}\", audience: a }}", server.url());
        let clients = format!("clients: {{ web: {{ mode: token{client} }} }}");
        let (code, text) = check(folder.path(), &config(&one, &upstreams, &clients)).await;
        (code, line(&text, "issuer one").to_owned())
    };
    let own = ", pushed: true";
    let by_page = ", login: page, redirect_uri: \"http://gate.localhost:8080/in\"";
    let usual = &["token_endpoint", "authorization_endpoint"];
    for (more, client) in [
        (&["token_endpoint", "authorization_endpoint", REQUIRED, PLACE][..], ""),
        (&["token_endpoint", "authorization_endpoint", PLACE], own),
        (usual, ""),
        (&["token_endpoint", "authorization_endpoint", REQUIRED], by_page),
    ] {
        let (code, told) = asked(more, client).await;
        assert!(code == 0 && told.starts_with("ok  "), "{more:?} {client}: {told}");
    }
    for (more, client, why) in [
        (&["token_endpoint", "authorization_endpoint", REQUIRED][..], "", REQUIRED),
        (usual, own, "clients.web.pushed"),
    ] {
        let (code, told) = asked(more, client).await;
        assert!(code == 1 && told.starts_with("NO  ") && told.contains(PLACE), "{told}");
        assert!(told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn of_a_transmitter_it_is_said_whether_its_keys_are_there_and_it_pushes() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Upstream::start().await;
    let [silent, away] = [Address::reserve(), Address::reserve()];
    let of = async |methods: Option<&'static str>| {
        let keys = Issuer::new().jwks().to_string();
        Upstream::answering(Arc::new(move |asked| {
            let iss = format!("http://{}", asked.header("host").unwrap());
            let mut metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks") });
            if let Some(methods) = methods {
                metadata["delivery_methods_supported"] = json!([methods]);
            }
            let body = if asked.path() == "/jwks" { keys.clone() } else { metadata.to_string() };
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        }))
        .await
    };
    let (pushes, says_nothing) = (of(Some("urn:ietf:rfc:8935")).await, of(None).await);
    let is_polled = of(Some("urn:ietf:rfc:8936")).await;
    let one =
        format!("  one: {{ url: \"{}\", audience: a, jwks_uri: \"{}/jwks\" }}", silent.url(), pushes.url());
    let signals = |of: &[(&str, String)]| {
        let each =
            |(name, url): &(&str, String)| format!("  {name}: {{ issuer: \"{url}\", audience: gate }}\n");
        format!("signals:\n{}", of.iter().map(each).collect::<String>())
    };
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let well = signals(&[("pushes", pushes.url()), ("quiet", says_nothing.url()), ("itself", silent.url())]);
    let (code, text) = check(folder.path(), &config(&one, &upstreams, &well)).await;
    assert_eq!(code, 0, "{text}");
    assert!(line(&text, "signals pushes").starts_with("ok  signals pushes: 1 key"), "{text}");
    assert!(line(&text, "signals quiet").contains("1 key"), "{text}");
    assert!(line(&text, "signals itself").contains("the keys of the issuer one"), "{text}");
    assert!(
        text.contains("signals   pushes: ")
            && text.contains("discovered; audience gate; subjects of one: session-revoked"),
        "{text}"
    );
    let not = signals(&[("polled", is_polled.url()), ("away", away.url())]);
    let (code, text) = check(folder.path(), &config(&one, &upstreams, &not)).await;
    assert_eq!(code, 1, "{text}");
    let polled = line(&text, "signals polled");
    assert!(polled.starts_with("NO  ") && polled.contains("urn:ietf:rfc:8935"), "{polled}");
    let away = line(&text, "signals away");
    assert!(
        away.starts_with("NO  ") && away.contains("`signals.away`") && away.contains("refused"),
        "{away}"
    );
}

#[tokio::test]
async fn an_issuer_is_asked_on_its_way_and_what_a_proxy_says_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
    let identity = authority.sign(&["far.invalid", "near.invalid", "shut.invalid", "unpaid.invalid"]);
    let server = AuthorizationServer::start(&identity, Issuer::new().jwks()).await;
    let opens = Proxy::start(Does::Opens(server.address)).await;
    let shut = Proxy::start(Does::Answers("HTTP/1.1 403 Forbidden\r\n\r\n")).await;
    let unpaid = Proxy::start(Does::Answers("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n")).await;
    let issuer = |name: &str, more: String| {
        format!("  {name}: {{ url: \"https://{name}.invalid\", audience: a, ca: ca.pem, {more} }}\n")
    };
    let straight = issuer("near", format!("connect_to: \"{}\"", server.address));
    let good = straight.clone() + &issuer("far", format!("proxy: \"{}\"", opens.url()));
    let plain = Upstream::start().await;
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let config = |issuers: &str| config(issuers, &upstreams, "").replace("issuers: one", "issuers: near");
    let (code, text) = check(folder.path(), &config(&good)).await;
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("; called at ") && text.contains("; called through the proxy http://127.0.0.1"),
        "{text}"
    );
    for of in ["issuer near", "issuer far"] {
        assert!(line(&text, of).starts_with("ok  ") && line(&text, of).contains("1 key"), "{text}");
    }
    let password = "username: gate, password: hunter2";
    let bad = straight
        + &issuer("shut", format!("proxy: \"{}\"", shut.url()))
        + &issuer("unpaid", format!("proxy: {{ url: \"{}\", {password} }}", unpaid.url()));
    let (code, text) = check(folder.path(), &config(&bad)).await;
    assert_eq!(code, 1, "{text}");
    for (of, why) in [
        ("issuer shut", "refuses a tunnel to shut.invalid:443: it answers 403 Forbidden"),
        ("issuer unpaid", "does not take `proxy.username` and `proxy.password`"),
    ] {
        assert!(line(&text, of).starts_with("NO  ") && line(&text, of).contains(why), "{text}");
    }
    assert!(!text.contains("hunter"), "{text}");
}

#[tokio::test]
async fn of_whoever_is_not_there_it_is_said_why_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new(), Authority::new());
    std::fs::write(folder.path().join("ca.pem"), stranger.pem()).unwrap();
    let identity = authority.sign(&["localhost"]);
    let tls = Tls { identity: &identity, protocols: &["h2"], clients: None };
    let secure = Http2Upstream::start(Some(tls)).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [away, dead, no_redis] = [Address::reserve(), Address::reserve(), Address::reserve()];
    let bare = authorization_server(&[]).await;
    let issuers = format!(
        "  one: {{ url: \"{}\", audience: a }}\n  bare: {{ url: \"{}\", audience: a, introspection: {{ client_id: g, secret: hunter3 }} }}\n  foreign: {{ url: \"https://localhost:{}\", audience: a, ca: ca.pem }}",
        away.url(),
        bare.url(),
        secure.address.port()
    );
    let upstreams = format!(
        "  dead: {{ url: \"{}\" }}\n  unknown: {{ url: \"http://no-such-host.invalid:81\" }}\n  \
         wrong: {{ url: \"https://localhost:{}\", tls: {{ ca: ca.pem }} }}\n  \
         silent: {{ url: \"https://127.0.0.1:{}\", tls: {{ ca: ca.pem }}, timeouts: {{ connect: 200ms }} }}",
        dead.url(),
        secure.address.port(),
        silent.local_addr().unwrap().port()
    );
    let shared = format!(
        "store: {{ url: \"redis://:hunter2@{}\" }}\nsessions: {{ keys: [\"{}\"] }}\n\
         admin: {{ address: 127.0.0.1:0, token: 0123456789abcdef }}\n\
         clients: {{ web: {{ mode: token, issuer: bare }} }}",
        no_redis.authority(),
        "0a".repeat(32)
    );
    let (code, text) = check(folder.path(), &config(&issuers, &upstreams, &shared)).await;
    assert_eq!(code, 1, "{text}");
    for (of, why, remedy) in [
        ("issuer one", "no connection could be made", "`issuers.one`"),
        ("issuer bare", "no introspection_endpoint", "`issuers.bare.introspection.endpoint`"),
        ("issuer bare", "no token_endpoint", "no authorization_endpoint"),
        ("issuer foreign", "its certificate is not trusted", "invalid peer certificate"),
        ("issuer foreign", "invalid peer certificate", "`issuers.foreign`"),
        ("upstream dead", "refused", "see that it runs there"),
        ("upstream unknown", "does not resolve", "resolver"),
        ("upstream wrong", "TLS handshake fails", "whom to trust"),
        ("upstream silent", "no TLS handshake within 200ms", "speaks TLS"),
        ("store redis://", "refused", "its password included"),
    ] {
        let line = line(&text, of);
        assert!(line.starts_with("NO  ") && line.contains(why) && line.contains(remedy), "{line}");
    }
    assert!(!text.contains("hunter"), "{text}");

    std::fs::write(folder.path().join("file"), "").unwrap();
    let (code, text) = check(folder.path(), &config(&issuers, &upstreams, "store: file/data")).await;
    assert!(code == 1 && line(&text, "store ").contains("cannot be used"), "{text}");
    let (code, text) = check(folder.path(), "nonsense: 1").await;
    assert!(
        code == 1 && !text.contains("NO  "),
        "nobody is asked with a configuration that is not good: {text}"
    );
}

#[tokio::test]
async fn of_a_server_that_takes_no_assertion_as_it_is_signed_it_is_said_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    for (name, pem) in [
        ("rsa.pem", include_str!("../data/config/rsa2048.pem")),
        ("p256.pem", include_str!("../data/config/p256.pem")),
    ] {
        std::fs::write(folder.path().join(name), pem).unwrap();
    }
    let keys = Issuer::new().jwks().to_string();
    let server = Upstream::answering(Arc::new(move |asked| {
        let iss = format!("http://{}", asked.header("host").unwrap());
        let metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks"),
            "authorization_endpoint": format!("{iss}/authorize"), "token_endpoint": format!("{iss}/token"),
            "revocation_endpoint": format!("{iss}/revoke"), "introspection_endpoint": format!("{iss}/ask"),
            "token_endpoint_auth_signing_alg_values_supported": ["PS256"],
            "revocation_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "introspection_endpoint_auth_signing_alg_values_supported": ["ES384", "EdDSA"] });
        let body = if asked.path() == "/jwks" { keys.clone() } else { metadata.to_string() };
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }))
    .await;
    let plain = Upstream::start().await;
    let one = format!(
        "  one: {{ url: \"{}\", audience: a, introspection: {{ client_id: g, private_key: {{ file: rsa.pem }} }} }}",
        server.url()
    );
    let upstreams = format!("  plain: {{ url: \"{}\" }}", plain.url());
    let clients = "clients:\n  rsa: { mode: token, private_key: { file: rsa.pem } }\n  p256: { mode: token, private_key: { file: p256.pem } }\n  none: { mode: token }";
    let (code, text) = check(folder.path(), &config(&one, &upstreams, clients)).await;
    let told = line(&text, "issuer one");
    assert!(code == 1 && told.starts_with("NO  "), "{text}");
    let of = |endpoint: &str, listed: &str, whose: &str, own: &str| {
        format!(
            "{endpoint}_endpoint_auth_signing_alg_values_supported has {listed}, and `{whose}.private_key` signs by {own};"
        )
    };
    for expected in [
        of("token", "PS256", "clients.p256", "ES256"),
        of("revocation", "ES256", "clients.rsa", "RS256 or PS256"),
        of("introspection", "ES384, EdDSA", "issuers.one.introspection", "RS256 or PS256"),
    ] {
        assert!(told.contains(&expected), "{expected}:\n{told}");
    }
    assert_eq!(told.matches("its metadata's").count(), 3, "{told}");
}

#[tokio::test]
async fn an_issuer_that_publishes_no_keys_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let server = Upstream::answering(Arc::new(|asked| {
        let iss = format!("http://{}", asked.header("host").unwrap());
        let metadata = json!({ "issuer": iss, "jwks_uri": format!("{iss}/jwks") });
        let body = if asked.path() == "/jwks" { json!({ "keys": [] }) } else { metadata }.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }))
    .await;
    let issuer = format!("  one: {{ url: \"{}\", audience: a }}", server.url());
    let upstream = format!("  api: {{ url: \"{}\" }}", server.url());
    let (code, text) = check(folder.path(), &config(&issuer, &upstream, "")).await;
    let told = format!("{}/jwks: it has no keys; see that the URLs", server.url());
    assert!(code == 1 && line(&text, "issuer one").contains(&told), "{text}");
}
