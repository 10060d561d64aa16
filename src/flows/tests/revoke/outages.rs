//! Whoever asks over and over while store and list are away leaves one errand, which does all that was asked
//! for.

use super::*;
use crate::core::session::exchange::Issued;
use crate::core::token::id::TokenId;
use crate::flows::revoke::name_tokens_in_background;

impl Scene {
    /// How many errands are left when all is done that can be.
    async fn errands_left(&self) -> usize {
        self.gate.errands.finished(Duration::from_secs(60)).await
    }

    /// The cookie of a session that has gone on without it, and the access tokens that it handed out.
    async fn spent(&self) -> (String, Vec<String>) {
        self.next(access_token(self, json!({ "jti": "t0" })));
        let signed_in = self.sign_in().await;
        let (spent, mut answers) = (cookie_of(&signed_in), vec![signed_in]);
        for jti in ["t1", "t2"] {
            self.next(access_token(self, json!({ "jti": jti })));
            answers.push(self.refresh(&cookie_of(answers.last().unwrap())).await.unwrap());
        }
        self.pass(31);
        let token = |answer: &OAuthAnswer| body(answer)["access_token"].as_str().unwrap().to_owned();
        (spent, answers.iter().map(token).collect())
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_cookie_that_comes_over_and_over_while_nothing_can_be_written_leaves_one_errand() {
    let scene = Scene::strict();
    let (spent, tokens) = scene.spent().await;
    scene.store.set_full(true);
    scene.log.set_away(true);
    for _ in 0..50 {
        assert_eq!(scene.refresh(&spent).await.unwrap_err().denial, Denial::StoreUnavailable);
    }
    assert_eq!(scene.errands_left().await, 1);
    // A sign-out everywhere goes another way to the same end.
    let refusal = scene.delete(&headers(Some(&spent)), "client_id=web-app&everywhere=true").await;
    assert!(refusal.is_err());
    assert_eq!(scene.errands_left().await, 1);
    scene.log.set_away(false);
    assert_eq!((scene.errands_left().await, scene.families().len()), (0, 1));
    for token in &tokens {
        assert_eq!(scene.takes(token).await, Err(Denial::Revoked));
    }
    // It is over for whoever comes next, too.
    scene.store.set_full(false);
    assert!(matches!(scene.refresh(&spent).await.unwrap_err().denial, Denial::SessionEnded(_)));
    assert_eq!(scene.errands_left().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_an_errand_tries_is_named_by_that_one() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let family = scene.grant_of(&scene.signed_in_cookie().await).family;
    let issued = |number: usize| Issued {
        id: TokenId::of(AS, Some(&number.to_string()), ""),
        expires_at: scene.clock.now().plus(Duration::from_secs(60)),
        generation: 0,
    };
    scene.log.set_away(true);
    for number in 0..20 {
        name_tokens_in_background(&scene.gate, family, &[issued(number)]);
        // In the middle of its attempts, and of its pauses.
        tokio::time::sleep(Duration::from_millis(170)).await;
    }
    assert_eq!(scene.errands_left().await, 1);
    scene.log.set_away(false);
    assert_eq!(scene.errands_left().await, 0);
    let now = scene.clock.now();
    assert!((0..20).all(|number| scene.gate.revocations.names_token(issued(number).id, now)));
    // And what comes after it by another.
    name_tokens_in_background(&scene.gate, family, &[issued(20)]);
    assert_eq!(scene.errands_left().await, 0);
    assert!(scene.gate.revocations.names_token(issued(20).id, now));
}

/// What came together in a long outage takes no call that would be as long.
#[tokio::test(start_paused = true)]
async fn what_came_together_is_named_a_piece_at_a_time_and_each_piece_once() {
    let mut scene = Scene::strict();
    let cut = scene.cut();
    scene.next(access_token(&scene, json!({})));
    let family = scene.grant_of(&scene.signed_in_cookie().await).family;
    let issued = |number: usize| Issued {
        id: TokenId::of(AS, Some(&number.to_string()), ""),
        expires_at: scene.clock.now().plus(Duration::from_secs(600)),
        generation: 0,
    };
    let all: Vec<_> = (0..2500).map(issued).collect();
    // The second call comes to nothing.
    cut.fails_after(1);
    name_tokens_in_background(&scene.gate, family, &all);
    assert_eq!(scene.errands_left().await, 0);
    let now = scene.clock.now();
    assert!(all.iter().all(|token| scene.gate.revocations.names_token(token.id, now)));
    assert_eq!(cut.made(), [1000, 1000, 500]);
}

#[tokio::test(start_paused = true)]
async fn whoever_signs_out_everywhere_over_and_over_while_the_store_is_away_leaves_one_errand() {
    const EVERYWHERE: &str = "client_id=web-app&everywhere=true";
    let scene = Scene::strict();
    let (cookie, _) = scene.signed_in_with(json!({ "jti": "t" }), Some(&id_token_of("alice"))).await;
    scene.delete(&headers(Some(&cookie)), EVERYWHERE).await.unwrap();
    assert_eq!(scene.errands_left().await, 0);
    scene.store.set_away(true);
    for _ in 0..50 {
        let refusal = scene.delete(&headers(Some(&cookie)), EVERYWHERE).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::StoreUnavailable);
        // Whoever began has taken what there was.
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.errands_left().await, 1);
    scene.store.set_away(false);
    assert_eq!(scene.errands_left().await, 0);
}

/// A replica that does not know of it yet may let somebody in for some time after each time that it is asked
/// for.
#[tokio::test(start_paused = true)]
async fn what_is_asked_for_again_meanwhile_is_looked_for_once_more() {
    let scene = Scene::strict();
    let sid = json!({ "kind": "sid", "value": "sid-1" });
    scene.revoke(sid.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.revoke(sid).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut replica = scene.replica();
    Arc::get_mut(&mut replica.gate).unwrap().revocations = Arc::new(Revocations::new([1; 16]));
    replica.gate.revocations.mark_complete();
    let (_, token) = replica.signed_in_with(json!({ "jti": "t" }), Some(&id_token_of("alice"))).await;
    assert_eq!(scene.takes(&token).await, Ok(()), "nothing names it yet");
    assert_eq!(scene.errands_left().await, 0);
    assert_eq!(scene.takes(&token).await, Err(Denial::Revoked));
}
