//! Identity headers that are to come from an ID token, and it does not have them: as of a server that keeps
//! them for UserInfo.

use super::super::open_requests::route;
use super::*;
use crate::core::route::{Route, TakesSession};

/// A gateway with a route that takes the client's session, where upstreams are told by these headers.
fn scene(identity: IdentityFrom, headers: &[(&'static str, &str)]) -> Scene {
    let mut client = in_session_mode();
    client.session.as_mut().unwrap().identity = identity;
    let mut scene = Scene::with(client, Duration::from_secs(5));
    let session = TakesSession { client: ClientName::new("web"), signs_in: true, counts_as_use: true };
    let mut settings = Settings {
        issuers: scene.live.settings.issuers.clone(),
        clients: scene.live.settings.clients.clone(),
        routes: vec![Arc::new(Route { session: Some(session), ..Arc::unwrap_or_clone(route()) })],
        ..testing::settings(OWN)
    };
    let named =
        |(header, claim): &(&'static str, &str)| (HeaderName::from_static(header), (*claim).to_owned());
    settings.identity.headers = vec![headers.iter().map(named).collect()];
    scene.live = Arc::new(Live {
        routes: RouteTable::build(&settings.routes).unwrap(),
        issuers: Issuers::new(&settings.issuers, Some(&scene.live.issuers)),
        settings: Arc::new(settings),
        transmitters: Transmitters::default(),
        cookie_keys: scene.live.cookie_keys.clone(),
        assertions: None,
    });
    scene.gate.live.store(scene.live.clone());
    scene
}

impl Scene {
    async fn signs_in_with(&self, id_claims: &Value) {
        let mut browser = Browser::default();
        let asked = self.login(&mut browser, "client_id=web-app").await.unwrap();
        let token = keys().p256.sign(&claims_at(self.clock.now()));
        self.next(Instead::With(
            json!({ "access_token": token, "scope": null, "id_token": asked.id_token(id_claims) }),
        ));
        let arrived = self.arrive(&browser.goes("same-origin"), &asked.answered("code-1")).await;
        assert!(matches!(arrived, Ok(Arrived::SignedIn(_))), "{arrived:?}");
    }
}

#[tokio::test]
async fn what_the_first_id_token_of_a_client_does_not_fill_is_told_once() {
    const HEADERS: [(&str, &str); 5] = [
        ("x-user", "sub"),
        ("x-mail", "email"),
        ("x-team", "org.team"),
        ("x-client", "client_id"),
        ("x-scope", "scope"),
    ];
    for (identity, claims, told) in [
        (IdentityFrom::IdToken, json!({}), Some("headers=\"x-mail (email), x-team (org.team)\"")),
        (IdentityFrom::IdToken, json!({ "email": "a@b" }), Some("headers=\"x-team (org.team)\"")),
        (IdentityFrom::IdToken, json!({ "email": "a@b", "org": { "team": "t" } }), None),
        // As it is written, none of these has a header.
        (
            IdentityFrom::IdToken,
            json!({ "email": null, "org": { "team": {} } }),
            Some("headers=\"x-mail (email), x-team (org.team)\""),
        ),
        (
            IdentityFrom::IdToken,
            json!({ "email": "a@b", "org": { "team": [] } }),
            Some("headers=\"x-team (org.team)\""),
        ),
        (IdentityFrom::IdToken, json!({ "email": false, "org": { "team": ["t"] } }), None),
        (IdentityFrom::AccessToken, json!({}), None),
        // Said to stand elsewhere, which another warning is about.
        (
            IdentityFrom::IdToken,
            json!({ "_claim_names": { "email": "src1" } }),
            Some("headers=\"x-team (org.team)\""),
        ),
    ] {
        let scene = scene(identity, &HEADERS);
        let lines = Lines::listen();
        scene.signs_in_with(&claims).await;
        scene.signs_in_with(&json!({})).await;
        let text = lines.text();
        let count = lines.count("no claim for these identity headers");
        assert_eq!(count, usize::from(told.is_some()), "{claims}: {text}");
        let elsewhere = lines.count("claims=\"email\"");
        assert_eq!(elsewhere, usize::from(claims.get("_claim_names").is_some()), "{claims}: {text}");
        assert!(text.contains(told.unwrap_or_default()), "{claims}: {text}");
    }
}
