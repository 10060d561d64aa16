//! What a browser does at another replica, or at another host of the gateway's.

use super::*;

/// The copy of a cookie counts for as long as the cookie did.
#[tokio::test]
async fn a_sign_in_that_was_done_is_done_nowhere_else_for_as_long_as_its_cookie_counts() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let done = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let left = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let mut copied = browser.clone();
    scene.back(&mut browser, &done, "cross-site").await.unwrap();
    scene.pass(599);
    let replica = scene.replica();
    let refusal = replica.back(&mut copied, &done, "cross-site").await.unwrap_err();
    assert_eq!((refusal.denial, scene.asked()), (Denial::SignInNotUnderWay, 1));
    // It is not too late for one that was left undone.
    scene.server.next.lock().unwrap().clear();
    replica.back(&mut copied, &left, "cross-site").await.unwrap();
    assert_eq!(scene.asked(), 2);
}

#[tokio::test]
async fn no_page_of_another_host_signs_anybody_out() {
    let scene = Scene::with(in_session_mode(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.next(verified(&scene, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
    let arrived = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
    let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
    browser.takes(&signed_in.set_cookies);
    for (by, origin) in
        [SignOutBy::Script, SignOutBy::Navigation].into_iter().flat_map(|by| [(by, None), (by, Some("null"))])
    {
        let mut headers = browser.goes("same-origin");
        headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        let there = head_at("other.gate.example", &Method::POST, &headers);
        let refused = log_out(&scene.gate, &scene.live, &there, Some("client_id=web-app"), by).await;
        let refusal = refused.unwrap_err();
        assert_eq!((refusal.denial, refusal.set_cookie), (Denial::OriginNotAllowed, None), "{origin:?}");
        assert_eq!(scene.ended(&browser.cookies[SESSION]).await, None, "{origin:?}");
    }
    let signed_out =
        scene.log_out(&browser.goes("same-origin"), "client_id=web-app", SignOutBy::Navigation).await;
    assert!(signed_out.unwrap().family.is_some());
}

/// A code, and what proves that it was asked for, are the affair of the server that made it (RFC 9700 section
/// 4.4): not of another to which a reload has moved the client meanwhile.
#[tokio::test]
async fn what_was_begun_at_one_server_is_not_finished_at_another() {
    for (iss, client_id) in [("https://other.example", "web-app"), (AS, "other-app"), (AS, "web-app")] {
        let mut scene = Scene::with(by_gateway(), Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        let mut moved = issuer(Duration::from_secs(5));
        moved.rules.iss = iss.into();
        moved.rules.client_ids = vec![client_id.into()];
        *scene.server.metadata.lock().unwrap() = json!({ "issuer": iss });
        scene.reload_at(Client { client_id: client_id.into(), ..by_gateway() }, moved);
        let lines = Lines::listen();
        let arrived = scene.back(&mut browser, &asked, "cross-site").await;
        if (iss, client_id) == (AS, "web-app") {
            assert!(arrived.is_ok());
            continue;
        }
        let refusal = arrived.unwrap_err();
        assert_eq!((refusal.denial, scene.asked()), (Denial::SignInNotUnderWay, 0), "{iss} {client_id}");
        assert!(refusal.again.is_some(), "it may begin anew");
        assert_eq!(browser.transactions(), 0, "and this one is over");
        assert!(!lines.text().contains("event=\"security\""), "{}", lines.text());
    }
}
