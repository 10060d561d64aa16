//! Several gateways that share a store, and a store that goes away.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::core::session::activity::Activity;
use crate::core::session::exchange::lease;
use crate::core::session::exchange::seal::Holder;
use crate::core::session::exchange::{Family, FlightId, RefreshRequest, Shape};
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::family::record;
use crate::flows::family::record::key;
use crate::flows::ports::{Store, StoreFault, StoreKey, Stored, Value as Kept, Version};

/// Waits until something holds; the tests' own deadline ends it otherwise.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

impl Scene {
    pub(super) fn grant_of(&self, cookie: &str) -> crate::core::session::grant::Grant {
        session_cookie::read(&self.live, &self.live.settings.clients[0], &headers(Some(cookie)))
            .unwrap()
            .unwrap()
    }

    /// The page uses its access token here.
    async fn uses(&self, answer: &serde_json::Value) {
        let token = answer["access_token"].as_str().unwrap();
        let now = self.clock.now();
        let brought = Brought::ByIssuer(&IssuerName::new("demo"), None);
        let verified = authenticate(&self.gate, &self.live, token, brought, now).await;
        receipts::note_use(&self.gate, &self.live, &verified.unwrap(), self.clock.now());
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
    }

    async fn family_of(&self, cookie: &str) -> Family {
        let found = self.store.get(&key(self.grant_of(cookie).family)).await.unwrap();
        Family::from_bytes(&found.value.unwrap().1).unwrap()
    }
}

#[tokio::test]
async fn three_replicas_cost_the_server_one_call_a_generation() {
    let first = Scene::new();
    let replicas = [first.replica(), first.replica(), first];
    let mut cookie = replicas[0].signed_in_cookie().await;
    for round in 1..=5 {
        let asked = replicas[0].asked();
        let burst = (0..60).map(|tab| replicas[tab % 3].refresh(&cookie));
        let answers: Vec<_> = join_all(burst).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(replicas[0].asked(), asked + 1, "round {round}");
        let cookies: Vec<_> = answers.iter().map(cookie_of).collect();
        assert!(cookies.iter().all(|next| *next == cookies[0]));
        let token = format!("access-token-{round}");
        assert!(answers.iter().all(|answer| body(answer)["access_token"] == token.as_str()));
        // A near miss: the old cookie comes after the flight has landed, elsewhere.
        let late = replicas[round % 3].refresh(&cookie).await.unwrap();
        assert_eq!((late.outcome.label(), cookie_of(&late)), ("answered_again", cookies[0].clone()));
        cookie.clone_from(&cookies[0]);
        replicas[0].pass(100);
    }
}

#[tokio::test]
async fn another_replica_waits_for_a_flight_and_gives_its_answer() {
    let one = Scene::new();
    let two = one.replica();
    let cookie = one.signed_in_cookie().await;
    one.server.answers.forget_permits(PLENTY);
    let (first, second, ()) = tokio::join!(
        one.refresh(&cookie),
        async {
            until("the first is at the server", || one.asked() == 1 && !one.gate.exchanges.is_empty()).await;
            until("its flight is noted", || one.store.puts() >= 2).await;
            two.refresh(&cookie).await
        },
        async {
            until("the other waits", || !two.gate.exchanges.is_empty()).await;
            one.server.answers.add_permits(1);
        }
    );
    assert_eq!(one.asked(), 2);
    assert_eq!(cookie_of(&first.unwrap()), cookie_of(&second.unwrap()));
}

#[tokio::test]
async fn a_replay_is_caught_on_every_replica_and_after_a_restart() {
    let one = Scene::new();
    let stolen = one.signed_in_cookie().await;
    let second = cookie_of(&one.refresh(&stolen).await.unwrap());
    one.replica().refresh(&second).await.unwrap();
    one.pass(31);
    let restarted = one.replica();
    let refusal = restarted.refresh(&stolen).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    let refusal = one.refresh(&second).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert!(clears(refusal.set_cookie.as_ref()));
    assert_eq!(one.asked(), 3);
}

/// The browser got the answer, its page uses the token at another replica, and nobody has presented the new
/// cookie.
#[tokio::test]
async fn a_token_that_is_used_proves_receipt_on_every_replica() {
    for is_used in [false, true] {
        let scene = Scene::strict();
        scene.next(access_token(&scene, json!({})));
        let first = scene.signed_in_cookie().await;
        scene.next(access_token(&scene, json!({ "jti": "second" })));
        let answer = body(&scene.refresh(&first).await.unwrap());
        if is_used {
            scene.replica().uses(&answer).await;
        }
        scene.pass(31);
        scene.next(access_token(&scene, json!({ "jti": "third" })));
        let again = scene.refresh(&first).await;
        if is_used {
            assert_eq!(again.unwrap_err().denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
        } else {
            assert_eq!(again.unwrap().outcome.label(), "recovered");
        }
    }
}

/// Some servers write no `client_id`, nor any other claim by which clients are known, into access tokens.
#[tokio::test]
async fn a_token_that_names_no_client_proves_receipt_as_any_other() {
    let scene = Scene::strict();
    let nameless = |jti: &str| access_token(&scene, json!({ "jti": jti, "client_id": null }));
    scene.next(nameless("first"));
    let stolen = scene.signed_in_cookie().await;
    scene.next(nameless("second"));
    let answer = body(&scene.refresh(&stolen).await.unwrap());
    scene.pass(31);
    scene.replica().uses(&answer).await;
    scene.next(nameless("third"));
    let again = scene.refresh(&stolen).await;
    assert_eq!(again.unwrap_err().denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
}

/// It is noted by its text then, and has an id once its issuer says so.
#[tokio::test]
async fn an_opaque_token_that_came_while_its_issuer_could_not_be_asked_proves_receipt() {
    let client = Client { accept_any_access_token: false, ..client() };
    let scene = Scene::of(client, introspecting_issuer());
    scene.next(access_token(&scene, json!({})));
    let first = scene.signed_in_cookie().await;
    scene.next(Instead::With(json!({ "access_token": "opaque-1", "scope": null })));
    let answer = body(&scene.refresh(&first).await.unwrap());
    let says =
        json!({ "active": true, "token_type": "Bearer", "aud": AUDIENCE, "jti": "opaque", "iss": null });
    *scene.server.introspection.lock().unwrap() = Some(with(claims_at(scene.clock.now()), says));
    // A failed introspection is not repeated at once.
    scene.pass(20);
    scene.uses(&answer).await;
    scene.pass(31);
    let again = scene.refresh(&first).await;
    assert_eq!(again.unwrap_err().denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
}

/// Although the store is away for a moment, for all or for writing, when the token is used for the first
/// time.
#[tokio::test]
async fn a_token_that_is_used_proves_receipt_although_the_store_failed_the_first_time() {
    for fails in [FakeStore::set_away, FakeStore::set_full] {
        let scene = Scene::strict();
        scene.next(access_token(&scene, json!({})));
        let first = scene.signed_in_cookie().await;
        scene.next(access_token(&scene, json!({ "jti": "second" })));
        let answer = body(&scene.refresh(&first).await.unwrap());
        let replica = scene.replica();
        fails(&scene.store, true);
        replica.uses(&answer).await;
        fails(&scene.store, false);
        let puts = scene.store.puts();
        replica.uses(&answer).await;
        assert_eq!(scene.store.puts(), puts, "not with every request of an outage");
        scene.pass(2);
        replica.uses(&answer).await;
        assert_eq!(scene.store.puts(), puts + 1);
        scene.pass(29);
        let again = scene.refresh(&first).await;
        assert_eq!(again.unwrap_err().denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
        // Once it is said nobody asks any more.
        let puts = scene.store.puts();
        replica.uses(&answer).await;
        assert_eq!(scene.store.puts(), puts);
    }
}

/// The store takes an exchange, and fails right after it, when it is noted which session the access token is
/// of.
#[tokio::test(start_paused = true)]
async fn which_session_a_token_is_of_is_noted_although_the_store_failed_the_first_time() {
    for was_used_before in [false, true] {
        let mut scene = Scene::strict();
        scene.next(access_token(&scene, json!({})));
        let first = scene.signed_in_cookie().await;
        let fails = Arc::new(FailsOnce { store: scene.store.clone(), failed: AtomicBool::new(false) });
        Arc::get_mut(&mut scene.gate).unwrap().store = fails.clone();
        let issued_at = scene.clock.now().as_secs();
        scene.next(access_token(&scene, json!({ "jti": "second", "iat": issued_at })));
        let answer = body(&scene.refresh(&first).await.unwrap());
        let replica = scene.replica();
        if was_used_before {
            replica.uses(&answer).await;
        }
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
        assert!(fails.failed.load(Ordering::SeqCst));
        scene.pass(15);
        replica.uses(&answer).await;
        scene.pass(16);
        let again = scene.refresh(&first).await;
        assert_eq!(again.unwrap_err().denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    }
}

/// Does not take the first note of a token.
#[derive(Debug)]
struct FailsOnce {
    store: Arc<FakeStore>,
    failed: AtomicBool,
}

impl Store for FailsOnce {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        self.store.get(key)
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Kept,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            if key.as_str().starts_with("token:") && !self.failed.swap(true, Ordering::SeqCst) {
                return Err(StoreFault::Unavailable("it is away in this test".to_owned()));
            }
            self.store.put_if(key, expected, value).await
        }
        .boxed()
    }
}

/// It came without the cookie, as a later generation was known, so the browser still has the one before.
#[tokio::test]
async fn a_token_that_came_without_its_cookie_proves_nothing() {
    let scene = Scene::strict();
    let token = |name: &str| access_token(&scene, json!({ "jti": name, "scope": "api:read x" }));
    scene.next(token("first"));
    let first = scene.signed_in_cookie().await;
    scene.next(token("lost"));
    scene.refresh(&first).await.unwrap();
    scene.next(token("lost too"));
    let narrow = "grant_type=refresh_token&client_id=web-app&scope=api:read";
    scene.post(Some(&first), narrow).await.unwrap();
    let answer = scene.refresh(&first).await.unwrap();
    assert_eq!((answer.outcome.label(), &answer.set_cookie), ("answered_again", &None));
    scene.uses(&body(&answer)).await;
    scene.pass(31);
    scene.next(token("found"));
    assert_eq!(scene.refresh(&first).await.unwrap().outcome.label(), "recovered");
}

#[tokio::test]
async fn sign_out_on_one_replica_counts_on_all() {
    let one = Scene::new();
    let cookie = one.signed_in_cookie().await;
    one.replica().delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
    let refusal = one.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
}

/// A replica notes its flight, and dies.
async fn nobody_flies(scene: &Scene, cookie: &str, sent: bool) {
    let grant = scene.grant_of(cookie);
    let shape = Shape { resource: Some("https://api.example".into()), ..Shape::default() };
    let windows = windows(&scene.live, &scene.live.settings.clients[0]);
    let noted = record::change(&scene.gate, &grant, windows.timeouts, |family, now| {
        let asked = RefreshRequest { shape: &shape, activity: Activity::Use, flight: FlightId(7) };
        family.present(&grant, asked, windows, now);
        sent && family.begin_sending(FlightId(7))
    });
    assert_eq!(noted.await, Ok(sent));
}

#[tokio::test]
async fn a_flight_that_shows_no_life_is_given_up_and_the_next_request_begins_another() {
    let scene = Scene::with(client(), Duration::from_secs(60));
    let cookie = scene.signed_in_cookie().await;
    nobody_flies(&scene, &cookie, false).await;
    let began = std::time::Instant::now();
    let answer = scene.refresh(&cookie).await.unwrap();
    assert_eq!((answer.outcome.label(), scene.asked()), ("rotated", 2));
    assert!(began.elapsed() >= lease::LEASE, "not before the lease is over");
}

/// Its replica may have lost the store alone, and have an answer that replaced the refresh token.
#[tokio::test]
async fn a_flight_whose_request_has_left_keeps_its_lease_for_longer_than_an_answer_may_take() {
    let scene = Scene::with(client(), lease::LEASE + Duration::from_secs(2));
    let cookie = scene.signed_in_cookie().await;
    nobody_flies(&scene, &cookie, true).await;
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::AuthorizationServerUnavailable, 1));
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_costs_no_session() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.store.set_away(true);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    assert!(refusal.set_cookie.is_none());
    let refusal = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    assert!(refusal.set_cookie.is_none(), "who is not signed out keeps the cookie");
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    assert_eq!(scene.asked(), 1, "neither a cookie nor a code was spent");
    scene.store.set_away(false);
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn what_came_while_the_store_was_away_is_kept_when_it_is_back() {
    let scene = Scene::with(client(), Duration::from_millis(100));
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
    scene.store.set_away(true);
    scene.server.answers.add_permits(1);
    until("the server replaced the token", || scene.server.made.load(Ordering::SeqCst) == 2).await;
    assert_eq!(scene.refresh(&cookie).await.unwrap_err().denial, Denial::StoreUnavailable);
    scene.store.set_away(false);
    until("it landed", || scene.gate.exchanges.is_empty()).await;
    let answer = scene.replica().refresh(&cookie).await.unwrap();
    assert_eq!((answer.outcome.label(), scene.asked()), ("answered_again", 2));
    assert_eq!(body(&answer)["access_token"], "access-token-1");
}

#[tokio::test]
async fn an_answer_that_is_in_the_store_without_our_knowing_is_the_one_that_everybody_gets() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.store.loses_an_answer();
    let first = cookie_of(&scene.refresh(&cookie).await.unwrap());
    assert_eq!(first, cookie_of(&scene.replica().refresh(&cookie).await.unwrap()));
    assert_eq!(scene.asked(), 2);
    // What is kept for its holder opens with it.
    scene.refresh(&first).await.unwrap();
    assert!(scene.replica().refresh(&first).await.is_ok());
}

#[tokio::test]
async fn a_session_that_an_answer_ends_is_ended_when_the_store_is_back() {
    let scene = Scene::with(client(), Duration::from_millis(100));
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    assert!(scene.refresh(&cookie).await.is_err());
    scene.store.set_away(true);
    scene.next(Instead::With(json!({ "id_token": id_token_of("mallory") })));
    scene.server.answers.add_permits(1);
    until("the server replaced the token", || scene.server.made.load(Ordering::SeqCst) == 2).await;
    assert_eq!(scene.refresh(&cookie).await.unwrap_err().denial, Denial::StoreUnavailable);
    scene.store.set_away(false);
    until("its end is in the store", || scene.gate.exchanges.is_empty()).await;
    let refusal = scene.replica().refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    scene.revoked(&["refresh-token-1"]).await;
}

#[tokio::test]
async fn what_does_not_open_leaves_no_flight_that_others_wait_for() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    scene.pass(31);
    let mut other = scene.grant_of(&cookie);
    other.seed = Secret::new([9; 32]);
    let client = &scene.live.settings.clients[0];
    let other = session_cookie::seal(&scene.gate, &scene.live, client, &other).unwrap();
    let refusal = scene.refresh(other.expose()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    assert!(refusal.set_cookie.is_none());
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "recovered");
}

/// Whether it is in the store is not known; the session may be over for everybody.
#[tokio::test]
async fn an_end_that_the_store_did_not_confirm_is_carried_out_at_the_server() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let headers = headers(Some(&cookie));
    scene.store.loses_an_answer();
    let refusal = scene.delete(&headers, "client_id=web-app").await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    assert!(refusal.set_cookie.is_none());
    scene.revoked(&["refresh-token-0"]).await;
    // Asked again, it is done again: nobody knows whether it was before. The server was told.
    scene.delete(&headers, "client_id=web-app").await.unwrap();
    scene.revoked(&["refresh-token-0"]).await;

    let scene = Scene::new();
    let stolen = scene.signed_in_cookie().await;
    let second = cookie_of(&scene.refresh(&stolen).await.unwrap());
    scene.refresh(&second).await.unwrap();
    scene.pass(31);
    scene.store.loses_an_answer();
    let refusal = scene.refresh(&stolen).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    scene.revoked(&["refresh-token-0"]).await;
    scene.counted("exchanges_total", "outcome=\"reuse_detected\"", 1);
    assert!(clears(scene.refresh(&stolen).await.unwrap_err().set_cookie.as_ref()));
}

#[tokio::test]
async fn a_family_that_ended_meanwhile_gets_no_cookie_and_its_new_token_is_revoked() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let (refreshed, ()) = tokio::join!(scene.refresh(&cookie), async {
        scene.arrived(2).await;
        scene.replica().delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        scene.server.answers.add_permits(1);
    });
    let refusal = refreshed.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.revoked(&["refresh-token-0", "refresh-token-1"]).await;
}

#[tokio::test]
async fn a_family_knows_the_access_tokens_that_it_handed_out() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    assert_eq!(scene.family_of(&cookie).await.issued().len(), 1);
    let next = cookie_of(&scene.refresh(&cookie).await.unwrap());
    let family = scene.family_of(&next).await;
    let generations: Vec<_> = family.issued().iter().map(|token| token.generation).collect();
    assert_eq!(generations, [0, 1]);
    // With a long `clock_skew`, and a clock that is behind, a replica may take them for a while still.
    scene.pass(300 + 600 + 301);
    scene.refresh(&next).await.unwrap();
    assert_eq!(scene.family_of(&next).await.issued().len(), 1, "those that ended are forgotten");
}

#[tokio::test]
async fn nothing_in_the_store_becomes_a_token_without_the_cookie() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    let held = scene.store.all_bytes();
    assert!(held.windows(16).any(|found| found == b"https://as.examp"), "what is in the clear is found");
    for secret in ["access-token", "refresh-token", cookie.as_str(), &cookie[..24]] {
        assert!(!held.windows(secret.len()).any(|found| found == secret.as_bytes()), "{secret}");
    }
    let family = scene.family_of(&cookie).await;
    assert!(Holder::of(&scene.grant_of(&cookie)).reach(&family, 1).is_some(), "the cookie leads on");
}
