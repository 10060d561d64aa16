//! What becomes of a session whose authorization server refuses the request to exchange it, and why it is not
//! asked at each request.

use super::*;
use crate::core::session::way_in::{RefusedRequest, WayIn, way_in};

fn says(error: &str) -> Instead {
    Instead::Answer(400, "application/json", json!({ "error": error }).to_string())
}

pub(super) fn where_to(denial: &Denial, headers: &HeaderMap) -> Option<WayIn> {
    let own = Origin::parse(OWN).unwrap();
    let method = &Method::GET;
    let refused = RefusedRequest {
        denial,
        method,
        headers,
        target: b"/app",
        signs_in: true,
        brought_cookie: true,
        cookie_is_strict: true,
        may_sign_out: true,
    };
    way_in(refused, "web-app", &own)
}

pub(super) fn page_load() -> HeaderMap {
    let fields =
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", "same-origin")];
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[tokio::test]
async fn who_is_wanted_by_the_authorization_server_is_asked_to_sign_in_and_keeps_the_session() {
    for error in [
        "interaction_required",
        "login_required",
        "consent_required",
        "account_selection_required",
        "mfa_required",
        "access_denied",
    ] {
        let scene = Scene::in_session();
        let cookie = scene.session(300).await;
        scene.pass(301);
        scene.next(says(error));
        let lines = Lines::listen();
        let not = scene.ask(&cookie).await.unwrap_err();
        assert_eq!(
            (&not.denial, not.side.brought_cookie),
            (&Denial::NotSignedIn { ended: None }, true),
            "{error}"
        );
        assert!(not.side.ride.is_none(), "{error}: nothing is cleared");
        assert!(lines.text().contains(error), "{}", lines.text());
        let login = format!("{OWN}/oauth/login?client_id=web-app");
        let to_page = format!("{login}&return_to=%2Fapp");
        assert_eq!(where_to(&not.denial, &page_load()), Some(WayIn::SignIn(to_page)));
        assert_eq!(where_to(&not.denial, &asks(&cookie)), Some(WayIn::Told(login)));
        let asks = asks(&cookie);
        let asked = head(&Method::GET, &asks);
        let nobody = who(&scene.gate, &scene.live, &asked, Some("client_id=web-app")).await.unwrap_err();
        assert_eq!(nobody.denial, Denial::NotSignedIn { ended: None });
        // For a moment nobody asks again; the server may think better of it.
        scene.pass(9);
        assert_eq!(scene.denied(&cookie).await, (Denial::NotSignedIn { ended: None }, None));
        assert_eq!(scene.asked(), 1);
        scene.pass(1);
        scene.next_token("token-1");
        assert!(scene.good(&cookie).await.is_some(), "{error}");
        assert_eq!(scene.asked(), 2);
        scene.revoked(&[]).await;
    }
}

/// Glewlwyd says nothing else of a refresh token that is over: for as long as that passed for an outage,
/// nobody came to sign-in.
#[tokio::test]
async fn who_is_refused_without_a_word_is_asked_to_sign_in_and_keeps_the_session() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(301);
    scene.next(Instead::Answer(400, "text/plain", String::new()));
    let lines = Lines::listen();
    let not = scene.ask(&cookie).await.unwrap_err();
    assert_eq!(not.denial, Denial::NotSignedIn { ended: None });
    assert!(not.side.ride.is_none() && lines.text().contains("without saying why"), "{}", lines.text());
    scene.pass(10);
    scene.next_token("token-1");
    assert!(scene.good(&cookie).await.is_some());
    // Anything that is said may be of whoever stands between.
    for (status, body) in [(400, "<html>Bad Request</html>"), (401, ""), (403, ""), (404, ""), (500, "")] {
        let scene = Scene::in_session();
        let cookie = scene.session(300).await;
        scene.pass(301);
        scene.next(Instead::Answer(status, "text/html", body.to_owned()));
        let away = (Denial::AuthorizationServerUnavailable, None);
        assert_eq!(scene.denied(&cookie).await, away, "{status} {body}");
    }
}

#[tokio::test]
async fn a_token_that_is_still_good_is_used_while_the_server_wants_its_person() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(295);
    scene.next(says("interaction_required"));
    for _ in 0..3 {
        assert_eq!(scene.good(&cookie).await, None);
    }
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_the_request_is_not_asked_again_at_each_request() {
    for error in ["invalid_scope", "invalid_target", "unauthorized_client"] {
        let scene = Scene::in_session();
        let cookie = scene.session(300).await;
        scene.pass(301);
        scene.next(says(error));
        for _ in 0..3 {
            assert_eq!(
                scene.denied(&cookie).await,
                (Denial::AuthorizationServerUnavailable, None),
                "{error}"
            );
        }
        assert_eq!(scene.asked(), 1, "{error}");
        scene.pass(10);
        scene.next_token("token-1");
        assert!(scene.good(&cookie).await.is_some(), "{error}");
    }
}
