//! When a session is over, and when it is not.

use super::*;
use crate::core::revocation::{Kind, Revocation, Target};

#[tokio::test]
async fn a_session_that_is_used_lives_on_and_one_that_is_polled_goes_idle() {
    let scene = Scene::in_session();
    let cookie = scene.session(20_000).await;
    let puts = scene.store.puts();
    for _ in 0..3 {
        scene.pass(1800);
        assert_eq!(scene.good(&cookie).await, None);
    }
    assert_eq!(scene.store.puts(), puts + 3, "the store is told once in a tenth of the timeout");
    for _ in 0..10 {
        scene.pass(30);
        scene.good(&cookie).await;
    }
    assert_eq!(scene.store.puts(), puts + 3);
    // Elsewhere the cookie alone would say that it is over; the store knows better.
    let elsewhere = scene.replica();
    scene.pass(2000);
    assert_eq!(elsewhere.good(&cookie).await, None);
    // And here it seems to be over, while it was used elsewhere.
    scene.pass(3000);
    assert_eq!(scene.good(&cookie).await, None);
    for _ in 0..7 {
        scene.pass(500);
        assert!(scene.ask_with(&asks(&cookie), POLL).await.is_ok());
    }
    scene.pass(100);
    assert_eq!(scene.asked(), 0);
    scene.is_over(&cookie, SessionEnd::IdleTimeout).await;
    elsewhere.is_over(&cookie, SessionEnd::IdleTimeout).await;
    scene.revoked(&["refresh-token-s"]).await;
}

/// As a browser keeps it: until Max-Age is over.
struct Jar {
    cookie: String,
    until: Timestamp,
}

impl Jar {
    fn of(scene: &Scene, set_cookie: &HeaderValue) -> Self {
        let text = set_cookie.to_str().unwrap();
        let max_age = text.split("; Max-Age=").nth(1).unwrap().split(';').next().unwrap();
        let until = scene.clock.now().plus(Duration::from_secs(max_age.parse().unwrap()));
        Self { cookie: cookie_in(set_cookie), until }
    }

    fn sends(&self, scene: &Scene) -> &str {
        assert!(scene.clock.now() < self.until, "the browser forgot the cookie of a session in use");
        &self.cookie
    }
}

#[tokio::test]
async fn a_browser_keeps_the_cookie_of_a_session_that_is_used_between_exchanges() {
    let scene = Scene::in_session();
    let idle = 3600;
    let first = scene.session(300).await;
    scene.pass(295);
    scene.next_tokens(
        json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 4 * idle }),
        Some(&id_token_of("alice")),
    );
    let jar = Jar::of(&scene, &scene.ask(&first).await.unwrap().ride.unwrap().set_cookie);
    for _ in 0..6 {
        scene.pass(idle / 2);
        assert_eq!(scene.good(jar.sends(&scene)).await, None);
        let asked = asks(jar.sends(&scene));
        let asked = head(&Method::GET, &asked);
        let said = who(&scene.gate, &scene.live, &asked, Some("client_id=web-app")).await.unwrap();
        let said: Value = serde_json::from_slice(&said.body).unwrap();
        assert_eq!(said["session_expires_in"], idle);
    }
    assert_eq!(scene.asked(), 1);
    // Nobody keeps one that is of no use any more.
    assert_eq!(jar.until, scene.grant_in(&jar.cookie).signed_in_at.plus(Duration::from_secs(24 * 3600)));
    // And whoever comes back to an idle session hears so, and so does the authorization server.
    scene.pass(idle);
    scene.is_over(jar.sends(&scene), SessionEnd::IdleTimeout).await;
    scene.revoked(&["refresh-token-0"]).await;
}

/// The store hears of a use once in a while; who signs out everywhere is asked of what is known here, too.
#[tokio::test]
async fn who_was_there_lately_signs_out_everywhere() {
    let scene = Scene::in_session();
    let cookie = scene.session(20_000).await;
    for seconds in [3000, 300] {
        scene.pass(seconds);
        scene.good(&cookie).await;
    }
    scene.pass(3400);
    let (grant, headers) = (scene.grant_in(&cookie), asks(&cookie));
    let head = head(&Method::POST, &headers);
    let request = ClientRequest { gate: &scene.gate, live: &scene.live, client: scene.client(), head: &head };
    assert_eq!(end_session(request, &grant, true).await, Ok(()));
    // And of one that was idle the server hears.
    let scene = Scene::in_session();
    let cookie = scene.session(20_000).await;
    scene.good(&cookie).await;
    scene.pass(3600);
    let grant = scene.grant_in(&cookie);
    let request = ClientRequest { gate: &scene.gate, live: &scene.live, client: scene.client(), head: &head };
    let over = Err(Denial::SessionEnded(SessionEnd::IdleTimeout));
    assert_eq!(end_session(request, &grant, true).await, over);
    scene.revoked(&["refresh-token-s"]).await;
}

#[tokio::test]
async fn what_was_used_without_an_exchange_counts_at_the_next_one() {
    let scene = Scene::in_session();
    let cookie = scene.session(3500).await;
    scene.pass(3000);
    scene.good(&cookie).await;
    scene.pass(1000);
    scene.next_tokens(json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 10_000 }), None);
    let polled = scene.ask_with(&asks(&cookie), POLL).await.unwrap();
    let next = cookie_in(&polled.ride.unwrap().set_cookie);
    assert_eq!(
        scene.grant_in(&next).last_used_at,
        scene.grant_in(&cookie).signed_in_at.plus(Duration::from_secs(3000))
    );
    scene.pass(2599);
    assert!(scene.ask_with(&asks(&next), POLL).await.is_ok());
    scene.pass(1);
    scene.is_over(&next, SessionEnd::IdleTimeout).await;
}

/// The store hears of a use once in a while; whoever comes back after the access token's end is asked of what
/// is known here, too, and a poll's exchange takes none of it away.
#[tokio::test]
async fn who_was_there_lately_gets_the_next_access_token() {
    for wants in [PAGE, POLL] {
        let scene = Scene::in_session();
        let cookie = scene.session(3000).await;
        scene.pass(300);
        scene.good(&cookie).await;
        scene.pass(3400);
        scene.next_tokens(json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 10_000 }), None);
        let served = scene.ask_with(&asks(&cookie), wants).await.expect("unused for less than the timeout");
        let next = scene.grant_in(&cookie_in(&served.ride.unwrap().set_cookie));
        let used = if wants.activity.is_use() { 3700 } else { 300 };
        assert_eq!(next.last_used_at, next.signed_in_at.plus(Duration::from_secs(used)));
    }
}

#[tokio::test]
async fn no_use_carries_a_session_over_its_absolute_timeout() {
    let scene = Scene::in_session();
    let cookie = scene.session(86_000).await;
    for _ in 0..47 {
        scene.pass(1800);
        scene.good(&cookie).await;
    }
    assert_eq!(scene.asked(), 0);
    scene.pass(1800);
    scene.is_over(&cookie, SessionEnd::AbsoluteTimeout).await;
    assert_eq!(scene.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_taken_back_ends_at_its_next_request() {
    for wanted in [
        json!({ "kind": "sub", "value": "alice" }),
        json!({ "kind": "sub", "value": "alice", "block": true }),
        json!({ "kind": "sid", "value": "sid-1" }),
        json!({ "kind": "client", "value": "web-app" }),
        json!({ "kind": "issuer", "value": "demo" }),
        json!({ "kind": "family", "value": "" }),
    ] {
        let scene = Scene::in_session();
        let cookie = scene.session(300).await;
        scene.good(&cookie).await;
        let mut wanted = wanted;
        if wanted["kind"] == "family" {
            wanted["value"] = scene.grant_in(&cookie).family.to_string().into();
        }
        scene.take_back(wanted).await;
        for replica in [&scene.replica(), &scene] {
            replica.is_over(&cookie, SessionEnd::Revoked).await;
        }
        scene.revoked(&["refresh-token-s"]).await;
        assert_eq!(scene.asked(), 0);
    }
}

#[tokio::test]
async fn a_session_of_which_an_access_token_alone_was_taken_back_gets_another() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.good(&cookie).await;
    scene.take_back(json!({ "kind": "jti", "value": "token-0" })).await;
    scene.next_token("token-1");
    let next = scene.good(&cookie).await.unwrap();
    assert_eq!((scene.good(&next).await, scene.asked()), (None, 1));
    // Whoever comes late with the cookie before, whose answer holds a token that was taken back too.
    scene.take_back(json!({ "kind": "jti", "value": "token-1" })).await;
    let (denial, ride) = scene.denied(&cookie).await;
    assert_eq!((denial, cookie_in(&ride.unwrap())), (Denial::AuthorizationServerUnavailable, next.clone()));
    scene.next_token("token-2");
    assert!(scene.good(&next).await.is_some());
}

#[tokio::test]
async fn a_session_that_was_signed_out_elsewhere_is_over_here() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.good(&cookie).await;
    let elsewhere = scene.replica();
    let (grant, timeouts) = (scene.grant_in(&cookie), session_cookie::timeouts(scene.client()));
    let ended = end_family(&elsewhere.gate, &grant, timeouts, SessionEnd::Revoked).await;
    name_tokens(&elsewhere.gate, &ended.issued).await.unwrap();
    scene.is_over(&cookie, SessionEnd::Revoked).await;
    scene.replica().is_over(&cookie, SessionEnd::Revoked).await;
    assert_eq!(scene.asked(), 0);
}

/// Other replicas have its access token at hand, and serve its cookie without asking the store.
#[tokio::test]
async fn a_session_that_the_store_lost_is_signed_out_at_every_replica() {
    #[derive(Clone, Copy, Debug)]
    enum Lost {
        All,
        /// And a use has made a record anew, in which no access token is.
        AllBeforeAUse,
        /// What was put since the exchange before.
        TheLatest,
    }
    for lost in [Lost::All, Lost::AllBeforeAUse, Lost::TheLatest] {
        let scene = Scene::in_session();
        let empty = scene.store.held();
        let mut cookie = scene.session(300).await;
        let elsewhere = scene.replica();
        let before = scene.store.held();
        scene.pass(295);
        scene.next_tokens(json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 20_000 }), None);
        cookie = scene.good(&cookie).await.unwrap();
        assert_eq!(elsewhere.good(&cookie).await, None);
        scene.store.go_back_to(if matches!(lost, Lost::TheLatest) { &before } else { &empty });
        if matches!(lost, Lost::AllBeforeAUse) {
            scene.pass(1800);
            assert_eq!((scene.good(&cookie).await, scene.store.len("family:")), (None, 1));
        }
        let (grant, headers) = (scene.grant_in(&cookie), asks(&cookie));
        let head = head(&Method::POST, &headers);
        let request =
            ClientRequest { gate: &scene.gate, live: &scene.live, client: scene.client(), head: &head };
        // Nobody is told that it is over before every replica can know.
        scene.log.set_away(true);
        assert_eq!(end_session(request, &grant, false).await, Err(Denial::StoreUnavailable), "{lost:?}");
        scene.log.set_away(false);
        for _ in 0..2 {
            assert_eq!(end_session(request, &grant, false).await, Ok(()), "{lost:?}");
            let entries = scene.log.all();
            let of_it = |entry: &&Revocation| entry.target == Target::family(grant.family);
            assert_eq!(entries.iter().filter(of_it).count(), 1, "{lost:?}");
        }
        elsewhere.is_over(&cookie, SessionEnd::Revoked).await;
        scene.is_over(&cookie, SessionEnd::Revoked).await;
    }
    // Of one that nothing was lost of the access tokens are enough.
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    let (grant, headers) = (scene.grant_in(&cookie), asks(&cookie));
    let head = head(&Method::POST, &headers);
    let request = ClientRequest { gate: &scene.gate, live: &scene.live, client: scene.client(), head: &head };
    assert_eq!(end_session(request, &grant, false).await, Ok(()));
    assert!(scene.log.all().iter().all(|entry| entry.target.kind == Kind::Token));
}

#[tokio::test]
async fn a_session_that_the_server_ended_is_over_and_its_cookie_goes() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    "ended".clone_into(&mut scene.server.current.lock().unwrap());
    scene.pass(295);
    scene.is_over(&cookie, SessionEnd::InvalidGrant).await;
    scene.is_over(&cookie, SessionEnd::InvalidGrant).await;
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn an_outage_of_the_store_ends_no_session() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.store.set_away(true);
    let unknown = scene.replica();
    for replica in [&unknown, &scene] {
        assert_eq!(replica.denied(&cookie).await, (Denial::StoreUnavailable, None));
    }
    scene.store.set_away(false);
    assert_eq!(scene.good(&cookie).await, None);
    scene.store.set_away(true);
    scene.pass(295);
    assert_eq!(scene.good(&cookie).await, None, "its access token is good");
    scene.pass(60);
    assert_eq!(scene.denied(&cookie).await, (Denial::StoreUnavailable, None));
    assert_eq!(scene.asked(), 0);
    scene.store.set_away(false);
    scene.next_token("token-1");
    assert!(scene.good(&cookie).await.is_some());
}

/// Who could not be signed out is in their session still, and no thief.
#[tokio::test]
async fn a_sign_out_that_the_store_did_not_take_leaves_the_session_as_it_was() {
    let scene = Scene::in_session();
    let mut cookie = scene.session(300).await;
    scene.good(&cookie).await;
    let (grant, headers) = (scene.grant_in(&cookie), asks(&cookie));
    let head = head(&Method::POST, &headers);
    let request = ClientRequest { gate: &scene.gate, live: &scene.live, client: scene.client(), head: &head };
    scene.store.set_away(true);
    assert_eq!(end_session(request, &grant, false).await, Err(Denial::StoreUnavailable));
    scene.store.set_away(false);
    for _ in 0..4 {
        scene.pass(31);
        assert_eq!((scene.good(&cookie).await, scene.asked()), (None, 0));
    }
    // Its next cookie goes out, too.
    scene.pass(171);
    scene.next_token("token-1");
    let ride = scene.ask(&cookie).await.unwrap().ride.unwrap();
    assert!(session::may_leave(&scene.gate, &ride).await);
    cookie = cookie_in(&ride.set_cookie);
    assert_eq!((scene.good(&cookie).await, scene.asked()), (None, 1));
    let count = "exchanges_total{client=\"web\",outcome=\"reuse_detected\"} 0";
    let text = String::from_utf8(scene.gate.metrics.render().unwrap()).unwrap();
    assert!(text.contains(count) || !text.contains("reuse_detected"), "{text}");
    // And one that the store took is over here at once.
    assert_eq!(end_session(request, &scene.grant_in(&cookie), false).await, Ok(()));
    assert!(!session::may_leave(&scene.gate, &ride).await);
    scene.is_over(&cookie, SessionEnd::Revoked).await;
}
