//! Tokens that were taken back, and those that somebody made up.

use super::*;

#[tokio::test]
async fn what_is_revoked_here_is_refused_at_once_also_where_it_is_remembered() {
    for (wanted, changes) in [
        (json!({"kind": "jti", "value": "t-1"}), json!({})),
        (json!({"kind": "sub", "value": "alice"}), json!({})),
        (json!({"kind": "client", "value": "web-app", "block": true}), json!({})),
        (json!({"kind": "sid", "value": "s-1"}), json!({"sid": "s-1"})),
        (json!({"kind": "issuer", "value": "demo"}), json!({})),
    ] {
        let scene = Scene::new();
        scene.says("opaque", changes);
        scene.call("opaque").await.unwrap();
        scene.revoke(wanted.clone()).await;
        assert_eq!(scene.call("opaque").await, Err(Denial::Revoked), "{wanted}");
        assert_eq!(scene.asked(), 1);
    }
}

#[tokio::test]
async fn a_token_that_was_handed_out_while_its_issuer_was_away_is_revoked_by_its_text() {
    let scene = Scene::new();
    scene.says("opaque", json!({"jti": "another name"}));
    scene.call("opaque").await.unwrap();
    scene.revoke_text("opaque").await;
    assert_eq!(scene.call("opaque").await, Err(Denial::Revoked));
}

#[tokio::test]
async fn a_token_that_was_taken_back_is_refused_in_every_spelling_and_no_other_with_it() {
    let random = "Lq8tNMkwQ2_qC9yv4xIsfWmZ-0eCz3XBPoTUd1KhJ7";
    for (taken, spellings, other) in [
        (
            format!("ory_at_{random}A.b5c0"),
            [format!("ory_at_{random}B.b5c0"), format!("{random}A.b5c0")],
            format!("ory_at_{random}A.c5c0"),
        ),
        (
            format!("v4.local.{random}A"),
            [format!("v4.local.{random}A="), format!("v4.local.{random}C")],
            format!("v4.local.x{random}"),
        ),
    ] {
        let scene = Scene::new();
        for token in spellings.iter().chain([&taken, &other]) {
            scene.says(token, json!({"jti": null}));
            scene.call(token).await.unwrap();
        }
        scene.revoke_text(&taken).await;
        for token in spellings.iter().chain([&taken]) {
            assert_eq!(scene.call(token).await, Err(Denial::Revoked), "{token}");
        }
        scene.call(&other).await.unwrap();
    }
}

#[tokio::test]
async fn made_up_tokens_neither_fill_the_issuer_nor_keep_known_ones_from_it() {
    let scene = Scene::with(DEMO, ROUTES);
    scene.says("known", json!({}));
    scene.call("known").await.unwrap();
    scene.later(30_000);
    scene.hold();
    let names: Vec<String> = (0..90).map(|n| format!("made-up-{n}")).collect();
    let flood = join_all(names.iter().map(|token| scene.call(token)));
    let known = async {
        scene.arrived(1 + 48).await;
        let known = scene.call("known");
        let release = async {
            scene.arrived(1 + 49).await;
            scene.release();
        };
        tokio::join!(known, release).0
    };
    let (verdicts, known) = tokio::join!(flood, known);
    assert_eq!(known, Ok(()));
    let of = |wanted: &Denial| verdicts.iter().filter(|verdict| verdict.as_ref() == Err(wanted)).count();
    assert_eq!((of(&INACTIVE), of(&Denial::IntrospectionUnavailable)), (48, 42));
    scene.metric(r#"tollgate_introspections_total{issuer="demo",result="overloaded"} 42"#);
}

#[tokio::test]
async fn an_address_that_shows_too_many_made_up_tokens_has_no_more_of_them_asked_about() {
    let scene = Scene::new();
    scene.says("known", json!({}));
    scene.says("new", json!({}));
    scene.call("known").await.unwrap();
    for n in 0..100 {
        assert_eq!(scene.call(&format!("made-up-{n}")).await, Err(INACTIVE));
    }
    let asked = scene.asked();
    for token in ["made-up-101", "new"] {
        assert!(matches!(scene.call(token).await, Err(Denial::TooManyDenials { .. })));
    }
    scene.call("known").await.unwrap();
    assert_eq!(scene.asked(), asked);
}

/// The application of somebody who was signed out asks again and again with what it has.
#[tokio::test]
async fn a_token_that_was_good_and_has_ended_brakes_nobody_however_often_it_comes() {
    let scene = Scene::new();
    scene.says("opaque", json!({}));
    scene.call("opaque").await.unwrap();
    scene.ends("opaque");
    for turn in 0..150 {
        scene.later(30_000);
        assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }), "{turn}");
        // What is remembered of it, too.
        assert_eq!(scene.call("opaque").await, Err(Denial::TokenInactive { was_good: true }), "{turn}");
    }
    scene.says("new", json!({}));
    scene.call("new").await.unwrap();
}

#[tokio::test]
async fn a_trial_is_no_way_around_the_brake_to_the_issuer_and_brakes_nothing_elsewhere() {
    let trial = r#"  - { path: /trial/*, to: "http://127.0.0.1:1", report_only: true, require: { scope: "api:read" } }"#;
    let scene = Scene::with(DEMO, &format!("{ROUTES}{trial}\n"));
    for token in ["known", "new"] {
        scene.says(token, json!({}));
    }
    scene.call("known").await.unwrap();
    for n in 0..100 {
        let permit = scene.get("/trial/x", &format!("made-up-{n}")).await.unwrap();
        assert_eq!(permit.reported().unwrap().denial, INACTIVE);
    }
    let asked = scene.asked();
    for token in ["made-up-101", "new"] {
        let permit = scene.get("/trial/x", token).await.unwrap();
        let denial = &permit.reported().unwrap().denial;
        assert!(matches!(denial, Denial::TooManyDenials { only_reported: true, .. }), "{denial:?}");
        assert!(permit.token().is_none());
    }
    assert_eq!(scene.asked(), asked);
    assert!(scene.get("/trial/x", "known").await.unwrap().token().is_some());
    scene.call("new").await.unwrap();
    assert_eq!(scene.asked(), asked + 1, "a trial keeps nobody from anything elsewhere");
    assert!(scene.get("/trial/x", "new").await.unwrap().token().is_some());
    scene.later(600);
    scene.says("later", json!({}));
    assert!(scene.get("/trial/x", "later").await.unwrap().token().is_some(), "and is over with time");
}
