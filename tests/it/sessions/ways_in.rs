//! Who cannot come in by a session, and what they are told: a browser that does not say what it opens, and
//! whoever asks at another host of the gateway.

use super::*;

/// What browsers before Fetch Metadata say of a navigation.
const OF_BEFORE: [(&str, &str); 1] = [("Accept", "text/html,application/xhtml+xml")];
/// A navigation that a service worker passes on.
const BY_WORKER: [(&str, &str); 3] =
    [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "empty")];
/// Another host of the gateway's, where a route is.
const OTHER: &str = "other.gate.localhost:8080";

async fn at(world: &World, host: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
    let asked = String::from_utf8(request("GET", target, fields, b"")).unwrap();
    let mut client = world.gateway.connect().await;
    client.send(asked.replacen(HOST, host, 1).into_bytes()).await;
    client.answer().await
}

#[tokio::test]
async fn a_browser_that_does_not_say_what_it_opens_is_told_so_before_it_signs_in_for_a_page() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let login = |place: &str| format!("/oauth/login?client_id=web-app&return_to={place}");
    let names_browsers = |answer: &Answer| {
        let text = String::from_utf8(answer.body.clone()).unwrap();
        text.contains("Safari 16.4") && text.contains("Service workers") && !text.contains("oauth&#x2f;login")
    };
    for place in ["/app/x", "%2Fapp%2Fx%3Fy%3D1%23z", "/fresh/x"] {
        let answer = world.ask("GET", &login(place), &OF_BEFORE, &[]).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{place}");
        assert!(names_browsers(&answer), "{place}");
        // One that does goes there, and so does a service worker in its place.
        for fields in [&PAGE, &BY_WORKER] {
            assert_eq!(world.ask("GET", &login(place), fields, &[]).await.status, 303, "{place}");
        }
    }
    // What takes no session of a navigation may be where they are served: by scripts they are.
    for place in ["/public/x", "/api/x", "/", "/nowhere"] {
        assert_eq!(world.ask("GET", &login(place), &OF_BEFORE, &[]).await.status, 303, "{place}");
    }
    // The page itself says it too.
    for fields in [&OF_BEFORE[..], &BY_WORKER] {
        let answer = world.get("/app/x", fields, &world.session()).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{fields:?}");
        assert!(names_browsers(&answer), "{fields:?}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(world.exchanges(), 0);
}

#[tokio::test]
async fn at_another_host_a_page_leads_to_the_one_where_sign_in_is() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let elsewhere =
        format!("  - {{ path: /other/*, host: other.gate.localhost, to: \"{url}\", public: true }}");
    let world = World::with(&url, &elsewhere).await;
    let answer = at(&world, OTHER, "/app/x?y=1", &PAGE).await;
    let sign_in = format!("{OWN}/oauth/login?client_id=web-app&return_to=%2Fapp%2Fx%3Fy%3D1");
    assert_eq!((answer.status, answer.header("location")), (303, Some(&*sign_in)));
    let target = sign_in.strip_prefix(OWN).unwrap();
    assert_eq!(at(&world, OTHER, target, &PAGE).await.status, 400, "sign-in is not there");
    assert_eq!(at(&world, HOST, target, &PAGE).await.status, 303);
}

#[tokio::test]
async fn a_page_of_another_host_of_the_gateway_is_not_of_its_own_origin() {
    let upstream = Upstream::start().await;
    let url = upstream.url();
    let elsewhere =
        format!("  - {{ path: /other/*, host: other.gate.localhost, to: \"{url}\", public: true }}");
    let world = World::with(&url, &elsewhere).await;
    let cookie = world.session();
    let fetch = |more: &[(&'static str, &'static str)]| [&FETCH[..], more].concat();
    for origin in [&[][..], &[("Origin", "null")]] {
        let fields = fetch(origin);
        let with_cookie = [&fields[..], &[("Cookie", &*cookie)]].concat();
        assert_eq!(at(&world, OTHER, "/api/x", &with_cookie).await.status, 403, "{origin:?}");
    }
    assert_eq!(world.exchanges(), 0);
    assert_eq!(at(&world, HOST, "/api/x", &[&FETCH[..], &[("Cookie", &*cookie)]].concat()).await.status, 200);
}

#[tokio::test]
async fn no_refusal_may_be_stored_by_anybody() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    let (cookie, csrf) = (world.session(), [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")]);
    let (twice, bad) = (format!("{cookie}; {cookie}"), "Bearer a.b.c");
    for (method, target, fields, status) in [
        ("GET", "/api/x", &FETCH[..], 401),
        ("GET", "/api/x", &[FETCH[0], FETCH[1], FETCH[2], ("Authorization", bad)], 401),
        ("GET", "/api/x", &[csrf[0], csrf[1], ("Cookie", &*cookie)], 403),
        ("GET", "/api/x", &[FETCH[0], FETCH[1], FETCH[2], ("Cookie", &*twice)], 400),
        ("GET", "/admin/x", &[FETCH[0], FETCH[1], FETCH[2], ("Cookie", &*cookie)], 403),
        ("GET", "/api/x/../y", &FETCH, 400),
        ("GET", "/nowhere", &FETCH, 404),
        ("TRACE", "/api/x", &FETCH, 405),
        ("GET", "/app/x", &PAGE, 303),
        ("GET", "/nowhere", &PAGE, 404),
        ("GET", "/dead/x", &[FETCH[0], FETCH[1], FETCH[2], ("Cookie", &*cookie)], 502),
    ] {
        let answer = world.ask(method, target, fields, &[]).await;
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.head);
        assert_eq!(answer.all("cache-control"), ["no-store"], "{method} {target}: {}", answer.head);
    }
}

/// Entra ID, whose policy has changed: `interaction_required`.
#[tokio::test]
async fn who_is_wanted_by_the_authorization_server_is_sent_there_and_a_script_is_told() {
    let upstream = Upstream::start().await;
    let world = World::start(&upstream.url()).await;
    world.refuses.set("interaction_required").unwrap();
    let cookie = world.session();
    let page = world.get("/app/x", &PAGE, &cookie).await;
    assert_eq!((page.status, page.header("set-cookie")), (303, None), "{}", page.head);
    let login = format!("{OWN}/oauth/login?client_id=web-app&return_to=%2Fapp%2Fx");
    assert_eq!(page.header("location"), Some(login.as_str()));
    for path in ["/api/x", "/oauth/session?client_id=web-app"] {
        let told = world.get(path, &FETCH, &cookie).await;
        assert_eq!((told.status, told.header("set-cookie")), (401, None), "{path}: {}", told.head);
        let body: Value = serde_json::from_slice(&told.body).unwrap();
        assert!(
            body["login_url"].as_str().unwrap().starts_with(&format!("{OWN}/oauth/login?client_id=web-app"))
        );
    }
    assert_eq!(world.exchanges(), 1, "once for all of them");
    assert!(upstream.received().is_empty());
}

/// Else they would be stuck: the application that signs people out is what they may not open.
#[tokio::test]
async fn who_is_signed_in_and_may_not_open_a_page_signs_out_there_and_comes_back_as_somebody_else() {
    let upstream = Upstream::start().await;
    let to = upstream.url();
    let staff =
        format!("  - {{ path: /staff/*, to: \"{to}\", sign_in: web-app, require: {{ scope: admin }} }}\n");
    let world = World::with(&to, &staff).await;
    let answer = world.get("/staff/x", &PAGE, &world.session()).await;
    let cookie = next(&answer);
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let form = r#"<form method="post" action="&#x2f;oauth&#x2f;logout?client_id=web-app">"#;
    assert!(answer.status == 403 && text.contains(form), "{text}");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self'; frame-ancestors 'none'"), "{policy}");
    // A script hears why, and of no form.
    let answer = world.get("/staff/x", &FETCH, &cookie).await;
    assert_eq!((answer.status, answer.json()["login_url"].as_str()), (403, None));
    // As a browser sends the form of a page that says `no-referrer`.
    let of_page = [PAGE[0], PAGE[1], PAGE[2], ("Origin", "null"), ("Cookie", &*cookie)];
    let answer = world.ask("POST", "/oauth/logout?client_id=web-app", &of_page, &[]).await;
    assert_eq!(answer.status, 200);
    let cleared = answer.all("set-cookie");
    assert!(cleared[0].starts_with(&format!("{COOKIE}=; Path=/; Max-Age=0;")), "{cleared:?}");
    let answer = world.get("/staff/x", &PAGE, &cookie).await;
    let sign_in = format!("{OWN}/oauth/login?client_id=web-app&return_to=%2Fstaff%2Fx");
    assert_eq!((answer.status, answer.header("location")), (303, Some(&*sign_in)));
    assert!(upstream.received().is_empty());
}
