//! An authorization server that calls itself otherwise in access tokens (AD FS, Entra ID): whatever name a
//! token says, it is of one issuer, and so are the people.

use super::*;
use crate::core::token::testing::new_p256;
use crate::flows::testing::lines::Lines;

/// Nobody calls it.
pub(super) const SAID: &str = "http://as.example/services/trust";

/// As while an API changes from the one version of access tokens to the other.
pub(super) fn issuer_of_two_names() -> Issuer {
    called(&[SAID, AS])
}

fn called(names: &[&str]) -> Issuer {
    let mut issuer = issuer(Duration::from_secs(5));
    issuer.rules.access_token_iss = names.iter().map(ToString::to_string).collect();
    issuer
}

pub(super) fn strict() -> Client {
    Client { accept_any_access_token: false, ..client() }
}

fn id_token_saying(iss: &str) -> String {
    id_token(&json!({ "iss": iss, "aud": "web-app", "exp": 1_800_000_000, "sub": "alice", "sid": "s-1" }))
}

#[tokio::test]
async fn a_session_goes_on_whatever_name_its_access_tokens_say_and_is_its_issuers() {
    let scene = Scene::of(strict(), issuer_of_two_names());
    let (mut cookie, _) = scene.signed_in_with(json!({ "iss": SAID }), Some(&id_token_saying(AS))).await;
    for (jti, iss) in [("second", AS), ("third", SAID)] {
        scene.next(access_token(&scene, json!({ "iss": iss, "jti": jti })));
        cookie = cookie_of(&scene.refresh(&cookie).await.unwrap());
    }
    let grant = session_cookie::read(&scene.live, &client(), &headers(Some(&cookie))).unwrap().unwrap();
    assert_eq!(grant.iss, AS);
}

#[tokio::test]
async fn an_id_token_that_says_the_name_of_access_tokens_signs_nobody_in() {
    let scene = Scene::of(strict(), issuer_of_two_names());
    let Instead::With(mut members) = access_token(&scene, json!({ "iss": SAID })) else { unreachable!() };
    members["id_token"] = id_token_saying(SAID).into();
    scene.next(Instead::With(members));
    assert_eq!(scene.post(None, &code_exchange()).await.unwrap_err().denial, Denial::AnswerMismatch);
}

/// It is compared before anybody can verify it: what is another issuer's is no outage.
#[tokio::test]
async fn while_its_keys_are_away_a_token_by_either_name_is_its_own_and_no_other() {
    for (iss, denial) in [
        (SAID, Denial::AuthorizationServerUnavailable),
        (AS, Denial::AuthorizationServerUnavailable),
        ("https://else.example", Denial::AccessTokenUnusable),
    ] {
        let scene = Scene::of(strict(), issuer_of_two_names());
        *scene.server.jwks.lock().unwrap() = json!("no keys");
        scene.next(access_token(&scene, json!({ "iss": iss })));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, denial, "{iss}");
    }
}

/// Whoever takes something back may say any of the issuer's names.
#[tokio::test]
async fn what_is_taken_back_is_refused_by_whatever_name_it_and_its_tokens_say() {
    for said in [SAID, AS] {
        for issuer in ["demo", AS, SAID] {
            for (kind, value) in [("sub", "alice"), ("jti", "t-1"), ("client", "web-app"), ("kid", "p256")] {
                let scene = Scene::of(strict(), issuer_of_two_names());
                let (_, token) = scene.signed_in_with(json!({ "iss": said }), None).await;
                assert_eq!(scene.takes(&token).await, Ok(()));
                let wanted = json!({ "kind": kind, "value": value, "issuer": issuer });
                let made = scene.revoke(wanted.clone()).await.unwrap();
                assert_eq!(made[0].target.whose, crate::core::revocation::Whose::Of(AS.into()));
                assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{said}: {wanted}");
            }
            let scene = Scene::of(strict(), issuer_of_two_names());
            let (_, token) = scene.signed_in_with(json!({ "iss": said }), None).await;
            scene.revoke(json!({ "kind": "issuer", "value": issuer })).await.unwrap();
            assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{said}: {issuer}");
        }
    }
}

/// The list of what a family handed out names tokens by issuer and id.
#[tokio::test]
async fn a_session_that_is_taken_back_takes_its_tokens_along_by_either_name() {
    let scene = Scene::of(strict(), issuer_of_two_names());
    let (cookie, first) =
        scene.signed_in_with(json!({ "iss": SAID, "sub": null }), Some(&id_token_saying(AS))).await;
    scene.next(access_token(&scene, json!({ "iss": AS, "jti": "second", "sub": null })));
    let answer = scene.refresh(&cookie).await.unwrap();
    let second = body(&answer)["access_token"].as_str().unwrap().to_owned();
    scene.revoke(json!({ "kind": "sid", "value": "s-1", "issuer": SAID })).await.unwrap();
    for token in [first, second] {
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
    }
}

#[tokio::test]
async fn the_name_alone_opens_nothing() {
    let scene = Scene::of(strict(), issuer_of_two_names());
    let forged = new_p256("p256").sign(&with(claims_at(scene.clock.now()), json!({ "iss": SAID })));
    assert_eq!(scene.takes(&forged).await, Err(Denial::BadSignature));
    let one = Scene::of(strict(), called(&[SAID]));
    let url = keys().p256.sign(&with(claims_at(one.clock.now()), json!({ "iss": AS })));
    assert_eq!(one.takes(&url).await, Err(Denial::UnknownIssuer), "an ID token, if anything");
}

#[tokio::test]
async fn what_an_unusable_access_token_says_is_told_beside_what_it_should() {
    for (names, said, wanted) in
        [(vec![], SAID, AS.to_owned()), (vec![SAID, AS], "https://sts.example/\n", format!("{SAID} {AS}"))]
    {
        let scene = Scene::of(strict(), called(&names));
        let lines = Lines::listen();
        scene.next(access_token(&scene, json!({ "iss": said })));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
        let text = lines.text();
        let shown = format!("iss={:?}", json!(said).to_string());
        for part in [
            "reason=\"unknown_issuer\"",
            &format!("wanted={wanted:?}"),
            &shown,
            "issuers.demo.access_token_issuer",
            "requestedAccessTokenVersion",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
    }
}

/// What was taken back under the name that was the `url` stands when another becomes it.
#[tokio::test]
async fn what_was_taken_back_stands_when_its_issuer_takes_another_name() {
    let block = json!({ "kind": "sub", "value": "alice", "issuer": SAID, "block": true });
    let of = |kind, value| json!({ "kind": kind, "value": value, "issuer": SAID });
    let issuer = json!({ "kind": "issuer", "value": SAID });
    for wanted in
        [block.clone(), of("jti", "t-1"), of("client", "web-app"), of("kid", "p256"), issuer.clone()]
    {
        let mut scene = Scene::of(strict(), by_its_former_name());
        let token = keys().p256.sign(&with(claims_at(scene.clock.now()), json!({ "iss": SAID })));
        assert_eq!(scene.takes(&token).await, Ok(()));
        let made = scene.revoke(wanted.clone()).await.unwrap();
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{wanted}");
        scene.is_now(issuer_of_two_names());
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{wanted}");
        // By the name that is new, whoever is suspended is who they were.
        let renamed = json!({ "iss": AS, "jti": "t-1" });
        let renamed = keys().p256.sign(&with(claims_at(scene.clock.now()), renamed));
        assert_eq!(scene.takes(&renamed).await, Err(Denial::Revoked), "{wanted}");
        let kid = crate::flows::heard::check_signer(&scene.gate, AS, Some("p256"), scene.clock.now());
        let is_of_signer =
            matches!(made[0].target.kind, crate::core::revocation::Kind::Kid) || wanted == issuer;
        assert_eq!(kid, if is_of_signer { Err(Denial::Revoked) } else { Ok(()) }, "{wanted}");
        // It is lifted as it was made.
        crate::flows::revoke::lift(&scene.gate, made[0].id()).await.unwrap().unwrap();
        assert_eq!(scene.takes(&token).await, Ok(()), "{wanted}");
    }
}

#[tokio::test]
async fn who_is_suspended_signs_in_by_no_name_of_their_issuer() {
    for is_blocked in [false, true] {
        let mut scene = Scene::of(client(), by_its_former_name());
        if is_blocked {
            let block = json!({ "kind": "sub", "value": "alice", "issuer": SAID, "block": true });
            scene.revoke(block).await.unwrap();
        }
        scene.is_now(issuer_of_two_names());
        let Instead::With(mut members) = access_token(&scene, json!({ "iss": AS, "sub": null })) else {
            unreachable!()
        };
        members["id_token"] = id_token_saying(AS).into();
        scene.next(Instead::With(members));
        let signed_in = scene.post(None, &code_exchange()).await;
        assert_eq!(signed_in.is_err(), is_blocked);
    }
}

/// As it was before `url` was moved to its other name.
fn by_its_former_name() -> Issuer {
    let now = called(&[]);
    let rules = TokenRules { iss: SAID.into(), ..now.rules };
    Issuer { rules, keys: KeySource::JwksUri(format!("{AS}/jwks").parse().unwrap()), ..now }
}

impl Scene {
    /// The configuration is read anew: its issuer is this one.
    fn is_now(&mut self, issuer: Issuer) {
        let (issuers, before) = (vec![Arc::new(issuer)], &self.live.settings);
        let settings =
            Settings { issuers: issuers.clone(), clients: before.clients.clone(), ..testing::settings(OWN) };
        self.gate.keep_to(&settings);
        self.live = Arc::new(Live {
            settings: Arc::new(settings),
            routes: RouteTable::build(&[]).unwrap(),
            issuers: Issuers::new(&issuers, Some(&self.live.issuers)),
            transmitters: Transmitters::default(),
            cookie_keys: self.live.cookie_keys.clone(),
            assertions: None,
        });
        self.gate.live.store(self.live.clone());
    }
}
