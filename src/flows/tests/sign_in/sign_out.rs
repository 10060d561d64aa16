//! Sign-out by the gateway, and where it leads.

use super::*;
use crate::core::revocation::Kind;
use crate::core::session::activity::Activity;
use crate::flows::session::{self, Wants};
use crate::flows::sign_out::lead_on::{LedOn, lead_on};

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
    let [cleared] = script.set_cookies.as_slice() else { panic!("{:?}", script.set_cookies) };
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
    let nobody = nobody.unwrap();
    assert!(nobody.family.is_none() && nobody.set_cookies.len() == 1, "{nobody:?}");
    assert_eq!(nobody.goes_to, format!("{AS}/out?client_id=web-app&{back}"), "there is nothing to hint at");
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
    let mut browser = scene.signed_in_browser().await;
    let out = scene.signs_out(&mut browser).await;
    assert_eq!(out, NEXT);
    let out = scene.goes_on(&mut browser).await;
    let names: Vec<_> = out.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["id_token_hint", "client_id", "logout_uri"], "{out}");
}

const NEXT: &str = "/oauth/logout/next?client_id=web-app";

impl Scene {
    /// Where the page of a sign-out leads.
    async fn signs_out(&self, browser: &mut Browser) -> String {
        let own = browser.goes("same-origin");
        let signed_out = self.log_out(&own, "client_id=web-app", SignOutBy::Navigation).await.unwrap();
        let end_session = signed_out.end_session.unwrap();
        assert!(!end_session.as_str().contains("id_token_hint"), "{end_session}");
        browser.takes(&signed_out.set_cookies);
        signed_out.goes_to
    }

    async fn led_on(&self, headers: &HeaderMap) -> Result<LedOn, OAuthRefusal> {
        lead_on(&self.gate, &self.live, &head(&Method::GET, headers), Some("client_id=web-app")).await
    }

    /// Where the browser is led from there.
    async fn goes_on(&self, browser: &mut Browser) -> url::Url {
        let led_on = self.led_on(&browser.goes("same-origin")).await.unwrap();
        let set_cookies: Vec<_> = led_on.set_cookie.into_iter().collect();
        browser.takes(&set_cookies);
        led_on.goes_to.parse().unwrap()
    }

    /// A browser that is signed in.
    async fn signed_in_browser(&self) -> Browser {
        let mut browser = Browser::default();
        let asked = self.login(&mut browser, "client_id=web-app").await.unwrap();
        self.next(verified(self, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
        let arrived = self.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await.unwrap();
        let Arrived::SignedIn(signed_in) = arrived else { panic!("not signed in") };
        browser.takes(&signed_in.set_cookies);
        browser
    }
}

fn at_a_server_with_a_place_to_sign_out() -> Scene {
    let scene = Scene::with(in_session_mode(), Duration::from_secs(5));
    *scene.server.metadata.lock().unwrap() = json!({ "end_session_endpoint": format!("{AS}/out") });
    scene
}

fn hint(out: &url::Url) -> Option<String> {
    assert!(out.as_str().starts_with(&format!("{AS}/out?")), "{out}");
    out.query_pairs().find(|(name, _)| name == "id_token_hint").map(|(_, hint)| hint.into_owned())
}

#[tokio::test]
async fn the_id_token_goes_along_by_a_redirect_once_and_never_by_a_page() {
    let scene = at_a_server_with_a_place_to_sign_out();
    let mut browser = scene.signed_in_browser().await;
    let copied = browser.clone();
    assert_eq!(scene.signs_out(&mut browser).await, NEXT);
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["__Host-Http-tollgate--out-web"]);
    let mut thief = browser.clone();
    let replica = scene.replica();
    let token = hint(&replica.goes_on(&mut browser).await).expect("on another replica too");
    assert_eq!(token.split('.').count(), 3);
    assert!(browser.cookies.is_empty(), "{browser:?}");
    for again in [&mut browser, &mut thief] {
        assert_eq!(hint(&scene.goes_on(again).await), None, "it is gone");
        assert!(again.cookies.is_empty(), "{again:?}");
    }
    // Whoever has the cookie of the session, and not that of the sign-out, gets none either.
    assert_eq!(hint(&scene.goes_on(&mut copied.clone()).await), None);
}

/// The ID token lies with the next generation then, whose cookie never came.
#[tokio::test(start_paused = true)]
async fn the_id_token_goes_along_where_the_next_cookie_came_late_or_was_lost() {
    for waits in [false, true] {
        let scene = at_a_server_with_a_place_to_sign_out();
        let mut browser = scene.signed_in_browser().await;
        scene.pass(400);
        let mut own = browser.goes("same-origin");
        own.insert("x-csrf", HeaderValue::from_static("1"));
        let head = head(&Method::GET, &own);
        let client = &scene.live.settings.clients[0];
        let request = ClientRequest { gate: &scene.gate, live: &scene.live, client, head: &head };
        let wants = Wants { signs_in: false, activity: Activity::Use };
        scene.next(access_token(&scene, json!({ "sub": "alice", "client_id": "web-app" })));
        if waits {
            scene.server.answers.forget_permits(PLENTY);
        }
        let asked = session::of_request(request, wants).await;
        assert_eq!(asked.is_err(), waits);
        scene.server.answers.add_permits(PLENTY);
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
        scene.pass(60);
        assert_eq!(scene.signs_out(&mut browser).await, NEXT);
        assert!(hint(&scene.goes_on(&mut browser).await).is_some(), "waits: {waits}");
    }
}

/// At an exchange it would be a replay of a stolen one.
#[tokio::test]
async fn no_id_token_goes_along_with_a_cookie_that_is_spent() {
    let scene = at_a_server_with_a_place_to_sign_out();
    let mut browser = scene.signed_in_browser().await;
    let mut copy = browser.clone();
    scene.pass(400);
    scene.next(access_token(&scene, json!({ "sub": "alice", "client_id": "web-app" })));
    for rides in [true, false] {
        let mut own = browser.goes("same-origin");
        own.insert("x-csrf", HeaderValue::from_static("1"));
        let head = head(&Method::GET, &own);
        let client = &scene.live.settings.clients[0];
        let request = ClientRequest { gate: &scene.gate, live: &scene.live, client, head: &head };
        let wants = Wants { signs_in: false, activity: Activity::Use };
        let served = session::of_request(request, wants).await.unwrap();
        assert_eq!(served.ride.is_some(), rides, "the second shows that the next cookie arrived");
        browser.takes(&served.ride.map(|ride| ride.set_cookie).into_iter().collect::<Vec<_>>());
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    }
    scene.pass(60);
    assert_eq!(scene.signs_out(&mut copy).await, NEXT);
    assert_eq!(hint(&scene.goes_on(&mut copy).await), None);
}

#[tokio::test]
async fn the_id_token_goes_along_in_time_and_with_a_browser_that_goes_there_alone() {
    let scene = at_a_server_with_a_place_to_sign_out();
    let mut browser = scene.signed_in_browser().await;
    scene.signs_out(&mut browser).await;
    let with = |changes: &[(&'static str, Option<&'static str>)]| {
        let mut headers = browser.goes("same-origin");
        for (name, value) in changes {
            headers.remove(*name);
            headers
                .extend(value.map(|value| (HeaderName::from_static(name), HeaderValue::from_static(value))));
        }
        headers
    };
    let (mode, dest, site) = ("sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site");
    for script in [
        &[(mode, Some("cors")), (dest, Some("empty"))][..],
        &[(mode, Some("same-origin")), (dest, Some("empty"))],
        &[(dest, Some("iframe"))],
        &[("sec-purpose", Some("prefetch"))],
    ] {
        let refused = scene.led_on(&with(script)).await.unwrap_err();
        assert_eq!(refused.denial, Denial::NotANavigation, "{script:?}");
    }
    // One that says nothing of itself may be a script's that asks for a page.
    let untold = with(&[(mode, None), (dest, None), (site, None), ("accept", Some("text/html"))]);
    assert_eq!(hint(&scene.led_on(&untold).await.unwrap().goes_to.parse().unwrap()), None);
    // The store is away: the server asks the person.
    scene.store.set_away(true);
    assert_eq!(hint(&scene.goes_on(&mut browser.clone()).await), None);
    scene.store.set_away(false);
    // A sealed text of another kind, or of nobody's.
    for other in ["x", &browser.cookies["__Host-Http-tollgate--out-web"][1..]] {
        let mut another = Browser::default();
        another.cookies.insert("__Host-Http-tollgate--out-web".to_owned(), other.to_owned());
        assert_eq!(hint(&scene.goes_on(&mut another).await), None);
    }
    scene.pass(60);
    assert_eq!(hint(&scene.goes_on(&mut browser.clone()).await), None, "too late");
    scene.pass(-1);
    assert!(hint(&scene.goes_on(&mut browser).await).is_some());
}

#[tokio::test]
async fn the_way_on_leads_nowhere_but_where_the_configuration_says() {
    let scene = at_a_server_with_a_place_to_sign_out();
    let nobody = Browser::default().goes("cross-site");
    let led = async |query: &str| {
        let head = head(&Method::GET, &nobody);
        lead_on(&scene.gate, &scene.live, &head, Some(query)).await.map(|led_on| led_on.goes_to)
    };
    for more in
        ["", "&return_to=https%3A%2F%2Fevil.example", "&post_logout_redirect_uri=https%3A%2F%2Fevil.example"]
    {
        assert_eq!(
            led(&format!("client_id=web-app{more}")).await.unwrap(),
            format!("{AS}/out?client_id=web-app")
        );
    }
    for (query, denial) in
        [("client_id=nobody", Denial::UnknownClient), ("", Denial::InvalidRequest("client_id is missing."))]
    {
        assert_eq!(led(query).await.unwrap_err().denial, denial, "{query}");
    }
    let by_page = Scene::new();
    let refused = by_page.led_on(&nobody).await.unwrap_err();
    assert!(
        matches!(refused.denial, Denial::InvalidRequest(why) if why.contains("login: page")),
        "{refused:?}"
    );
    let nowhere = Scene::with(in_session_mode(), Duration::from_secs(5));
    assert_eq!(nowhere.led_on(&nobody).await.unwrap().goes_to, "/");
}

#[tokio::test]
async fn a_server_without_a_place_to_sign_out_leads_to_the_clients_pages() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let own = Browser::default().goes("same-origin");
    let signed_out = scene.log_out(&own, "client_id=web-app", SignOutBy::Navigation).await.unwrap();
    assert_eq!((signed_out.end_session, signed_out.goes_to.as_str()), (None, "/"));
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
    assert!(signed_out.family.is_some() && signed_out.set_cookies.len() == 1);
    assert!(
        scene.log.all().iter().any(|entry| entry.target.kind == Kind::Sub && entry.target.value == "alice")
    );
}

#[tokio::test]
async fn the_id_token_of_one_server_goes_to_no_other() {
    for (iss, gets_it) in [("https://other.example", false), (AS, true)] {
        let mut scene = at_a_server_with_a_place_to_sign_out();
        let mut browser = scene.signed_in_browser().await;
        scene.signs_out(&mut browser).await;
        let mut moved = issuer(Duration::from_secs(5));
        moved.rules.iss = iss.into();
        let out = format!("{AS}/out");
        *scene.server.metadata.lock().unwrap() = json!({ "issuer": iss, "end_session_endpoint": out });
        scene.reload_at(in_session_mode(), moved);
        assert_eq!(hint(&scene.goes_on(&mut browser).await).is_some(), gets_it, "{iss}");
    }
}
