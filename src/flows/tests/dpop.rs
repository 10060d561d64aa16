//! Pages that prove a key (RFC 9449 section 5): whom their proof reaches, and to whom an answer goes that is
//! bound to it.
//!
//! - `room`: who finds room among the proofs that were used

mod room;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::*;
use crate::core::brake::Tally;
use crate::core::digest::of_parts;
use crate::core::path::CanonicalPath;
use crate::core::route::policy::Access;
use crate::core::session::activity::Activity;
use crate::core::session::exchange::Shape;
use crate::core::time::Timestamp;
use crate::core::token::binding::Thumbprint;
use crate::core::token::dpop::{DPOP, Proof, ValidProof};
use crate::core::token::testing::TestKey;
use crate::flows::authenticate::authenticate;
use crate::flows::brought::Brought;
use crate::flows::prove_possession::Presentation;
use crate::state::used_proofs::{Holder, Use, UsedProofs};

const REFRESH: &str = "grant_type=refresh_token&client_id=web-app";

/// A proof for the token endpoint of the AS.
fn proof(scene: &Scene, key: &TestKey, jti: &str) -> String {
    proof_with(scene, key, json!({ "jti": jti }))
}

fn proof_with(scene: &Scene, key: &TestKey, changes: Value) -> String {
    let claims = json!({ "htm": "POST", "htu": format!("{AS}/token"), "iat": scene.clock.now().as_secs() });
    let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm.name(), "jwk": key.jwk() });
    key.sign_as(&header, &with(claims, changes))
}

fn thumbprint(key: &TestKey) -> Thumbprint {
    let scene = Scene::new();
    let proof = proof(&scene, key, "any");
    Proof::parse(&proof).unwrap().key()
}

fn with_proofs(cookie: Option<&str>, proofs: &[&str]) -> HeaderMap {
    let mut headers = headers(cookie);
    for proof in proofs {
        headers.append(DPOP, HeaderValue::try_from(*proof).unwrap());
    }
    headers
}

impl Scene {
    async fn prove(&self, cookie: &str, proof: &str) -> Result<OAuthAnswer, OAuthRefusal> {
        self.send(with_proofs(Some(cookie), &[proof]), REFRESH).await
    }

    /// The proofs that reached the AS with a refresh token.
    fn relayed(&self) -> Vec<Option<String>> {
        let asked = self.server.token_requests.lock().unwrap();
        let refreshes = asked.iter().filter(|(_, body)| body.contains("grant_type=refresh_token"));
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        refreshes.map(|(headers, _)| headers.get(DPOP).map(text)).collect()
    }
}

/// An access token that is bound to this key, as its AS says.
fn bound_to(scene: &Scene, key: Thumbprint) -> Instead {
    let Instead::With(mut members) = access_token(scene, json!({ "cnf": { "jkt": key.to_string() } })) else {
        panic!()
    };
    members["token_type"] = json!("DPoP");
    Instead::With(members)
}

#[tokio::test]
async fn a_proof_goes_on_as_it_came_and_the_bound_token_back() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let (key, sent) = (&keys().p256, proof(&scene, &keys().p256, "p-1"));
    scene.next(bound_to(&scene, thumbprint(key)));
    let answer = scene.prove(&cookie, &sent).await.unwrap();
    assert_eq!(body(&answer)["token_type"], "DPoP");
    assert_eq!(scene.relayed(), [Some(sent)]);
    // A page without a key goes on as ever.
    let next = cookie_of(&answer);
    scene.next(access_token(&scene, json!({ "jti": "t-2" })));
    assert_eq!(body(&scene.refresh(&next).await.unwrap())["token_type"], "Bearer");
    assert_eq!(scene.relayed().last(), Some(&None));
}

#[tokio::test]
async fn a_code_is_exchanged_with_the_proof_of_its_page() {
    let scene = Scene::strict();
    let sent = proof(&scene, &keys().ed, "p-1");
    scene.next(bound_to(&scene, thumbprint(&keys().ed)));
    let answer = scene.send(with_proofs(None, &[&sent]), &code_exchange()).await.unwrap();
    assert_eq!(body(&answer)["token_type"], "DPoP");
    let asked = scene.server.token_requests.lock().unwrap();
    assert_eq!(asked[0].0.get(DPOP).unwrap().to_str().unwrap(), sent);
}

#[tokio::test]
async fn what_is_no_proof_for_the_authorization_server_reaches_it_never_and_costs_no_session() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let key = &keys().p256;
    let good = proof(&scene, key, "p-1");
    let (signed, _) = good.rsplit_once('.').unwrap();
    let now = scene.clock.now().as_secs();
    let changed = |changes: Value| proof_with(&scene, key, with(json!({ "jti": "p-2" }), changes));
    for (what, proofs) in [
        ("two", vec![good.clone(), proof(&scene, key, "p-3")]),
        ("no JWT", vec!["x".to_owned()]),
        ("not signed", vec![format!("{signed}.{}", "A".repeat(86))]),
        ("for another place", vec![changed(json!({ "htu": format!("{OWN}/oauth/token") }))]),
        ("of another method", vec![changed(json!({ "htm": "GET" }))]),
        ("old", vec![changed(json!({ "iat": now - 91 }))]),
        ("without a name", vec![changed(json!({ "jti": null }))]),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let refusal = scene.send(with_proofs(Some(&cookie), &proofs), REFRESH).await.unwrap_err();
        match what {
            "not signed" => assert_eq!(refusal.denial, Denial::DpopProofForged),
            _ => {
                assert!(
                    matches!(refusal.denial, Denial::InvalidDpopProof(_)),
                    "{what}: {:?}",
                    refusal.denial
                );
            }
        }
        let counts = crate::core::brake::counts(&refusal.denial);
        assert_eq!(counts, what == "not signed", "an honest page's clock and addresses brake nobody");
        assert_eq!(refusal.denial.facts().status, StatusCode::BAD_REQUEST, "{what}");
        assert!(refusal.set_cookie.is_none(), "{what}");
    }
    assert_eq!(scene.asked(), 1, "the sign-in alone");
    scene.counted("exchanges_total", "outcome=\"refused\"", 7);
    assert_eq!(scene.prove(&cookie, &good).await.unwrap().outcome.label(), "rotated");
    assert_eq!(scene.prove(&cookie, &good).await.unwrap_err().denial, Denial::DpopProofReplayed);
}

#[tokio::test]
async fn a_proof_that_was_used_is_known_before_its_signature_is_looked_at_and_only_its_holder_uses_it_up() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let good = proof(&scene, &keys().p256, "p-1");
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    for _ in 0..3 {
        assert_eq!(scene.prove(&cookie, &forged).await.unwrap_err().denial, Denial::DpopProofForged);
    }
    assert_eq!(scene.prove(&cookie, &good).await.unwrap().outcome.label(), "rotated");
    for sent in [&good, &forged] {
        let denial = scene.prove(&cookie, sent).await.unwrap_err().denial;
        assert_eq!(denial, Denial::DpopProofReplayed);
        assert!(crate::core::brake::counts(&denial));
        assert_eq!(
            (denial.facts().status, denial.facts().oauth_error),
            (StatusCode::BAD_REQUEST, Some("invalid_dpop_proof"))
        );
    }
}

#[tokio::test]
async fn an_answer_is_given_again_to_its_key_on_every_replica_and_to_no_other() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let (one, other) = (&keys().p256, &keys().ed);
    scene.next(bound_to(&scene, thumbprint(one)));
    let first = body(&scene.prove(&cookie, &proof(&scene, one, "p-1")).await.unwrap());
    for (number, replica) in [scene.replica(), scene.replica()].into_iter().enumerate() {
        let answer = replica.prove(&cookie, &proof(&scene, one, &format!("r-{number}"))).await.unwrap();
        assert_eq!(
            (answer.outcome.label(), &body(&answer)["access_token"]),
            ("answered_again", &first["access_token"])
        );
    }
    let asked = scene.asked();
    // Another key, and none: each is exchanged in turn, with the successor's grant.
    scene.next(bound_to(&scene, thumbprint(other)));
    let of_other = scene.replica().prove(&cookie, &proof(&scene, other, "p-1")).await.unwrap();
    assert_ne!(body(&of_other)["access_token"], first["access_token"]);
    scene.next(access_token(&scene, json!({ "jti": "t-3" })));
    let of_none = scene.refresh(&cookie).await.unwrap();
    assert_eq!(body(&of_none)["token_type"], "Bearer");
    assert_eq!(scene.asked(), asked + 2);
    // Whoever has the cookie, and a proof that somebody else made for another moment, gets nothing.
    scene.pass(20);
    let old = proof_with(&scene, one, json!({ "jti": "p-9", "iat": scene.clock.now().as_secs() - 100 }));
    assert!(matches!(scene.prove(&cookie, &old).await.unwrap_err().denial, Denial::InvalidDpopProof(_)));
}

#[tokio::test]
async fn tabs_that_ask_at_once_share_one_call_for_each_key() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let (one, other) = (&keys().p256, &keys().p384);
    scene.next(bound_to(&scene, thumbprint(one)));
    scene.server.answers.forget_permits(PLENTY);
    let mine = proof(&scene, one, "p-0");
    let tabs = async {
        scene.arrived(2).await;
        let joins = (1..5).map(|tab| proof(&scene, one, &format!("p-{tab}"))).collect::<Vec<_>>();
        let joined = join_all(joins.iter().map(|proof| scene.prove(&cookie, proof)));
        let theirs = proof(&scene, other, "p-1");
        let waits = scene.prove(&cookie, &theirs);
        let lands = async {
            // All of them are on their way by now, or come a moment later to the same answer.
            scene.next(bound_to(&scene, thumbprint(other)));
            scene.server.answers.add_permits(PLENTY);
        };
        let (joined, waited, ()) = tokio::join!(joined, waits, lands);
        (joined, waited)
    };
    let (first, (joined, waited)) = tokio::join!(scene.prove(&cookie, &mine), tabs);
    let first = body(&first.unwrap())["access_token"].clone();
    for answer in joined {
        assert_eq!(body(&answer.unwrap())["access_token"], first);
    }
    assert_ne!(body(&waited.unwrap())["access_token"], first);
    assert_eq!(scene.relayed().len(), 2, "one call for each key");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_nobody_proved_goes_to_nobody() {
    let mallory = thumbprint(&keys().ed);
    for accepts_any in [false, true] {
        let scene =
            Scene::with(Client { accept_any_access_token: accepts_any, ..client() }, Duration::from_secs(5));
        scene.next(access_token(&scene, json!({})));
        let mut cookie = scene.signed_in_cookie().await;
        let [sent, second, third] = ["p-1", "p-2", "p-3"].map(|jti| proof(&scene, &keys().p256, jti));
        let opaque = Instead::With(json!({ "access_token": "opaque", "token_type": "dpop" }));
        for (proof, instead) in [
            (Some(&sent), bound_to(&scene, mallory)),
            (None, bound_to(&scene, mallory)),
            // By the word of the AS alone.
            (None, opaque),
            // Not for here, and by the word of the token alone.
            (Some(&second), elsewhere(&scene, mallory)),
            (None, elsewhere(&scene, mallory)),
        ] {
            scene.next(instead);
            let result = match proof {
                Some(proof) => scene.prove(&cookie, proof).await,
                None => scene.refresh(&cookie).await,
            };
            let refusal = result.unwrap_err();
            assert_eq!(refusal.denial, Denial::AccessTokenUnusable, "{accepts_any}");
            // The session goes on.
            let next = refusal.set_cookie.unwrap().to_str().unwrap().to_owned();
            let next = next.strip_prefix(&format!("{COOKIE_NAME}=")).unwrap();
            next.split(';').next().unwrap().clone_into(&mut cookie);
        }
        scene.next(access_token(&scene, json!({ "jti": "t-9" })));
        let cookie = cookie_of(&scene.refresh(&cookie).await.unwrap());
        // Of the key that was proven it is what the client says that it takes.
        scene.next(elsewhere(&scene, thumbprint(&keys().p256)));
        assert_eq!(scene.prove(&cookie, &third).await.is_ok(), accepts_any);
    }
}

/// An access token for other APIs that is bound to this key, which its AS does not say.
fn elsewhere(scene: &Scene, key: Thumbprint) -> Instead {
    access_token(scene, json!({ "aud": "https://elsewhere.example", "cnf": { "jkt": key.to_string() } }))
}

#[tokio::test]
async fn whose_key_a_token_is_for_is_seen_while_the_keys_of_its_issuer_are_away() {
    let before = Scene::strict();
    before.next(access_token(&before, json!({})));
    let cookie = before.signed_in_cookie().await;
    // A gateway that never had the keys.
    let scene = Scene::strict();
    *scene.server.jwks.lock().unwrap() = json!("no keys");
    "refresh-token-0".clone_into(&mut scene.server.current.lock().unwrap());
    let key = &keys().p256;
    scene.next(bound_to(&scene, thumbprint(key)));
    let cookie = cookie_of(&scene.prove(&cookie, &proof(&scene, key, "p-1")).await.unwrap());
    scene.next(bound_to(&scene, thumbprint(&keys().ed)));
    let refusal = scene.prove(&cookie, &proof(&scene, key, "p-2")).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
}

#[tokio::test]
async fn nonces_of_the_authorization_server_come_back_and_its_wish_for_one_costs_no_session() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let wants = json!({ "error": "use_dpop_nonce", "error_description": "nonce is required" });
    scene.server.nonces.lock().unwrap().extend(["n-1", "n-2"].map(str::to_owned));
    scene.next(Instead::Answer(400, "application/json", wants.to_string()));
    let refusal = scene.prove(&cookie, &proof(&scene, &keys().p256, "p-1")).await.unwrap_err();
    let Denial::FromAuthorizationServer(said) = &refusal.denial else { panic!("{:?}", refusal.denial) };
    assert_eq!((said.error.as_str(), said.dpop_nonce.as_deref()), ("use_dpop_nonce", Some("n-1")));
    assert!(refusal.set_cookie.is_none());
    // It is not remembered: the next one is asked for, with the nonce, whatever the page's clock says.
    let late = json!({ "jti": "p-2", "nonce": "n-1", "iat": scene.clock.now().as_secs() - 3600 });
    let answer = scene.prove(&cookie, &proof_with(&scene, &keys().p256, late)).await.unwrap();
    assert_eq!(
        (answer.outcome.label(), answer.dpop_nonce.as_ref().unwrap().to_str().unwrap()),
        ("rotated", "n-2")
    );
    // And given again with the answer.
    let again = scene.replica().prove(&cookie, &proof(&scene, &keys().p256, "p-3")).await.unwrap();
    assert_eq!(
        (again.outcome.label(), again.dpop_nonce.unwrap().to_str().unwrap()),
        ("answered_again", "n-2")
    );
    for none in ["", "a b", "a\"b", &"n".repeat(1001)] {
        scene.server.nonces.lock().unwrap().push_back(none.to_owned());
        let cookie = scene.signed_in_cookie().await;
        assert!(scene.refresh(&cookie).await.unwrap().dpop_nonce.is_none(), "{none:?}");
    }
}

#[tokio::test]
async fn whoever_has_no_session_any_more_has_no_proof_looked_at() {
    for ended_by in ["revocation", "sign-out", "timeout", "theft"] {
        let scene = Scene::new();
        let cookie = scene.signed_in_cookie().await;
        match ended_by {
            "revocation" => {
                drop(scene.revoke(json!({ "kind": "client", "value": "web-app" })).await.unwrap())
            }
            "sign-out" => drop(scene.delete(&headers(Some(&cookie)), "client_id=web-app").await.unwrap()),
            "timeout" => scene.pass(3601),
            _ => {
                let next = cookie_of(&scene.refresh(&cookie).await.unwrap());
                scene.pass(31);
                scene.refresh(&next).await.unwrap();
                scene.pass(31);
            }
        }
        for number in 0..20 {
            // A nonce says that it was made now, whenever it was.
            let made = json!({ "jti": format!("p-{number}"), "nonce": "n" });
            let made = proof_with(&scene, &keys().p256, made);
            let refusal = scene.prove(&cookie, &made).await.unwrap_err();
            assert!(matches!(refusal.denial, Denial::SessionEnded(_)), "{ended_by}: {:?}", refusal.denial);
            assert!(clears(refusal.set_cookie.as_ref()), "{ended_by}");
        }
        assert_eq!(scene.gate.used_page_proofs.held(), 0, "{ended_by}");
        assert!(scene.relayed().iter().all(Option::is_none));
    }
}

#[tokio::test]
async fn a_cookie_that_was_exchanged_too_often_has_no_proof_judged() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let grant = scene.grant_of(&cookie);
    // As if each had come with a key of its own.
    for number in 0..64 {
        let key = Some(Thumbprint::from_digest(of_parts(&[&[number]])));
        let shape = Shape { resource: client().resource, key, scope: None };
        let asked = refresh::ExchangeRequest { shape, proof: None, activity: Activity::Use };
        let headers = headers(Some(&cookie));
        let head = head(&Method::POST, &headers);
        let at = ClientRequest {
            gate: &scene.gate,
            live: &scene.live,
            client: &scene.live.settings.clients[0],
            head: &head,
        };
        let found = refresh::answer_for(at, &grant, &asked, Instant::now() + at.patience()).await;
        assert!(found.result.is_ok(), "{number}: {found:?}");
    }
    let refusal = scene.prove(&cookie, &proof(&scene, &keys().p256, "p-1")).await.unwrap_err();
    assert_eq!((refusal.denial, scene.gate.used_page_proofs.held()), (Denial::TooManyExchanges, 0));
}
