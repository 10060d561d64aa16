//! A session of which something lasts gets its next access token early, by a request of its own.

use super::super::open_requests::{of_session, permit, route};
use super::*;
use crate::flows::open_requests::mark_lasting;
use crate::state::open_requests::{Ending, OpenRequest};

impl Scene {
    fn with_streams() -> Self {
        let scene = Self::in_session();
        scene.with_routes(vec![route()]);
        scene
    }

    /// A WebSocket or an event stream of the session.
    async fn streams(&self, cookie: &str) -> Arc<OpenRequest> {
        let token = self.ask(cookie).await.unwrap().caller;
        let session = of_session(self, cookie, token.clone());
        let open = self.gate.open_requests.enter(token.clone(), Some(session));
        mark_lasting(&self.gate, &open, &permit(token, self.clock.now()));
        open
    }
}

#[tokio::test]
async fn what_lasts_outlives_its_access_token_where_the_session_is_used_in_the_last_fifth() {
    let scene = Scene::with_streams();
    let cookie = scene.session(300).await;
    let stream = scene.streams(&cookie).await;
    scene.pass(239);
    assert_eq!((scene.good(&cookie).await, scene.asked()), (None, 0), "four fifths are not over");
    scene.pass(1);
    scene.next_token("token-1");
    let next = scene.good(&cookie).await.unwrap();
    assert_eq!((scene.good(&next).await, scene.asked()), (None, 1));
    scene.pass(61);
    assert_eq!(scene.ending(&stream), None);
    assert_eq!(stream.token().token().id(), Some("token-1"));
    // Nobody asks for anything any more.
    scene.pass(240);
    assert_eq!(scene.ending(&stream), Some(Ending::Expired));
}

#[tokio::test]
async fn without_anything_that_lasts_here_a_session_is_exchanged_in_its_last_seconds() {
    let scene = Scene::with_streams();
    let [with, without] = [scene.session(300).await, scene.session(300).await];
    let stream = scene.streams(&with).await;
    let elsewhere = scene.replica();
    scene.pass(289);
    assert_eq!(scene.good(&without).await, None, "what lasts is another session's");
    assert_eq!(elsewhere.good(&with).await, None, "what lasts is at another replica");
    scene.gate.open_requests.leave(&stream);
    drop(stream);
    assert_eq!((scene.good(&with).await, scene.asked()), (None, 0), "nothing lasts any more");
}

#[tokio::test]
async fn an_early_exchange_that_fails_costs_no_request_and_is_not_tried_at_each() {
    for (failure, is_over_at) in [
        (Instead::Fault(HttpFault::Connect), None),
        (Instead::Answer(500, "text/plain", String::new()), None),
        (Instead::Answer(400, "application/json", json!({ "error": "login_required" }).to_string()), None),
        (Instead::Answer(400, "application/json", json!({ "error": "invalid_grant" }).to_string()), Some(())),
    ] {
        let scene = Scene::with_streams();
        let cookie = scene.session(300).await;
        let stream = scene.streams(&cookie).await;
        scene.pass(240);
        scene.next(failure.clone());
        if is_over_at.is_some() {
            scene.is_over(&cookie, SessionEnd::InvalidGrant).await;
            assert_eq!(scene.ending(&stream), Some(Ending::SessionOver));
            continue;
        }
        for _ in 0..3 {
            let served = scene.ask(&cookie).await.unwrap();
            assert_eq!(served.found.token().id(), Some("token-0"), "{failure:?}");
        }
        scene.pass(14);
        assert_eq!((scene.good(&cookie).await, scene.asked()), (None, 1), "{failure:?}");
        scene.pass(1);
        scene.next_token("token-1");
        assert!(scene.good(&cookie).await.is_some());
        assert_eq!((scene.asked(), scene.ending(&stream)), (2, None));
        scene.pass(46);
        assert_eq!(scene.ending(&stream), None, "{failure:?}");
    }
}

/// The server takes 8 seconds, and a request waits for 5.
#[tokio::test(start_paused = true)]
async fn an_early_exchange_that_comes_late_costs_no_request_and_no_session() {
    let scene = Scene::with_streams();
    let hour = json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 2 * 3600 });
    let cookie = scene.session(3600).await;
    let stream = scene.streams(&cookie).await;
    scene.pass(2880);
    scene.next_tokens(hour, None);
    scene.server.answers.forget_permits(PLENTY);
    let served = scene.ask_and_leave(&asks(&cookie), PAGE).await.unwrap();
    assert_eq!((served.found.token().id(), served.ride.is_none()), (Some("token-0"), true));
    scene.pass(8);
    scene.server_answers().await;
    scene.pass(52);
    let next = scene.good(&cookie).await.expect("the next cookie");
    for _ in 0..2 {
        scene.pass(60);
        assert_eq!(scene.good(&next).await, None);
    }
    assert_eq!(scene.asked(), 1);
    // The stream goes on by what came, and the cookie that was a copy is noticed.
    scene.pass(600);
    assert_eq!((scene.ending(&stream), stream.token().token().id()), (None, Some("token-1")));
    scene.is_over(&cookie, SessionEnd::ReuseDetected).await;
}

/// Nor one that is due.
#[tokio::test(start_paused = true)]
async fn answers_that_come_late_are_there_for_whoever_comes_next_at_any_replica() {
    let scene = Scene::in_session();
    let mut cookie = scene.session(300).await;
    for round in 1..=5 {
        scene.pass(301);
        scene.next_token(&format!("token-{round}"));
        scene.server.answers.forget_permits(PLENTY);
        let refused = scene.ask_and_leave(&asks(&cookie), PAGE).await.unwrap_err();
        assert_eq!(
            (&refused.denial, refused.side.ride.is_none()),
            (&Denial::AuthorizationServerUnavailable, true)
        );
        scene.pass(8);
        scene.server_answers().await;
        scene.pass(120);
        let [there, here] = [scene.replica(), scene.replica()];
        let next = there.good(&cookie).await.expect("the next cookie");
        scene.pass(29);
        assert_eq!(here.good(&cookie).await.as_ref(), Some(&next), "for `grace` from then on");
        assert_eq!((here.good(&next).await, scene.asked()), (None, round));
        cookie = next;
    }
}

/// Whenever it was exchanged for.
#[tokio::test(start_paused = true)]
async fn whoever_gets_an_answer_that_waited_uses_the_session_then() {
    let scene = Scene::in_session();
    let cookie = scene.session(60).await;
    scene.pass(61);
    let life = json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 20_000 });
    scene.next_tokens(life, None);
    scene.server.answers.forget_permits(PLENTY);
    scene.ask_and_leave(&asks(&cookie), PAGE).await.unwrap_err();
    scene.server_answers().await;
    scene.pass(3500);
    let next = scene.good(&cookie).await.expect("the next cookie");
    scene.pass(3500);
    for replica in [scene.replica(), scene] {
        assert_eq!(replica.good(&next).await, None, "it is not idle");
    }
}

/// A session whose answer came when nobody waited any more, and whose access token was taken back before
/// somebody came for it.
async fn whose_answer_went_bad(scene: &Scene) -> String {
    let cookie = scene.session(60).await;
    scene.pass(61);
    let life = json!({ "jti": "token-1", "exp": scene.clock.now().as_secs() + 7200 });
    scene.next_tokens(life, None);
    scene.server.answers.forget_permits(PLENTY);
    scene.ask_and_leave(&asks(&cookie), PAGE).await.unwrap_err();
    scene.server_answers().await;
    scene.pass(600);
    scene.take_back(json!({ "kind": "jti", "value": "token-1" })).await;
    cookie
}

/// Another is asked for, as where no answer had waited.
#[tokio::test(start_paused = true)]
async fn an_answer_that_went_bad_while_it_waited_costs_no_request() {
    let scene = Scene::in_session();
    let cookie = whose_answer_went_bad(&scene).await;
    scene.next_token("token-2");
    let session = scene.ask(&cookie).await.unwrap();
    assert_eq!((session.found.token().id(), scene.asked()), (Some("token-2"), 2));
    let next = cookie_in(&session.ride.unwrap().set_cookie);
    assert_eq!(scene.good(&cookie).await, Some(next.clone()), "the same again");
    assert_eq!((scene.good(&next).await, scene.asked()), (None, 2));
    scene.pass(31);
    scene.is_over(&cookie, SessionEnd::ReuseDetected).await;
}

/// Its cookie reached nobody, so that of before is no copy.
#[tokio::test(start_paused = true)]
async fn an_answer_that_went_bad_while_it_waited_makes_nobody_a_thief() {
    // What came in its place is lost: the first that is.
    let scene = Scene::in_session();
    let cookie = whose_answer_went_bad(&scene).await;
    for round in 2..=4 {
        scene.next_token(&format!("token-{round}"));
        assert!(scene.ask(&cookie).await.unwrap().ride.is_some(), "{round}");
        scene.pass(301);
    }
    scene.is_over(&cookie, SessionEnd::ReuseDetected).await;
    // Nothing came in its place, which was no answer that could be lost.
    let scene = Scene::in_session();
    let cookie = whose_answer_went_bad(&scene).await;
    for _ in 0..3 {
        scene.next(Instead::Fault(HttpFault::Connect));
        assert_eq!(scene.denied(&cookie).await, (Denial::AuthorizationServerUnavailable, None));
        scene.pass(31);
    }
    for round in 2..=4 {
        scene.next_token(&format!("token-{round}"));
        assert!(scene.ask(&cookie).await.unwrap().ride.is_some(), "{round}");
        scene.pass(301);
    }
    scene.is_over(&cookie, SessionEnd::ReuseDetected).await;
}

/// Many tabs come for it at once, on two replicas.
#[tokio::test(start_paused = true)]
async fn an_answer_that_went_bad_while_it_waited_is_made_up_for_by_one_exchange() {
    let one = Scene::in_session();
    let cookie = whose_answer_went_bad(&one).await;
    let two = one.replica();
    one.next_token("token-2");
    let all =
        join_all((0..20).map(|at| if at % 2 == 0 { one.good(&cookie) } else { two.good(&cookie) })).await;
    let cookies: HashSet<_> = all.into_iter().map(Option::unwrap).collect();
    assert_eq!((cookies.len(), one.asked()), (1, 2));
}
