//! The keys of issuers, from the request to the issuer and back, over real sockets: rotation, withdrawal, a
//! discovery document that moves, large and damaged sets, and unknown names without end. The clock is moved
//! by the tests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate::app::HandOverError;
use tollgate::core::time::Timestamp;
use tollgate::flows::ports::Clock;
use tollgate::io::handover::questions::Answers;
use tollgate::io::handover::{Channel, Message};

use crate::support::client::request;
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, Issuer};
use crate::support::operator::Operator;
use crate::support::upstream::{Received, Upstream};
use crate::support::{until, within};

const OIDC: &str = "/.well-known/openid-configuration";

/// An authorization server that publishes what it is told to, and counts who asks.
pub struct Publisher {
    pub server: Upstream,
    documents: Arc<Mutex<HashMap<String, Value>>>,
}

impl Publisher {
    pub async fn start() -> Self {
        let documents: Arc<Mutex<HashMap<String, Value>>> = Arc::default();
        let known = documents.clone();
        let answer = move |seen: &Received| match known.lock().unwrap().get(seen.path()) {
            Some(document) => {
                let body = document.to_string();
                let length = body.len();
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ";
                format!("{head}{length}\r\n\r\n{body}").into_bytes()
            }
            None => b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        Self { server: Upstream::answering(Arc::new(answer)).await, documents }
    }

    pub fn publish(&self, path: &str, document: Value) {
        self.documents.lock().unwrap().insert(path.to_owned(), document);
    }

    pub fn publish_keys(&self, path: &str, keys: &[&Key]) {
        self.publish(path, json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }));
    }

    pub fn discovered_at(&self, jwks: &str) {
        let url = self.url();
        self.publish(OIDC, json!({ "issuer": url, "jwks_uri": format!("{url}{jwks}") }));
    }

    fn fails(&self, path: &str) {
        self.documents.lock().unwrap().remove(path);
    }

    pub fn asked(&self, path: &str) -> usize {
        self.server.received().iter().filter(|seen| seen.path() == path).count()
    }

    pub fn url(&self) -> String {
        self.server.url()
    }
}

/// A key with a name.
pub struct Key {
    kid: &'static str,
    issuer: Issuer,
}

impl Key {
    pub fn new(kid: &'static str) -> Self {
        Self { kid, issuer: Issuer::new() }
    }

    fn jwk(&self) -> Value {
        let mut jwk = self.issuer.jwks()["keys"][0].take();
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// `Authorization` with a token of `iss` that this key signed.
    pub fn bearer(&self, iss: &str, now: Timestamp) -> String {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.kid });
        let claims = json!({ "iss": iss, "aud": AUDIENCE, "sub": "alice", "client_id": "web-app", "jti": "1",
            "iat": now.as_secs(), "exp": now.as_secs() + 300 });
        format!("Bearer {}", self.issuer.sign(&header, &claims))
    }
}

/// The clock of this machine, moved on.
#[derive(Debug, Default)]
pub struct MovedClock(AtomicI64);

impl MovedClock {
    pub fn later(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = i64::try_from(since.as_millis()).unwrap();
        Timestamp::from_millis(now + self.0.load(Ordering::SeqCst))
    }
}

struct World {
    gateway: Gateway,
    clock: Arc<MovedClock>,
    _upstream: Upstream,
}

impl World {
    /// `issuers`: the lines of that section.
    async fn start(issuers: &str) -> Self {
        let upstream = Upstream::start().await;
        let clock = Arc::new(MovedClock::default());
        let rest = format!(
            "issuers:\n{issuers}\nlimits: {{ denials_per_address: 0 }}\nroutes: [{{ path: /*, to: \"{}\" }}]\n",
            upstream.url()
        );
        let moved = clock.clone();
        let gateway = Gateway::outside(&rest, |outside| outside.clock = moved).unwrap();
        until("keys", async || gateway.admin("/readyz").await.status == 200).await;
        Self { gateway, clock, _upstream: upstream }
    }

    /// With one issuer whose keys are discovered.
    async fn discovering(publisher: &Publisher) -> Self {
        Self::start(&format!("  far: {{ url: \"{}\", audience: \"{AUDIENCE}\" }}", publisher.url())).await
    }

    async fn status(&self, bearer: &str) -> u16 {
        self.gateway.connect().await.get("/x", &[("Authorization", bearer)]).await.status
    }

    async fn status_of(&self, key: &Key, iss: &str) -> u16 {
        self.status(&key.bearer(iss, self.clock.now())).await
    }

    fn later(&self, seconds: i64) {
        self.clock.later(seconds);
    }

    /// An operator's refresh.
    async fn refresh(&self) -> u16 {
        Operator::of(&self.gateway).ask("POST", "/issuers/far/refresh").await.status
    }
}

#[tokio::test]
async fn issuers_that_share_a_kid_are_never_taken_for_each_other() {
    let (one, other) = (Publisher::start().await, Publisher::start().await);
    let (of_one, of_other) = (Key::new("same"), Key::new("same"));
    for (publisher, key) in [(&one, &of_one), (&other, &of_other)] {
        publisher.discovered_at("/jwks");
        publisher.publish_keys("/jwks", &[key]);
    }
    let world = World::start(&format!(
        "  one: {{ url: \"{}\", audience: \"{AUDIENCE}\" }}\n  other: {{ url: \"{}\", audience: \"{AUDIENCE}\" }}",
        one.url(),
        other.url()
    ))
    .await;
    for (key, iss, status) in [
        (&of_one, one.url(), 200),
        (&of_other, other.url(), 200),
        (&of_one, other.url(), 401),
        (&of_other, one.url(), 401),
        (&of_one, format!("{}/", one.url()), 401),
    ] {
        assert_eq!(world.status_of(key, &iss).await, status, "{iss}");
    }
}

#[tokio::test]
async fn keys_rotate_with_an_overlap_and_with_a_hard_cut() {
    let publisher = Publisher::start().await;
    let iss = publisher.url();
    let (old, new, last) = (Key::new("old"), Key::new("new"), Key::new("last"));
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&old]);
    let world = World::discovering(&publisher).await;
    assert_eq!(world.status_of(&old, &iss).await, 200);
    // Both are there for a while, and the first token of the new one brings it.
    publisher.publish_keys("/jwks", &[&old, &new]);
    world.later(10);
    assert_eq!(world.status_of(&new, &iss).await, 200);
    assert_eq!(world.status_of(&old, &iss).await, 200);
    // From one moment to the next: within one cooldown the new one counts and the old one does not.
    publisher.publish_keys("/jwks", &[&last]);
    world.later(10);
    assert_eq!(world.status_of(&last, &iss).await, 200);
    for gone in [&old, &new] {
        assert_eq!(world.status_of(gone, &iss).await, 401);
    }
}

#[tokio::test]
async fn a_key_that_was_taken_away_ends_with_the_next_refresh_or_when_an_operator_asks() {
    let publisher = Publisher::start().await;
    let iss = publisher.url();
    let (stays, first, second) = (Key::new("stays"), Key::new("first"), Key::new("second"));
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&stays, &first, &second]);
    let world = World::discovering(&publisher).await;
    assert_eq!(world.status_of(&first, &iss).await, 200);
    publisher.publish_keys("/jwks", &[&stays, &second]);
    assert_eq!(world.status_of(&first, &iss).await, 200, "nobody has looked yet");
    world.later(600);
    until("the refresh", async || world.status_of(&first, &iss).await == 401).await;
    assert_eq!(world.status_of(&second, &iss).await, 200);
    publisher.publish_keys("/jwks", &[&stays]);
    assert_eq!(world.refresh().await, 200);
    assert_eq!(world.status_of(&second, &iss).await, 401);
    assert_eq!(world.status_of(&stays, &iss).await, 200);
}

#[tokio::test]
async fn an_issuer_may_move_its_keys_and_its_document_may_be_away() {
    let publisher = Publisher::start().await;
    let iss = publisher.url();
    let (old, new) = (Key::new("old"), Key::new("new"));
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&old]);
    let world = World::discovering(&publisher).await;
    // The old place still answers, with the old keys: the document says where to look.
    publisher.discovered_at("/moved");
    publisher.publish_keys("/moved", &[&new]);
    let before = publisher.asked("/jwks");
    assert_eq!(world.refresh().await, 200);
    assert_eq!((world.status_of(&new, &iss).await, world.status_of(&old, &iss).await), (200, 401));
    assert_eq!((publisher.asked("/jwks"), publisher.asked("/moved")), (before, 1));
    // Without a document the place that was told last is asked.
    publisher.fails(OIDC);
    publisher.publish_keys("/moved", &[&old, &new]);
    assert_eq!(world.refresh().await, 200);
    assert_eq!((world.status_of(&new, &iss).await, world.status_of(&old, &iss).await), (200, 200));
    // One that is another issuer's changes nothing.
    publisher.publish(OIDC, json!({ "issuer": "https://evil.example", "jwks_uri": format!("{iss}/evil") }));
    publisher.publish_keys("/evil", &[&Key::new("evil")]);
    world.refresh().await;
    assert_eq!((world.status_of(&new, &iss).await, publisher.asked("/evil")), (200, 0));
}

#[tokio::test]
async fn five_hundred_keys_and_broken_ones_among_them_are_one_set() {
    let publisher = Publisher::start().await;
    let iss = publisher.url();
    let (first, last) = (Key::new("first"), Key::new("last"));
    let point = Key::new("any").jwk();
    let mut keys = vec![first.jwk(), json!(null), json!({"kty": "oct", "k": "AAAA", "kid": "secret"})];
    for at in 0..500 {
        let mut jwk = point.clone();
        jwk["kid"] = format!("{at}").into();
        keys.push(jwk);
    }
    keys.extend([json!({"kty": "EC", "crv": "P-256", "x": "!", "y": "?"}), last.jwk()]);
    publisher.discovered_at("/jwks");
    publisher.publish("/jwks", json!({ "keys": keys }));
    let world = World::discovering(&publisher).await;
    assert_eq!((world.status_of(&first, &iss).await, world.status_of(&last, &iss).await), (200, 200));
    assert_eq!(world.status_of(&Key::new("secret"), &iss).await, 401);
    assert_eq!(world.status_of(&Key::new("499"), &iss).await, 401, "its signature is another's");
}

/// The statuses of so many requests, each with a `kid` of its own that nobody knows.
#[tokio::test]
async fn keys_that_are_too_old_to_count_are_told_as_that_and_hold_up_no_hand_over() {
    let (publisher, key) = (Publisher::start().await, Key::new("only"));
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&key]);
    let world = World::discovering(&publisher).await;
    assert_eq!(world.status_of(&key, &publisher.url()).await, 200);
    publisher.fails("/jwks");
    let readiness = async || {
        let answer = world.gateway.admin("/readyz").await;
        (answer.status, answer.json()["degraded"].clone())
    };
    let degraded = |what: &str| json!([format!("issuer far: could not be asked for its keys{what}")]);
    world.later(3600);
    until("the failure", async || readiness().await == (200, degraded(", those from before count"))).await;
    assert!(matches!(hand_over(&world.gateway).await, Err(HandOverError::WithoutKeys(_))));

    world.later(24 * 3600);
    assert_eq!(readiness().await, (200, degraded(" for so long that those from before count no more")));
    assert_eq!(world.status_of(&key, &publisher.url()).await, 503);
    hand_over(&world.gateway).await.unwrap();
}

/// To a process that cannot get the keys of `far` either.
async fn hand_over(gateway: &Gateway) -> Result<Answers, HandOverError> {
    let (to_new, mut to_old) = Channel::pair().unwrap();
    let other = async move {
        to_old.take().await.unwrap();
        to_old
            .say(&Message::Ready { without_keys: vec!["far".to_owned()], without_store: None })
            .await
            .unwrap();
        let Ok(Message::Go {}) = to_old.hear().await else { return };
        to_old.say(&Message::Serving { answers: Answers::default() }).await.unwrap();
    };
    // The other process hears of a refusal by the end of the channel.
    let handing = async { gateway.app.hand_over(&mut { to_new }).await };
    within("the outcome", async { tokio::join!(handing, other) }).await.0
}

async fn unknown_kids(world: &World, iss: &str, count: usize) -> Vec<u16> {
    const CLIENTS: usize = 8;
    let now = world.clock.now();
    let strangers = Issuer::new();
    let clients = (0..CLIENTS).map(|client| {
        let strangers = &strangers;
        async move {
            let mut connection = world.gateway.connect().await;
            let claims = json!({ "iss": iss, "aud": AUDIENCE, "sub": "a", "client_id": "c", "jti": "1",
                "iat": now.as_secs(), "exp": now.as_secs() + 300 });
            let good = strangers.sign(&json!({ "alg": "ES256", "kid": "?" }), &claims);
            let (_, rest) = good.split_once('.').unwrap();
            let mut statuses = Vec::new();
            for at in 0..count / CLIENTS {
                use base64::Engine as _;
                let header = format!("{{\"alg\":\"ES256\",\"kid\":\"{client}-{at}\"}}");
                let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
                let bearer = format!("Bearer {header}.{rest}");
                connection.send(request("GET", "/x", &[("Authorization", &bearer)], b"")).await;
                statuses.push(connection.answer().await.status);
            }
            statuses
        }
    });
    join_all(clients).await.concat()
}

#[tokio::test]
async fn ten_thousand_requests_with_unknown_kids_cost_one_fetch_a_cooldown_also_while_fetches_fail() {
    let publisher = Publisher::start().await;
    let iss = publisher.url();
    let key = Key::new("good");
    publisher.discovered_at("/jwks");
    publisher.publish_keys("/jwks", &[&key]);
    let world = World::discovering(&publisher).await;
    let asked = || publisher.asked("/jwks");
    let before = asked();
    // On a slow machine more than one cooldown may pass meanwhile.
    let began = world.clock.now();
    world.later(10);
    let statuses = unknown_kids(&world, &iss, 10_000).await;
    assert!(statuses.iter().all(|status| *status == 401), "a key that nobody knows is no key");
    let cooldowns = usize::try_from(world.clock.now().since(began).as_secs() / 10).unwrap();
    let fetches = asked() - before;
    assert!((1..=cooldowns).contains(&fetches), "{fetches} fetches in {cooldowns} cooldowns");
    publisher.fails("/jwks");
    let (before, began) = (asked(), world.clock.now());
    world.later(10);
    let statuses = unknown_kids(&world, &iss, 10_000).await;
    assert!(statuses.iter().all(|status| *status == 503), "while nobody can tell it is nobody's fault");
    let cooldowns = usize::try_from(world.clock.now().since(began).as_secs() / 10).unwrap();
    let fetches = asked() - before;
    assert!((1..=cooldowns).contains(&fetches), "{fetches} fetches in {cooldowns} cooldowns");
    assert_eq!(world.status_of(&key, &iss).await, 200, "good keys outlive it");
}
