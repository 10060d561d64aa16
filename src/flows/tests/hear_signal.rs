//! What a transmitter of shared signals says means for the sessions here and the access tokens that they
//! handed out.

mod accounts;
mod cut_short;

use std::collections::HashMap;

use http::header::AUTHORIZATION;

use super::backchannel_logout::from_a_server;
use super::*;
use crate::config::settings::{Signal, SignalKeys};
use crate::core::ids::SignalName;
use crate::core::revocation::wanted::Wanted;
use crate::core::revocation::{Kind, Revocation, Rule};
use crate::core::token::security_event::event::EventType;
use crate::core::token::security_event::{Code, MEMORY, SignalRules};
use crate::core::token::testing::{TestKey, jwks, new_p256};
use crate::flows::hear_signal::{HeardSignal, hear_signal};
use crate::flows::revoke::{lift, revoke};

const TRANSMITTER: &str = "https://transmitter.example";
const TOKEN: &str = "a-token-of-the-transmitter";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const CHANGED: &str = "https://schemas.openid.net/secevent/caep/event-type/credential-change";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const ENABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-enabled";
const PURGED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-purged";
const ALL_REVOKED: &str = "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";

fn signal(name: &str, iss: &str, keys: SignalKeys, token: Option<&str>) -> Signal {
    let rules = SignalRules {
        iss: iss.to_owned(),
        audiences: vec![OWN.to_owned()],
        algorithms: vec![Algorithm::Es256],
        clock_skew: Duration::from_secs(30),
        revokes: vec![AS.to_owned()],
        also_called: Vec::new(),
        events: EventType::USED.to_vec(),
    };
    let token = token.map(|token| Secret::new(token.as_bytes().to_vec()));
    Signal { name: SignalName::new(name), rules, keys, token }
}

fn own_keys(name: &str, key: &TestKey) -> SignalKeys {
    let file = KeySource::JwksFile { path: "keys.json".into(), text: jwks(&[key.jwk()]) };
    let name = IssuerName::new(format!("signals/{name}"));
    SignalKeys::Own(Arc::new(Issuer { name, keys: file, ..issuer(Duration::from_secs(5)) }))
}

/// A gateway that hears two transmitters, each with a key of its own, and the issuer.
struct Listening {
    scene: Scene,
    keys: HashMap<&'static str, TestKey>,
    /// How much was said; each has an id of its own by it.
    said: AtomicUsize,
}

const SECOND: &str = "https://second.example";

impl std::ops::Deref for Listening {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl Listening {
    fn new() -> Self {
        let mut scene = Scene::strict();
        let keys = HashMap::from([(TRANSMITTER, new_p256("t-1")), (SECOND, new_p256("s-1"))]);
        let signals = vec![
            signal("first", TRANSMITTER, own_keys("first", &keys[TRANSMITTER]), Some(TOKEN)),
            signal("second", SECOND, own_keys("second", &keys[SECOND]), None),
            signal("as", AS, SignalKeys::OfIssuer(IssuerName::new("demo")), None),
        ];
        let signals: Vec<_> = signals.into_iter().map(Arc::new).collect();
        let before = scene.live.settings.clone();
        let settings = Settings {
            issuers: before.issuers.clone(),
            clients: before.clients.clone(),
            signals: signals.clone(),
            ..testing::settings(OWN)
        };
        let issuers = Issuers::new(&before.issuers, Some(&scene.live.issuers));
        scene.live = Arc::new(Live {
            settings: Arc::new(settings),
            routes: RouteTable::build(&[]).unwrap(),
            transmitters: Transmitters::new(&signals, &issuers, None),
            issuers,
            cookie_keys: Arc::clone(&scene.live.cookie_keys),
            assertions: None,
        });
        scene.gate.live.store(scene.live.clone());
        Self { scene, keys, said: AtomicUsize::new(0) }
    }

    /// A SET about alice, made now, with these claims changed.
    fn set_of(&self, iss: &str, event: &str, payload: Value, changes: Value) -> String {
        let kid = self.keys.get(iss).unwrap_or(&keys().p256).kid();
        let header = json!({ "alg": "ES256", "kid": kid, "typ": "secevent+jwt" });
        self.set_with(&header, iss, event, payload, changes)
    }

    fn set_with(&self, header: &Value, iss: &str, event: &str, payload: Value, changes: Value) -> String {
        let number = self.said.fetch_add(1, Ordering::SeqCst);
        let claims = json!({
            "iss": iss, "aud": OWN, "iat": self.clock.now().as_secs(), "jti": format!("set-{number}"),
            "sub_id": { "format": "iss_sub", "iss": AS, "sub": "alice" }, "events": { event: payload },
        });
        self.keys.get(iss).unwrap_or(&keys().p256).sign_as(header, &with(claims, changes))
    }

    fn set(&self, event: &str, changes: Value) -> String {
        self.set_of(TRANSMITTER, event, json!({}), changes)
    }

    async fn is_told(&self, set: &str) -> Result<HeardSignal, Denial> {
        self.is_told_with(&from_transmitter(Some(TOKEN)), set.as_bytes()).await
    }

    async fn is_told_with(&self, headers: &HeaderMap, body: &[u8]) -> Result<HeardSignal, Denial> {
        hear_signal(&self.gate, &self.live, &head(&Method::POST, headers), body).await
    }

    /// Another replica, which shares store and list.
    async fn other_is_told(&self, set: &str) -> Result<HeardSignal, Denial> {
        let replica = self.replica();
        let headers = from_transmitter(Some(TOKEN));
        hear_signal(&replica.gate, &replica.live, &head(&Method::POST, &headers), set.as_bytes()).await
    }

    /// What the list has of alice, without what it names for her sessions.
    fn listed(&self) -> Vec<Revocation> {
        self.log.all().into_iter().filter(|entry| entry.target.kind != Kind::Token).collect()
    }

    fn is_blocked(&self) -> bool {
        self.listed().iter().any(|entry| entry.rule == Rule::Block)
    }

    fn counts(&self, signal: &str, event: &str, result: &str) -> u32 {
        let text = String::from_utf8(self.gate.metrics.render().unwrap()).unwrap();
        let series =
            format!("tollgate_signals_total{{event=\"{event}\",result=\"{result}\",signal=\"{signal}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&series));
        count.map_or(0, |count| count.parse().unwrap())
    }
}

fn from_transmitter(token: Option<&str>) -> HeaderMap {
    let mut headers = from_a_server();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/secevent+jwt"));
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    }
    headers
}

#[track_caller]
fn refused(told: Result<HeardSignal, Denial>, code: Code) {
    match told {
        Err(Denial::SecurityEventRefused(refused)) => assert_eq!(refused.code, code, "{refused:?}"),
        other => panic!("refused as {code:?}: {other:?}"),
    }
}

#[tokio::test]
async fn everything_that_a_person_began_by_then_is_over_on_every_replica() {
    for (event, payload) in [
        (REVOKED, json!({})),
        (ALL_REVOKED, json!({})),
        (CHANGED, json!({ "change_type": "revoke" })),
        (CHANGED, json!({ "change_type": "delete" })),
        (CHANGED, json!({ "change_type": "update" })),
    ] {
        let here = Listening::new();
        let (one, two) = (here.signed_in("alice", "1", "t").await, here.signed_in("alice", "2", "u").await);
        let other = here.signed_in("bob", "3", "v").await;
        here.pass(10);
        let said = here.other_is_told(&here.set_of(TRANSMITTER, event, payload, json!({}))).await.unwrap();
        assert_eq!((said.signal.as_str(), said.subject.as_deref()), ("first", Some("alice")));
        assert!(here.is_out(&one).await && here.is_out(&two).await, "{event}");
        assert!(!here.is_out(&other).await, "{event}");
        here.pass(61); // tokens are a minute old here
        assert!(
            !here.is_out(&here.signed_in("alice", "4", "w").await).await,
            "whoever signs in again is in again"
        );
    }
}

#[tokio::test]
async fn a_session_that_is_named_is_over_alone() {
    let here = Listening::new();
    let (one, two) =
        (here.signed_in("alice", "sid-1", "t").await, here.signed_in("alice", "sid-2", "u").await);
    let session = json!({ "format": "complex", "session": { "format": "opaque", "id": "sid-1" } });
    here.is_told(&here.set(REVOKED, json!({ "sub_id": session }))).await.unwrap();
    assert!(here.is_out(&one).await);
    assert!(!here.is_out(&two).await);
    let opaque = json!({ "format": "opaque", "id": "sid-2" });
    here.is_told(&here.set(REVOKED, json!({ "sub_id": opaque }))).await.unwrap();
    assert!(here.is_out(&two).await);
}

#[tokio::test]
async fn what_happened_before_ends_nothing_that_began_after_it() {
    let here = Listening::new();
    let before = here.signed_in("alice", "1", "t").await;
    let event_timestamp = here.clock.now().as_secs();
    here.pass(95);
    let after = here.signed_in("alice", "2", "u").await;
    here.pass(10);
    let set = here.set_of(TRANSMITTER, REVOKED, json!({ "event_timestamp": event_timestamp }), json!({}));
    here.is_told(&set).await.unwrap();
    assert!(here.is_out(&before).await);
    assert!(!here.is_out(&after).await);
}

#[tokio::test]
async fn the_moment_is_the_events_by_its_transmitters_clock_which_may_differ_by_the_skew() {
    // When it was issued, when it happened, and the moment: from now.
    for (iat, event, moment) in [
        (0, 0, 0),
        (0, -20, 0),
        (0, -100, -70),
        (0, 20, 0),
        (0, -40 * 86_400, 0),
        // A clock that is ahead dates tokens so, too.
        (20, 20, 20),
        (20, 10, 10),
        (30, -10, 0),
    ] {
        let here = Listening::new();
        let now = here.clock.now().as_secs();
        let payload = json!({ "event_timestamp": now + event, "initiating_entity": "policy" });
        let set = here.set_of(TRANSMITTER, REVOKED, payload, json!({ "iat": now + iat }));
        here.is_told(&set).await.unwrap();
        let listed = here.listed();
        let [made] = &listed[..] else { panic!("one revocation: {listed:?}") };
        assert_eq!(made.rule, Rule::Before(Timestamp::from_secs(now + moment)), "{event}");
        assert_eq!(
            (made.made_by.as_deref(), made.reason.as_deref()),
            (Some(TRANSMITTER), Some("session-revoked by policy"))
        );
        assert!(made.until.is_some());
    }
}

#[tokio::test]
async fn what_is_said_again_is_answered_as_at_first_and_changes_nothing() {
    let here = Listening::new();
    let set = here.set(REVOKED, json!({ "jti": "one" }));
    here.is_told(&set).await.unwrap();
    let id = here.listed()[0].id();
    lift(&here.gate, id).await.unwrap();
    here.is_told(&set).await.unwrap();
    here.other_is_told(&set).await.unwrap();
    // Another of its id is the same to the transmitter.
    here.is_told(&here.set(ALL_REVOKED, json!({ "jti": "one" }))).await.unwrap();
    assert!(here.listed().is_empty(), "an operator lifted it: {:?}", here.listed());
    assert_eq!(
        (
            here.counts("first", "session-revoked", "applied"),
            here.counts("first", "session-revoked", "repeated")
        ),
        (1, 1)
    );
    // The id of one transmitter is not that of another.
    here.is_told(&here.set_of(SECOND, REVOKED, json!({}), json!({ "jti": "one" }))).await.unwrap();
    assert_eq!(here.listed().len(), 1);
}

#[tokio::test]
async fn while_it_cannot_be_written_down_the_transmitter_is_told_to_send_it_again() {
    for event in [REVOKED, DISABLED] {
        let here = Listening::new();
        let session = here.signed_in("alice", "1", "t").await;
        let set = here.set(event, json!({}));
        here.log.set_away(true);
        assert_eq!(here.is_told(&set).await.unwrap_err(), Denial::StoreUnavailable);
        assert!(!here.is_out(&session).await);
        here.log.set_away(false);
        here.store.set_away(true);
        assert_eq!(here.is_told(&set).await.unwrap_err(), Denial::StoreUnavailable);
        here.store.set_away(false);
        here.is_told(&set).await.unwrap();
        assert_eq!(here.takes(&session.1).await, Err(Denial::Revoked));
        here.is_told(&set).await.unwrap();
        assert_eq!(here.store.len("signal"), 1);
    }
}

#[tokio::test]
async fn that_it_was_heard_is_noted_durably_and_forgotten_in_time() {
    let here = Listening::new();
    let set = here.set(REVOKED, json!({}));
    here.store.loses_an_answer();
    assert_eq!(here.is_told(&set).await.unwrap_err(), Denial::StoreUnavailable, "of a durable put");
    here.is_told(&set).await.unwrap();
    assert_eq!(here.counts("first", "session-revoked", "repeated"), 1);
    here.pass(86_400);
    here.is_told(&set).await.unwrap();
    assert_eq!(here.counts("first", "session-revoked", "applied"), 2, "it means what it meant");
}

#[tokio::test]
async fn what_changes_nothing_needs_no_store() {
    let here = Listening::new();
    here.store.set_away(true);
    here.log.set_away(true);
    let updated = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";
    for (event, payload, name, result) in [
        (VERIFICATION, json!({ "state": "x" }), "verification", "acknowledged"),
        (updated, json!({ "status": "paused" }), "stream-updated", "acknowledged"),
        (CHANGED, json!({ "change_type": "create" }), "credential-change", "ignored"),
        ("https://else.example/x", json!({}), "other", "ignored"),
    ] {
        let stream = json!({ "sub_id": { "format": "opaque", "id": "stream-1" } });
        here.is_told(&here.set_of(TRANSMITTER, event, payload, stream)).await.unwrap();
        assert_eq!(here.counts("first", name, result), 1, "{event}");
    }
    let heard = here.live.transmitters.by_iss(TRANSMITTER).unwrap().heard_at();
    assert_eq!(heard, Some(here.clock.now()));
    assert_eq!(here.live.transmitters.by_iss(SECOND).unwrap().heard_at(), None);
}

#[tokio::test]
async fn whoever_is_not_the_transmitter_is_refused_and_changes_nothing() {
    let here = Listening::new();
    let set = here.set(REVOKED, json!({}));
    let basic = |value: &str| {
        let mut headers = from_transmitter(None);
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value).unwrap());
        headers
    };
    let mut twice = from_transmitter(Some(TOKEN));
    twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer a-token-of-the-transmitter"));
    for headers in [
        from_transmitter(None),
        from_transmitter(Some("a-token-of-the-transmittes")),
        from_transmitter(Some("a-token")),
        basic(TOKEN),
        basic("Basic YS10b2tlbi1vZi10aGUtdHJhbnNtaXR0ZXI="),
        twice,
    ] {
        refused(here.is_told_with(&headers, set.as_bytes()).await, Code::AuthenticationFailed);
    }
    // One that was given no token shows none, or any.
    for token in [None, Some("whatever-this-is")] {
        let other = here.set_of(SECOND, VERIFICATION, json!({}), json!({}));
        here.is_told_with(&from_transmitter(token), other.as_bytes()).await.unwrap();
    }
    for (name, value) in
        [("origin", "null"), ("sec-fetch-site", "cross-site"), ("content-type", "application/jwt")]
    {
        let mut headers = from_transmitter(Some(TOKEN));
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        refused(here.is_told_with(&headers, set.as_bytes()).await, Code::InvalidRequest);
    }
    for body in [&b""[..], b"x", b"\xff", format!("{set}\n").as_bytes()] {
        refused(here.is_told_with(&from_transmitter(Some(TOKEN)), body).await, Code::InvalidRequest);
    }
    refused(
        here.is_told(&here.set(REVOKED, json!({ "iss": "https://else.example" }))).await,
        Code::InvalidIssuer,
    );
    let of_another = here.set_of(SECOND, REVOKED, json!({}), json!({ "iss": TRANSMITTER }));
    refused(here.is_told(&of_another).await, Code::InvalidKey);
    let access_token = keys().p256.sign(&with(claims_at(here.clock.now()), json!({ "iss": AS })));
    refused(here.is_told(&access_token).await, Code::InvalidRequest);
    assert!(here.log.all().is_empty());
    assert_eq!(here.store.puts(), 0);
    here.is_told(&set).await.unwrap();
}

#[tokio::test]
async fn a_transmitter_that_is_the_issuer_signs_with_its_keys_and_its_tokens_count_as_before() {
    let here = Listening::new();
    let session = here.signed_in("alice", "1", "t").await;
    here.is_told(&here.set_of(AS, REVOKED, json!({}), json!({}))).await.unwrap();
    assert!(here.is_out(&session).await);
    // What another transmitter signs is no access token.
    let claims = with(claims_at(here.clock.now()), json!({ "iss": TRANSMITTER, "jti": "z" }));
    let token = here.keys[TRANSMITTER].sign(&claims);
    assert_eq!(here.takes(&token).await, Err(Denial::UnknownIssuer));
}

#[tokio::test]
async fn a_key_that_an_operator_took_back_says_nothing_any_more() {
    let here = Listening::new();
    here.is_told(&here.set_of(AS, VERIFICATION, json!({}), json!({}))).await.unwrap();
    let kid = keys().p256.kid();
    let wanted = serde_json::from_value(json!({ "kind": "kid", "value": kid })).unwrap();
    revoke(&here.gate, vec![wanted], None).await.unwrap();
    // Also where it does not say by which of its keys.
    let nameless = json!({ "alg": "ES256", "typ": "secevent+jwt" });
    refused(here.is_told(&here.set_of(AS, ENABLED, json!({}), json!({}))).await, Code::InvalidKey);
    refused(
        here.is_told(&here.set_with(&nameless, AS, DISABLED, json!({}), json!({}))).await,
        Code::InvalidKey,
    );
    here.is_told(&here.set(REVOKED, json!({}))).await.unwrap();
    let everywhere = json!({ "kind": "kid", "value": "t-1", "issuer": "*" });
    revoke(&here.gate, vec![serde_json::from_value(everywhere).unwrap()], None).await.unwrap();
    let before = here.log.all();
    refused(here.is_told(&here.set(REVOKED, json!({}))).await, Code::InvalidKey);
    refused(
        here.is_told(&here.set_with(&nameless, TRANSMITTER, DISABLED, json!({}), json!({}))).await,
        Code::InvalidKey,
    );
    assert_eq!(here.log.all(), before, "it changes nothing");
}

#[tokio::test]
async fn a_watermark_on_the_issuer_dates_what_it_issued_and_not_its_words() {
    let here = Listening::new();
    let session = here.signed_in("alice", "1", "t").await;
    let said = |changes: Value| here.set_of(AS, REVOKED, json!({}), changes);
    let (now, set) = (here.clock.now(), said(json!({ "iat": here.clock.now().as_secs() - 10 })));
    let before = now.minus(Duration::from_secs(5)).to_rfc3339();
    let wanted = json!({ "kind": "issuer", "value": "demo", "before": before });
    revoke(&here.gate, vec![serde_json::from_value(wanted).unwrap()], None).await.unwrap();
    here.is_told(&set).await.unwrap();
    assert!(here.is_out(&session).await);
    assert!(here.listed().iter().any(|entry| entry.target.value == "alice"));
    let outright = json!({ "kind": "issuer", "value": "demo" });
    revoke(&here.gate, vec![serde_json::from_value(outright).unwrap()], None).await.unwrap();
    refused(here.is_told(&said(json!({}))).await, Code::InvalidKey);
}

#[tokio::test]
async fn while_the_keys_are_away_the_transmitter_is_told_to_send_it_again() {
    let here = Listening::new();
    let there = std::mem::replace(&mut *here.server.jwks.lock().unwrap(), json!("nothing"));
    let set = here.set_of(AS, REVOKED, json!({}), json!({}));
    assert_eq!(here.is_told(&set).await.unwrap_err(), Denial::KeysUnavailable);
    *here.server.jwks.lock().unwrap() = there;
    here.pass(3600);
    here.is_told(&set).await.unwrap();
}

#[tokio::test]
async fn what_a_key_signs_that_was_published_just_now_is_not_lost() {
    let here = Listening::new();
    here.is_told(&here.set_of(AS, VERIFICATION, json!({}), json!({}))).await.unwrap();
    let new = new_p256("brand-new");
    *here.server.jwks.lock().unwrap() = json!({ "keys": [new.jwk()] });
    here.pass(4);
    let claims = json!({
        "iss": AS, "aud": OWN, "iat": here.clock.now().as_secs(), "jti": "new", "events": { DISABLED: {} },
        "sub_id": { "format": "iss_sub", "iss": AS, "sub": "alice" },
    });
    let header = json!({ "alg": "ES256", "kid": "brand-new", "typ": "secevent+jwt" });
    let set = new.sign_as(&header, &claims);
    let rest = Duration::from_secs(6);
    assert_eq!(here.is_told(&set).await.unwrap_err(), Denial::KeyNotKnownYet { retry_after: rest });
    here.pass(6);
    here.is_told(&set).await.unwrap();
    assert!(here.is_blocked());
}

#[tokio::test]
async fn keys_that_nobody_knows_cost_one_fetch_a_cooldown_and_count_against_the_address() {
    let here = Listening::new();
    here.is_told(&here.set_of(AS, VERIFICATION, json!({}), json!({}))).await.unwrap();
    for number in 0..5 {
        let header = json!({ "alg": "ES256", "kid": format!("unknown-{number}"), "typ": "secevent+jwt" });
        let claims = json!({
            "iss": AS, "aud": OWN, "iat": here.clock.now().as_secs(), "jti": "x", "events": { VERIFICATION: {} },
        });
        let set = keys().p256.sign_as(&header, &claims);
        let refusal = here.is_told(&set).await.unwrap_err();
        assert!(crate::core::brake::counts(&refusal), "{refusal:?}");
        let rest = Duration::from_secs(10);
        assert_eq!(refusal, Denial::KeyNotKnownYet { retry_after: rest }, "nobody was asked since it came");
        here.pass(10);
        let refusal = here.is_told(&set).await.unwrap_err();
        assert!(crate::core::brake::counts(&refusal), "{refusal:?}");
        assert!(matches!(refusal, Denial::SecurityEventRefused(refused) if refused.code == Code::InvalidKey));
    }
    let text = String::from_utf8(here.gate.metrics.render().unwrap()).unwrap();
    let fetches = text.lines().find(|line| line.starts_with("tollgate_key_fetches_total")).unwrap();
    let count: u32 = fetches.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, 6, "{fetches}");
}
