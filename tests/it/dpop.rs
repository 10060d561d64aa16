//! Tokens that are bound to a key (RFC 9449): with its holder's proof they pass, and in no other way; what a
//! route may ask, what callers are told, and what an upstream sees of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tollgate::flows::ports::Clock as _;

use crate::keys::MovedClock;
use crate::streams::{HANDSHAKE, SWITCHES, TEXT, accept};
use crate::support::client::{Answer, Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::holder::Holder;
use crate::support::tls::Http2;
use crate::support::upstream::Upstream;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

struct World {
    upstream: Upstream,
    gateway: Gateway,
    alice: Holder,
    client: Client,
}

fn url(path: &str) -> String {
    format!("http://{HOST}{path}")
}

impl World {
    async fn start(more: &str) -> Self {
        let upstream = Upstream::start().await;
        let to = upstream.url();
        let gateway = Gateway::with(&format!(
            "{more}routes:
  - {{ path: /api/*, to: \"{to}\", require: {{ scope: api:read }} }}
  - {{ path: /bound/*, to: \"{to}\", dpop: required, require: {{ scope: api:read }} }}
  - {{ path: /public/*, to: \"{to}\", public: true }}
  - {{ path: /public/bound/*, to: \"{to}\", public: true, dpop: required }}
  - {{ path: /moved/*, to: \"{to}\", strip_prefix: /moved }}
  - {{ path: /trial/*, to: \"{to}\", report_only: true, dpop: required }}
  - {{ path: /shop/*, to: \"{to}\", host: shop.localhost }}
"
        ))
        .await;
        let client = gateway.connect().await;
        Self { upstream, gateway, alice: Holder::new(), client }
    }

    /// A token of alice's that is bound to this key.
    fn token_for(&self, holder: &Holder) -> String {
        self.gateway.issuer.token_with(json!({
            "sub": "alice", "scope": "api:read", "cnf": { "jkt": holder.thumbprint() },
        }))
    }

    fn bound(&self) -> String {
        self.token_for(&self.alice)
    }

    async fn send(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.client.send(request(method, target, fields, b"")).await;
        self.client.answer_to(method).await.unwrap()
    }

    /// With the token as `DPoP` and this proof.
    async fn prove(&mut self, target: &str, token: &str, proof: &str) -> Answer {
        let authorization = format!("DPoP {token}");
        self.send("GET", target, &[("Authorization", &authorization), ("DPoP", proof)]).await
    }

    async fn get(&mut self, path: &str, token: &str) -> Answer {
        let proof = self.alice.proof("GET", &url(path), token);
        self.prove(path, token, &proof).await
    }
}

/// Which refusal it is.
fn reason(answer: &Answer) -> String {
    let body = answer.json();
    body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
}

fn error(answer: &Answer) -> String {
    let challenge = answer.challenge().unwrap();
    let (_, rest) = challenge.split_once("error=\"").unwrap_or_else(|| panic!("{challenge}"));
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn a_bound_token_passes_with_the_proof_of_its_holder_each_time_anew() {
    let mut world = World::start("").await;
    let token = world.bound();
    for (path, sent) in [
        ("/api/x", "/api/x"),
        ("/api/%78?a=1&htu=https://evil.example", "/api/x?a=1&htu=https://evil.example"),
        ("/bound/x", "/bound/x"),
        ("/public/x", "/public/x"),
        ("/public/bound/x", "/public/bound/x"),
        ("/moved/x", "/x"),
    ] {
        // Of the place as its caller names it, without the query.
        let answer = world.get(path.split('?').next().unwrap(), &token).await;
        assert_eq!(answer.status, 200, "{path}");
        let proof = world.alice.proof("GET", &url(path.split('?').next().unwrap()), &token);
        assert_eq!(world.prove(path, &token, &proof).await.status, 200, "{path}");
        let seen = world.upstream.received();
        let seen = seen.last().unwrap();
        assert_eq!((seen.path(), seen.header("x-auth-subject")), (sent, Some("alice")), "{path}");
        assert_eq!((seen.header("dpop"), seen.header("authorization")), (None, None), "{path}");
        // The token is remembered by now, and its proof is not.
        let again = world.prove(path, &token, &proof).await;
        assert_eq!((again.status, reason(&again).as_str()), (401, "proof_replayed"), "{path}");
        assert_eq!(error(&again), "invalid_dpop_proof");
    }
    let metrics = String::from_utf8(world.gateway.admin("/metrics").await.body).unwrap();
    let recalled = metrics
        .lines()
        .find(|line| line.starts_with("tollgate_tokens_verified_total{") && line.contains("path=\"cached\""));
    let count: u32 = recalled.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, 17, "one judgement of its signature, however many proofs");
    assert!(
        metrics.contains(r#"tollgate_denials_total{reason="proof_replayed",route="/api/*"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_bound_token_is_no_bearer_token_and_a_bearer_token_is_not_bound() {
    let mut world = World::start("").await;
    let (bound, free) = (world.bound(), world.gateway.issuer.token("alice", "api:read"));
    let proof = world.alice.proof("GET", &url("/api/x"), &bound);
    let of_free = world.alice.proof("GET", &url("/api/x"), &free);
    let as_bearer = |token: &str| format!("Bearer {token}");
    let as_dpop = |token: &str| format!("DPoP {token}");
    for (path, authorization, proof, expected) in [
        ("/api/x", as_bearer(&bound), None, "bound_token_as_bearer"),
        ("/api/x", as_bearer(&bound), Some(&proof), "bound_token_as_bearer"),
        ("/public/x", as_bearer(&bound), None, "bound_token_as_bearer"),
        ("/bound/x", as_bearer(&bound), None, "bound_token_as_bearer"),
        ("/bound/x", as_bearer(&free), None, "bearer_not_allowed"),
        ("/public/bound/x", as_bearer(&free), None, "bearer_not_allowed"),
        ("/api/x", as_dpop(&free), Some(&of_free), "token_not_bound"),
        ("/public/x", as_dpop(&free), Some(&of_free), "token_not_bound"),
        ("/bound/x", as_dpop(&free), Some(&of_free), "token_not_bound"),
        ("/api/x", as_dpop(&bound), None, "proof_missing"),
        ("/public/x", as_dpop(&bound), None, "proof_missing"),
    ] {
        let mut fields = vec![("Authorization", authorization.as_str())];
        fields.extend(proof.map(|proof| ("DPoP", proof.as_str())));
        let answer = world.send("GET", path, &fields).await;
        assert_eq!((answer.status, reason(&answer).as_str()), (401, expected), "{path}");
    }
    assert!(world.upstream.received().is_empty());
    // Refused as they were, none of the proofs was used up, and the tokens are as good as before.
    assert_eq!(world.prove("/api/x", &bound, &proof).await.status, 200);
    assert_eq!(world.send("GET", "/api/x", &[("Authorization", &as_bearer(&free))]).await.status, 200);
    // Who brings nothing: a public page is for everybody, whatever tokens it takes.
    assert_eq!(world.send("GET", "/public/bound/x", &[]).await.status, 200);
    assert_eq!(reason(&world.send("GET", "/bound/x", &[]).await), "no_credential");
}

#[tokio::test]
async fn a_proof_is_of_this_request_this_token_and_this_key() {
    let mut world = World::start("").await;
    let (alice, mallory) = (Holder::new(), Holder::new());
    let token = world.token_for(&alice);
    let other = world.token_for(&alice); // the same claims, signed anew
    let here = url("/api/x");
    let with = |header: Value, claims: Value| alice.proof_with("GET", &here, &token, &header, &claims);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let good = alice.proof("GET", &here, &token);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for (what, proof, expected) in [
        ("of another key", mallory.proof("GET", &here, &token), "proof_of_another_key"),
        ("of another method", alice.proof("POST", &here, &token), "proof_invalid"),
        ("of another path", alice.proof("GET", &url("/api/y"), &token), "proof_invalid"),
        ("of another host", alice.proof("GET", "http://evil.localhost:8080/api/x", &token), "proof_invalid"),
        (
            "of the host of another route",
            alice.proof("GET", "http://shop.localhost:8080/api/x", &token),
            "proof_invalid",
        ),
        ("of another port", alice.proof("GET", "http://gate.localhost/api/x", &token), "proof_invalid"),
        (
            "of another scheme",
            alice.proof("GET", "https://gate.localhost:8080/api/x", &token),
            "proof_invalid",
        ),
        (
            "of where the upstream is",
            alice.proof("GET", &format!("{}/api/x", world.upstream.url()), &token),
            "proof_invalid",
        ),
        ("of another token", alice.proof("GET", &here, &other), "proof_invalid"),
        ("of no token", with(json!({}), json!({ "ath": null })), "proof_invalid"),
        ("old", with(json!({}), json!({ "iat": now - 200 })), "proof_out_of_time"),
        ("of tomorrow", with(json!({}), json!({ "iat": now + 86_400 })), "proof_out_of_time"),
        ("without a name", with(json!({}), json!({ "jti": null })), "proof_invalid"),
        ("an access token", token.clone(), "proof_invalid"),
        ("of another type", with(json!({ "typ": "JWT" }), json!({})), "proof_invalid"),
        ("of a secret", with(json!({ "alg": "HS256" }), json!({})), "proof_invalid"),
        ("of none", with(json!({ "alg": "none" }), json!({})), "proof_invalid"),
        ("without a key", with(json!({ "jwk": null }), json!({})), "proof_invalid"),
        ("without a signature", format!("{signed}."), "proof_invalid"),
        ("nothing", String::new(), "proof_invalid"),
        ("a list of two", format!("{good}, {}", alice.proof("GET", &here, &token)), "proof_invalid"),
    ] {
        let answer = world.prove("/api/x", &token, &proof).await;
        assert_eq!((answer.status, reason(&answer).as_str()), (401, expected), "{what}");
        let told = if expected == "proof_of_another_key" { "invalid_token" } else { "invalid_dpop_proof" };
        assert_eq!(error(&answer), told, "{what}");
        assert!(answer.challenge().unwrap().starts_with("DPoP "), "{what}");
    }
    let authorization = format!("DPoP {token}");
    let [one, two] = [(); 2].map(|()| alice.proof("GET", &here, &token));
    let fields = [("Authorization", authorization.as_str()), ("DPoP", one.as_str()), ("dpop", two.as_str())];
    let answer = world.send("GET", "/api/x", &fields).await;
    assert_eq!((answer.status, reason(&answer).as_str()), (401, "proof_invalid"), "two fields");
    assert!(world.upstream.received().is_empty());
    assert_eq!(world.prove("/api/x", &token, &good).await.status, 200, "nobody used it up");
}

#[tokio::test]
async fn a_proof_names_the_place_as_its_caller_sees_it_whatever_a_proxy_says() {
    let mut world = World::start("trusted_proxies: [127.0.0.0/8]\n").await;
    let token = world.bound();
    let authorization = format!("DPoP {token}");
    for (host, htu, status) in [
        (HOST, "http://gate.localhost:8080/api/x", 200),
        (HOST, "HTTP://GATE.localhost:8080/api/%78?q#f", 200),
        // Behind a balancer the port may be another one: what counts is public_url.
        ("gate.localhost:1234", "http://gate.localhost:8080/api/x", 200),
        ("gate.localhost:1234", "http://gate.localhost:1234/api/x", 401),
        ("shop.localhost", "http://shop.localhost:8080/api/x", 200),
        ("shop.localhost", "http://gate.localhost:8080/api/x", 401),
    ] {
        let proof = world.alice.proof("GET", htu, &token);
        let fields = [
            ("Authorization", authorization.as_str()),
            ("DPoP", proof.as_str()),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "https"),
            ("Forwarded", "host=evil.example;proto=https"),
        ];
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        world.client.send(format!("GET /api/x HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).await;
        let answer = world.client.answer().await;
        assert_eq!(answer.status, status, "{host} {htu}");
    }
}

#[tokio::test]
async fn who_is_refused_is_told_the_scheme_that_would_do() {
    let mut world = World::start("").await;
    let told = |answer: &Answer| -> Vec<String> { answer.schemes().into_iter().map(str::to_owned).collect() };
    let either = world.send("GET", "/api/x", &[]).await;
    assert_eq!(told(&either), ["Bearer", "DPoP"]);
    assert_eq!(either.all("www-authenticate").len(), 1, "of two lines some browsers show a page neither");
    let alone = world.send("GET", "/bound/x", &[]).await;
    assert_eq!(told(&alone), ["DPoP"]);
    let challenge = alone.challenge().unwrap();
    assert!(!challenge.contains("error") && challenge.contains("scope=\"api:read\""), "{challenge}");
    assert!(challenge.contains("algs=\"ES256 "), "{challenge}");
    let token = world.gateway.issuer.token_with(json!({
        "sub": "alice", "scope": "other", "cnf": { "jkt": world.alice.thumbprint() },
    }));
    let lacking = world.get("/api/x", &token).await;
    assert_eq!((lacking.status, error(&lacking).as_str()), (403, "insufficient_scope"));
    assert_eq!(told(&lacking), ["DPoP"]);
    for (path, required) in [("/api", None), ("/bound", Some(true)), ("/public", None)] {
        let metadata = world.send("GET", &format!("{WELL_KNOWN}{path}"), &[]).await.json();
        assert_eq!(metadata["dpop_signing_alg_values_supported"][0], "ES256", "{path}");
        assert_eq!(metadata["dpop_bound_access_tokens_required"].as_bool(), required, "{path}");
    }
}

#[tokio::test]
async fn an_upstream_that_gets_the_token_never_gets_its_proof() {
    let mut world = World::start("identity: { access_token: forward }\n").await;
    let token = world.bound();
    assert_eq!(world.get("/api/x", &token).await.status, 200);
    let seen = world.upstream.received().pop().unwrap();
    assert_eq!((seen.header("authorization"), seen.header("dpop")), (Some(&*format!("DPoP {token}")), None));
    // On a trial, whose refusals go on as nobody's, neither goes.
    let authorization = format!("Bearer {token}");
    let proof = world.alice.proof("GET", &url("/trial/x"), &token);
    let fields = [("Authorization", authorization.as_str()), ("DPoP", proof.as_str())];
    assert_eq!(world.send("GET", "/trial/x", &fields).await.status, 200);
    let seen = world.upstream.received().pop().unwrap();
    assert_eq!((seen.header("authorization"), seen.header("dpop")), (None, None));
    // What came without a token is none of ours: an authorization server may be behind us, too.
    assert_eq!(world.send("GET", "/public/x", &[("DPoP", &proof)]).await.status, 200);
    assert_eq!(world.upstream.received().pop().unwrap().header("dpop"), Some(&*proof));
}

#[tokio::test]
async fn a_web_socket_opens_with_a_proof_and_never_by_a_subprotocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = "http://app.gate.localhost:3000";
    let gateway = Gateway::with(&format!(
        "clients: {{ web-app: {{ mode: token, login: page, issuer: discovered, redirect_uri: \"{origin}/cb\", origins: [\"{origin}\"] }} }}
routes: [{{ path: /*, to: \"http://{}\" }}]
",
        listener.local_addr().unwrap()
    ))
    .await;
    let alice = Holder::new();
    let token = gateway.issuer.token_with(json!({ "sub": "alice", "cnf": { "jkt": alice.thumbprint() } }));
    let shake = |fields: &[(&str, &str)]| {
        let mut all: Vec<(&str, &str)> = HANDSHAKE.to_vec();
        all.extend(fields);
        request("GET", "/chat", &all, b"")
    };
    let mut client = gateway.connect().await;
    let proof = alice.proof("GET", &url("/chat"), &token);
    let authorization = format!("DPoP {token}");
    client.send(shake(&[("Authorization", &authorization), ("DPoP", &proof)])).await;
    let mut peer = accept(&listener).await;
    assert!(!peer.take_head().await.unwrap().to_ascii_lowercase().contains("dpop"));
    peer.send([SWITCHES.as_bytes(), TEXT].concat()).await;
    assert_eq!(client.interim().await, 101);
    client.take(TEXT).await;
    let proof = alice.proof("GET", &url("/chat"), &token);
    let protocol = format!("tollgate.bearer.{}", URL_SAFE_NO_PAD.encode(&token));
    for more in [&[][..], &[("DPoP", proof.as_str())]] {
        let mut client = gateway.connect().await;
        let mut fields = vec![("Sec-WebSocket-Protocol", protocol.as_str()), ("Origin", origin)];
        fields.extend(more);
        client.send(shake(&fields)).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, reason(&answer).as_str()), (401, "bound_token_as_bearer"));
    }
    // A bearer token may come so. A proof that comes along is not for the service either.
    let free = gateway.issuer.token("alice", "");
    let (proof, protocol) = (
        alice.proof("GET", &url("/chat"), &free),
        format!("tollgate.bearer.{}", URL_SAFE_NO_PAD.encode(&free)),
    );
    let mut client = gateway.connect().await;
    client.send(shake(&[("Sec-WebSocket-Protocol", &protocol), ("Origin", origin), ("DPoP", &proof)])).await;
    let mut peer = accept(&listener).await;
    let head = peer.take_head().await.unwrap().to_ascii_lowercase();
    assert!(head.contains("x-auth-subject: alice") && !head.contains("dpop"), "{head}");
}

#[tokio::test]
async fn a_proof_is_of_a_request_over_http_2_as_well() {
    let world = World::start("").await;
    let token = world.bound();
    let proof = world.alice.proof("GET", &url("/api/x"), &token);
    let authorization = format!("DPoP {token}");
    let mut http2 = Http2::clear_text(world.gateway.public).await;
    for status in [200, 401] {
        let request = Request::get(url("/api/x"))
            .header("authorization", &authorization)
            .header("dpop", &proof)
            .body(())
            .unwrap();
        assert_eq!(http2.ask(request, &[]).await.unwrap().status, status, "once, and never again");
    }
}

/// Reloads a configuration whose `clock_skew` was 0.
fn allow_clock_skew(gateway: &Gateway, skew: &str) {
    let text = gateway.text.replace("clock_skew: 0s", &format!("clock_skew: {skew}"));
    let loaded = tollgate::config::parse(&text, gateway.folder(), &|_| None, &|path: &std::path::Path| {
        std::fs::read(path)
    });
    gateway.app.reload(loaded.unwrap().settings).unwrap();
}

/// What was forgotten because it was too old is too old for ever, whatever is configured after that.
#[tokio::test]
async fn a_used_proof_comes_never_again_when_a_reload_lets_clocks_differ_by_more() {
    let upstream = Upstream::start().await;
    let rest = format!(
        "issuers: {{ test: {{ url: \"http://127.0.0.1:9/issuer\", audience: \"https://api.example.com\", jwks_file: jwks.json, clock_skew: 0s }} }}
routes: [{{ path: /*, to: \"{}\" }}]
",
        upstream.url()
    );
    let clock = std::sync::Arc::new(MovedClock::default());
    let moved = clock.clone();
    let gateway = Gateway::outside(&rest, |outside| outside.clock = moved).unwrap();
    gateway.wait_until_ready().await;
    let alice = Holder::new();
    let claims = json!({ "sub": "alice", "cnf": { "jkt": alice.thumbprint() } });
    let token = gateway.issuer.token_with(claims);
    let made = |ago: i64| {
        let iat = json!({ "iat": clock.now().as_secs() - ago });
        alice.proof_with("GET", &url("/x"), &token, &json!({}), &iat)
    };
    let mut client = gateway.connect().await;
    let authorization = format!("DPoP {token}");
    let mut prove = async |proof: String| {
        client.send(request("GET", "/x", &[("Authorization", &authorization), ("DPoP", &proof)], b"")).await;
        let answer = client.answer().await;
        if answer.status == 200 { "passes".to_owned() } else { reason(&answer) }
    };
    let used = made(0);
    assert_eq!(prove(used.clone()).await, "passes");
    assert_eq!(prove(used.clone()).await, "proof_replayed");
    clock.later(62);
    assert_eq!(prove(used.clone()).await, "proof_out_of_time");
    let mut more = 1;
    loop {
        assert_eq!(prove(made(0)).await, "passes");
        more += 1;
        let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
        if metrics.contains(&format!("tollgate_used_proofs{{at=\"routes\"}} {}\n", more - 1)) {
            break;
        }
        assert!(more < 2000, "it is dropped while others come");
    }
    allow_clock_skew(&gateway, "5m");
    assert_eq!(prove(used).await, "proof_out_of_time");
    assert_eq!(prove(made(59)).await, "passes");
    // It counts for all that was made since: none is forgotten sooner, and then no other of its second can be
    // told from it.
    for _ in 0..40 {
        assert_eq!(prove(made(0)).await, "passes");
    }
    clock.later(120);
    for _ in 0..40 {
        assert_eq!(prove(made(121)).await, "passes");
    }
}

/// What a page proves at the token endpoint is remembered apart from what callers of routes prove.
#[tokio::test]
async fn a_used_proof_of_a_page_comes_never_again_when_a_reload_lets_clocks_differ_by_more() {
    let server = Upstream::answering(std::sync::Arc::new(crate::csrf::authorization_server)).await;
    let rest = format!(
        "limits: {{ denials_per_address: 0 }}
issuers: {{ fake: {{ url: \"{}\", audience: \"https://api.example.com\", clock_skew: 0s }} }}
clients: {{ web-app: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/back\", origins: [\"http://{HOST}\"] }} }}
routes: [{{ path: /api/*, to: \"http://127.0.0.1:9\" }}]
",
        server.url()
    );
    let clock = std::sync::Arc::new(MovedClock::default());
    let moved = clock.clone();
    let gateway = Gateway::outside(&rest, |outside| outside.clock = moved).unwrap();
    let alice = Holder::new();
    let at = format!("{}/token", server.url());
    let made = |ago: i64| {
        let claims = json!({ "iat": clock.now().as_secs() - ago, "ath": null });
        alice.proof_with("POST", &at, "", &json!({}), &claims)
    };
    let body = format!(
        "grant_type=authorization_code&client_id=web-app&code=x&redirect_uri=http://{HOST}/back&code_verifier={}",
        "v".repeat(43)
    );
    let (own, form) = (format!("http://{HOST}"), "application/x-www-form-urlencoded");
    let mut client = gateway.connect().await;
    // The authorization server is asked with a proof that is taken here, and wants its nonce in it.
    let mut prove = async |proof: &str| {
        let fields = [("Origin", own.as_str()), ("Content-Type", form), ("DPoP", proof)];
        client.send(request("POST", "/oauth/token", &fields, body.as_bytes())).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{}", answer.head);
        answer.json()["error"].as_str().unwrap().to_owned()
    };
    let asked = || server.received().iter().filter(|asked| asked.path() == "/token").count();
    let used = made(0);
    assert_eq!((prove(&used).await.as_str(), asked()), ("use_dpop_nonce", 1));
    assert_eq!((prove(&used).await.as_str(), asked()), ("invalid_dpop_proof", 1));
    clock.later(62);
    assert_eq!(prove(&used).await, "invalid_dpop_proof");
    let mut more = 1;
    loop {
        assert_eq!(prove(&made(0)).await, "use_dpop_nonce");
        more += 1;
        let metrics = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
        if metrics.contains(&format!("tollgate_used_proofs{{at=\"token_endpoint\"}} {}\n", more - 1)) {
            break;
        }
        assert!(more < 2000, "it is dropped while others come");
    }
    allow_clock_skew(&gateway, "5m");
    let before = asked();
    assert_eq!((prove(&used).await.as_str(), asked()), ("invalid_dpop_proof", before));
    assert_eq!((prove(&made(59)).await.as_str(), asked()), ("use_dpop_nonce", before + 1));
    // It counts for all that was made since: none is forgotten sooner, and then no other of its second can be
    // told from it.
    for _ in 0..40 {
        assert_eq!(prove(&made(0)).await, "use_dpop_nonce");
    }
    clock.later(120);
    for _ in 0..40 {
        assert_eq!(prove(&made(121)).await, "use_dpop_nonce");
    }
}
