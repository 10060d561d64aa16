//! What ends it though its token goes on, and whose token keeps nothing.

use super::super::two_issuers::SECOND_AS;
use super::*;
use crate::state::sessions::KnownFamily;

#[tokio::test]
async fn what_lasts_ends_with_its_session_however_often_that_is_used_and_a_download_goes_on() {
    const DAY: i64 = 24 * 3600;
    let mut patient = issuer(Duration::from_secs(5));
    patient.rules.max_token_lifetime = Duration::from_secs(48 * 3600);
    let scene = Scene::of(Client { accept_any_access_token: false, ..client() }, patient);
    scene.with_routes(vec![route()]);
    let began = scene.clock.now();
    scene.next(access_token(&scene, json!({ "exp": began.as_secs() + 30 * 3600 })));
    let answer = scene.sign_in().await;
    let cookie = cookie_of(&answer);
    let token = scene.brings(body(&answer)["access_token"].as_str().unwrap()).await;
    let [lasting, download] = [(); 2].map(|()| {
        scene.gate.open_requests.enter(token.clone(), Some(of_session(&scene, &cookie, token.clone())))
    });
    mark_lasting(&scene.gate, &lasting, &permit(token, began));
    let family = scene.grant_of(&cookie).family;
    let known = scene.gate.sessions.know(family, KnownFamily::new(0, began, false));
    for _ in 0..DAY / 1800 - 1 {
        scene.pass(1800);
        known.mark_noted(scene.clock.now());
        assert_eq!(scene.ending(&lasting), None);
    }
    scene.pass(1799);
    assert_eq!(scene.ending(&lasting), None);
    scene.pass(1);
    assert_eq!(scene.ending(&lasting), Some(Ending::SessionOver));
    assert_eq!(download.ending(), None);
}

#[tokio::test]
async fn a_token_of_another_issuer_keeps_nothing_whomever_it_names() {
    for (iss, keeps) in [(AS, true), (SECOND_AS, false)] {
        let (scene, key) = Scene::of_two_issuers(Client { accept_any_access_token: false, ..client() });
        scene.with_routes(vec![route()]);
        let (_, first) = scene.opens_session().await;
        let open = scene.opens(&first).await;
        scene.pass(30);
        let now = scene.clock.now();
        let claims = json!({ "iss": iss, "jti": "second", "iat": now.as_secs(), "exp": now.as_secs() + 60 });
        let signer = if iss == AS { &keys().p256 } else { &key };
        let token = signer.sign(&with(claims_at(now), claims));
        let live = scene.gate.live.load_full();
        let brought = Brought::ByIssuer(&live.settings.issuers[0].name, None);
        let other = authenticate(&scene.gate, &live, &token, brought, now).await.unwrap();
        let id = open.token().marks().unwrap().id;
        let (family, _) = receipts::family_of(&*scene.store, id).await.unwrap().unwrap();
        scene.gate.open_requests.renewed(family, &other, now);
        scene.pass(31);
        assert_eq!(scene.ending(&open), (!keeps).then_some(Ending::Expired), "{iss}");
    }
}
