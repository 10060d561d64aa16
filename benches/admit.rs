//! The price of a judgement, from the request's head to the permit: a token that is known, over ten thousand of them and
//! 256 paths, and one that was never seen; with assertions for upstreams and for requests. Beside them what a judgement
//! cannot do without: SHA-256 of the token's text, and one verification of its signature, in rounds that take turns. What a
//! request brings is in the cache, as it is when it has just been read; what is remembered of ten thousand tokens is not. Run
//! by `make bench-core`.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a program for people who measure")]

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use tollgate::core::assertion::Assertions;
use tollgate::core::request::RequestHead;
use tollgate::core::route::table::RouteTable;
use tollgate::core::secret::Secret;
use tollgate::core::session::sealed::KeyRing;
use tollgate::core::signing::SigningKey;
use tollgate::core::token::fingerprint::Fingerprint;
use tollgate::flows::admit::{admit, read_target};
use tollgate::flows::{Gate, Operators, Ports};
use tollgate::io::http_client::IssuerClients;
use tollgate::io::key_files::new_assertion_key;
use tollgate::io::store::OpenStore;
use tollgate::io::system::{SystemClock, SystemRandomness};
use tollgate::state::issuer_keys::Issuers;
use tollgate::state::live::Live;
use tollgate::state::metrics::Metrics;
use tollgate::state::revocations::Revocations;

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOKENS: usize = 10_000;
const PATHS: usize = 256;
const ROUNDS: usize = 9;
const ISSUER: &str = "http://127.0.0.1:9/bench";
const AUDIENCE: &str = "https://api.example.com";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let tokens: Vec<String> = (0..TOKENS).map(|at| token(&key, at)).collect();
    let each: Vec<(usize, &str)> = tokens.iter().map(String::as_str).enumerate().collect();

    let start = |more: &str| runtime.block_on(async { Gateway::start(&key, more) });
    let plain = start("limits: { token_memory: 256MiB }");
    let asserts = start("limits: { token_memory: 256MiB }\nidentity: { assertion: { ttl: 1h } }");
    let asserts_each = start("limits: { token_memory: 256MiB }\nidentity: { assertion: { bind: request } }");
    let forgets = start("limits: { token_memory: 0 }");
    for gateway in [&plain, &asserts, &asserts_each] {
        each.iter().for_each(|(at, token)| gateway.admit(&request(*at, token)));
    }
    let (public, signed) = (key.public_key().as_ref().to_vec(), parts(&tokens));

    let again = vec![*each.first().expect("a token"); TOKENS / 10];
    let few = each.get(..500).expect("500 tokens");
    let admits = |gateway: &Gateway, each: &[(usize, &str)]| {
        time(each, |(at, token)| request(*at, token), |request| gateway.admit(request))
    };
    let mut measured: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut note = |name, ns| match measured.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(ns),
            None => measured.push((name, vec![ns])),
        };
        note(
            "SHA-256 of its text",
            time(&tokens, String::clone, |token| {
                black_box(Fingerprint::of(token));
            }),
        );
        note("one known token again and again", admits(&plain, &again));
        note("a known token", admits(&plain, &each));
        note("  with an assertion for its upstream", admits(&asserts, &each));
        note("  with one for each request", admits(&asserts_each, few));
        note("a new token", admits(&forgets, few));
        note(
            "one ES256 verification",
            time(signed.get(..500).expect("500"), Clone::clone, |(text, signature)| {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
                key.verify(text.as_bytes(), signature).expect("it holds");
            }),
        );
    }
    println!("{:<40} {:>10} {:>10} {:>8}", "nanoseconds", "least", "median", "ratio");
    let median = |all: &mut Vec<f64>| {
        all.sort_by(f64::total_cmp);
        (all.first().copied().unwrap_or_default(), all.get(ROUNDS / 2).copied().unwrap_or_default())
    };
    let (_, base) = measured
        .iter_mut()
        .find(|(name, _)| *name == "a known token")
        .map(|(_, all)| median(all))
        .expect("it");
    for (name, all) in &mut measured {
        let (least, median) = median(all);
        println!("{name:<40} {least:>10.0} {median:>10.0} {:>8.2}", median / base);
    }
    let (count, bytes) = plain.gate.verified_tokens.held();
    println!(
        "{count} tokens of {} bytes in {} KiB of memory",
        tokens.first().map_or(0, String::len),
        bytes / 1024
    );
}

/// All of a gateway but its sockets.
struct Gateway {
    gate: Arc<Gate>,
}

impl Gateway {
    fn start(key: &EcdsaKeyPair, more: &str) -> Self {
        let text = format!(
            "public_url: http://localhost:8080\nlisten: 127.0.0.1:0\nadmin: 127.0.0.1:0\n\
             issuers: {{ bench: {{ url: \"{ISSUER}\", audience: \"{AUDIENCE}\", jwks_file: jwks.json }} }}\n\
             routes: [{{ path: /api/*, to: \"http://127.0.0.1:9\", require: {{ scope: api:read }} }}]\n{more}"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let jwks = jwks(key);
        let read = move |_: &Path| Ok(jwks.clone().into_bytes());
        let loaded = tollgate::config::parse(&text, folder.path(), &|_| None, &read);
        let settings = Arc::new(loaded.expect("a configuration").settings);
        let clock = Arc::new(SystemClock);
        let store = OpenStore::open(&settings.store, clock.clone()).expect("a store");
        let issuers: Vec<_> =
            settings.issuers.iter().map(|issuer| (issuer.name.clone(), issuer.ca.clone())).collect();
        let revocations = Arc::new(Revocations::new([7; 16]));
        revocations.is_complete(Instant::now(), None);
        let assertions = settings.identity.assertion.as_ref().map(|asked| {
            let pem = new_assertion_key().expect("a key");
            let key = SigningKey::from_pem(pem.as_bytes()).expect("a key");
            let issuer = settings.public_url.as_str().to_owned();
            Assertions::new(asked.header.clone(), asked.ttl, asked.binding, issuer, vec![key]).expect("a key")
        });
        let live = Live {
            routes: RouteTable::build(&settings.routes).expect("routes"),
            issuers: Issuers::new(&settings.issuers, None),
            cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![7; 32])]).expect("a key")),
            assertions: assertions.map(Arc::new),
            settings,
        };
        let ports = Ports {
            clock,
            random: Arc::new(SystemRandomness),
            http: Arc::new(IssuerClients::new(&issuers).expect("clients")),
            store: store.store.clone(),
            revocations,
            revocation_log: store.revocations.clone(),
        };
        Self {
            gate: Arc::new(Gate::new(
                Arc::new(live),
                Metrics::new().expect("metrics"),
                Operators::default(),
                ports,
            )),
        }
    }

    fn admit(&self, Request { headers, target }: &Request) {
        let gate = &self.gate;
        let live = gate.live.load();
        let head = RequestHead {
            method: &Method::GET,
            target: target.as_bytes(),
            host: "localhost",
            headers,
            upgrades: false,
            client_address: IpAddr::from([127, 0, 0, 1]),
        };
        let target = read_target(&live, &head).expect("a target");
        let now = gate.clock.now();
        let judgement = pin!(admit(gate, &live, &head, target, now));
        let admitted = judgement.now_or_never().expect("it waits for nobody");
        drop(black_box(admitted.expect("a permit")));
    }
}

/// A request's head.
struct Request {
    headers: HeaderMap,
    target: String,
}

fn request(at: usize, token: &str) -> Request {
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
    let others = ["accept", "accept-encoding", "accept-language", "user-agent", "origin", "x-trace"];
    let others =
        others.map(|name| (http::HeaderName::from_static(name), HeaderValue::from_static("as usual")));
    Request {
        headers: others.into_iter().chain([(AUTHORIZATION, bearer)]).collect(),
        target: format!("/api/things/{}?page=2", at % PATHS),
    }
}

fn jwks(key: &EcdsaKeyPair) -> String {
    let (x, y) = key.public_key().as_ref().get(1..).expect("a point").split_at(32);
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "bench", "x": encode(x), "y": encode(y) }] })
        .to_string()
}

/// About as long as those of Keycloak or Okta.
fn token(key: &EcdsaKeyPair, at: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "bench" });
    let claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": format!("user-{at}"), "client_id": "web-app",
        "scope": "openid profile api:read api:write", "jti": format!("5d1f0c9e7a424c0f-{at}"),
        "sid": format!("0f8fad5bd9cb469f-{at}"), "iat": now, "exp": now + 3600, "auth_time": now - 60,
        "acr": "urn:mace:incommon:iap:silver", "groups": ["staff", "readers"], "email": format!("user-{at}@example.com"),
    });
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn parts(tokens: &[String]) -> Vec<(String, Vec<u8>)> {
    let split = |token: &String| {
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        (signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
    };
    tokens.iter().map(split).collect()
}

/// Nanoseconds for each, by the clock: the median of single ones, so that what else the machine does hardly counts.
/// What it works on is made just before and dropped behind, so that it lies in the cache as what has just been read from a
/// socket does, and ten thousand requests that wait for their turn push nothing out of it.
fn time<T, M>(of: &[T], make: impl Fn(&T) -> M, each: impl Fn(&M)) -> f64 {
    let mut took: Vec<u64> = of
        .iter()
        .map(|one| {
            let made = black_box(make(one));
            let began = Instant::now();
            each(&made);
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, |median| *median as f64)
}
