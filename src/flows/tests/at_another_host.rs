//! `/oauth/token` asked at another host of the gateway's: its pages are not of the gateway's own origin,
//! whatever a browser says of the site of both.

use super::*;

const OTHER: &str = "other.gate.example";

/// What a browser says of a page of the host that it asks, which has no `Origin` to say, or will not say it.
fn of_the_same_host(cookie: Option<&str>, origin: Option<&'static str>) -> HeaderMap {
    let mut headers = headers(cookie);
    headers.remove(ORIGIN);
    headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
    if let Some(origin) = origin {
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
    }
    headers
}

#[tokio::test]
async fn no_page_of_another_host_gets_a_session_or_ends_one() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let asked = scene.asked();
    let refresh = "grant_type=refresh_token&client_id=web-app";
    for origin in [None, Some("null")] {
        for (cookie, body) in [(None, code_exchange()), (Some(&*cookie), refresh.to_owned())] {
            let headers = of_the_same_host(cookie, origin);
            let there = head_at(OTHER, &Method::POST, &headers);
            let refusal = token(&scene.gate, &scene.live, &there, body.as_bytes()).await.unwrap_err();
            assert_eq!(
                (refusal.denial, refusal.set_cookie),
                (Denial::OriginNotAllowed, None),
                "{origin:?} {body}"
            );
        }
        let headers = of_the_same_host(Some(&cookie), origin);
        let there = head_at(OTHER, &Method::DELETE, &headers);
        let refusal =
            sign_out(&scene.gate, &scene.live, &there, Some("client_id=web-app")).await.unwrap_err();
        assert_eq!((refusal.denial, refusal.set_cookie), (Denial::OriginNotAllowed, None), "{origin:?}");
        assert_eq!(scene.asked(), asked, "{origin:?}");
    }
    // At its own host the same is its page's.
    let headers = of_the_same_host(Some(&cookie), Some("null"));
    let here = head_at("gate.example", &Method::POST, &headers);
    let answer = token(&scene.gate, &scene.live, &here, refresh.as_bytes()).await.unwrap();
    assert_eq!(answer.outcome.label(), "rotated");
    let headers = of_the_same_host(Some(&cookie_of(&answer)), None);
    let here = head_at("gate.example", &Method::DELETE, &headers);
    assert_eq!(
        sign_out(&scene.gate, &scene.live, &here, Some("client_id=web-app")).await.unwrap().status,
        204
    );
}
