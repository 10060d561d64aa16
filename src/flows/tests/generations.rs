//! Which generation of a cookie gets which answer, and what a flight is worth to those who did not
//! wait for it.

use super::*;

#[tokio::test]
async fn a_cookie_becomes_a_new_access_token_and_the_next_cookie() {
    let scene = Scene::new();
    let first = scene.signed_in_cookie().await;
    scene.pass(100);
    let answer = scene.refresh(&first).await.unwrap();
    assert_eq!(answer.outcome.label(), "rotated");
    let json = body(&answer);
    assert_eq!(json["access_token"], "access-token-1");
    assert!(json.get("id_token").is_none());
    assert_ne!(cookie_of(&answer), first);
    let (_, form) = scene.server.token_requests.lock().unwrap()[1].clone();
    assert_eq!(
        form,
        "grant_type=refresh_token&refresh_token=refresh-token-0&scope=openid+offline_access+api%3Aread&resource=https%3A%2F%2Fapi.example"
    );
    let next = scene.refresh(&cookie_of(&answer)).await.unwrap();
    assert_eq!(body(&next)["access_token"], "access-token-2");
    scene.counted("exchanges_total", "outcome=\"rotated\"", 2);
}

#[tokio::test]
async fn fifty_at_once_cost_the_server_one_call() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let answers = join_all((0..50).map(|_| scene.refresh(&cookie))).await;
    assert_eq!(scene.asked(), 2);
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    for answer in &answers {
        assert_eq!((answer.status, &answer.set_cookie), (StatusCode::OK, &answers[0].set_cookie));
        assert_eq!(body(answer)["access_token"], "access-token-1");
    }
    scene.counted("exchanges_total", "outcome=\"rotated\"", 1);
    scene.counted("exchanges_total", "outcome=\"coalesced\"", 49);
}

#[tokio::test]
async fn within_grace_the_same_answer_is_given_again_with_less_time_left() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let first = scene.refresh(&cookie).await.unwrap();
    scene.pass(20);
    let again = scene.refresh(&cookie).await.unwrap();
    assert_eq!((again.outcome.label(), scene.asked()), ("answered_again", 2));
    assert_eq!(cookie_of(&again), cookie_of(&first));
    let (first, again) = (body(&first), body(&again));
    assert_eq!(again["access_token"], first["access_token"]);
    assert_eq!((&again["expires_in"], &again["refresh_after"]), (&280.into(), &220.into()));
    assert_eq!(again["session_expires_in"], 3580);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_made_up_for_after_grace() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    scene.pass(600);
    let recovered = scene.refresh(&cookie).await.unwrap();
    assert_eq!(
        (recovered.outcome.label(), &body(&recovered)["access_token"]),
        ("recovered", &"access-token-2".into())
    );
    let (_, form) = scene.server.token_requests.lock().unwrap()[2].clone();
    assert!(form.contains("refresh_token=refresh-token-1"), "{form}");
}

#[tokio::test]
async fn a_spent_cookie_ends_the_session_everywhere() {
    let scene = Scene::new();
    let stolen = scene.signed_in_cookie().await;
    let second = cookie_of(&scene.refresh(&stolen).await.unwrap());
    let third = cookie_of(&scene.refresh(&second).await.unwrap());
    scene.pass(31);
    let refusal = scene.refresh(&stolen).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert!(clears(refusal.set_cookie.as_ref()));
    let refusal = scene.refresh(&third).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
    assert_eq!(scene.asked(), 3, "the AS is not asked with a spent or ended grant");
    scene.revoked(&["refresh-token-0", "refresh-token-2"]).await;
    scene.counted("exchanges_total", "outcome=\"reuse_detected\"", 1);
    scene.counted("exchanges_total", "outcome=\"revoked\"", 1);
}

#[tokio::test]
async fn a_slow_server_is_given_up_for_the_browser_and_not_for_the_session() {
    let scene = Scene::with(client(), Duration::from_millis(20));
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
    assert!(refusal.set_cookie.is_none());
    // The flight goes on; who comes back gets its answer, and the AS is not asked twice.
    let (answer, ()) = tokio::join!(scene.refresh(&cookie), async {
        tokio::task::yield_now().await;
        scene.server.answers.add_permits(1);
    });
    let answer = answer.unwrap();
    assert_eq!((answer.outcome.label(), scene.asked()), ("coalesced", 2));
    assert_eq!(body(&answer)["access_token"], "access-token-1");
}

/// The answer has less time left, but for the session: it is used now.
#[tokio::test(start_paused = true)]
async fn an_answer_that_came_too_late_for_its_browser_is_there_when_it_comes_back_after_grace() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    scene.refresh(&cookie).await.unwrap_err();
    scene.server.answers.add_permits(PLENTY);
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    scene.pass(100);
    let answer = scene.refresh(&cookie).await.unwrap();
    assert_eq!((answer.outcome.label(), scene.asked()), ("answered_again", 2));
    let json = body(&answer);
    assert_eq!((&json["access_token"], &json["expires_in"]), (&"access-token-1".into(), &200.into()));
    assert_eq!(json["session_expires_in"], 3600);
    assert!(answer.set_cookie.as_ref().unwrap().to_str().unwrap().contains("; Max-Age=3600;"));
    scene.pass(29);
    assert_eq!(cookie_of(&scene.refresh(&cookie).await.unwrap()), cookie_of(&answer));
    // Where that answer is lost, it is made up for as ever.
    scene.pass(1);
    assert_eq!(scene.refresh(&cookie).await.unwrap().outcome.label(), "recovered");
}

#[tokio::test]
async fn a_browser_that_leaves_does_not_cut_the_exchange_short() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.server.answers.forget_permits(PLENTY);
    tokio::select! {
        biased;
        _ = scene.refresh(&cookie) => panic!("answered before the server"),
        () = tokio::task::yield_now() => {} // and the request is dropped
    }
    scene.server.answers.add_permits(1);
    while scene.server.made.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    let answer = scene.refresh(&cookie).await.unwrap();
    assert_eq!(scene.asked(), 2);
    assert_eq!(body(&answer)["access_token"], "access-token-1");
}

/// Two requests of one browser, the older cookie's before the newer one's, at a gateway that has just
/// started: what the AS says to the older one is not about the session that goes on.
#[tokio::test]
async fn a_flight_that_a_later_cookie_overtook_neither_ends_the_session_nor_clears_the_cookie() {
    let answers = |status, body: Value| Instead::Answer(status, "application/json", body.to_string());
    let tokens = |sub| json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": id_token_of(sub) });
    for (status, overtaken) in
        [(400, json!({ "error": "invalid_grant" })), (200, tokens("alice")), (200, tokens("mallory"))]
    {
        let scene = Scene::new();
        scene.next(Instead::With(json!({ "id_token": id_token_of("alice") })));
        let first = scene.signed_in_cookie().await;
        let second = cookie_of(&scene.refresh(&first).await.unwrap());
        let scene = scene.without_memory();
        scene.server.answers.forget_permits(PLENTY);
        scene.next(answers(status, overtaken));
        scene.next(answers(200, tokens("alice")));
        scene.next(answers(200, tokens("alice")));
        let (older, newer) = tokio::join!(scene.refresh(&first), async {
            scene.arrived(3).await;
            let (newer, ()) = tokio::join!(scene.refresh(&second), async {
                scene.arrived(4).await;
                scene.server.answers.add_permits(PLENTY);
            });
            newer
        });
        let older = older.unwrap_err();
        assert_eq!(older.denial, Denial::AuthorizationServerUnavailable);
        assert!(older.set_cookie.is_none());
        let third = cookie_of(&newer.unwrap());
        assert!(scene.refresh(&third).await.is_ok());
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(5)).await, 0);
        scene.revoked(&[]).await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_rotate_gets_rotation_from_us() {
    let scene = Scene::new();
    let first = scene.signed_in_cookie().await;
    for _ in 0..2 {
        scene.next(Instead::With(json!({ "refresh_token": null })));
    }
    let second = cookie_of(&scene.refresh(&first).await.unwrap());
    "refresh-token-0".clone_into(&mut scene.server.current.lock().unwrap());
    let third = cookie_of(&scene.refresh(&second).await.unwrap());
    assert!(first != second && second != third);
    let (_, form) = scene.server.token_requests.lock().unwrap()[2].clone();
    assert!(form.contains("refresh_token=refresh-token-0"), "{form}");
    scene.pass(31);
    let refusal = scene.refresh(&first).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::ReuseDetected));
}

#[tokio::test]
async fn what_is_remembered_goes_when_no_cookie_can_be_good_any_more() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    scene.refresh(&cookie).await.unwrap();
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
    assert!(scene.gate.exchanges.is_empty(), "nobody waits any more");
    assert_eq!(scene.store.len("family"), 1);
    scene.pass(24 * 3600 - 1);
    assert_eq!(scene.store.len("family"), 1);
    scene.pass(1 + 300);
    assert_eq!(scene.store.len("family"), 0);
}
