//! The price of the steps that a request takes between socket and socket, each alone: nanoseconds, and how
//! many of them one ES256 verification would pay for. Run by `make bench-core`. The least of many short
//! rounds counts: it is the one that nothing else on the machine came between.
//!
//! usage: core [--rounds N]

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a program for people who measure"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature as raw;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderName, Method};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use serde_json::{Value, json};
use tollgate::core::cors::Sharing;
use tollgate::core::identity_headers::{IdentityHeaders, ReservedHeaders};
use tollgate::core::ids::{IssuerName, RouteName, UpstreamName};
use tollgate::core::path::{CanonicalPath, PathPattern};
use tollgate::core::revocation::TokenIdentity as RevocationFacts;
use tollgate::core::route::forwarding::Forwarding;
use tollgate::core::route::policy::Access;
use tollgate::core::route::resource::Resource;
use tollgate::core::route::table::{RouteMatch, RouteTable};
use tollgate::core::route::{CorsSpeaker, Route};
use tollgate::core::secret::Secret;
use tollgate::core::session::sealed::{Binding, KeyRing, Purpose};
use tollgate::core::time::Timestamp;
use tollgate::core::token::facts::TokenFacts;
use tollgate::core::token::id::TokenId;
use tollgate::core::token::jwks::KeySet;
use tollgate::core::token::jwt::Unverified;
use tollgate::core::token::verified::VerifiedToken;
use tollgate::core::token::{Algorithm, ClaimNames, DEFAULT_TOKEN_LIMIT, TokenRules};
use tollgate::state::revocations::Revocations;

const ISS: &str = "https://login.example.com/realms/main";
const AUDIENCE: &str = "https://api.example.com";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// A round takes at least as long: far more than reading the clock, and less than others let us go on.
const ROUND: Duration = Duration::from_micros(500);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments.iter().position(|argument| argument == "--rounds");
    let rounds = rounds.map_or(1_001, |at| arguments[at + 1].parse().expect("a number of rounds"));
    let mut table = Table { rounds, rows: Vec::new() };
    let es256 = Signed::all().into_iter().fold(None, |kept, signed| {
        table.add(&format!("verify {}", signed.algorithm.name()), || signed.verify());
        if signed.algorithm == Algorithm::Es256 { Some(signed) } else { kept }
    });
    let verified = es256.expect("ES256 is among them").verify();
    route(&mut table);
    header_plan(&mut table, &verified);
    cookie(&mut table);
    revocation(&mut table, &verified);
    // What a request costs whose token is known already stands here, once there is such a memory.
    table.print();
}

struct Table {
    rounds: usize,
    /// What, the least, the median, in nanoseconds.
    rows: Vec<(String, f64, f64)>,
}

impl Table {
    fn add<T>(&mut self, what: &str, mut step: impl FnMut() -> T) {
        let mut times = 1_u32;
        let mut round = |times: u32| {
            let began = Instant::now();
            (0..times).for_each(|_| drop(black_box(step())));
            began.elapsed().as_nanos() as f64 / f64::from(times)
        };
        // Three times: one that was interrupted says nothing of how long it takes.
        while (0..3).any(|_| round(times) * f64::from(times) < ROUND.as_nanos() as f64) {
            times = times.saturating_mul(2);
        }
        let mut taken: Vec<f64> = (0..self.rounds.max(1)).map(|_| round(times)).collect();
        taken.sort_by(f64::total_cmp);
        self.rows.push((what.to_owned(), taken[0], taken[taken.len() / 2]));
    }

    fn print(&self) {
        let one = |name: &str| self.rows.iter().find(|row| row.0 == name).expect("a row").1;
        let unit = one("verify ES256");
        println!("{:<34} {:>12} {:>12} {:>12}", "", "least ns", "median ns", "of an ES256");
        for (what, least, median) in &self.rows {
            println!("{what:<34} {least:>12.0} {median:>12.0} {:>12.4}", least / unit);
        }
        println!(
            "a route among 1,000 costs {:.2} of one among 10",
            one("route among 1,000") / one("route among 10")
        );
    }
}

/// A token and the keys of its issuer.
struct Signed {
    algorithm: Algorithm,
    token: String,
    keys: KeySet,
    rules: TokenRules,
}

impl Signed {
    fn all() -> Vec<Self> {
        let random = SystemRandom::new();
        let secret = [7; 32];
        let rsa = raw::RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let rsa: Pkcs8V1Der<'_> = rsa.as_der().expect("its DER");
        // `from_rsa_der` reads PKCS#1, which is what the PKCS#8 of an RSA key wraps.
        let rsa = || EncodingKey::from_rsa_der(&rsa.as_ref()[26..]);
        let ec = |curve| {
            let der = raw::EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
            EncodingKey::from_ec_der(der.as_ref())
        };
        let ed = raw::Ed25519KeyPair::generate().expect("a key");
        let ed: Pkcs8V1Der<'_> = ed.as_der().expect("its DER");
        let of = |algorithm: Algorithm, key: &EncodingKey| {
            let name = algorithm.name().parse().expect("an algorithm");
            let mut jwk =
                serde_json::to_value(Jwk::from_encoding_key(key, name).expect("a JWK")).expect("JSON");
            jwk["kid"] = "2026-11".into();
            let document = json!({ "keys": [jwk] }).to_string();
            Self::new(algorithm, key, KeySet::parse(document.as_bytes()).expect("a set").0)
        };
        vec![
            Self::new(
                Algorithm::Hs256,
                &EncodingKey::from_secret(&secret),
                KeySet::shared_secret(&secret, &[Algorithm::Hs256]).expect("a set"),
            ),
            of(Algorithm::Rs256, &rsa()),
            of(Algorithm::Ps256, &rsa()),
            of(Algorithm::Es256, &ec(&raw::ECDSA_P256_SHA256_FIXED_SIGNING)),
            of(Algorithm::Es384, &ec(&raw::ECDSA_P384_SHA384_FIXED_SIGNING)),
            of(Algorithm::EdDsa, &EncodingKey::from_ed_der(ed.as_ref())),
        ]
    }

    fn new(algorithm: Algorithm, key: &EncodingKey, keys: KeySet) -> Self {
        let header = json!({ "alg": algorithm.name(), "typ": "at+jwt", "kid": "2026-11" });
        let text = format!("{}.{}", part(&header), part(&claims()));
        let name = algorithm.name().parse().expect("an algorithm");
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, name).expect("a signature");
        let rules = TokenRules {
            issuer: IssuerName::new("main"),
            iss: ISS.to_owned(),
            access_token_iss: Vec::new(),
            audiences: vec![AUDIENCE.to_owned()],
            clients_without_audience: Vec::new(),
            algorithms: vec![algorithm],
            token_type: None,
            clock_skew: Duration::from_secs(30),
            iat_behind: Duration::ZERO,
            max_token_lifetime: Duration::from_secs(86_400),
            claims: ClaimNames::default(),
            client_ids: vec!["web-app".to_owned()],
        };
        Self { algorithm, token: format!("{text}.{signature}"), keys, rules }
    }

    fn verify(&self) -> VerifiedToken {
        let parsed = Unverified::parse(black_box(&self.token), DEFAULT_TOKEN_LIMIT).expect("a token");
        parsed.verify(&self.keys, &self.rules, NOW).expect("a good token")
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// About what widely used servers put into one.
fn claims() -> Value {
    json!({
        "iss": ISS, "sub": "f:8e6b2a7c-1c1b-4f4a-9f0e-2f6d1b0a9c3d:alice", "aud": [AUDIENCE, "account"],
        "client_id": "web-app", "scope": "openid profile email api:read api:write", "sid": "6f1c3b5e-4d2a-4c8e",
        "jti": "0b8f4a52-7a0d-4f6e-9a55-0d5f3f0e7c11", "iat": NOW.as_secs() - 60, "exp": NOW.as_secs() + 240,
        "auth_time": NOW.as_secs() - 600, "acr": "1", "realm_access": { "roles": ["user", "offline_access"] },
        "preferred_username": "alice", "email_verified": true, "name": "Alice Example",
    })
}

fn route(table: &mut Table) {
    for (name, count, id) in [
        ("route among 10", 10, "4711"),
        ("route among 1,000", 1_000, "4711"),
        // It is looked for in another case too.
        ("route among 1,000, a capital", 1_000, "Xyz7"),
    ] {
        let routes: Vec<Arc<Route>> =
            (0..count).map(|at| one_route(&format!("/api/v1/things-{at}/{{id}}/*"))).collect();
        let routes = RouteTable::build(&routes).expect("a table");
        let asked = format!("/api/v1/things-{}/{id}/parts/9", count / 2);
        table.add(name, || {
            let path = CanonicalPath::parse(black_box(asked.as_bytes())).expect("a path");
            let found = routes.find("api.example.com", &Method::GET, path);
            assert!(matches!(found, RouteMatch::Route(_)));
            found
        });
    }
}

fn one_route(path: &str) -> Arc<Route> {
    Arc::new(Route {
        name: RouteName::new(path),
        path: PathPattern::parse(path).expect("a pattern"),
        host: None,
        methods: None,
        access: Access::Public,
        from: None,
        session: None,
        upstream: Some(UpstreamName::new("things")),
        cors: CorsSpeaker::Gateway,
        sharing: Sharing::default(),
        forwarding: Forwarding::default(),
        report_only: false,
        dpop: tollgate::core::route::Dpop::Allowed,
        resource: Resource::default(),
    })
}

/// Which of a browser's headers go, and which of ours are set.
fn header_plan(table: &mut Table, verified: &VerifiedToken) {
    let ours = [
        ("x-auth-subject", "sub"),
        ("x-auth-client", "client_id"),
        ("x-auth-scope", "scope"),
        ("x-auth-issuer", "iss"),
    ];
    let plan = [ours.map(|(header, claim)| (HeaderName::from_static(header), claim.to_owned())).to_vec()];
    let reserved = ReservedHeaders::new(ours.iter().map(|(header, _)| *header));
    let sent = [
        "host",
        "user-agent",
        "accept",
        "accept-language",
        "accept-encoding",
        "referer",
        "authorization",
        "origin",
        "connection",
        "cookie",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "content-type",
        "content-length",
    ];
    table.add("header plan", || {
        let gone = black_box(&sent).iter().filter(|name| reserved.is_reserved(name)).count();
        assert_eq!(gone, 1, "Authorization");
        IdentityHeaders::of(&plan, TokenFacts::from(verified))
    });
}

/// A grant of a thousand bytes, as it travels.
fn cookie(table: &mut Table) {
    let ring = KeyRing::new(vec![Secret::new(vec![1; 32]), Secret::new(vec![2; 32])]).expect("a ring");
    let binding = Binding { purpose: Purpose::Refresh, cookie: "__Secure-web-app", client: "web-app" };
    let plain = vec![b'r'; 1_000];
    let sealed = ring.seal(binding, &plain, [3; 12]).expect("a sealed text");
    // The nonce is always the same here and nowhere else: nothing that is sealed leaves this program.
    table.add("cookie seal, 1,000 bytes", || {
        ring.seal(binding, black_box(&plain), [3; 12]).expect("a sealed text")
    });
    table
        .add("cookie open, 1,000 bytes", || ring.open(binding, black_box(&sealed)).expect("what was sealed"));
}

/// With nothing revoked; `make bench-revocations` asks long lists.
fn revocation(table: &mut Table, verified: &VerifiedToken) {
    let list = Revocations::new([7; 16]);
    list.mark_complete();
    let facts = RevocationFacts {
        id: TokenId::of(ISS, verified.id(), ""),
        iss: ISS,
        jti: verified.id(),
        sid: verified.session(),
        sub: verified.subject(),
        client: verified.client(),
        kid: verified.kid(),
        issued_at: verified.issued_at(),
    };
    let marks = list.marks_of(&facts);
    table.add("revocation, empty list", || list.admit_token(black_box(&marks), verified.issued_at(), NOW));
}
