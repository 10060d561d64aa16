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
