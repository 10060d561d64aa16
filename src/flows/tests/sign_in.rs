//! Sign-in and sign-out by the gateway: from the browser's first step to its session, and everything that can
//! come in between.

mod elsewhere;
mod pushed;
mod refused;
mod sign_out;
mod unfilled;

use std::collections::BTreeMap;
use std::ops::Add as _;

use super::*;
use crate::config::settings::{IdentityFrom, Login, SessionMode};
use crate::core::session::authorization::login_path;
use crate::core::session::exchange::Family;
use crate::core::session::step_up::StepUp;
use crate::flows::family::record;
use crate::flows::sign_in::SignInRefusal;
use crate::flows::sign_in::callback::{self, Arrived, SignedIn};
use crate::flows::sign_in::login::{self, Begun};
use crate::flows::sign_out::logout::{SignOutBy, SignedOut, log_out};
use crate::flows::testing::lines::Lines;

const SESSION: &str = "__Host-Http-tollgate-web";
const AT_AS: &str = "https://as.example/auth?";

fn by_gateway() -> Client {
    let login = Login {
        authorize: vec![("prompt".into(), "consent".into())],
        authorize_from_page: vec![],
        pushed: false,
        return_to: vec![],
        post_logout_redirect_uri: None,
        end_session: vec![],
    };
    Client {
        login: Some(login),
        redirect_uri: format!("{OWN}/oauth/callback"),
        grants: vec![GrantType::RefreshToken],
        ..client()
    }
}

fn in_session_mode() -> Client {
    let session = SessionMode {
        csrf_header: HeaderName::from_static("x-csrf"),
        csrf: Default::default(),
        identity: IdentityFrom::AccessToken,
    };
    let cookie = CookieSettings { name: SESSION.into(), path: "/".into(), same_site: SameSite::Strict };
    Client { session: Some(session), cookie, accept_any_access_token: false, ..by_gateway() }
}

/// A browser: its cookies, one of each name.
#[derive(Clone, Debug, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
    paths: BTreeMap<String, String>,
}

impl Browser {
    fn takes(&mut self, set_cookies: &[HeaderValue]) {
        for field in set_cookies {
            let (pair, attributes) = field.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let path = attributes.split("; ").find_map(|one| one.trim().strip_prefix("Path=")).unwrap();
            if !attributes.contains("Max-Age=0;") {
                self.cookies.insert(name.to_owned(), value.to_owned());
                self.paths.insert(name.to_owned(), path.to_owned());
            } else if self.paths.get(name).is_some_and(|kept| kept == path) {
                self.cookies.remove(name);
            }
        }
    }

    fn goes(&self, site: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("sec-fetch-site", site)]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        headers.insert(COOKIE, HeaderValue::try_from(cookies.join("; ")).unwrap());
        headers
    }

    fn transactions(&self) -> usize {
        self.cookies.keys().filter(|name| name.starts_with("__Host-Http-tollgate-web-tx-")).count()
    }
}

/// What a sign-in asked of the authorization server.
#[derive(Clone, Debug)]
struct Asked(BTreeMap<String, String>);

impl Asked {
    fn of(begun: &Begun) -> Self {
        let query = begun.location.strip_prefix(AT_AS).unwrap();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    fn state(&self) -> &str {
        &self.0["state"]
    }

    fn answered(&self, code: &str) -> String {
        format!("code={code}&state={}", self.state())
    }

    fn id_token(&self, changes: &Value) -> String {
        let mut claims = json!({
            "iss": AS, "aud": "web-app", "iat": 1_700_000_000, "exp": 1_800_000_000, "sub": "alice", "sid": "sid-1",
            "nonce": self.0["nonce"],
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        keys().p256.sign_as(&json!({ "alg": "ES256", "kid": keys().p256.kid() }), &claims)
    }
}

impl Scene {
    async fn login(&self, browser: &mut Browser, query: &str) -> Result<Asked, SignInRefusal> {
        let headers = browser.goes("same-origin");
        let begun = login::login(&self.gate, &self.live, &head(&Method::GET, &headers), Some(query)).await?;
        browser.takes(&begun.set_cookies);
        Ok(Asked::of(&begun))
    }

    async fn arrive(&self, headers: &HeaderMap, query: &str) -> Result<Arrived, SignInRefusal> {
        self.arrive_at("/oauth/callback", headers, query).await
    }

    async fn arrive_at(
        &self,
        path: &str,
        headers: &HeaderMap,
        query: &str,
    ) -> Result<Arrived, SignInRefusal> {
        callback::callback(&self.gate, &self.live, &head(&Method::GET, headers), path, Some(query)).await
    }

    /// The browser comes back, and the authorization server gives a good ID token.
    async fn back(
        &self,
        browser: &mut Browser,
        asked: &Asked,
        site: &'static str,
    ) -> Result<Box<SignedIn>, SignInRefusal> {
        self.next(Instead::With(json!({ "id_token": asked.id_token(&json!({})) })));
        let arrived = self.arrive(&browser.goes(site), &asked.answered("code-1")).await;
        match arrived {
            Ok(Arrived::SignedIn(signed_in)) => {
                browser.takes(&signed_in.set_cookies);
                Ok(signed_in)
            }
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => {
                browser.takes(&refusal.set_cookies);
                Err(refusal)
            }
        }
    }

    /// Why the session of this cookie is over.
    async fn ended(&self, cookie: &str) -> Option<SessionEnd> {
        let client = &self.live.settings.clients[0];
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(format!("{SESSION}={cookie}")).unwrap());
        let grant = session_cookie::read(&self.live, client, &headers).unwrap().unwrap();
        let timeouts = session_cookie::timeouts(client);
        let refuses = |family: &mut Family, _| family.refuse_and_mark(grant.generation).map(|(end, _)| end);
        record::change(&self.gate, &grant, timeouts, refuses).await.unwrap()
    }

    fn reload_at(&mut self, client: Client, issuer: Issuer) {
        let issuers = vec![Arc::new(issuer)];
        self.live = Arc::new(Live {
            issuers: Issuers::new(&issuers, Some(&self.live.issuers)),
            transmitters: Transmitters::default(),
            settings: Arc::new(Settings {
                issuers,
                clients: vec![Arc::new(client)],
                ..testing::settings(OWN)
            }),
            routes: RouteTable::build(&[]).unwrap(),
            cookie_keys: Arc::clone(&self.live.cookie_keys),
            assertions: None,
        });
    }

    async fn log_out(
        &self,
        headers: &HeaderMap,
        query: &str,
        by: SignOutBy,
    ) -> Result<SignedOut, OAuthRefusal> {
        log_out(&self.gate, &self.live, &head(&Method::POST, headers), Some(query), by).await
    }
}

#[tokio::test]
async fn a_sign_in_by_the_gateway_leads_back_with_a_session() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app&return_to=/app?x%3D1").await.unwrap();
    for (name, value) in [
        ("response_type", "code"),
        ("response_mode", "query"),
        ("client_id", "web-app"),
        ("redirect_uri", "https://gate.example/oauth/callback"),
        ("scope", "openid offline_access api:read"),
        ("resource", "https://api.example"),
        ("code_challenge_method", "S256"),
        ("prompt", "consent"),
    ] {
        assert_eq!(asked.0[name], value);
    }
    assert_eq!((asked.0.len(), browser.transactions()), (11, 1));
    let signed_in = scene.back(&mut browser, &asked, "cross-site").await.unwrap();
    assert_eq!((signed_in.goes_to.as_str(), signed_in.whose.subject.as_deref()), ("/app?x=1", Some("alice")));
    assert_eq!(browser.transactions(), 0);
    let set = signed_in.set_cookies[1].to_str().unwrap();
    assert!(set.ends_with("; Path=/oauth/token; Max-Age=3600; Secure; HttpOnly; SameSite=Strict"), "{set}");
    let (_, form) = scene.server.token_requests.lock().unwrap()[0].clone();
    let form: BTreeMap<String, String> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
    assert_eq!(form["redirect_uri"], "https://gate.example/oauth/callback");
    assert_eq!(crate::core::session::pkce::challenge(&form["code_verifier"]), asked.0["code_challenge"]);
    scene.counted("sign_ins_total", "result=\"ok\"", 1);
    let refreshed = scene.refresh(&browser.cookies[COOKIE_NAME]).await.unwrap();
    assert_eq!(body(&refreshed)["access_token"], "access-token-1");
}

#[tokio::test]
async fn five_tabs_at_once_all_arrive_and_the_ninth_takes_the_place_of_the_oldest() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let mut tabs = Vec::new();
    for tab in 0..9 {
        scene.pass(1);
        let query = format!("client_id=web-app&return_to=/tab/{tab}");
        tabs.push(scene.login(&mut browser, &query).await.unwrap());
    }
    assert_eq!(browser.transactions(), 8);
    let refusal = scene.back(&mut browser, &tabs[0], "cross-site").await.unwrap_err();
    assert_eq!(refusal.denial, Denial::SignInNotUnderWay);
    scene.server.next.lock().unwrap().clear();
    for tab in [3, 1, 5, 2, 4] {
        let signed_in = scene.back(&mut browser, &tabs[tab], "cross-site").await.unwrap();
        assert_eq!(signed_in.goes_to, format!("/tab/{tab}"));
    }
    assert!(scene.refresh(&browser.cookies[COOKIE_NAME]).await.is_ok());
}

/// An access token that this gateway takes, and the ID token of the sign-in.
fn verified(scene: &Scene, asked: &Asked, changes: Value) -> Instead {
    let token = keys().p256.sign(&with(claims_at(scene.clock.now()), changes));
    Instead::With(json!({ "access_token": token, "scope": null, "id_token": asked.id_token(&json!({})) }))
}

#[tokio::test]
async fn the_callback_sees_the_session_before_and_ends_it() {
    let scene = Scene::with(in_session_mode(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    // Firefox says `none` of a chain that began with an address that was typed, and withholds the cookie
    // then, too.
    for site in ["cross-site", "none"] {
        let again = scene.arrive(&browser.goes(site), &asked.answered("code-1")).await.unwrap();
        assert!(matches!(again, Arrived::Again { .. }), "{site}: {again:?}");
    }
    assert_eq!(scene.asked(), 0, "the code is spent when the cookie is there");
    for site in ["same-origin", "same-site"] {
        let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
        let before = browser.cookies.get(SESSION).cloned();
        scene.next(verified(&scene, &asked, json!({ "sub": "alice", "client_id": "web-app" })));
        let arrived = scene.arrive(&browser.goes(site), &asked.answered("code-1")).await.unwrap();
        let Arrived::SignedIn(signed_in) = arrived else { panic!("{site}") };
        browser.takes(&signed_in.set_cookies);
        let set = signed_in.set_cookies[1].to_str().unwrap();
        assert!(
            set.starts_with(SESSION)
                && set.contains("; Path=/; Max-Age=86400; ")
                && set.ends_with("SameSite=Strict"),
            "{set}"
        );
        assert_ne!(browser.cookies.get(SESSION), before.as_ref());
        if let Some(before) = before {
            assert_eq!(scene.ended(&before).await, Some(SessionEnd::SignedInAgain));
        }
    }
}

#[tokio::test]
async fn a_step_up_that_the_server_did_not_do_is_said_and_not_tried_for_ever() {
    for (acr, done) in [("gold", true), ("bronze", false)] {
        let scene =
            Scene::with(Client { accept_any_access_token: false, ..by_gateway() }, Duration::from_secs(5));
        let mut browser = Browser::default();
        let query = "client_id=web-app&return_to=/gold&acr_values=gold&max_age=300";
        let asked = scene.login(&mut browser, query).await.unwrap();
        assert_eq!((asked.0["acr_values"].as_str(), asked.0["max_age"].as_str()), ("gold", "300"));
        let auth_time = scene.clock.now().as_millis() / 1000 - 10;
        let claims = json!({ "sub": "alice", "client_id": "web-app", "acr": acr, "auth_time": auth_time });
        scene.next(verified(&scene, &asked, claims));
        let arrived = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
        match arrived {
            Ok(Arrived::SignedIn(signed_in)) => assert!(done && signed_in.goes_to == "/gold"),
            Err(refusal) => {
                assert!(!done, "{refusal:?}");
                assert_eq!(refusal.denial, Denial::StepUpNotDone);
                assert_eq!(
                    refusal.again.as_deref(),
                    Some("/oauth/login?client_id=web-app&return_to=%2Fgold&acr_values=gold&max_age=300")
                );
                browser.takes(&refusal.set_cookies);
                assert_eq!(browser.transactions(), 0);
                assert!(browser.cookies.contains_key(COOKIE_NAME), "the session is there");
            }
            Ok(other) => panic!("{other:?}"),
        }
    }
}

/// `max_age` counts from when the server is asked (OpenID Connect Core 1.0 section 3.1.2.1): a person needs a
/// moment.
#[tokio::test]
async fn whoever_is_to_sign_in_anew_has_done_so_when_they_did_since_it_began() {
    for (max_age, auth_time, done) in
        [(0, 5, true), (0, -10, true), (0, -3600, false), (3, 2, true), (3, -1, false)]
    {
        let scene =
            Scene::with(Client { accept_any_access_token: false, ..by_gateway() }, Duration::from_secs(5));
        let mut browser = Browser::default();
        let query = format!("client_id=web-app&return_to=/new&max_age={max_age}");
        let asked = scene.login(&mut browser, &query).await.unwrap();
        assert_eq!(asked.0["max_age"], max_age.to_string());
        let auth_time = scene.clock.now().as_secs() + auth_time;
        scene.pass(20);
        let claims = json!({ "sub": "alice", "client_id": "web-app", "auth_time": auth_time });
        scene.next(verified(&scene, &asked, claims));
        match scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await {
            Ok(Arrived::SignedIn(signed_in)) => assert!(done && signed_in.goes_to == "/new", "{query}"),
            Err(refusal) => assert!(!done && refusal.denial == Denial::StepUpNotDone, "{query}: {refusal:?}"),
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_step_up_of_which_the_token_tells_nothing_is_told_apart_from_one_that_was_not_done() {
    for (query, claims, told) in [
        ("acr_values=gold&max_age=300", json!({}), Some("absent=\"acr auth_time\"")),
        ("acr_values=gold", json!({}), Some("absent=\"acr\"")),
        ("max_age=300", json!({ "acr": "gold" }), Some("absent=\"auth_time\"")),
        ("acr_values=gold", json!({ "acr": "bronze" }), None),
        ("max_age=300", json!({ "auth_time": 1_600_000_000 }), None),
    ] {
        let scene =
            Scene::with(Client { accept_any_access_token: false, ..by_gateway() }, Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, &format!("client_id=web-app&{query}")).await.unwrap();
        scene.next(verified(&scene, &asked, with(json!({ "acr": null, "auth_time": null }), claims)));
        let lines = Lines::listen();
        let arrived = scene.arrive(&browser.goes("cross-site"), &asked.answered("code-1")).await;
        assert_eq!(arrived.unwrap_err().denial, Denial::StepUpNotDone, "{query}");
        let text = lines.text();
        assert_eq!(text.contains("the AS did not ask again"), told.is_none(), "{query}: {text}");
        assert!(told.is_none_or(|told| text.contains(told)), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_sign_in_begins_and_ends_with_a_browser_that_goes_there() {
    let scene = Scene::with(by_gateway(), Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    for (name, value) in
        [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "iframe"), ("sec-purpose", "prefetch")]
    {
        let mut headers = browser.goes("cross-site");
        headers.insert(name, HeaderValue::from_static(value));
        let query = Some("client_id=web-app");
        let begun = login::login(&scene.gate, &scene.live, &head(&Method::GET, &headers), query).await;
        assert_eq!(begun.unwrap_err().denial, Denial::NotANavigation, "{name}");
        let arrived = scene.arrive(&headers, &asked.answered("code-1")).await;
        assert_eq!(arrived.unwrap_err().denial, Denial::NotANavigation, "{name}");
    }
    assert_eq!(scene.asked(), 0);
}

#[tokio::test]
async fn a_sign_in_is_for_a_known_client_at_the_gateways_own_host_and_leads_nowhere_else() {
    let by_page = Client { name: ClientName::new("page"), client_id: "by-page".into(), ..client() };
    let scene = Scene::with_clients(vec![by_gateway(), by_page], vec![], issuer(Duration::from_secs(5)));
    let mut browser = Browser::default();
    for (query, label) in [
        ("", "invalid_request"),
        ("client_id=nobody", "unknown_client"),
        ("client_id=by-page", "invalid_request"),
        ("client_id=web-app&client_id=web-app", "invalid_request"),
        ("client_id=web-app&return_to=https://evil.example/", "invalid_request"),
        ("client_id=web-app&return_to=/oauth/logout", "invalid_request"),
        ("client_id=web-app&max_age=x", "invalid_request"),
    ] {
        let refusal = scene.login(&mut browser, query).await.unwrap_err();
        assert_eq!((refusal.denial.facts().label, refusal.again), (label, None), "{query}");
    }
    assert!(browser.cookies.is_empty());
    let headers = browser.goes("none");
    let elsewhere = RequestHead { host: Host::read("other.example"), ..head(&Method::GET, &headers) };
    let begun = login::login(&scene.gate, &scene.live, &elsewhere, Some("client_id=web-app")).await;
    assert!(matches!(begun.unwrap_err().denial, Denial::InvalidRequest(_)));
}

/// RFC 9700 section 4.4.2: of two authorization servers one could pass the other's codes on as its own.
#[tokio::test]
async fn a_code_is_taken_at_the_address_of_its_own_client_alone() {
    let client = Client { redirect_uri: format!("{OWN}/oauth/callback/web"), ..by_gateway() };
    let scene = Scene::with(client, Duration::from_secs(5));
    let mut browser = Browser::default();
    let asked = scene.login(&mut browser, "client_id=web-app").await.unwrap();
    let query = format!("code=code-1&state={}", asked.state());
    for elsewhere in ["/oauth/callback", "/oauth/callback/other", "/oauth/callback/web/"] {
        let refused = scene.arrive_at(elsewhere, &browser.goes("cross-site"), &query).await.unwrap_err();
        assert_eq!((refused.denial, scene.asked()), (Denial::SignInNotUnderWay, 0), "{elsewhere}");
    }
    let _ = scene.arrive_at("/oauth/callback/web", &browser.goes("cross-site"), &query).await;
    assert_eq!(scene.asked(), 1);
}

#[tokio::test]
async fn what_a_page_may_add_goes_to_the_server_and_nothing_else_that_it_says() {
    let query = "client_id=web-app&login_hint=alice%40example.com&prompt=create&scope=admin&nonce=n";
    for (listed, expected) in [
        (&[][..], [None, Some("consent")]),
        (&["login_hint", "prompt"], [Some("alice@example.com"), Some("create")]),
    ] {
        let mut client = by_gateway();
        client.login.as_mut().unwrap().authorize_from_page = listed.iter().map(ToString::to_string).collect();
        let scene = Scene::with(client, Duration::from_secs(5));
        let mut browser = Browser::default();
        let asked = scene.login(&mut browser, query).await.unwrap();
        let of = |name: &str| asked.0.get(name).map(String::as_str);
        assert_eq!([of("login_hint"), of("prompt")], expected);
        assert!(of("scope") != Some("admin") && of("nonce") != Some("n"));
        for bad in ["client_id=web-app&prompt=none", "client_id=web-app&prompt=login&prompt=login"] {
            let refused = scene.login(&mut browser, bad).await;
            let is_allowed = listed.is_empty() && bad.ends_with("none");
            assert_eq!(refused.is_ok(), is_allowed, "{bad}");
            let denial = refused.err().map(|refusal| refusal.denial);
            assert!(denial.is_none_or(|denial| matches!(denial, Denial::InvalidRequest(_))));
        }
    }
}
