//! Proofs that were used are remembered, in bounded memory: nobody fills it for others, with whatever keys.

use super::*;

#[tokio::test]
async fn a_full_memory_of_pages_proofs_keeps_no_route_from_taking_one() {
    let scene = Scene::strict();
    scene.next(access_token(&scene, json!({})));
    let cookie = scene.signed_in_cookie().await;
    let key = &keys().p256;
    scene.next(bound_to(&scene, thumbprint(key)));
    let answer = scene.prove(&cookie, &proof(&scene, key, "p-1")).await.unwrap();
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    fill(&scene.gate.used_page_proofs, scene.clock.now());
    let refusal = scene.prove(&cookie_of(&answer), &proof(&scene, key, "p-2")).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::NoRoomForProofs);
    let facts = refusal.denial.facts();
    assert_eq!((facts.status, facts.label), (StatusCode::SERVICE_UNAVAILABLE, "no_room_for_proofs"));
    assert!(refusal.denial.retry_after().is_some() && refusal.set_cookie.is_none());

    let headers = with_token(&scene, key, &token, "p-3");
    let path = CanonicalPath::parse(b"/api").unwrap();
    let head = head(&Method::GET, &headers);
    let brought = Brought::ByRequest {
        to: &Access::Public,
        from: head.client_address,
        tally: Tally::Everybody,
        by: Presentation::Proof { head: &head, path: &path },
    };
    let now = scene.clock.now();
    authenticate(&scene.gate, &scene.live, token.as_str(), brought, now).await.unwrap();
    assert_eq!(scene.gate.used_proofs.held(), 1);
}

/// Until nobody's proof has room. Those whose place others share find none a little sooner, so one of them
/// tells nothing; of the others each third finds the last room.
fn fill(used: &UsedProofs, now: Timestamp) {
    let mut refused_in_a_row = 0;
    for number in 0_u32.. {
        let key = Thumbprint::from_digest(of_parts(&[&number.to_be_bytes()]));
        let proof = ValidProof { key, id: *key.bytes().first_chunk().unwrap(), made_at: now };
        refused_in_a_row =
            if used.note(&proof, Holder::Key(key), now) == Use::NoRoom { refused_in_a_row + 1 } else { 0 };
        if refused_in_a_row == 200 {
            return;
        }
    }
}

/// Until one of them has no more room, whatever keys they make.
fn flood(used: &UsedProofs, holder: Holder<'_>, now: Timestamp) {
    for number in 0_u32.. {
        let key = Thumbprint::from_digest(of_parts(&[&number.to_be_bytes()]));
        let proof = ValidProof { key, id: *key.bytes().first_chunk().unwrap(), made_at: now };
        if used.note(&proof, holder, now) == Use::NoRoom {
            return;
        }
    }
}

#[tokio::test]
async fn a_session_that_floods_with_ever_new_keys_leaves_room_to_all_others() {
    let scene = Scene::new();
    let mut cookies = Vec::new();
    for name in [Some("mallory"), Some("mallory"), Some("alice"), None] {
        let id_token = name.map_or(Value::Null, |name| id_token_of(name).into());
        scene.next(Instead::With(json!({ "id_token": id_token })));
        // Each session has a server of its own, as it were: this one knows one at a time.
        cookies.push((scene.signed_in_cookie().await, scene.server.current.lock().unwrap().clone()));
    }
    let refresh = async |at: usize, key: &TestKey, jti: &str| {
        let (cookie, token) = &cookies[at];
        scene.server.current.lock().unwrap().clone_from(token);
        scene.prove(cookie, &proof(&scene, key, jti)).await.map(drop).map_err(|refusal| refusal.denial)
    };
    let grant = scene.grant_of(&cookies[0].0);
    let (iss, sub) = (AS, "mallory");
    assert_eq!(page_key::holder_of(&grant), Holder::Subject { iss, sub });
    flood(&scene.gate.used_page_proofs, page_key::holder_of(&grant), scene.clock.now());
    assert_eq!(refresh(0, &keys().p256, "p-1").await, Err(Denial::NoRoomForProofs));
    assert_eq!(refresh(0, &keys().ed, "p-2").await, Err(Denial::NoRoomForProofs), "with whatever key");
    assert_eq!(refresh(1, &keys().ed, "p-3").await, Err(Denial::NoRoomForProofs), "in whatever session");
    assert_eq!(refresh(2, &keys().p256, "p-4").await, Ok(()), "somebody else, with whatever key");
    // One of which nobody knows whose it is, is by itself.
    let nobodys = scene.grant_of(&cookies[3].0);
    assert_eq!(page_key::holder_of(&nobodys), Holder::Session(nobodys.family));
    assert_eq!(refresh(3, &keys().ed, "p-5").await, Ok(()));
}

#[tokio::test]
async fn codes_of_one_address_that_come_with_ever_new_keys_leave_room_to_all_others() {
    let scene = Scene::new();
    let exchange = async |address: [u8; 4], jti: &str| {
        let headers = with_proofs(None, &[&proof(&scene, &keys().ed, jti)]);
        let head = RequestHead { client_address: IpAddr::from(address), ..head(&Method::POST, &headers) };
        let answer = token(&scene.gate, &scene.live, &head, code_exchange().as_bytes()).await;
        answer.map(drop).map_err(|refusal| refusal.denial)
    };
    let flooding = Holder::Address(IpAddr::from([192, 0, 2, 1]).into());
    flood(&scene.gate.used_page_proofs, flooding, scene.clock.now());
    assert_eq!(exchange([192, 0, 2, 1], "p-1").await, Err(Denial::NoRoomForProofs));
    assert_eq!(exchange([192, 0, 2, 2], "p-2").await, Ok(()));
}

#[tokio::test]
async fn a_person_who_floods_a_route_with_tokens_of_many_keys_leaves_room_to_all_others() {
    let scene = Scene::strict();
    let call = async |sub: &str, key: &TestKey, jti: &str| {
        let claims = json!({ "sub": sub, "jti": jti, "cnf": { "jkt": thumbprint(key).to_string() } });
        let Instead::With(token) = access_token(&scene, claims) else { panic!() };
        let token = token["access_token"].as_str().unwrap().to_owned();
        let by = with_token(&scene, key, &token, jti);
        let head = head(&Method::GET, &by);
        let path = CanonicalPath::parse(b"/api").unwrap();
        let brought = Brought::ByRequest {
            to: &Access::Public,
            from: head.client_address,
            tally: Tally::Everybody,
            by: Presentation::Proof { head: &head, path: &path },
        };
        authenticate(&scene.gate, &scene.live, token.as_str(), brought, scene.clock.now()).await.map(drop)
    };
    flood(&scene.gate.used_proofs, Holder::Subject { iss: AS, sub: "mallory" }, scene.clock.now());
    assert_eq!(call("mallory", &keys().p256, "t-1").await, Err(Denial::NoRoomForProofs));
    assert_eq!(call("mallory", &keys().ed, "t-2").await, Err(Denial::NoRoomForProofs), "with whatever key");
    assert_eq!(call("alice", &keys().p256, "t-3").await, Ok(()));
}

/// The headers of a request to a route with this token.
fn with_token(scene: &Scene, key: &TestKey, token: &str, jti: &str) -> HeaderMap {
    let ath = URL_SAFE_NO_PAD.encode(digest(&SHA256, token.as_bytes()));
    let claims = json!({ "jti": jti, "htm": "GET", "htu": format!("{OWN}/api"), "ath": ath });
    let mut headers = HeaderMap::new();
    headers.insert(DPOP, HeaderValue::try_from(proof_with(scene, key, claims)).unwrap());
    headers
}
