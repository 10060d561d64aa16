//! A gateway that takes tokens of two authorization servers: what one of them says is nothing of the other's,
//! and how long a revocation holds is reckoned for each by its own numbers.

use super::*;
use crate::core::revocation::{Revocation, Rule};
use crate::core::token::testing::{TestKey, new_p256};
use crate::state::exchanges::PUSHED_REQUESTS;

pub(super) const SECOND_AS: &str = "https://second-as.example";
const DAY: u64 = 24 * 3600;

/// Its numbers are others than those of [`issuer`].
fn second_issuer() -> Issuer {
    let first = issuer(Duration::from_secs(5));
    let name = IssuerName::new("second");
    let rules = TokenRules {
        issuer: name.clone(),
        iss: SECOND_AS.into(),
        clock_skew: Duration::from_secs(45),
        max_token_lifetime: Duration::from_secs(3600),
        client_ids: vec!["second-app".into()],
        ..first.rules.clone()
    };
    let keys = KeySource::JwksUri(format!("{SECOND_AS}/second/jwks").parse().unwrap());
    Issuer { name, rules, keys, ..first }
}

/// A client of the second, whose sessions may last for three days.
fn second_client() -> Client {
    Client {
        name: ClientName::new("second"),
        client_id: "second-app".into(),
        issuer: IssuerName::new("second"),
        absolute_timeout: Duration::from_secs(3 * DAY),
        cookie: CookieSettings { name: "__Secure-tollgate-second".into(), ..client().cookie },
        ..client()
    }
}

impl Scene {
    /// A scene with this client of the first, and the key by which the second signs.
    pub(super) fn of_two_issuers(client: Client) -> (Self, TestKey) {
        Self::of_two(client, second_issuer())
    }

    fn of_two(client: Client, second: Issuer) -> (Self, TestKey) {
        let first = issuer(Duration::from_secs(5));
        let scene = Self::with_issuers(vec![client, second_client()], vec![], vec![first, second]);
        let key = new_p256("second");
        *scene.server.second_jwks.lock().unwrap() = json!({ "keys": [key.jwk()] });
        (scene, key)
    }
}

fn strict_client() -> Client {
    Client { accept_any_access_token: false, ..client() }
}

/// What the first answers: a token that the second signed, for the same person and client.
fn of_the_second(scene: &Scene, key: &TestKey) -> Instead {
    let claims = with(claims_at(scene.clock.now()), json!({ "iss": SECOND_AS, "jti": "theirs" }));
    Instead::With(json!({ "access_token": key.sign(&claims), "scope": null }))
}

#[tokio::test]
async fn an_access_token_of_another_issuer_of_ours_is_never_handed_out() {
    for its_keys_are_away in [false, true] {
        let (scene, key) = Scene::of_two_issuers(strict_client());
        if its_keys_are_away {
            *scene.server.second_jwks.lock().unwrap() = json!("no keys");
        }
        scene.next(of_the_second(&scene, &key));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(
            (refusal.denial, refusal.set_cookie),
            (Denial::AnswerMismatch, None),
            "{its_keys_are_away}"
        );
        scene.revoked(&["refresh-token-0"]).await;

        scene.next(access_token(&scene, json!({})));
        let cookie = scene.signed_in_cookie().await;
        scene.next(of_the_second(&scene, &key));
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(
            (refusal.denial, refusal.set_cookie),
            (Denial::AnswerMismatch, None),
            "{its_keys_are_away}"
        );
        scene.revoked(&["refresh-token-0", "refresh-token-2"]).await;
        if !its_keys_are_away {
            let Instead::With(token) = of_the_second(&scene, &key) else { unreachable!() };
            assert_eq!(
                scene.takes(token["access_token"].as_str().unwrap()).await,
                Ok(()),
                "it is good in itself"
            );
        }
    }
}

/// Whoever waits for one that does not answer may do so for a minute, and nobody counts that as a denial.
#[tokio::test]
async fn what_waits_for_a_slow_one_takes_no_place_of_the_others() {
    let (scene, _) = Scene::of_two_issuers(client());
    let (exchanges, second) = (&scene.gate.exchanges, IssuerName::new("second"));
    let codes: Vec<_> = std::iter::from_fn(|| exchanges.begin_code_exchange(&second)).collect();
    let pushes: Vec<_> = std::iter::from_fn(|| exchanges.begin_push(&second)).collect();
    let refreshes: Vec<_> = std::iter::from_fn(|| exchanges.begin_passed_refresh(&second)).collect();
    assert_eq!(
        [codes.len(), pushes.len(), refreshes.len()],
        [CODE_EXCHANGES, PUSHED_REQUESTS, PASSED_REFRESHES]
    );
    scene.post(None, &code_exchange()).await.unwrap();
    let first = client().issuer;
    assert!(exchanges.begin_push(&first).is_some() && exchanges.begin_passed_refresh(&first).is_some());
}

/// The moment until which this is known, in seconds from now.
async fn holds_for(scene: &Scene, wanted: Value) -> u64 {
    let now = scene.clock.now();
    let made = scene.revoke(wanted.clone()).await.unwrap_or_else(|error| panic!("{wanted}: {error:?}"));
    let [Revocation { until: Some(until), .. }] = &made[..] else { panic!("{wanted}: {made:?}") };
    until.since(now).as_secs()
}

/// A token may be dated ahead by the skew, and pass for as long after its end.
#[tokio::test]
async fn a_revocation_holds_for_as_long_as_what_it_names_may_live_and_clocks_may_differ() {
    const FIRST: u64 = 7 * DAY + 2 * 30;
    // Of the second, by the longest life of its tokens: a session outlives them, or they a session.
    for (hours, second, all) in
        [(1, 3 * DAY + 2 * 45, 7 * DAY + 2 * 45), (240, 10 * DAY + 2 * 45, 10 * DAY + 2 * 45)]
    {
        let mut issuer = second_issuer();
        issuer.rules.max_token_lifetime = Duration::from_secs(hours * 3600);
        let week = Client { absolute_timeout: Duration::from_secs(7 * DAY), ..client() };
        let (scene, _) = Scene::of_two(week, issuer);
        for kind in ["sub", "sid", "client", "jti"] {
            for (issuer, expected) in [("demo", FIRST), ("second", second), ("*", all)] {
                let wanted = json!({ "kind": kind, "value": "x", "issuer": issuer });
                assert_eq!(holds_for(&scene, wanted.clone()).await, expected, "{wanted}");
            }
        }
        // Nobody says whose a family is.
        let family = json!({ "kind": "family", "value": "0".repeat(32) });
        assert_eq!(holds_for(&scene, family).await, all);
        let before = scene.clock.now().to_rfc3339();
        for (name, expected) in [("demo", FIRST), ("second", second)] {
            let wanted = json!({ "kind": "issuer", "value": name, "before": before });
            assert_eq!(holds_for(&scene, wanted.clone()).await, expected, "{wanted}");
        }
        let outright = scene.revoke(json!({ "kind": "issuer", "value": "second" })).await.unwrap();
        assert_eq!(outright[0].until, None, "until somebody takes it back");
    }
}

/// For what is found by its client's name alone the list is all there is.
#[tokio::test]
async fn a_session_that_was_taken_back_does_not_come_back_when_its_tokens_are_over() {
    let week = Client {
        idle_timeout: Duration::from_secs(6 * DAY),
        absolute_timeout: Duration::from_secs(7 * DAY),
        ..strict_client()
    };
    let (scene, _) = Scene::of_two_issuers(week);
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    scene.revoke(json!({ "kind": "client", "value": "web-app", "issuer": "demo" })).await.unwrap();
    scene.pass(25 * 3600);
    scene.next(access_token(&scene, json!({ "jti": "next" })));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked));
}

#[tokio::test]
async fn who_signs_out_everywhere_is_out_for_as_long_as_a_session_may_last() {
    let week = Client { absolute_timeout: Duration::from_secs(7 * DAY), ..strict_client() };
    let (scene, _) = Scene::of_two_issuers(week);
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let now = scene.clock.now();
    scene.delete(&headers(Some(&cookie)), "client_id=web-app&everywhere=true").await.unwrap();
    let until: Vec<_> = scene
        .log
        .all()
        .iter()
        .filter(|entry| entry.rule == Rule::Before(now))
        .map(|entry| entry.until)
        .collect();
    assert_eq!(until, [Some(now.plus(Duration::from_secs(7 * DAY + 60)))]);
}
