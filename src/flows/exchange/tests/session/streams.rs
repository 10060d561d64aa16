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
        let session = of_session(self, cookie, &token);
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
