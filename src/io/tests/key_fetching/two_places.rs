//! The two places of metadata: the first counts, and the second is read for what it lacks.

use super::*;

#[tokio::test]
async fn rfc_8414_metadata_is_asked_for_first() {
    let server = authorization_server(&[&keys().p256]).await;
    server.answer(RFC8414, Reply::json(metadata(&server.url).to_string()));
    let world = World::discovering(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    assert_eq!((server.asked(RFC8414), server.asked(OIDC)), (1, 0));
}

/// Where requests are pushed, and that they must be (RFC 9126 section 5).
const PUSHED: [&str; 2] = ["pushed_authorization_request_endpoint", "require_pushed_authorization_requests"];

/// The metadata of an issuer at both places: `first` and `second` take these members out.
fn publish_twice(server: &TestServer, first: &[&str], second: &[&str]) {
    for (place, without) in [(RFC8414, first), (OIDC, second)] {
        let mut document = metadata(&server.url);
        document["end_session_endpoint"] = json!(format!("{}/out", server.url));
        document[PUSHED[0]] = json!(format!("{}/par", server.url));
        document[PUSHED[1]] = json!(true);
        document["revocation_endpoint"] = json!(format!("{}{place}", server.url));
        without.iter().for_each(|name| document[*name] = Value::Null);
        server.answer(place, Reply::json(document.to_string()));
    }
}

fn signing_in(iss: &str) -> World {
    let timeout = Duration::from_millis(500);
    World::new(Issuer { signs_in: true, timeout, ..issuer(iss, KeySource::Discovery(None)) })
}

/// Until a sign-out is known to lead there.
async fn end_session_known(world: &World) {
    while world.issuer().endpoints().is_none_or(|endpoints| endpoints.end_session.is_none()) {
        tokio::task::yield_now().await;
    }
}

/// Whether it is known where requests are pushed, and that they must be.
fn pushed(world: &World) -> (bool, bool) {
    let endpoints = world.issuer().endpoints().unwrap();
    (endpoints.pushed_authorization.is_some(), endpoints.requires_pushed)
}

async fn asked_for_second(server: &TestServer, before: usize) {
    while server.asked(OIDC) == before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_jwks_uri_that_stands_at_the_second_place_alone_is_found_there() {
    let server = authorization_server(&[&keys().p256]).await;
    publish_twice(&server, &["jwks_uri"], &[]);
    let world = World::discovering(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    assert_eq!((server.asked(RFC8414), server.asked(OIDC)), (1, 1));
    let endpoints = world.issuer().endpoints().unwrap();
    assert_eq!(endpoints.revocation.as_ref().unwrap().path(), RFC8414, "what the first says counts");
    // While the second cannot be read it is as it said before.
    for bad in [Reply::Status(500), Reply::json(json!({"issuer": "https://evil.example"}).to_string())] {
        server.answer(OIDC, bad);
        world.later(600);
        world.look().await;
        world.judge_of(&keys().p256).await.unwrap();
        assert!(world.issuer().last_error().is_none());
    }
    let world = World::discovering(&server.url);
    assert_eq!(world.judge_of(&keys().p256).await, Err(Denial::KeysUnavailable));
    let error = world.issuer().last_error().unwrap();
    assert!(error.contains("no jwks_uri") && error.contains(OIDC), "{error}");
}

#[tokio::test]
async fn where_people_sign_out_is_looked_for_at_the_second_place_where_the_gateway_signs_them_in() {
    let server = authorization_server(&[&keys().p256]).await;
    publish_twice(&server, &["end_session_endpoint"], &[]);
    let world = World::discovering(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    assert_eq!(server.asked(OIDC), 0, "nobody signs in here");
    let world = signing_in(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    end_session_known(&world).await;
    let endpoints = world.issuer().endpoints().unwrap();
    assert_eq!(endpoints.end_session.as_ref().unwrap().path(), "/out");
    assert_eq!(endpoints.revocation.as_ref().unwrap().path(), RFC8414, "what the first says counts");
    // One that says it itself is not asked twice.
    publish_twice(&server, &[], &[]);
    let asked = server.asked(OIDC);
    world.later(600);
    world.look().await;
    assert_eq!(server.asked(OIDC), asked);
}

#[tokio::test]
async fn a_second_place_that_is_away_or_anothers_costs_neither_keys_nor_what_it_said_before() {
    let server = authorization_server(&[&keys().p256]).await;
    publish_twice(&server, &["end_session_endpoint"], &[]);
    let known = signing_in(&server.url);
    known.judge_of(&keys().p256).await.unwrap();
    end_session_known(&known).await;
    let evil = json!({"issuer": "https://evil.example", "end_session_endpoint": "https://evil.example/out"});
    for bad in [Reply::Status(404), Reply::Close, Reply::Hang, Reply::json(evil.to_string())] {
        server.answer(OIDC, bad.clone());
        let fresh = signing_in(&server.url);
        for world in [&known, &fresh] {
            let asked = server.asked(OIDC);
            world.later(600);
            world.look().await;
            world.judge_of(&keys().p256).await.unwrap();
            while server.asked(OIDC) == asked {
                tokio::task::yield_now().await;
            }
            let endpoints = world.issuer().endpoints().unwrap();
            assert!(endpoints.token.is_some(), "{bad:?}");
            assert_eq!(endpoints.end_session.is_some(), std::ptr::eq(world, &known), "{bad:?}");
        }
    }
    // It says that there is none any more.
    publish_twice(&server, &["end_session_endpoint"], &["end_session_endpoint"]);
    known.later(600);
    known.look().await;
    while known.issuer().endpoints().unwrap().end_session.is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_requests_are_pushed_is_found_at_the_second_place_and_kept_while_that_is_not_read() {
    let both: &[&str] = &["end_session_endpoint", PUSHED[0], PUSHED[1]];
    for first_lacks in [both, &PUSHED] {
        let server = authorization_server(&[&keys().p256]).await;
        publish_twice(&server, first_lacks, &[]);
        let world = signing_in(&server.url);
        world.judge_of(&keys().p256).await.unwrap();
        while pushed(&world) != (true, true) {
            tokio::task::yield_now().await;
        }
        for bad in [Reply::Status(500), Reply::Status(404), Reply::Hang] {
            server.answer(OIDC, bad.clone());
            let asked = server.asked(OIDC);
            world.later(600);
            world.look().await;
            assert_eq!(pushed(&world), (true, true), "{bad:?}");
            asked_for_second(&server, asked).await;
            assert_eq!(pushed(&world), (true, true), "{bad:?}");
        }
        // It says that there is none any more.
        publish_twice(&server, first_lacks, &PUSHED);
        world.later(600);
        world.look().await;
        while pushed(&world) != (false, false) {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_the_first_place_said_alone_goes_when_it_says_so_no_more() {
    let server = authorization_server(&[&keys().p256]).await;
    publish_twice(&server, &["end_session_endpoint"], &[]);
    server.answer(OIDC, Reply::Status(404));
    let world = signing_in(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    assert_eq!(pushed(&world), (true, true));
    publish_twice(&server, &["end_session_endpoint", PUSHED[0], PUSHED[1]], &[]);
    server.answer(OIDC, Reply::Status(404));
    world.later(600);
    world.look().await;
    assert_eq!(pushed(&world), (false, false));
}

#[tokio::test]
async fn what_the_second_place_said_while_the_first_was_away_is_kept_too() {
    let server = authorization_server(&[&keys().p256]).await;
    publish_twice(&server, &PUSHED, &[]);
    server.answer(RFC8414, Reply::Status(500));
    let world = signing_in(&server.url);
    world.judge_of(&keys().p256).await.unwrap();
    publish_twice(&server, &PUSHED, &[]);
    server.answer(OIDC, Reply::Status(500));
    let asked = server.asked(RFC8414);
    world.later(600);
    world.look().await;
    assert_eq!((server.asked(RFC8414), pushed(&world)), (asked + 1, (true, true)));
}
