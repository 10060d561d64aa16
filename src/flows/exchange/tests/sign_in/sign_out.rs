//! Sign-out by the gateway, and where it leads.

use super::*;
use crate::core::revocation::Kind;

const EVERYWHERE: &str = "client_id=web-app&everywhere=true";

#[tokio::test]
async fn a_sign_out_ends_the_session_here_and_leads_to_the_server() {
    let mut client = in_session_mode();
    client.login.as_mut().unwrap().post_logout_redirect_uri = Some("https://gate.example/bye".into());
    let scene = Scene::with(client, Duration::from_secs(5));
    *scene.server.metadata.lock().unwrap() = json!({ "end_session_endpoint": format!("{AS}/out") });
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.next(verified(&scene, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
    let arrived = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
    let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
    browser.takes(&signed_in.set_cookies);

    let foreign = browser.goes("cross-site");
    let refused = scene.log_out(&foreign, "client_id=web-app", SignOutBy::Navigation).await.unwrap_err();
    assert_eq!(refused.denial, Denial::OriginNotAllowed);
    let own = browser.goes("same-origin");
    scene.store.set_away(true);
    let refused = scene.log_out(&own, "client_id=web-app", SignOutBy::Navigation).await.unwrap_err();
    assert!(refused.denial == Denial::StoreUnavailable && refused.set_cookie.is_none());
    scene.store.set_away(false);

    let script = scene.log_out(&own, "client_id=web-app", SignOutBy::Script).await.unwrap();
    let back = "post_logout_redirect_uri=https%3A%2F%2Fgate.example%2Fbye";
    assert_eq!(script.end_session.unwrap().as_str(), format!("{AS}/out?client_id=web-app&{back}"));
    assert_eq!((script.subject.as_deref(), script.family), (Some("alice"), Some(signed_in.whose.family)));
    let cleared = script.set_cookie.unwrap();
    assert!(
        cleared.to_str().unwrap().starts_with("__Host-Http-tollgate-web=; Path=/; Max-Age=0;"),
        "{cleared:?}"
    );
    // Whoever could not end the session here told the server all the same, and not twice.
    scene.revoked(&["refresh-token-0"]).await;
    assert_eq!(scene.ended(&browser.cookies[SESSION]).await, Some(SessionEnd::Revoked));

    let nobody = scene
        .log_out(&Browser::default().goes("same-origin"), "client_id=web-app", SignOutBy::Navigation)
        .await;
    assert!(nobody.is_ok_and(|signed_out| signed_out.family.is_none() && signed_out.set_cookie.is_some()));
    for (query, label) in [
        ("client_id=nobody", "unknown_client"),
        ("", "invalid_request"),
        ("client_id=web-app&everywhere=x", "invalid_request"),
    ] {
        let refused = scene.log_out(&own, query, SignOutBy::Script).await.unwrap_err();
        assert_eq!(refused.denial.facts().label, label, "{query}");
    }
}

/// As Cognito wants it.
#[tokio::test]
async fn a_sign_out_brings_the_session_the_client_and_what_the_server_wants_besides() {
    let mut client = in_session_mode();
    client.login.as_mut().unwrap().end_session = vec![("logout_uri".into(), "https://gate.example/".into())];
    let scene = Scene::with(client, Duration::from_secs(5));
    *scene.server.metadata.lock().unwrap() = json!({ "end_session_endpoint": format!("{AS}/out") });
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.next(verified(&scene, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
    let arrived = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
    let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
    browser.takes(&signed_in.set_cookies);
    let own = browser.goes("same-origin");
    let out =
        scene.log_out(&own, "client_id=web-app", SignOutBy::Navigation).await.unwrap().end_session.unwrap();
    let names: Vec<_> = out.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["id_token_hint", "client_id", "logout_uri"], "{out}");
}

#[tokio::test]
async fn a_server_without_a_place_to_sign_out_leads_to_the_clients_pages() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let own = Browser::default().goes("same-origin");
    let signed_out = scene.log_out(&own, "client_id=web-app", SignOutBy::Navigation).await.unwrap();
    assert_eq!((signed_out.end_session, signed_out.else_to.as_str()), (None, "/"));
}

#[tokio::test]
async fn everywhere_ends_something_or_is_refused_and_the_cookie_stays() {
    // The cookie that could end it does not come here, and must still be there for `DELETE /oauth/token`.
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    for by in [SignOutBy::Navigation, SignOutBy::Script] {
        let refused = scene.log_out(&browser.goes("same-origin"), EVERYWHERE, by).await.unwrap_err();
        let Denial::InvalidRequest(why) = refused.denial else { panic!("{:?}", refused.denial) };
        assert!(why.contains("DELETE /oauth/token") && refused.set_cookie.is_none(), "{why}");
    }
    // In session mode nobody is signed in, and nobody knows whose other sessions to end.
    let scene = Scene::with(in_session_mode(), Duration::from_secs(5));
    for cookie in [None, Some("does-not-open")] {
        browser.cookies.extend(cookie.map(|cookie| (SESSION.to_owned(), cookie.to_owned())));
        let own = browser.goes("same-origin");
        let refused = scene.log_out(&own, EVERYWHERE, SignOutBy::Script).await.unwrap_err();
        assert!(refused.denial == Denial::NoSession && refused.set_cookie.is_none(), "{cookie:?}");
        assert!(scene.log_out(&own, "client_id=web-app", SignOutBy::Script).await.is_ok(), "{cookie:?}");
    }

    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    scene.next(verified(&scene, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
    let arrived = scene.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
    let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
    browser.takes(&signed_in.set_cookies);
    let signed_out =
        scene.log_out(&browser.goes("same-origin"), EVERYWHERE, SignOutBy::Script).await.unwrap();
    assert!(signed_out.family.is_some() && signed_out.set_cookie.is_some());
    assert!(
        scene.log.all().iter().any(|entry| entry.target.kind == Kind::Sub && entry.target.value == "alice")
    );
}
