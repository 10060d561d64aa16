//! The key flow over real connections: discovery, one flight, rotation, and every way in which an
//! authorization server can misbehave. Time is the tests' own.

mod two_places;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::config::settings::{Issuer, KeySource};
use crate::core::denial::Denial;
use crate::core::time::Timestamp;
use crate::core::token::freshness::Decision;
use crate::core::token::testing::{self, NOW, TestKey, jwks, keys, with};
use crate::core::token::verified::VerifiedToken;
use crate::flows::authenticate::{OnUnknownKey, verify_jwt};
use crate::flows::keep_keys_fresh::{Means, endpoints_by, look};
use crate::flows::ports::{Clock, HttpClient};
use crate::flows::testing::lines::Lines;
use crate::io::http_client::{Called, IssuerClients};
use crate::io::testing::{Reply, TestServer, nobody};
use crate::state::issuer_keys::testing::issuer;
use crate::state::issuer_keys::{IssuerState, Issuers};
use crate::state::metrics::Metrics;

const OIDC: &str = "/.well-known/openid-configuration";
const RFC8414: &str = "/.well-known/oauth-authorization-server";

/// A clock that stands until it is moved.
#[derive(Debug)]
struct StoppedClock(AtomicI64);

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A gate's key side with one issuer.
struct World {
    iss: String,
    issuers: Issuers,
    http: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    stopped: Arc<StoppedClock>,
    metrics: Metrics,
}

impl World {
    fn new(issuer: Issuer) -> Self {
        let stopped = Arc::new(StoppedClock(AtomicI64::new(NOW.as_millis())));
        Self {
            iss: issuer.rules.iss.clone(),
            http: Arc::new(IssuerClients::new([Called::from(&issuer)]).unwrap()),
            clock: stopped.clone(),
            stopped,
            metrics: Metrics::new().unwrap(),
            issuers: Issuers::new(&[Arc::new(issuer)], None),
        }
    }

    fn discovering(iss: &str) -> Self {
        Self::new(issuer(iss, KeySource::Discovery(None)))
    }

    fn means(&self) -> Means<'_> {
        Means { http: &self.http, clock: &self.clock, metrics: &self.metrics }
    }

    fn issuer(&self) -> &IssuerState {
        self.issuers.by_iss(&self.iss).unwrap()
    }

    fn later(&self, seconds: i64) {
        self.stopped.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// A good token of this issuer, by this key.
    fn token(&self, key: &TestKey) -> String {
        key.sign(&with(testing::claims_at(self.clock.now()), json!({"iss": self.iss})))
    }

    async fn judge(&self, token: &str) -> Result<VerifiedToken, Denial> {
        let (means, now) = (self.means(), self.clock.now());
        let verified = verify_jwt(means, &self.issuers, 8192, token, OnUnknownKey::Refuse, now).await;
        Ok(verified.map(|verified| verified.token)?)
    }

    async fn judge_of(&self, key: &TestKey) -> Result<(), Denial> {
        self.judge(&self.token(key)).await.map(drop)
    }

    /// What the background does, to its end.
    async fn look(&self) {
        let mut landings = self.issuer().landings();
        look(self.means(), &self.issuers);
        landings.changed().await.unwrap();
    }

    /// Until no fetch is under way: who waited for one may have gone before its end.
    async fn landed(&self) {
        let mut landings = self.issuer().landings();
        while self.issuer().consult(false, self.clock.now()).0 == Decision::Wait {
            landings.changed().await.unwrap();
        }
    }

    fn metric(&self, line: &str) -> bool {
        String::from_utf8(self.metrics.render().unwrap()).unwrap().contains(line)
    }
}

fn metadata(url: &str) -> Value {
    json!({"issuer": url, "jwks_uri": format!("{url}/jwks"), "token_endpoint": format!("{url}/token")})
}

/// An authorization server with discovery and these keys.
async fn authorization_server(published: &[&TestKey]) -> TestServer {
    let server = TestServer::start().await;
    server.answer(OIDC, Reply::json(metadata(&server.url).to_string()));
    publish(&server, published);
    server
}

fn publish(server: &TestServer, keys: &[&TestKey]) {
    let jwks = jwks(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>());
    server.answer("/jwks", Reply::Ok("text/plain", jwks));
}

#[tokio::test]
async fn keys_are_discovered_and_a_token_is_verified() {
    let server = authorization_server(&[&keys().p256]).await;
    let world = World::discovering(&server.url);
    assert!(!world.issuer().keys_ready());
    let token = world.judge(&world.token(&keys().p256)).await.unwrap();
    assert_eq!(token.subject(), Some("alice"));
    assert!(world.issuer().keys_ready());
    assert_eq!((server.asked(RFC8414), server.asked(OIDC), server.asked("/jwks")), (1, 1, 1));
    assert!(world.metric(r#"tollgate_key_fetches_total{issuer="demo",result="ok"} 1"#));
    assert!(world.metric(r#"tollgate_tokens_verified_total{issuer="demo",path="verified"} 1"#));
    assert!(world.metric(r#"tollgate_as_request_duration_seconds_count{endpoint="jwks",issuer="demo"} 1"#));
}

#[tokio::test]
async fn a_jwks_uri_needs_no_discovery() {
    let server = TestServer::start().await;
    publish(&server, &[&keys().ed]);
    let url = format!("{}/jwks", server.url).parse().unwrap();
    let world = World::new(issuer(testing::ISS, KeySource::JwksUri(url)));
    world.judge_of(&keys().ed).await.unwrap();
    assert_eq!((server.asked(RFC8414), server.asked(OIDC)), (0, 0));
    let refused = endpoints_by(world.means(), world.issuer()).await;
    assert_eq!(refused.unwrap_err(), Denial::AuthorizationServerUnavailable);
}

#[tokio::test]
async fn requests_that_arrive_together_before_any_key_is_known_cost_one_fetch() {
    let server = authorization_server(&[&keys().p256]).await;
    server.hold();
    let world = World::discovering(&server.url);
    let token = world.token(&keys().p256);
    let all = join_all((0..50).map(|_| world.judge(&token)));
    let release = async {
        while server.asked(RFC8414) == 0 {
            tokio::task::yield_now().await;
        }
        server.release();
    };
    let (verdicts, ()) = tokio::join!(all, release);
    assert!(verdicts.iter().all(Result::is_ok));
    assert_eq!(server.asked("/jwks"), 1);
}

#[tokio::test]
async fn a_fetch_outlives_the_request_that_began_it() {
    let server = authorization_server(&[&keys().p256]).await;
    server.hold();
    let world = World::discovering(&server.url);
    let mut landings = world.issuer().landings();
    {
        let token = world.token(&keys().p256);
        let mut request = Box::pin(world.judge(&token));
        assert!(request.as_mut().now_or_never().is_none());
    } // the client went away
    server.release();
    landings.changed().await.unwrap();
    assert!(world.issuer().keys_ready());
}

#[tokio::test]
async fn a_new_key_is_accepted_within_one_cooldown_and_a_removed_one_ends_with_the_next_refresh() {
    let (old, new) = (testing::new_p256("old"), testing::new_p256("new"));
    let server = authorization_server(&[&old]).await;
    let world = World::discovering(&server.url);
    world.judge_of(&old).await.unwrap();
    publish(&server, &[&new]);
    assert_eq!(world.judge_of(&new).await, Err(Denial::UnknownKey));
    assert!(world.metric(r#"tollgate_unknown_kid_total{issuer="demo"} 1"#));
    assert_eq!(server.asked("/jwks"), 1);
    world.later(10);
    world.judge_of(&new).await.unwrap();
    assert_eq!(server.asked("/jwks"), 2);
    assert_eq!(world.judge_of(&old).await, Err(Denial::UnknownKey));
}

#[tokio::test]
async fn the_background_refreshes_keys_when_they_are_old_and_not_before() {
    let (old, new) = (testing::new_p256("old"), testing::new_p256("new"));
    let server = authorization_server(&[&old]).await;
    let world = World::discovering(&server.url);
    world.look().await;
    assert!(world.issuer().keys_ready());
    publish(&server, &[&new]);
    world.later(599);
    look(world.means(), &world.issuers);
    assert_eq!(world.issuer().keys_age(world.clock.now()), Some(Duration::from_secs(599)));
    world.judge_of(&old).await.unwrap();
    assert_eq!(server.asked("/jwks"), 1);
    world.later(1);
    world.look().await;
    assert_eq!(world.judge_of(&old).await, Err(Denial::UnknownKey));
    world.judge_of(&new).await.unwrap();
    assert_eq!(server.asked("/jwks"), 2);
}

#[tokio::test]
async fn ten_thousand_unknown_kids_cost_one_fetch_also_while_fetches_fail() {
    let server = authorization_server(&[&keys().p256]).await;
    let world = World::discovering(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    world.later(10);
    let stranger = world.token(&testing::new_p256("stranger"));
    for _ in 0..10_000 {
        assert_eq!(world.judge(&stranger).await.unwrap_err(), Denial::UnknownKey);
    }
    assert_eq!(server.asked("/jwks"), 2);
    server.answer("/jwks", Reply::Status(500));
    world.later(10);
    for _ in 0..10_000 {
        assert_eq!(world.judge(&stranger).await.unwrap_err(), Denial::KeysUnavailable);
    }
    assert_eq!(server.asked("/jwks"), 3);
    world.judge_of(&keys().p256).await.unwrap();
}

/// Every way to answer badly, and how long it may take, in milliseconds.
fn bad_answers(server: &TestServer) -> Vec<Reply> {
    vec![
        Reply::Status(500),
        Reply::Status(404),
        Reply::Status(204),
        Reply::json("<html>Bad gateway</html>"),
        Reply::json(r#"{"keys":[{"kty":"EC""#),
        Reply::json(r#"{"keys":[]}"#),
        Reply::json(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#),
        Reply::json(""),
        Reply::Redirect(format!("{}/moved", server.url)),
        Reply::Huge(10 * 1024 * 1024),
        Reply::Endless,
        Reply::EndlessHeader,
        Reply::Half,
        Reply::Close,
        Reply::Hang,
        Reply::Drip,
    ]
}

#[tokio::test]
async fn whatever_the_server_answers_without_keys_tokens_get_503_and_recover() {
    let server = authorization_server(&[&keys().p256]).await;
    server.answer("/moved", Reply::json(jwks(&[keys().p256.jwk()])));
    let impatient =
        Issuer { timeout: Duration::from_secs(1), ..issuer(&server.url, KeySource::Discovery(None)) };
    let world = World::new(impatient);
    for bad in bad_answers(&server) {
        server.answer("/jwks", bad.clone());
        let denial = world.judge_of(&keys().p256).await.unwrap_err();
        assert_eq!(denial, Denial::KeysUnavailable, "{bad:?}");
        assert!(!world.issuer().keys_ready());
        world.landed().await;
        assert!(world.issuer().last_error().is_some(), "{bad:?}");
        world.later(2);
    }
    publish(&server, &[&keys().p256]);
    world.judge_of(&keys().p256).await.unwrap();
    assert_eq!(server.asked("/moved"), 0);
    assert!(world.issuer().last_error().is_none());
}

#[tokio::test]
async fn whatever_the_metadata_is_there_are_no_keys_from_it() {
    let server = authorization_server(&[&keys().p256]).await;
    let mut bad = bad_answers(&server);
    bad.push(Reply::json(
        json!({"issuer": "https://evil.example", "jwks_uri": format!("{}/jwks", server.url)}).to_string(),
    ));
    bad.push(Reply::json(json!({"issuer": server.url}).to_string()));
    for bad in bad {
        server.answer(OIDC, bad.clone());
        let impatient =
            Issuer { timeout: Duration::from_secs(1), ..issuer(&server.url, KeySource::Discovery(None)) };
        let world = World::new(impatient);
        assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable), "{bad:?}");
    }
    assert_eq!(server.asked("/jwks"), 0);
}

#[tokio::test]
async fn good_keys_outlive_every_bad_answer() {
    let server = authorization_server(&[&keys().p256]).await;
    let quick = Issuer { timeout: Duration::from_secs(1), ..issuer(&server.url, KeySource::Discovery(None)) };
    let world = World::new(quick);
    world.judge_of(&keys().p256).await.unwrap();
    for path in ["/jwks", OIDC] {
        for bad in bad_answers(&server) {
            // Metadata that cannot be read leaves the endpoints that were known.
            let before = server.asked("/jwks");
            server.answer(path, bad);
            world.later(600);
            world.look().await;
            world.judge_of(&keys().p256).await.unwrap();
            assert_eq!(server.asked("/jwks"), before + 1);
        }
        publish(&server, &[&keys().p256]);
    }
}

#[tokio::test]
async fn operators_see_whether_the_name_the_connection_or_the_tls_fails() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let no_tls = format!("https://{}", silent.local_addr().unwrap());
    tokio::spawn(async move { while silent.accept().await.is_ok() {} });
    // Longer than a label may be (RFC 1035 section 2.3.4), so that nobody has to be asked.
    let no_name = format!("http://{}.invalid", "x".repeat(64));
    for (iss, why) in [
        (no_name, "its name has no address"),
        (nobody(), "no connection could be made"),
        (no_tls, "no TLS could be agreed on"),
    ] {
        let world = World::discovering(&iss);
        assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable));
        let error = world.issuer().last_error().unwrap();
        assert!(error.contains(why), "{error}");
        assert_eq!(error.matches("http").count(), 1, "its second place is on the same server: {error}");
    }
}

#[tokio::test]
async fn an_authorization_server_that_is_down_at_the_start_is_asked_again() {
    let world = World::discovering(&nobody());
    assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable));
    let error = world.issuer().last_error().unwrap();
    assert!(error.contains("no connection could be made"), "{error}");
    assert!(world.metric(r#"tollgate_key_fetches_total{issuer="demo",result="failed"} 1"#));
    // Within two seconds nobody asks again; after them the next token does.
    assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable));
    assert!(world.metric(r#"tollgate_key_fetches_total{issuer="demo",result="failed"} 1"#));
    world.later(2);
    assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable));
    assert!(world.metric(r#"tollgate_key_fetches_total{issuer="demo",result="failed"} 2"#));
}

#[tokio::test]
async fn the_log_says_that_keys_are_missing_once_and_when_they_are_there_and_when_they_change() {
    let lines = Lines::listen();
    let server = authorization_server(&[&keys().p256]).await;
    server.answer("/jwks", Reply::Status(500));
    let world = World::discovering(&server.url);
    for _ in 0..3 {
        world.look().await;
        world.later(2);
    }
    assert_eq!(lines.count("no keys of this issuer yet"), 1);
    assert_eq!(lines.count("it answered 500"), 1);
    publish(&server, &[&keys().p256]);
    world.look().await;
    assert_eq!(lines.count("the issuer's keys were read"), 1);
    let broken = json!({"kty": "oct", "k": "AAAA"});
    server.answer("/jwks", Reply::json(jwks(&[keys().ed.jwk(), broken])));
    world.later(600);
    world.look().await;
    assert_eq!(lines.count("the issuer's keys changed"), 1);
    assert_eq!(lines.count("a key of the issuer is not used"), 1);
    world.later(600);
    world.look().await;
    assert_eq!(lines.count("the issuer's keys"), 2);
    assert_eq!(lines.count("AAAA"), 0);
}

#[tokio::test]
async fn endpoints_are_discovered_in_one_flight_and_then_known() {
    let server = authorization_server(&[&keys().p256]).await;
    let world = World::discovering(&server.url);
    let all = join_all((0..20).map(|_| endpoints_by(world.means(), world.issuer()))).await;
    for endpoints in all {
        assert_eq!(endpoints.unwrap().token.as_ref().unwrap().path(), "/token");
    }
    assert_eq!(server.asked(OIDC), 1);
    server.answer(OIDC, Reply::Status(500));
    assert!(endpoints_by(world.means(), world.issuer()).await.is_ok());
}

#[tokio::test]
async fn endpoints_are_known_even_where_the_keys_cannot_be_read() {
    let server = authorization_server(&[]).await;
    let world = World::discovering(&server.url);
    assert!(endpoints_by(world.means(), world.issuer()).await.is_ok());
    let world = World::discovering(&nobody());
    let refused = endpoints_by(world.means(), world.issuer()).await;
    assert_eq!(refused.unwrap_err(), Denial::AuthorizationServerUnavailable);
}

#[tokio::test]
async fn a_token_that_is_wrong_anyway_costs_no_fetch() {
    let server = authorization_server(&[&keys().p256]).await;
    let world = World::discovering(&server.url);
    let base = with(testing::claims(), json!({"iss": server.url}));
    for (change, why) in [
        (json!({"exp": NOW.as_secs() - 60}), Denial::TokenExpired),
        (json!({"nonce": "x", "client_id": null}), Denial::WrongTokenType),
        (json!({"iss": "https://evil.example"}), Denial::UnknownIssuer),
        (json!({"cnf": {}}), Denial::BindingNotSupported),
    ] {
        let header = json!({"alg": "ES256", "kid": "p256"});
        let token = keys().p256.sign_as(&header, &with(base.clone(), change));
        assert_eq!(world.judge(&token).await.unwrap_err(), why);
    }
    assert_eq!((server.asked(RFC8414), server.asked("/jwks")), (0, 0));
}
