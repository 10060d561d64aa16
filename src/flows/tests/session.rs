//! Requests of a client in `session` mode, with the same server, store and clocks.

mod ending;
mod late;
mod mended;
mod paused;
mod streams;
mod told;

use std::collections::HashSet;

use super::*;
use crate::config::settings::{IdentityFrom, SessionMode};
use crate::core::assertion::Assertions;
use crate::core::ids::FamilyId;
use crate::core::revocation::wanted::Wanted;
use crate::core::session::activity::Activity;
use crate::core::session::grant::{Grant, Subject, SubjectSource};
use crate::core::session::oauth::Scope;
use crate::flows::family::record::change;
use crate::flows::family::tokens::{self, SessionTokens};
use crate::flows::ports::random;
use crate::flows::revoke::session_end::end_family;
use crate::flows::revoke::{name_tokens, reach, revoke};
use crate::flows::session::who::who;
use crate::flows::session::{self, InSession, NotInSession, Wants};
use crate::flows::sign_out::end_session;
use crate::flows::testing::lines::Lines;

const PAGE: Wants = Wants { signs_in: false, activity: Activity::Use };
const POLL: Wants = Wants { signs_in: false, activity: Activity::Poll };

fn session_client(identity: IdentityFrom) -> Client {
    Client {
        session: Some(SessionMode {
            csrf_header: HeaderName::from_static("x-csrf"),
            csrf: Default::default(),
            identity,
        }),
        grants: vec![],
        accept_any_access_token: false,
        cookie: CookieSettings { name: COOKIE_NAME.into(), path: "/".into(), same_site: SameSite::Strict },
        ..client()
    }
}

fn asks(cookie: &str) -> HeaderMap {
    let mut headers = headers(Some(cookie));
    headers.insert("x-csrf", HeaderValue::from_static("1"));
    headers
}

fn ended(end: SessionEnd) -> Denial {
    Denial::NotSignedIn { ended: Some(end) }
}

impl Scene {
    fn in_session() -> Self {
        Self::of(session_client(IdentityFrom::AccessToken), issuer(Duration::from_secs(5)))
    }

    fn reload(&mut self, client: Client) {
        self.reload_with(client, None);
    }

    fn reload_with(&mut self, client: Client, assertions: Option<Arc<Assertions>>) {
        let issuers = self.live.settings.issuers.clone();
        let clients = vec![Arc::new(client)];
        self.live = Arc::new(Live {
            issuers: Issuers::new(&issuers, Some(&self.live.issuers)),
            transmitters: Transmitters::default(),
            settings: Arc::new(Settings { issuers, clients, ..testing::settings(OWN) }),
            routes: RouteTable::build(&[]).unwrap(),
            cookie_keys: Arc::clone(&self.live.cookie_keys),
            assertions,
        });
    }

    fn client(&self) -> &Arc<Client> {
        &self.live.settings.clients[0]
    }

    /// What a sign-in leaves behind: a session whose access token is named `token-0` and lives for so many
    /// seconds.
    async fn session(&self, life: i64) -> String {
        self.session_with(life, Some(&id_token_of("alice"))).await
    }

    async fn session_with(&self, life: i64, id_token: Option<&str>) -> String {
        let now = self.clock.now();
        "refresh-token-s".clone_into(&mut self.server.current.lock().unwrap());
        let grant = Grant {
            client_id: "web-app".into(),
            iss: AS.into(),
            refresh_token: "refresh-token-s".into(),
            subject: Some(Subject { sub: "alice".into(), source: SubjectSource::AccessToken }),
            session_id: Some("sid-1".into()),
            scope: Scope::parse("openid api:read"),
            family: FamilyId::from_random(random(&*self.gate.random)),
            generation: 0,
            seed: Secret::new(random(&*self.gate.random)),
            signed_in_at: now,
            last_used_at: now,
            exchanged_at: now,
        };
        let claims =
            json!({ "iss": AS, "jti": "token-0", "exp": now.as_secs() + life, "iat": now.as_secs() });
        let token = keys().p256.sign(&with(claims_at(now), claims));
        let expires_at = now.plus(Duration::from_secs(life.try_into().unwrap()));
        let issued = judge::judge_tokens(
            &self.gate,
            &self.live,
            self.client(),
            &answered(&token, id_token),
            judge::Exchanged::RefreshToken(None),
        )
        .await
        .unwrap();
        let timeouts = session_cookie::timeouts(self.client());
        reach::note(&self.gate, &self.live, &grant, None, timeouts, reach::MOST_SESSIONS).await.unwrap();
        let issued = crate::core::session::exchange::Issued { id: issued.id, expires_at, generation: 0 };
        change(&self.gate, &grant, timeouts, |family, now| family.begin(Some(issued), now)).await.unwrap();
        let id_token = id_token.map(Into::into);
        let kept = SessionTokens { access_token: token.as_str().into(), id_token, expires_at };
        tokens::keep(&self.gate, self.client(), &grant, &kept).await.unwrap();
        session_cookie::seal(&self.gate, &self.live, self.client(), &grant).unwrap().expose().clone()
    }

    async fn ask_with(&self, headers: &HeaderMap, wants: Wants) -> Result<InSession, NotInSession> {
        let asked = self.ask_and_leave(headers, wants).await;
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
        asked
    }

    /// The same, and what goes on without it is not waited for.
    async fn ask_and_leave(&self, headers: &HeaderMap, wants: Wants) -> Result<InSession, NotInSession> {
        let head = head(&Method::GET, headers);
        let request =
            ClientRequest { gate: &self.gate, live: &self.live, client: self.client(), head: &head };
        session::of_request(request, wants).await.map_err(|not| *not)
    }

    /// The server answers what it was asked meanwhile.
    async fn server_answers(&self) {
        self.server.answers.add_permits(PLENTY);
        assert_eq!(self.gate.errands.finished(Duration::from_secs(60)).await, 0);
    }

    async fn ask(&self, cookie: &str) -> Result<InSession, NotInSession> {
        self.ask_with(&asks(cookie), PAGE).await
    }

    /// A good request; the cookie that it brought, if any.
    async fn good(&self, cookie: &str) -> Option<String> {
        let served = self.ask(cookie).await.unwrap();
        assert_eq!(served.caller.token().subject(), Some("alice"));
        served.ride.map(|ride| cookie_in(&ride.set_cookie))
    }

    async fn denied(&self, cookie: &str) -> (Denial, Option<HeaderValue>) {
        let not = self.ask(cookie).await.unwrap_err();
        (not.denial, not.side.ride.map(|ride| ride.set_cookie))
    }

    /// The session is over, and the browser is told to forget its cookie.
    async fn is_over(&self, cookie: &str, end: SessionEnd) {
        let (denial, set_cookie) = self.denied(cookie).await;
        assert_eq!(denial, ended(end));
        let set_cookie = set_cookie.expect("the cookie is cleared");
        assert!(set_cookie.to_str().unwrap().contains("=; Path=/; Max-Age=0; Secure"), "{set_cookie:?}");
    }

    /// What the next exchange brings: an access token of this name that lives for 300 seconds from now on.
    fn next_token(&self, jti: &str) {
        self.next_tokens(json!({ "jti": jti }), None);
    }

    fn next_tokens(&self, claims: Value, id_token: Option<&str>) {
        let now = self.clock.now();
        let all = with(json!({ "iss": AS, "iat": now.as_secs(), "exp": now.as_secs() + 300 }), claims);
        let token = keys().p256.sign(&with(claims_at(now), all));
        self.next(Instead::With(
            json!({ "access_token": token, "id_token": id_token, "scope": null, "expires_in": null }),
        ));
    }

    async fn take_back(&self, wanted: Value) {
        let wanted: Wanted = serde_json::from_value(wanted).unwrap();
        revoke(&self.gate, vec![wanted], None).await.unwrap();
    }

    fn grant_in(&self, cookie: &str) -> Grant {
        session_cookie::open(&self.live, self.client(), cookie).unwrap()
    }
}

fn answered(token: &str, id_token: Option<&str>) -> crate::core::session::oauth::answer::TokenAnswer {
    crate::core::session::oauth::answer::TokenAnswer {
        access_token: token.into(),
        token_type: "Bearer".into(),
        expires_in: None,
        scope: None,
        id_token: id_token.map(Into::into),
        refresh_token: None,
        issued_token_type: None,
        dpop_nonce: None,
    }
}

fn cookie_in(set_cookie: &HeaderValue) -> String {
    let text = set_cookie.to_str().unwrap();
    text.strip_prefix(&format!("{COOKIE_NAME}=")).unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn after_its_first_request_here_a_session_is_served_from_memory() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    assert_eq!(scene.good(&cookie).await, None);
    scene.store.set_away(true);
    for _ in 0..3 {
        assert_eq!(scene.good(&cookie).await, None);
    }
    assert_eq!(scene.asked(), 0);
    scene.store.set_away(false);
    let elsewhere = scene.replica();
    assert_eq!(elsewhere.good(&cookie).await, None, "a restart or another replica finds it in the store");
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_thief_of_the_store_finds_no_token() {
    let scene = Scene::in_session();
    scene.session(300).await;
    let holds = |text: &str| scene.store.all_bytes().windows(text.len()).any(|part| part == text.as_bytes());
    for secret in ["refresh-token", "eyJ"] {
        assert!(!holds(secret), "{secret}");
    }
    assert!(holds("alice"), "what stands there unsealed is found: whose session it is");
}

#[tokio::test]
async fn at_the_end_of_its_access_token_a_request_exchanges_and_brings_the_next_cookie() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(289);
    assert_eq!((scene.good(&cookie).await, scene.asked()), (None, 0));
    scene.pass(1);
    scene.next_token("token-1");
    let served = scene.ask(&cookie).await.unwrap();
    assert_eq!(served.found.token().id(), Some("token-1"));
    let ride = served.ride.unwrap();
    assert_eq!((ride.generation, ride.until), (Some(1), scene.clock.now().plus(Duration::from_secs(30))));
    assert!(ride.set_cookie.to_str().unwrap().contains("; Path=/; Max-Age=86110; Secure; HttpOnly"));
    let next = cookie_in(&ride.set_cookie);
    assert_eq!((scene.good(&next).await, scene.asked()), (None, 1));
    assert_eq!(scene.replica().good(&next).await, None, "its tokens are in the store");
    // Whoever still has the one before gets the same again, on any replica.
    assert_eq!(scene.good(&cookie).await, Some(next.clone()));
    assert_eq!(scene.replica().good(&cookie).await, Some(next));
    assert_eq!(scene.asked(), 1);
    scene.counted("exchanges_total", "outcome=\"rotated\"", 1);
    scene.counted("exchanges_total", "outcome=\"answered_again\"", 1);
}

#[tokio::test]
async fn many_requests_at_the_end_of_a_token_cost_one_exchange_and_all_succeed() {
    let one = Scene::in_session();
    let two = one.replica();
    let cookie = one.session(300).await;
    one.pass(301);
    one.next_token("token-1");
    let all =
        join_all((0..20).map(|at| if at % 2 == 0 { one.good(&cookie) } else { two.good(&cookie) })).await;
    let cookies: HashSet<_> = all.into_iter().map(Option::unwrap).collect();
    assert_eq!((cookies.len(), one.asked()), (1, 1));
}

#[tokio::test]
async fn why_the_server_refused_to_exchange_is_told_in_its_own_words_to_operators_alone() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(301);
    let said = json!({ "error": "invalid_scope", "error_description": "AADSTS70011: no such scope" });
    scene.next(Instead::Answer(400, "application/json", said.to_string()));
    let lines = Lines::listen();
    assert_eq!(scene.denied(&cookie).await.0, Denial::AuthorizationServerUnavailable);
    let text = lines.text();
    assert!(text.contains("invalid_scope") && text.contains("AADSTS70011: no such scope"), "{text}");
}

#[tokio::test]
async fn a_failed_exchange_does_not_fail_a_request_whose_token_is_still_good() {
    let refused =
        |error: &str| Instead::Answer(400, "application/json", json!({ "error": error }).to_string());
    for failure in [
        Instead::Fault(HttpFault::Connect),
        Instead::Answer(500, "text/plain", String::new()),
        refused("invalid_client"),
        refused("invalid_scope"),
        Instead::With(json!({ "access_token": "of-no-use" })),
    ] {
        let scene = Scene::in_session();
        let cookie = scene.session(300).await;
        scene.pass(295);
        scene.next(failure.clone());
        let served = scene.ask(&cookie).await.unwrap();
        assert_eq!(served.found.token().id(), Some("token-0"), "{failure:?}");
        assert_eq!(scene.asked(), 1);
        let next = served.ride.map(|ride| cookie_in(&ride.set_cookie));
        assert_eq!(next.is_some(), matches!(failure, Instead::With(_)), "{failure:?}");
        if next.is_some() {
            continue;
        }
        // Once it has ended there is nothing to serve with; the session stays.
        scene.pass(40);
        scene.next(failure.clone());
        let (denial, set_cookie) = scene.denied(&cookie).await;
        assert_eq!((denial, set_cookie), (Denial::AuthorizationServerUnavailable, None), "{failure:?}");
        scene.pass(10);
        scene.next_token("token-1");
        assert!(scene.good(&cookie).await.is_some());
    }
}

#[tokio::test]
async fn an_access_token_that_is_refused_here_costs_the_server_one_call_and_no_flood() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(301);
    scene.next(Instead::With(json!({ "access_token": "of-no-use" })));
    let (denial, next) = scene.denied(&cookie).await;
    assert_eq!(denial, Denial::AccessTokenUnusable);
    let next = cookie_in(&next.unwrap());
    for cookie in [&cookie, &next, &next] {
        assert_eq!(scene.denied(cookie).await.0, Denial::AccessTokenUnusable);
    }
    assert_eq!(scene.asked(), 1);
    scene.pass(10);
    scene.next_token("token-2");
    assert!(scene.good(&next).await.is_some());
}

#[tokio::test]
async fn tokens_that_are_gone_from_the_store_are_exchanged_for_others() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    tokens::forget(&scene.gate, &scene.grant_in(&cookie), Duration::from_secs(1)).await;
    scene.next_token("token-1");
    assert!(scene.good(&cookie).await.is_some());
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn an_older_cookie_never_replaces_a_newer_one_and_is_theft_once_the_newer_one_arrived() {
    let scene = Scene::in_session();
    let first = scene.session(300).await;
    scene.pass(295);
    scene.next_token("token-1");
    let second = scene.good(&first).await.unwrap();
    scene.take_back(json!({ "kind": "jti", "value": "token-1" })).await;
    scene.next_token("token-2");
    let third = scene.good(&second).await.unwrap();
    assert_eq!(scene.good(&third).await, None);
    let late = scene.ask(&first).await.unwrap_err();
    assert!(late.side.ride.is_none(), "a later generation is known");
    scene.pass(31);
    scene.is_over(&first, SessionEnd::ReuseDetected).await;
    scene.is_over(&third, SessionEnd::Revoked).await;
}

/// Else a page all of whose answers are slow would lose one cookie after another, and be taken for a thief.
#[tokio::test]
async fn a_cookie_whose_answer_was_long_in_coming_leaves_while_it_is_the_newest() {
    let scene = Scene::in_session();
    let first = scene.session(300).await;
    scene.pass(295);
    scene.next_token("token-1");
    let ride = scene.ask(&first).await.unwrap().ride.unwrap();
    scene.pass(55);
    assert!(session::may_leave(&scene.gate, &ride).await);
    scene.store.set_away(true);
    assert!(!session::may_leave(&scene.gate, &ride).await, "nobody knows whether it is the newest");
    scene.store.set_away(false);
    scene.pass(244);
    scene.next_token("token-2");
    scene.good(&cookie_in(&ride.set_cookie)).await.unwrap();
    assert!(!session::may_leave(&scene.gate, &ride).await, "there is a newer one");
}

#[tokio::test]
async fn only_a_cookie_that_comes_back_proves_that_it_arrived() {
    let scene = Scene::in_session();
    let first = scene.session(300).await;
    scene.pass(295);
    scene.next_token("token-1");
    let second = scene.good(&first).await.unwrap();
    // The browser never got it; the gateway used its access token all the same.
    scene.pass(200);
    scene.next_token("token-2");
    let third = scene.good(&first).await.unwrap();
    assert_ne!(second, third);
    scene.counted("exchanges_total", "outcome=\"recovered\"", 1);
    // This one arrives, and after its window the one before is a copy in other hands.
    assert_eq!(scene.good(&third).await, None);
    scene.pass(31);
    scene.is_over(&first, SessionEnd::ReuseDetected).await;
}

#[tokio::test]
async fn what_is_not_of_our_pages_reaches_neither_store_nor_server() {
    let scene = Scene::in_session();
    let cookie = scene.session(300).await;
    scene.pass(301);
    scene.store.set_away(true);
    let mut foreign = asks(&cookie);
    foreign.insert(ORIGIN, HeaderValue::from_static("https://evil.example"));
    for headers in [headers(Some(&cookie)), foreign] {
        let not = scene.ask_with(&headers, PAGE).await.unwrap_err();
        assert!(not.side.ride.is_none());
        assert_eq!((not.denial, not.side.brought_cookie), (Denial::CrossSiteRequest, true));
    }
    let not = scene.ask_with(&HeaderMap::new(), PAGE).await.unwrap_err();
    assert_eq!((not.denial, not.side.brought_cookie), (Denial::NotSignedIn { ended: None }, false));
    let not = scene.ask_with(&asks("not-one-of-ours"), PAGE).await.unwrap_err();
    assert_eq!((not.denial, not.side.brought_cookie), (Denial::NotSignedIn { ended: None }, true));
    assert!(not.side.ride.is_none(), "it may open with a key that comes back");
    let mut two = asks(&cookie);
    two.append(COOKIE, HeaderValue::try_from(format!("{COOKIE_NAME}={cookie}")).unwrap());
    assert_eq!(scene.ask_with(&two, PAGE).await.unwrap_err().denial, Denial::SeveralCredentials);
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn the_cookies_of_the_two_modes_are_not_those_of_the_other() {
    let scene = Scene::in_session();
    let session = scene.session(300).await;
    let pages = Scene::new();
    assert_eq!(pages.refresh(&session).await.unwrap_err().denial, Denial::NoSession);
    let refresh = pages.signed_in_cookie().await;
    assert_eq!(scene.denied(&refresh).await, (Denial::NotSignedIn { ended: None }, None));
}

#[tokio::test]
async fn what_a_session_leaves_in_the_store_is_bounded() {
    let scene = Scene::in_session();
    let mut cookie = scene.session(300).await;
    for round in 1..=20 {
        scene.pass(295);
        scene.next_token(&format!("token-{round}"));
        cookie = scene.good(&cookie).await.unwrap();
    }
    assert!(scene.store.len("tokens:") <= 2, "{}", scene.store.len("tokens:"));
    assert_eq!(scene.store.len("token:"), 0, "no access token shows that a cookie arrived");
}
