//! What the list of revocations means for sessions and for the access tokens that they handed out.

mod again;
mod clock_set_back;
mod dated_back;
mod found;
mod in_part;
mod outages;
mod signed_out;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::*;
use crate::core::revocation::wanted::Wanted;
use crate::core::revocation::{Change, Kind, Revocation, Rule, Target, Whose};
use crate::core::token::LARGEST_CLOCK_SKEW;
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::ports::{RevocationLog as _, Store, StoreFault, StoreKey, Stored, Value as Kept, Version};
use crate::flows::revoke::{RevokeError, lift, revoke};
use crate::state::revocations::Revocations;

impl Scene {
    pub(super) async fn revoke(&self, wanted: Value) -> Result<Vec<Revocation>, RevokeError> {
        let wanted: Wanted = serde_json::from_value(wanted).unwrap();
        revoke(&self.gate, vec![wanted], None).await
    }

    /// Whether an access token is taken here now.
    pub(super) async fn takes(&self, token: &str) -> Result<(), Denial> {
        let brought = Brought::ByIssuer(&IssuerName::new("demo"), None);
        authenticate(&self.gate, &self.live, token, brought, self.clock.now()).await.map(drop)
    }

    /// Signs in with a token of these claims; the cookie and the token.
    pub(super) async fn signed_in_with(&self, claims: Value, id_token: Option<&str>) -> (String, String) {
        let Instead::With(mut members) = access_token(self, claims) else { unreachable!() };
        if let Some(id_token) = id_token {
            members["id_token"] = id_token.into();
        }
        self.next(Instead::With(members));
        let answer = self.sign_in().await;
        (cookie_of(&answer), body(&answer)["access_token"].as_str().unwrap().to_owned())
    }

    fn families(&self) -> Vec<String> {
        let named = |entry: &Revocation| entry.target.kind == Kind::Family;
        self.log.all().iter().filter(|entry| named(entry)).map(|entry| entry.target.value.clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_session_ends_at_its_next_exchange_and_at_the_server_too() {
    for wanted in [
        json!({ "kind": "sub", "value": "alice" }),
        json!({ "kind": "sub", "value": "alice", "block": true }),
        json!({ "kind": "sub", "value": "alice", "issuer": "*" }),
        json!({ "kind": "sid", "value": "sid-1" }),
        json!({ "kind": "client", "value": "web-app" }),
        json!({ "kind": "issuer", "value": "demo" }),
    ] {
        let scene = Scene::new();
        scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
        let cookie = scene.signed_in_cookie().await;
        scene.revoke(wanted.clone()).await.unwrap();
        for _ in 0..2 {
            let refusal = scene.refresh(&cookie).await.unwrap_err();
            assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{wanted}");
            assert!(clears(refusal.set_cookie.as_ref()));
        }
        scene.revoked(&["refresh-token-0"]).await;
        assert_eq!(scene.asked(), 1, "the server was asked for the sign-in alone");
        scene.counted("exchanges_total", "outcome=\"revoked\"", 2);
    }
}

#[tokio::test]
async fn others_and_whoever_signs_in_later_are_not_touched() {
    let scene = Scene::new();
    scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
    scene.revoke(json!({ "kind": "sid", "value": "sid-0" })).await.unwrap();
    scene.pass(1);
    for name in ["alice", "bob"] {
        scene.next(Instead::With(json!({ "id_token": id_token_of(name) })));
        let cookie = scene.signed_in_cookie().await;
        scene.revoke(json!({ "kind": "sub", "value": "mallory", "block": true })).await.unwrap();
        assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated", "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_person_cannot_sign_in_until_the_block_is_lifted() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("bob") })));
    let before = scene.signed_in_cookie().await;
    let made = scene.revoke(json!({ "kind": "sub", "value": "alice", "block": true })).await.unwrap();
    scene.pass(60);
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let refusal = scene.post(Some(&before), &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SignInRevoked);
    assert_eq!(refusal.set_cookie, None, "who is signed in stays so");
    scene.revoked(&["refresh-token-1"]).await;
    assert!(lift(&scene.gate, made[0].id()).await.unwrap().is_some());
    assert!(lift(&scene.gate, made[0].id()).await.unwrap().is_none(), "it is gone");
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    scene.sign_in().await;
}

#[tokio::test]
async fn an_access_token_is_refused_by_each_thing_that_names_it() {
    for wanted in [
        json!({ "kind": "jti", "value": "token-1" }),
        json!({ "kind": "jti", "value": "token-1", "issuer": "*" }),
        json!({ "kind": "sub", "value": "alice" }),
        json!({ "kind": "client", "value": "web-app" }),
        json!({ "kind": "kid", "value": keys().p256.kid }),
        json!({ "kind": "issuer", "value": "demo" }),
    ] {
        let scene = Scene::strict();
        let claims = json!({ "jti": "token-1", "sub": "alice", "client_id": "web-app" });
        let (_, token) = scene.signed_in_with(claims, None).await;
        assert_eq!(scene.takes(&token).await, Ok(()));
        scene.revoke(wanted.clone()).await.unwrap();
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{wanted}");
    }
}

#[tokio::test]
async fn a_session_takes_along_the_access_tokens_that_do_not_say_that_they_are_its() {
    for kind in ["sid", "family", "sub", "client"] {
        let scene = Scene::strict();
        // Neither session, nor client, nor subject as the ID token has it.
        let claims = json!({ "jti": "t", "sub": null, "client_id": null, "sid": null });
        let (_, others) =
            scene.signed_in_with(json!({ "jti": "o", "sub": "bob", "client_id": null }), None).await;
        let (cookie, first) = scene.signed_in_with(claims, Some(&id_token_of("alice"))).await;
        scene.pass(1);
        scene.next(access_token(&scene, json!({ "jti": "u", "sub": null, "client_id": null })));
        let again = scene.refresh(&cookie).await.unwrap();
        let second = body(&again)["access_token"].as_str().unwrap().to_owned();
        let value = match kind {
            "sid" => "sid-1".to_owned(),
            "sub" => "alice".to_owned(),
            "client" => "web-app".to_owned(),
            _ => session_cookie::read(&scene.live, &client(), &headers(Some(&cookie)))
                .unwrap()
                .unwrap()
                .family
                .to_string(),
        };
        let replica = scene.replica();
        replica.revoke(json!({ "kind": kind, "value": value })).await.unwrap();
        for token in [&first, &second] {
            assert_eq!(scene.takes(token).await, Err(Denial::Revoked), "{kind}");
        }
        assert_eq!(scene.takes(&others).await.is_ok(), kind != "client", "{kind}");
        let refusal = scene.refresh(&cookie_of(&again)).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{kind}");
    }
}

#[tokio::test]
async fn a_sid_reaches_tokens_that_do_not_say_it_where_the_first_one_did() {
    let scene = Scene::strict();
    let says = json!({ "jti": "t", "sid": "sid-1" });
    let (cookie, first) = scene.signed_in_with(says, Some(&id_token_of("alice"))).await;
    // Asked for with less scope.
    scene.next(access_token(&scene, json!({ "jti": "u" })));
    let again = scene.refresh(&cookie).await.unwrap();
    let second = body(&again)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.takes(&second).await, Ok(()));
    scene.replica().revoke(json!({ "kind": "sid", "value": "sid-1" })).await.unwrap();
    for token in [&first, &second] {
        assert_eq!(scene.takes(token).await, Err(Denial::Revoked));
    }
}

#[tokio::test]
async fn what_was_taken_back_by_name_is_refused_for_as_long_as_its_issuers_clock_lets_it_pass() {
    for is_taken_back_late in [false, true] {
        let mut slow = issuer(Duration::from_secs(5));
        slow.rules.clock_skew = LARGEST_CLOCK_SKEW;
        let scene = Scene::of(Client { accept_any_access_token: false, ..client() }, slow);
        let claims = json!({ "jti": "t", "sub": null, "client_id": null });
        let (cookie, token) = scene.signed_in_with(claims, Some(&id_token_of("alice"))).await;
        let sign_out = async || scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap();
        if !is_taken_back_late {
            sign_out().await;
        }
        // Five minutes and a second after its end.
        scene.pass(540 + 301);
        if is_taken_back_late {
            assert_eq!(scene.takes(&token).await, Ok(()));
            sign_out().await;
        }
        for seconds in [0, 298] {
            scene.pass(seconds);
            assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{is_taken_back_late} {seconds}");
        }
        scene.pass(1);
        assert_eq!(scene.takes(&token).await, Err(Denial::TokenExpired));
    }
}

#[tokio::test]
async fn a_watermark_reaches_what_a_session_handed_out_after_it() {
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    let before = scene.clock.now();
    scene.pass(200);
    scene.next(access_token(&scene, json!({ "jti": "u", "sub": "alice" })));
    let again = scene.refresh(&cookie).await.unwrap();
    let token = body(&again)["access_token"].as_str().unwrap().to_owned();
    let (_, later) = scene.signed_in_with(json!({ "jti": "v", "sub": "alice" }), None).await;
    let wanted = json!({ "kind": "sub", "value": "alice", "before": before.to_rfc3339() });
    scene.revoke(wanted).await.unwrap();
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
    assert_eq!(scene.takes(&later).await, Ok(()), "of a session that began after it");
}

#[tokio::test(start_paused = true)]
async fn whoever_came_after_a_block_was_lifted_stays() {
    let scene = Scene::new();
    let made = scene.revoke(json!({ "kind": "sub", "value": "alice", "block": true })).await.unwrap();
    lift(&scene.gate, made[0].id()).await.unwrap();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let cookie = scene.signed_in_cookie().await;
    // By then whoever blocked has looked once more.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_only_delays_the_second_look() {
    let scene = Scene::strict();
    scene.revoke(json!({ "kind": "sid", "value": "sid-1" })).await.unwrap();
    // As on a replica that does not know of it yet.
    let mut replica = scene.replica();
    Arc::get_mut(&mut replica.gate).unwrap().revocations = Arc::new(Revocations::new([1; 16]));
    replica.gate.revocations.mark_complete();
    let (_, token) = replica.signed_in_with(json!({ "jti": "t" }), Some(&id_token_of("alice"))).await;
    assert_eq!(scene.takes(&token).await, Ok(()), "nothing names it yet");
    scene.store.set_away(true);
    tokio::time::sleep(Duration::from_secs(10)).await;
    scene.store.set_away(false);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
}

/// Somebody takes back what is being noted, just before it can be found.
#[derive(Debug)]
struct RevokedWhileNoted {
    store: Arc<FakeStore>,
    log: Arc<MemoryLog>,
    revocation: Revocation,
}

impl Store for RevokedWhileNoted {
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
            self.log.append(&[Change::Add(self.revocation.clone())]).await?;
            self.store.put_if(key, expected, value).await
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_sign_in_that_is_taken_back_while_it_is_noted_brings_nothing() {
    let mut scene = Scene::strict();
    let target = Target { kind: Kind::Sid, whose: Whose::All, value: "sid-1".to_owned() };
    let revocation = Revocation::new(target, Rule::Outright, scene.clock.now());
    let (store, log) = (scene.store.clone(), scene.log.clone());
    Arc::get_mut(&mut scene.gate).unwrap().store = Arc::new(RevokedWhileNoted { store, log, revocation });
    let Instead::With(mut members) = access_token(&scene, json!({ "jti": "t" })) else { unreachable!() };
    members["id_token"] = id_token_of("alice").into();
    scene.next(Instead::With(members));
    let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SignInRevoked);
    scene.revoked(&["refresh-token-0"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_arrives_after_its_revocation_goes_to_nobody() {
    let scene = Scene::new();
    scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let refresh = scene.refresh(&cookie);
    let revoke = async {
        scene.arrived(2).await;
        scene.revoke(json!({ "kind": "sub", "value": "alice" })).await.unwrap();
        scene.server.answers.add_permits(PLENTY);
    };
    let (refusal, ()) = tokio::join!(refresh, revoke);
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
    assert!(clears(refusal.set_cookie.as_ref()));
    scene.revoked(&["refresh-token-1"]).await;
}

#[tokio::test]
async fn a_revoked_key_costs_no_session() {
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    let made = scene.revoke(json!({ "kind": "kid", "value": keys().p256.kid })).await.unwrap();
    scene.next(access_token(&scene, json!({ "jti": "u", "sub": "alice" })));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
    let next = refusal.set_cookie.unwrap();
    assert!(!clears(Some(&next)));
    scene.next(access_token(&scene, json!({ "jti": "v", "sub": "alice" })));
    assert!(scene.post(None, &code_exchange()).await.is_err(), "nobody signs in with it");
    lift(&scene.gate, made[0].id()).await.unwrap();
    scene.pass(31);
    let next = next.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned();
    *scene.server.current.lock().unwrap() = "refresh-token-1".into();
    scene.next(access_token(&scene, json!({ "jti": "w", "sub": "alice" })));
    assert_eq!(scene.refresh(&next).await.unwrap().outcome.label(), "rotated");
}

#[tokio::test]
async fn a_stolen_session_takes_its_access_tokens_along() {
    let scene = Scene::strict();
    let (stolen, first) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    scene.next(access_token(&scene, json!({ "jti": "u", "sub": "alice" })));
    let owned = scene.refresh(&stolen).await.unwrap();
    let second = body(&owned)["access_token"].as_str().unwrap().to_owned();
    scene.next(access_token(&scene, json!({ "jti": "v", "sub": "alice" })));
    scene.refresh(&cookie_of(&owned)).await.unwrap();
    scene.pass(31);
    let refusal = scene.refresh(&stolen).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert_eq!(scene.gate.errands.finished(std::time::Duration::from_secs(60)).await, 0);
    for token in [first, second] {
        assert_eq!(scene.replica().takes(&token).await, Err(Denial::Revoked));
    }
    assert_eq!(scene.families().len(), 1);
}

/// How a session comes to its end, of which a copy of the cookie is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    SignedOut,
    Spent,
    Idle,
    Revoked,
}

const EVERYWHERE: &str = "client_id=web-app&everywhere=true";

#[tokio::test]
async fn nothing_is_said_to_be_revoked_that_is_not_durable() {
    let scene = Scene::strict();
    let (cookie, token) = scene.signed_in_with(json!({ "jti": "t" }), None).await;
    scene.log.set_away(true);
    let refused = scene.revoke(json!({ "kind": "jti", "value": "t" })).await;
    assert!(matches!(refused, Err(RevokeError::Store(_))));
    assert_eq!(scene.takes(&token).await, Ok(()));
    let refusal = scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap_err();
    assert_eq!(refusal.denial, Denial::StoreUnavailable);
    scene.log.set_away(false);
    assert_eq!(scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap().status, 204);
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "when it is asked again");
}

#[tokio::test]
async fn while_the_list_is_not_known_nobody_passes_and_no_session_is_lost() {
    let scene = Scene::strict();
    let (cookie, token) = scene.signed_in_with(json!({ "jti": "t", "sub": "alice" }), None).await;
    let mut replica = scene.replica();
    Arc::get_mut(&mut replica.gate).unwrap().revocations = Arc::new(Revocations::new([1; 16]));
    assert_eq!(replica.takes(&token).await, Err(Denial::RevocationsUnavailable));
    let refusal = replica.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::RevocationsUnavailable);
    assert!(refusal.set_cookie.is_none());
    assert_eq!(scene.asked(), 1);
    scene.next(access_token(&scene, json!({ "jti": "u", "sub": "alice" })));
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "rotated");
}
