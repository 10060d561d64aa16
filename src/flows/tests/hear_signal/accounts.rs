//! Accounts that are disabled and enabled, in whatever order the words come and whoever says them.

use super::*;

#[tokio::test]
async fn an_account_that_is_disabled_is_shut_out_until_it_is_enabled() {
    let here = Listening::new();
    let session = here.signed_in("alice", "1", "t").await;
    here.is_told(&here.set_of(TRANSMITTER, DISABLED, json!({ "reason": "hijacking" }), json!({})))
        .await
        .unwrap();
    assert!(here.is_out(&session).await);
    let listed = here.listed();
    let [block] = &listed[..] else { panic!("one block: {listed:?}") };
    assert_eq!((block.rule, block.until), (Rule::Block, None));
    assert_eq!(
        (block.made_by.as_deref(), block.reason.as_deref()),
        (Some(TRANSMITTER), Some("account-disabled hijacking"))
    );
    here.pass(61);
    let fresh = keys().p256.sign(&with(claims_at(here.clock.now()), json!({ "iss": AS, "jti": "fresh" })));
    assert_eq!(here.takes(&fresh).await, Err(Denial::Revoked), "whatever is made for her now");
    let id_token = id_token(&json!({ "iss": AS, "aud": "web-app", "exp": 1_800_000_000, "sub": "alice" }));
    here.next(Instead::With(json!({ "id_token": id_token })));
    assert!(here.post(None, &code_exchange()).await.is_err(), "not by signing in again");
    here.other_is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    assert!(!here.is_blocked());
    assert!(!here.is_out(&here.signed_in("alice", "3", "v").await).await);
    assert!(here.is_out(&session).await, "what was over stays over");
    assert_eq!(here.counts("first", "account-disabled", "applied"), 1);
}

#[tokio::test]
async fn the_latest_word_about_an_account_counts_in_whatever_order_they_come() {
    let at = |here: &Listening, seconds: i64| json!({ "toe": here.clock.now().as_secs() + seconds });
    let here = Listening::new();
    here.is_told(&here.set(ENABLED, at(&here, -10))).await.unwrap();
    here.is_told(&here.set(DISABLED, at(&here, -20))).await.unwrap();
    assert!(!here.is_blocked(), "it was enabled after that");
    assert_eq!(here.counts("first", "account-disabled", "ignored"), 1);
    here.is_told(&here.set(DISABLED, at(&here, -5))).await.unwrap();
    here.is_told(&here.set(ENABLED, at(&here, -6))).await.unwrap();
    assert!(here.is_blocked(), "it was disabled after that");
    here.is_told(&here.set(ENABLED, at(&here, -5))).await.unwrap();
    assert!(here.is_blocked(), "of one moment the one that closes");
    here.is_told(&here.set(ENABLED, at(&here, -4))).await.unwrap();
    assert!(!here.is_blocked());
    // What was lifted by hand stays so, whoever sends the same word once more.
    here.is_told(&here.set(DISABLED, at(&here, -3))).await.unwrap();
    let block = here.listed()[0].id();
    lift(&here.gate, block).await.unwrap();
    here.pass(86_401);
    let old = json!({ "iat": here.clock.now().as_secs() - 86_404, "jti": "again" });
    here.is_told(&here.set(DISABLED, old)).await.unwrap();
    assert!(!here.is_blocked());
}

/// The block is in the list, and which word made it in the store: both must be there when the power comes
/// back.
#[tokio::test]
async fn the_latest_word_about_an_account_outlives_a_crash() {
    for (older, newer) in [(ENABLED, DISABLED), (DISABLED, ENABLED)] {
        let here = Listening::new();
        let ago = |event, seconds| here.set(event, json!({ "toe": here.clock.now().as_secs() - seconds }));
        here.is_told(&ago(newer, 5)).await.unwrap();
        here.store.crash();
        here.other_is_told(&ago(older, 6)).await.unwrap();
        assert_eq!(here.is_blocked(), newer == DISABLED, "{newer}");
    }
}

#[tokio::test]
async fn an_older_word_is_known_for_as_long_as_it_could_be_taken() {
    let here = Listening::new();
    let late = here.set(DISABLED, json!({}));
    here.pass(1);
    here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    here.pass(i64::try_from(MEMORY.as_secs()).unwrap());
    here.is_told(&late).await.unwrap();
    assert!(!here.is_blocked());
    here.pass(60);
    refused(here.is_told(&late).await, Code::InvalidRequest);
}

#[tokio::test]
async fn nobody_lets_in_whom_another_shut_out() {
    let operators = |here: &Listening| {
        let wanted = json!({ "kind": "sub", "value": "alice", "block": true });
        let gate = here.gate.clone();
        async move {
            revoke(&gate, vec![serde_json::from_value::<Wanted>(wanted).unwrap()], Some("bob".into())).await
        }
    };
    let here = Listening::new();
    operators(&here).await.unwrap();
    here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    assert!(here.is_blocked(), "an operator's alone");
    here.pass(1);
    here.is_told(&here.set(DISABLED, json!({}))).await.unwrap();
    here.pass(1);
    here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    assert!(here.is_blocked(), "an operator's too");
    assert_eq!(here.listed()[0].made_by.as_deref(), Some("bob"));

    let here = Listening::new();
    here.is_told(&here.set(DISABLED, json!({}))).await.unwrap();
    here.is_told(&here.set_of(SECOND, DISABLED, json!({}), json!({}))).await.unwrap();
    here.pass(1);
    here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    assert!(here.is_blocked());
    assert_eq!(here.listed()[0].made_by.as_deref(), Some(SECOND));
    here.is_told(&here.set_of(SECOND, ENABLED, json!({}), json!({}))).await.unwrap();
    assert!(!here.is_blocked());
}

impl Listening {
    /// An operator blocks alice, for `seconds`.
    pub(super) async fn operator_blocks(&self, name: &str, seconds: Option<u64>) -> Revocation {
        let until = seconds.map(|seconds| self.clock.now().plus(Duration::from_secs(seconds)).to_rfc3339());
        let wanted =
            json!({ "kind": "sub", "value": "alice", "block": true, "until": until, "reason": "left" });
        let made = revoke(&self.gate, vec![serde_json::from_value(wanted).unwrap()], Some(name.into())).await;
        made.unwrap().remove(0)
    }

    /// Whether what is made for alice now is taken.
    async fn takes_alice(&self) -> bool {
        let number = self.said.fetch_add(1, Ordering::SeqCst);
        let claims = with(
            claims_at(self.clock.now()),
            json!({ "iss": AS, "jti": format!("t-{number}"), "sub": "alice" }),
        );
        self.takes(&keys().p256.sign(&claims)).await.is_ok()
    }
}

#[tokio::test]
async fn an_operators_end_is_the_end_of_nobody_elses_block() {
    for operator_is_first in [true, false] {
        let here = Listening::new();
        assert!(here.takes_alice().await);
        if operator_is_first {
            here.operator_blocks("bob", Some(600)).await;
        }
        here.is_told(&here.set(DISABLED, json!({}))).await.unwrap();
        if !operator_is_first {
            let made = here.operator_blocks("bob", Some(600)).await;
            assert_eq!(made.until, None, "an operator is told when it ends");
            assert_eq!(made.holders().len(), 2);
        }
        here.pass(601);
        assert!(!here.takes_alice().await, "it is disabled, whenever bob's block ends");
        here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
        assert!(here.takes_alice().await, "bob's is over");
        assert!(!here.is_blocked());
    }
}

#[tokio::test]
async fn an_account_that_is_enabled_stays_blocked_for_as_long_as_an_operator_said() {
    let here = Listening::new();
    here.operator_blocks("bob", Some(60)).await;
    // Of operators the latest counts.
    let bobs = here.operator_blocks("eve", Some(600)).await;
    here.is_told(&here.set(DISABLED, json!({}))).await.unwrap();
    here.pass(1);
    here.is_told(&here.set(ENABLED, json!({}))).await.unwrap();
    assert_eq!(here.listed(), [bobs], "with its end, its maker and its reason");
    assert!(!here.takes_alice().await);
    here.pass(600);
    assert!(here.takes_alice().await);
}

#[tokio::test]
async fn whoever_lifts_a_block_by_hand_lifts_all_of_it() {
    let here = Listening::new();
    here.is_told(&here.set(DISABLED, json!({}))).await.unwrap();
    let both = here.operator_blocks("bob", None).await;
    lift(&here.gate, both.id()).await.unwrap();
    assert!(here.takes_alice().await);
}

#[tokio::test]
async fn of_a_transmitter_whose_clock_is_ahead_the_latest_word_counts_too() {
    for (earlier, later) in [(ENABLED, DISABLED), (DISABLED, ENABLED)] {
        let here = Listening::new();
        let ahead = |seconds: i64| json!({ "iat": here.clock.now().as_secs() + seconds });
        let (delayed, latest) = (here.set(earlier, ahead(15)), here.set(later, ahead(20)));
        here.is_told(&latest).await.unwrap();
        here.pass(5);
        here.is_told(&delayed).await.unwrap();
        assert_eq!(here.is_blocked(), later == DISABLED, "{later}");
    }
}

#[tokio::test]
async fn of_two_words_of_one_second_the_later_counts() {
    for (earlier, later) in [(ENABLED, DISABLED), (DISABLED, ENABLED)] {
        let here = Listening::new();
        let now = here.clock.now().as_secs();
        let at = |fraction: &str| format!("{now}.{fraction}").parse::<f64>().unwrap();
        let said = |event, fraction| {
            here.set_of(TRANSMITTER, event, json!({ "event_timestamp": at(fraction) }), json!({ "iat": now }))
        };
        here.is_told(&said(later, "75")).await.unwrap();
        here.is_told(&said(earlier, "25")).await.unwrap();
        assert_eq!(here.is_blocked(), later == DISABLED, "{later}");
    }
}

#[tokio::test]
async fn an_account_that_is_gone_stays_out_until_an_operator_lifts_that() {
    let here = Listening::new();
    here.is_told(&here.set(PURGED, json!({ "jti": "gone" }))).await.unwrap();
    assert!(!here.takes_alice().await);
    for event in [ENABLED, DISABLED, ENABLED] {
        here.pass(1);
        here.is_told(&here.set(event, json!({}))).await.unwrap();
        assert!(!here.takes_alice().await, "{event}");
    }
    let held = here.listed();
    assert_eq!((held.len(), held[0].made_by.as_deref()), (1, Some(TRANSMITTER)));
    assert_eq!(held[0].reason.as_deref(), Some("account-purged"));
    lift(&here.gate, held[0].id()).await.unwrap();
    here.is_told(&here.set(PURGED, json!({ "jti": "gone", "iat": here.clock.now().as_secs() - 3 })))
        .await
        .unwrap();
    here.pass(86_401);
    let again = here.clock.now().as_secs() - 86_404;
    here.is_told(&here.set(PURGED, json!({ "jti": "again", "iat": again }))).await.unwrap();
    assert!(here.takes_alice().await, "whoever says the same once more");
    assert_eq!(here.counts("first", "account-purged", "ignored"), 1);
}
