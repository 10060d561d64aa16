//! What an issuer says of a sign-out there means for the sessions here and the access tokens that they handed
//! out.

mod audited;
mod other_name;
mod two_issuers;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::core::revocation::{Kind, Rule};
use crate::core::token::testing::new_p256;
use crate::flows::backchannel_logout::{SignedOutByIssuer, backchannel_logout};
use crate::flows::ports::StoreFault;
use crate::flows::revoke::revoke;
use crate::flows::testing::lines::Lines;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// A logout token of two minutes, made now, with these claims changed.
fn logout_token(scene: &Scene, changes: Value) -> String {
    let now = scene.clock.now().as_secs();
    let claims = json!({
        "iss": AS, "aud": "web-app", "iat": now, "exp": now + 120, "jti": "logout-1", "events": { EVENT: {} },
    });
    let header = json!({"alg": "ES256", "kid": keys().p256.kid, "typ": "logout+jwt"});
    keys().p256.sign_as(&header, &with(claims, changes))
}

/// The same token of an issuer that does not say by which of its keys.
fn without_kid(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    keys().p256.sign_text(Algorithm::Es256, r#"{"alg":"ES256","typ":"logout+jwt"}"#, &claims)
}

pub(super) fn from_a_server() -> HeaderMap {
    let mut headers = headers(None);
    headers.remove(ORIGIN);
    headers
}

impl Scene {
    async fn is_told(&self, token: &str) -> Result<SignedOutByIssuer, Denial> {
        self.is_sent(&from_a_server(), &format!("logout_token={token}")).await
    }

    async fn is_sent(&self, headers: &HeaderMap, body: &str) -> Result<SignedOutByIssuer, Denial> {
        let head = head(&Method::POST, headers);
        backchannel_logout(&self.gate, &self.live, &head, body.as_bytes()).await
    }

    /// Signs in: the cookie, and an access token that says nothing of its session.
    pub(super) async fn signed_in(&self, sub: &str, sid: &str, jti: &str) -> (String, String) {
        let id_token =
            id_token(&json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": sub, "sid": sid }));
        self.signed_in_with(json!({ "jti": jti, "sub": sub }), Some(&id_token)).await
    }

    /// Whether session and access token are over, or neither is.
    pub(super) async fn is_out(&self, (cookie, token): &(String, String)) -> bool {
        let taken = self.takes(token).await;
        let grant = session_cookie::read(&self.live, &client(), &headers(Some(cookie))).unwrap().unwrap();
        *self.server.current.lock().unwrap() = grant.refresh_token.expose().clone();
        self.next(access_token(self, json!({ "jti": format!("next-{}", self.asked()), "sub": null })));
        let refreshed = self.refresh(cookie).await;
        if let Err(refusal) = &refreshed {
            assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
            assert!(clears(refusal.set_cookie.as_ref()));
            self.server.next.lock().unwrap().clear();
        }
        assert_eq!(taken, if refreshed.is_ok() { Ok(()) } else { Err(Denial::Revoked) });
        refreshed.is_err()
    }
}

#[tokio::test]
async fn a_sid_ends_the_one_session_and_what_it_handed_out_on_every_replica() {
    for claims in [json!({ "sid": "sid-1" }), json!({ "sid": "sid-1", "sub": "alice" })] {
        let scene = Scene::strict();
        let here = scene.signed_in("alice", "sid-1", "t").await;
        let there = scene.signed_in("alice", "sid-2", "u").await;
        let replica = scene.replica();
        let said = replica.is_told(&logout_token(&scene, claims.clone())).await.unwrap();
        assert_eq!(said.client, Some(ClientName::new("web")));
        assert_eq!(said.subject.as_deref(), claims["sub"].as_str());
        assert!(scene.is_out(&here).await, "{claims}");
        assert!(!scene.is_out(&there).await, "{claims}");
    }
}

/// Keycloak, when somebody takes back what they consented to: one client's part of a session ends, and it
/// goes on.
#[tokio::test]
async fn who_signs_in_again_in_the_same_session_at_the_issuer_is_in_and_what_was_before_stays_over() {
    let scene = Scene::strict();
    let before = scene.signed_in("alice", "sid-1", "t").await;
    // A token that was never handed out here, and says whose it is.
    let claims = json!({ "iss": AS, "sid": "sid-1", "jti": "elsewhere" });
    let elsewhere = keys().p256.sign(&with(claims_at(scene.clock.now()), claims));
    let made_at = scene.clock.now().as_secs();
    let claims = json!({ "sid": "sid-1", "sub": "alice", "iat": made_at, "exp": made_at + 120 });
    scene.is_told(&logout_token(&scene, claims.clone())).await.unwrap();
    assert_eq!(scene.takes(&elsewhere).await, Err(Denial::Revoked));
    scene.pass(61); // tokens are a minute old here
    let again = scene.signed_in("alice", "sid-1", "u").await;
    assert!(!scene.is_out(&again).await);
    for replica in [&scene, &scene.replica()] {
        assert!(replica.is_out(&before).await, "the old cookie and its access token");
        assert_eq!(replica.takes(&elsewhere).await, Err(Denial::Revoked));
    }
    // Sent again, late, it ends nothing that began since.
    let late = with(claims, json!({ "jti": "logout-2" }));
    scene.is_told(&logout_token(&scene, late)).await.unwrap();
    assert!(!scene.is_out(&again).await);
    // What an operator takes back stays so.
    let wanted = json!({ "kind": "sid", "value": "sid-1" });
    revoke(&scene.gate, vec![serde_json::from_value(wanted).unwrap()], None).await.unwrap();
    scene.pass(61);
    assert!(scene.is_out(&again).await);
}

/// The authorization server gave the code before the sign-out, and the browser was slow.
#[tokio::test]
async fn a_sign_in_that_was_under_way_at_the_sign_out_makes_no_session() {
    // Whatever access tokens its client takes, and whether the token names the session itself.
    for (accept_any_access_token, sid) in
        [(false, None), (true, None), (false, Some("sid-1")), (true, Some("sid-1"))]
    {
        let scene = Scene::with(Client { accept_any_access_token, ..client() }, Duration::from_secs(5));
        let token = logout_token(&scene, json!({ "sid": "sid-1" }));
        scene.is_told(&token).await.unwrap();
        scene.pass(2);
        let id_token = id_token(
            &json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": "alice", "sid": "sid-1" }),
        );
        let claims = json!({ "jti": "t", "sid": sid, "iat": scene.clock.now().as_secs() - 3 });
        let Instead::With(tokens) = access_token(&scene, claims) else { panic!("not tokens") };
        scene.next(Instead::With(with(tokens, json!({ "id_token": id_token }))));
        let refused = scene.post(None, &code_exchange()).await.unwrap_err().denial;
        assert_eq!(refused, Denial::SignInRevoked, "{accept_any_access_token} {sid:?}");
    }
}

#[tokio::test]
async fn a_sub_alone_ends_everything_that_the_person_began_by_then() {
    let scene = Scene::strict();
    let (here, there) = (scene.signed_in("alice", "1", "t").await, scene.signed_in("alice", "2", "u").await);
    let other = scene.signed_in("bob", "3", "v").await;
    scene.pass(10);
    let token = logout_token(&scene, json!({ "sub": "alice" }));
    scene.is_told(&token).await.unwrap();
    assert!(scene.is_out(&here).await && scene.is_out(&there).await);
    assert!(!scene.is_out(&other).await);
    scene.pass(61); // tokens are a minute old here
    assert!(
        !scene.is_out(&scene.signed_in("alice", "4", "w").await).await,
        "whoever signs in again is in again"
    );
}

#[tokio::test]
async fn a_token_that_comes_late_ends_no_session_that_began_after_it() {
    let scene = Scene::strict();
    let before = scene.signed_in("alice", "1", "t").await;
    let token = logout_token(&scene, json!({ "sub": "alice" }));
    scene.pass(95);
    let after = scene.signed_in("alice", "2", "u").await;
    scene.pass(10);
    scene.is_told(&token).await.unwrap();
    assert!(scene.is_out(&before).await);
    assert!(!scene.is_out(&after).await);
}

#[tokio::test]
async fn the_clock_of_an_issuer_may_differ_by_its_skew() {
    let moments = [(-20, 0), (0, 0), (20, 20), (-31, -1), (-100, -70)];
    let whose = [(Kind::Sub, json!({ "sub": "alice" })), (Kind::Sid, json!({ "sub": "alice", "sid": "s" }))];
    for ((iat, before), (kind, whose)) in
        moments.into_iter().flat_map(|moment| whose.clone().map(|whose| (moment, whose)))
    {
        let scene = Scene::strict();
        let now = scene.clock.now();
        let claims = with(whose, json!({ "iat": now.as_secs() + iat }));
        scene.is_told(&logout_token(&scene, claims)).await.unwrap();
        let made = scene.log.all();
        let [made] = &made[..] else { panic!("one revocation: {made:?}") };
        assert_eq!(made.target.kind, kind);
        assert_eq!(made.rule, Rule::Before(Timestamp::from_secs(now.as_secs() + before)), "{iat}");
        assert_eq!(
            (made.made_by.as_deref(), made.reason.as_deref()),
            (Some(AS), Some("back-channel logout"))
        );
    }
}

#[tokio::test]
async fn a_logout_token_is_good_once_on_all_replicas() {
    let scene = Scene::strict();
    let token = logout_token(&scene, json!({ "sub": "alice" }));
    scene.is_told(&token).await.unwrap();
    let over = Denial::LogoutTokenOver("The token was used before.");
    assert_eq!(scene.is_told(&token).await.unwrap_err(), over);
    assert_eq!(scene.replica().is_told(&token).await.unwrap_err(), over);
    // Another with its id is the same to the issuer.
    assert_eq!(scene.is_told(&logout_token(&scene, json!({ "sid": "sid-9" }))).await.unwrap_err(), over);
    scene.is_told(&logout_token(&scene, json!({ "sub": "alice", "jti": "logout-2" }))).await.unwrap();
    scene.pass(120 + 29);
    assert_eq!(scene.is_told(&token).await.unwrap_err(), over, "while it has not expired by any clock");
    assert_eq!(scene.store.len("logout"), 2);
    scene.pass(1);
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::LogoutTokenOver("The token has expired."));
    assert_eq!(scene.store.len("logout"), 0, "what has expired need not be known");
}

#[tokio::test]
async fn that_a_token_was_used_outlives_the_process() {
    let scene = Scene::strict();
    let token = logout_token(&scene, json!({ "sub": "alice" }));
    scene.store.loses_an_answer();
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::StoreUnavailable, "of a durable put");
    assert!(matches!(scene.is_told(&token).await, Err(Denial::LogoutTokenOver(_))));
    assert_eq!(scene.log.all().len(), 1);
}

#[tokio::test]
async fn while_it_cannot_be_written_down_the_issuer_is_told_to_send_it_again() {
    let scene = Scene::strict();
    let session = scene.signed_in("alice", "sid-1", "t").await;
    let token = logout_token(&scene, json!({ "sid": "sid-1" }));
    scene.log.set_away(true);
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::StoreUnavailable);
    assert!(!scene.is_out(&session).await);
    scene.log.set_away(false);
    scene.store.set_away(true);
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::StoreUnavailable);
    scene.store.set_away(false);
    scene.is_told(&token).await.unwrap();
    assert!(matches!(scene.is_told(&token).await, Err(Denial::LogoutTokenOver(_))));
    assert_eq!(scene.takes(&session.1).await, Err(Denial::Revoked));
}

#[tokio::test]
async fn what_a_key_signs_that_an_operator_took_back_signs_nobody_out() {
    let (kid, now) = (keys().p256.kid(), Scene::strict().clock.now().to_rfc3339());
    for (wanted, signs) in [
        (json!({ "kind": "kid", "value": kid }), false),
        (json!({ "kind": "kid", "value": kid, "issuer": "*" }), false),
        (json!({ "kind": "issuer", "value": "demo" }), false),
        // Dates what it issued, and says nothing of who signs.
        (json!({ "kind": "issuer", "value": "demo", "before": now }), true),
        (json!({ "kind": "kid", "value": "another" }), true),
    ] {
        let scene = Scene::strict();
        scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1", "jti": "before" }))).await.unwrap();
        revoke(&scene.gate, vec![serde_json::from_value(wanted.clone()).unwrap()], None).await.unwrap();
        let signed = |sid: &str| logout_token(&scene, json!({ "sid": sid, "jti": sid }));
        for (sid, token) in [("sid-2", signed("sid-2")), ("sid-3", without_kid(&signed("sid-3")))] {
            let told = scene.is_told(&token).await;
            let is_out = scene.log.all().iter().any(|entry| entry.target.value == sid);
            assert_eq!((told.is_ok(), is_out), (signs, signs), "{wanted} {sid}: {told:?}");
            if let Err(refusal) = told {
                assert!(
                    matches!(refusal, Denial::LogoutTokenForged(why) if why.contains("revoked")),
                    "{refusal:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn while_the_issuers_keys_are_away_it_is_told_to_send_it_again() {
    let scene = Scene::strict();
    let jwks = std::mem::replace(&mut *scene.server.jwks.lock().unwrap(), json!("nothing"));
    let token = logout_token(&scene, json!({ "sid": "sid-1" }));
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::KeysUnavailable);
    *scene.server.jwks.lock().unwrap() = jwks;
    scene.pass(3600);
    scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1" }))).await.unwrap();
}

/// Whoever sent it says of the answer no more than its status.
#[tokio::test]
async fn why_a_logout_token_is_refused_is_told_in_the_log() {
    let scene = Scene::strict();
    let lines = Lines::listen();
    assert!(scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1", "iat": null }))).await.is_err());
    assert_eq!(lines.count(r#"why="The token has no iat.""#), 1, "{}", lines.text());
}

#[tokio::test]
async fn what_a_key_signs_that_was_published_just_now_is_not_lost() {
    let scene = Scene::strict();
    scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1" }))).await.unwrap();
    let new = new_p256("brand-new");
    *scene.server.jwks.lock().unwrap() = json!({ "keys": [new.jwk()] });
    scene.pass(4);
    let now = scene.clock.now().as_secs();
    let claims = json!({ "iss": AS, "aud": "web-app", "iat": now, "exp": now + 120, "jti": "new", "sid": "sid-2", "events": { EVENT: {} } });
    let token = new.sign_as(&json!({"alg": "ES256", "kid": "brand-new", "typ": "logout+jwt"}), &claims);
    let rest = Duration::from_secs(6);
    assert_eq!(scene.is_told(&token).await.unwrap_err(), Denial::KeyNotKnownYet { retry_after: rest });
    scene.pass(6);
    scene.is_told(&token).await.unwrap();
}

#[tokio::test]
async fn keys_that_nobody_knows_cost_one_fetch_a_cooldown() {
    let scene = Scene::strict();
    scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1" }))).await.unwrap();
    let now = scene.clock.now().as_secs();
    for kid in ["x", "y", "z"] {
        let claims = json!({
            "iss": AS, "aud": "web-app", "iat": now, "exp": now + 120, "jti": kid, "sid": "sid-2",
            "events": { EVENT: {} },
        });
        let token = new_p256("x").sign_as(&json!({"alg": "ES256", "kid": kid}), &claims);
        let refused = scene.is_told(&token).await.unwrap_err();
        let rest = Duration::from_secs(10);
        assert_eq!(refused, Denial::KeyNotKnownYet { retry_after: rest }, "nobody was asked since it came");
        assert!(crate::core::brake::counts(&refused));
        scene.pass(10);
        let refused = scene.is_told(&token).await.unwrap_err();
        assert!(matches!(refused, Denial::LogoutTokenForged(why) if why.contains("does not publish")));
    }
    let text = String::from_utf8(scene.gate.metrics.render().unwrap()).unwrap();
    let fetches = text.lines().find(|line| line.starts_with("tollgate_key_fetches_total")).unwrap();
    let count: u32 = fetches.rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(count, 4, "{fetches}");
}

#[tokio::test]
async fn whatever_is_no_logout_token_of_a_server_changes_nothing() {
    let scene = Scene::strict();
    let token = logout_token(&scene, json!({ "sid": "sid-1" }));
    let form = format!("logout_token={token}");
    let with_header = |name: &'static str, value: &'static str| {
        let mut headers = from_a_server();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        headers
    };
    for headers in [
        headers(None),
        with_header("origin", "null"),
        with_header("sec-fetch-site", "cross-site"),
        with_header("content-type", "application/json"),
        with_header("content-type", "application/jwt"),
        HeaderMap::new(),
    ] {
        assert!(
            matches!(scene.is_sent(&headers, &form).await, Err(Denial::InvalidRequest(_))),
            "{headers:?}"
        );
    }
    for body in ["", "token=x", "logout_token=", &format!("{form}&{form}"), "logout_token=%ff"] {
        let refused = scene.is_sent(&from_a_server(), body).await;
        assert!(matches!(refused, Err(Denial::InvalidRequest(_))), "{body}");
    }
    let access_token = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({ "iss": AS })));
    let own_header = json!({"alg": "ES256", "kid": keys().p256.kid});
    let id_token = json!({ "aud": "web-app", "nonce": "n", "iss": AS });
    let id_token = keys().p256.sign_as(&own_header, &with(claims_at(scene.clock.now()), id_token));
    for text in
        ["x", &access_token, &id_token, &logout_token(&scene, json!({ "sid": "s", "iss": "https://x" }))]
    {
        let refused = scene.is_told(text).await;
        assert!(matches!(refused, Err(Denial::LogoutTokenRefused(_))), "{text}: {refused:?}");
    }
    assert!(scene.log.all().is_empty());
    assert_eq!(scene.store.puts(), 0);
    scene.is_sent(&from_a_server(), &format!("state=x&{form}&more=y")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_durable_and_came_late_ends_its_sessions_also_where_the_issuer_does_not_ask_again() {
    let mut scene = Scene::strict();
    let cut = scene.cut();
    let session = scene.signed_in("alice", "sid-1", "t").await;
    cut.loses_an_answer(StoreFault::NotHereYet);
    let refused = scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1" }))).await;
    assert_eq!(refused.unwrap_err(), Denial::StoreUnavailable);
    assert_eq!(scene.takes(&session.1).await, Ok(()), "nothing names it yet");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(scene.is_out(&session).await);
}
