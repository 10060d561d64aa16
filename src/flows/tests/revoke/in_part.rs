//! Sessions that cannot all be ended: of some the record cannot be read, or the store is away and memory
//! stands in for it.

use super::*;
use crate::flows::family::record::key;
use crate::flows::ports::Keep;

/// A session whose access token says nothing of it.
async fn signed_in(scene: &Scene, name: &str, jti: &str) -> (String, String) {
    let claims = json!({ "jti": jti, "sub": null, "client_id": null });
    scene.signed_in_with(claims, Some(&id_token_of(name))).await
}

impl Scene {
    /// The record of this cookie's session is nothing that this release can read.
    async fn spoil(&self, cookie: &str) {
        let key = key(self.grant_of(cookie).family);
        let (version, _) = self.store.get(&key).await.unwrap().value.unwrap();
        let lifetime = Duration::from_secs(3600);
        let garbage = Kept { bytes: "garbage".into(), lifetime, keep: Keep::Durably };
        self.store.put_if(&key, Some(version), garbage).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_session_that_cannot_be_read_keeps_no_other_from_being_ended() {
    for spoilt in 0..3 {
        let scene = Scene::strict();
        let mut sessions = Vec::new();
        for jti in ["a", "b", "c"] {
            sessions.push(signed_in(&scene, "alice", jti).await);
        }
        scene.spoil(&sessions[spoilt].0).await;
        let told = scene.revoke(json!({ "kind": "sub", "value": "alice" })).await;
        assert!(matches!(told, Err(RevokeError::Store(StoreFault::Unreadable(_)))), "{told:?}");
        for (at, (_, token)) in sessions.iter().enumerate() {
            let expected = if at == spoilt { Ok(()) } else { Err(Denial::Revoked) };
            assert_eq!(scene.takes(token).await, expected, "{at} of {spoilt}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whose_sessions_cannot_be_ended_holds_up_no_other_second_look() {
    let scene = Scene::strict();
    let (alice, _) = signed_in(&scene, "alice", "a").await;
    scene.spoil(&alice).await;
    let wanted = |name: &str| serde_json::from_value(json!({ "kind": "sub", "value": name })).unwrap();
    let told = revoke(&scene.gate, vec![wanted("alice"), wanted("bob")], None).await;
    assert!(matches!(told, Err(RevokeError::Store(StoreFault::Unreadable(_)))), "{told:?}");
    // Where nobody knows of it yet.
    let mut replica = scene.replica();
    Arc::get_mut(&mut replica.gate).unwrap().revocations = Arc::new(Revocations::new([1; 16]));
    replica.gate.revocations.mark_complete();
    for round in ["first", "again"] {
        let (_, token) = signed_in(&replica, "bob", round).await;
        assert_eq!(scene.takes(&token).await, Ok(()), "{round}: nothing names it yet");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{round}");
        scene.revoke(json!({ "kind": "sub", "value": "bob" })).await.unwrap();
    }
    assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 1, "that of alice alone");
}

/// What replicas share, or the memory of this process while that is away.
#[derive(Debug)]
struct Alone {
    shared: Arc<FakeStore>,
    memory: FakeStore,
}

impl Store for Alone {
    fn get<'a>(&'a self, key: &'a StoreKey) -> BoxFuture<'a, Result<Stored, StoreFault>> {
        async move {
            match self.shared.get(key).await {
                Ok(found) => Ok(found),
                Err(_) => self.memory.get(key).await,
            }
        }
        .boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a StoreKey,
        expected: Option<Version>,
        value: Kept,
    ) -> BoxFuture<'a, Result<Option<Version>, StoreFault>> {
        async move {
            match self.shared.put_if(key, expected, value.clone()).await {
                Ok(put) => Ok(put),
                Err(_) => self.memory.put_if(key, expected, value).await,
            }
        }
        .boxed()
    }

    fn shared(&self) -> Option<&dyn Store> {
        Some(&*self.shared)
    }
}

#[tokio::test(start_paused = true)]
async fn memory_that_stands_in_for_the_store_is_not_taken_for_nobody_being_signed_in() {
    for kind in ["sub", "sid", "client", "family"] {
        let mut scene = Scene::strict();
        let memory = FakeStore::new(scene.clock.clone());
        let alone = Alone { shared: scene.store.clone(), memory };
        Arc::get_mut(&mut scene.gate).unwrap().store = Arc::new(alone);
        let (cookie, token) = signed_in(&scene, "alice", "a").await;
        scene.store.set_away(true);
        let family = scene.grant_of(&cookie).family.to_string();
        let value = match kind {
            "sub" => "alice",
            "sid" => "sid-1",
            "client" => "web-app",
            _ => &family,
        };
        let told = scene.revoke(json!({ "kind": kind, "value": value })).await;
        assert!(matches!(told, Err(RevokeError::Store(StoreFault::Unavailable(_)))), "{kind}: {told:?}");
        // However long it is away.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(scene.takes(&token).await, Ok(()), "{kind}: nothing names it yet");
        scene.store.set_away(false);
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert_eq!(scene.takes(&token).await, Err(Denial::Revoked), "{kind}");
    }
}

/// Nor is it for a sign-out, of a session that was exchanged meanwhile or not. What memory alone knows of is
/// named all the same.
#[tokio::test(start_paused = true)]
async fn nobody_is_said_to_be_signed_out_while_memory_stands_in_for_the_store() {
    const QUERY: &str = "client_id=web-app";
    for is_exchanged in [false, true] {
        let mut scene = Scene::strict();
        let memory = FakeStore::new(scene.clock.clone());
        let alone = Alone { shared: scene.store.clone(), memory };
        Arc::get_mut(&mut scene.gate).unwrap().store = Arc::new(alone);
        let (mut cookie, before) = signed_in(&scene, "alice", "a").await;
        let mut meanwhile = None;
        scene.store.set_away(true);
        if is_exchanged {
            scene.next(access_token(&scene, json!({ "jti": "b", "sub": null, "client_id": null })));
            let answer = scene.refresh(&cookie).await.unwrap();
            cookie = cookie_of(&answer);
            meanwhile = Some(body(&answer)["access_token"].as_str().unwrap().to_owned());
        }
        let refusal = scene.delete(&headers(Some(&cookie)), QUERY).await.unwrap_err();
        assert_eq!((refusal.denial, refusal.set_cookie), (Denial::StoreUnavailable, None), "{is_exchanged}");
        assert_eq!(scene.takes(&before).await, Ok(()), "nothing names it yet");
        // Here it is over, and its cookie stays where it was told.
        let refusal = scene.refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{is_exchanged}");
        scene.store.set_away(false);
        assert_eq!(scene.delete(&headers(Some(&cookie)), QUERY).await.unwrap().status, 204, "{is_exchanged}");
        assert_eq!(scene.gate.errands.finished(Duration::from_secs(60)).await, 0);
        for token in std::iter::once(&before).chain(&meanwhile) {
            assert_eq!(scene.takes(token).await, Err(Denial::Revoked), "{is_exchanged}");
        }
        let refusal = scene.replica().refresh(&cookie).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::SessionEnded(SessionEnd::Revoked), "{is_exchanged}");
    }
}
