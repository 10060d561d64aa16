//! All of a gateway but its sockets, and requests for it, for benches.

use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use tollgate::core::assertion::Assertions;
use tollgate::core::request::{Host, RequestHead};
use tollgate::core::route::table::RouteTable;
use tollgate::core::secret::Secret;
use tollgate::core::session::sealed::KeyRing;
use tollgate::core::signing::SigningKey;
use tollgate::flows::admit::{admit, read_target};
use tollgate::flows::{Gate, Operators, Ports};
use tollgate::io::http_client::{Called, IssuerClients};
use tollgate::io::key_files::new_assertion_key;
use tollgate::io::open_store::OpenStore;
use tollgate::io::system::{SystemClock, SystemRandomness};
use tollgate::state::issuer_keys::Issuers;
use tollgate::state::live::Live;
use tollgate::state::metrics::Metrics;
use tollgate::state::revocations::Revocations;
use tollgate::state::transmitters::Transmitters;

/// How many paths the requests go to.
pub(crate) const PATHS: usize = 256;
const ISSUER: &str = "http://127.0.0.1:9/bench";
const AUDIENCE: &str = "https://api.example.com";

/// All of a gateway but its sockets.
pub(crate) struct Gateway {
    pub(crate) gate: Arc<Gate>,
}

impl Gateway {
    /// `more`: of its configuration.
    pub(crate) fn start(key: &EcdsaKeyPair, more: &str) -> Self {
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
        let issuers: Vec<_> = settings.issuers.iter().map(|issuer| Called::from(&**issuer)).collect();
        let revocations = Arc::new(Revocations::new([7; 16]));
        revocations.mark_complete();
        let assertions = settings.identity.assertion_keys.as_ref().map(|_| {
            let pem = new_assertion_key().expect("a key");
            let key = SigningKey::from_pem(pem.as_bytes()).expect("a key");
            let issuer = settings.public_url.as_str().to_owned();
            Assertions::new(issuer, vec![key]).expect("a key")
        });
        let live = Live {
            routes: RouteTable::build(&settings.routes).expect("routes"),
            issuers: Issuers::new(&settings.issuers, None),
            transmitters: Transmitters::default(),
            cookie_keys: Arc::new(KeyRing::new(vec![Secret::new(vec![7; 32])]).expect("a key")),
            assertions: assertions.map(Arc::new),
            settings,
        };
        let ports = Ports {
            clock,
            random: Arc::new(SystemRandomness),
            http: Arc::new(IssuerClients::new(issuers).expect("clients")),
            store: store.store.clone(),
            revocation_log: store.revocations.clone(),
        };
        Self {
            gate: Arc::new(Gate::new(
                Arc::new(live),
                revocations,
                Metrics::new().expect("metrics"),
                Operators::default(),
                ports,
            )),
        }
    }

    /// Judges one request that is let through.
    pub(crate) fn admit(&self, Request { headers, target }: &Request) {
        let gate = &self.gate;
        let live = gate.live.load();
        let head = RequestHead {
            method: &Method::GET,
            target: target.as_bytes(),
            host: Host::read("localhost"),
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
pub(crate) struct Request {
    headers: HeaderMap,
    target: String,
}

/// The one at this place, with this token.
pub(crate) fn request(at: usize, token: &str) -> Request {
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

/// The one at this place, about as long as those of Keycloak or Okta.
pub(crate) fn token(key: &EcdsaKeyPair, at: usize) -> String {
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
