//! Pushed authorization requests (RFC 9126).

use super::*;
use crate::config::settings::PrivateKey;
use crate::core::brake::Tally;
use crate::core::session::oauth::authentication::{Audience, KeyNames};
use crate::flows::brake;
use crate::state::exchanges::PUSHED_REQUESTS;

const URN: &str = "urn:ietf:params:oauth:request_uri:";

/// At a server that has the endpoint, and takes no other requests if it `requires` that.
fn at_server(client: Client, requires: bool) -> Scene {
    let scene = Scene::with(client, Duration::from_secs(5));
    let metadata = json!({
        "pushed_authorization_request_endpoint": format!("{AS}/par"),
        "require_pushed_authorization_requests": requires,
    });
    *scene.server.metadata.lock().unwrap() = metadata;
    scene
}

fn pushing(client: Client) -> Client {
    let login = client.login.map(|login| Login { pushed: true, ..login });
    Client { login, ..client }
}

impl Scene {
    /// The address where a sign-in leads.
    async fn leads(&self, browser: &mut Browser, query: &str) -> Result<String, SignInRefusal> {
        let headers = browser.goes("same-origin");
        let begun = login::login(&self.gate, &self.live, &head(&Method::GET, &headers), Some(query)).await?;
        browser.takes(&begun.set_cookies);
        Ok(begun.location)
    }

    /// What was pushed last: the credential in the header, and the form, in which nothing is there twice.
    fn pushed(&self) -> (Option<String>, Asked) {
        let (headers, body) = self.server.pushed.lock().unwrap().last().cloned().unwrap();
        assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        let pairs: Vec<_> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let count = pairs.len();
        let form = Asked(pairs.into_iter().collect());
        assert_eq!(form.0.len(), count, "{body}");
        (headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()), form)
    }

    fn pushes(&self) -> usize {
        self.server.pushed.lock().unwrap().len()
    }
}

#[tokio::test]
async fn where_the_server_or_the_client_wants_it_the_browser_takes_along_a_name_and_nothing_more() {
    for (client, requires, is_pushed) in [
        (by_gateway(), true, true),
        (pushing(by_gateway()), false, true),
        (pushing(by_gateway()), true, true),
        (by_gateway(), false, false),
    ] {
        let scene = at_server(client, requires);
        let mut browser = Browser::default();
        let query = "client_id=web-app&return_to=/app&acr_values=gold";
        let location = scene.leads(&mut browser, query).await.unwrap();
        assert_eq!(scene.pushes(), usize::from(is_pushed));
        if !is_pushed {
            assert!(location.contains("code_challenge="), "{location}");
            continue;
        }
        let name: String = form_urlencoded::byte_serialize(format!("{URN}1").as_bytes()).collect();
        assert_eq!(location, format!("{AT_AS}client_id=web-app&request_uri={name}"));
        let (credential, asked) = scene.pushed();
        assert!(credential.unwrap().starts_with("Basic "));
        let of = |name: &str| asked.0.get(name).map(String::as_str);
        let fixed = [
            ("response_type", "code"),
            ("client_id", "web-app"),
            ("redirect_uri", "https://gate.example/oauth/callback"),
            ("scope", "openid offline_access api:read"),
            ("resource", "https://api.example"),
            ("code_challenge_method", "S256"),
            ("prompt", "consent"),
            ("acr_values", "gold"),
        ];
        for (name, value) in fixed {
            assert_eq!(of(name), Some(value), "{name}");
        }
        assert!(
            of("client_secret").is_none() && of("code_verifier").is_none() && of("request_uri").is_none()
        );
        // And back, as ever.
        let signed_in = scene.back(&mut browser, &asked, "cross-site").await.unwrap();
        assert_eq!(signed_in.goes_to, "/app");
    }
}

#[tokio::test]
async fn a_client_proves_itself_there_as_at_the_token_endpoint() {
    let public = Client { credential: ClientCredential::None, ..by_gateway() };
    let scene = at_server(public, true);
    scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap();
    let (credential, form) = scene.pushed();
    assert_eq!((credential, form.0["client_id"].as_str()), (None, "web-app"));

    let scene = at_server(by_gateway(), true);
    scene.server.metadata.lock().unwrap()["token_endpoint_auth_methods_supported"] =
        json!(["client_secret_post"]);
    scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap();
    let (credential, form) = scene.pushed();
    assert_eq!((credential, form.0["client_secret"].as_str()), (None, "s3cret"));

    let key = PrivateKey {
        pem: Secret::new(include_bytes!("../../../../tests/data/config/rsa2048.pem").to_vec()),
        algorithm: Algorithm::Rs256,
        names: KeyNames::default(),
        audience: Audience::Issuer,
    };
    let scene = at_server(Client { credential: ClientCredential::PrivateKey(key), ..by_gateway() }, true);
    scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap();
    let (credential, form) = scene.pushed();
    assert_eq!((credential, form.0.contains_key("client_assertion")), (None, true));
}

#[tokio::test]
async fn an_endpoint_that_fails_costs_nobody_anything_but_this_attempt() {
    const REFUSAL: &str = r#"{"error":"invalid_scope","error_description":"no s3cret for you"}"#;
    let lines = Lines::listen();
    let unavailable = Denial::AuthorizationServerUnavailable;
    for (what, instead, status) in [
        ("no connection", Instead::Fault(HttpFault::Connect), 503),
        ("too late", Instead::Fault(HttpFault::Deadline), 503),
        ("too large", Instead::Fault(HttpFault::TooLarge), 503),
        ("an error of its own", Instead::Answer(500, "application/json", "{}".into()), 503),
        ("no JSON", Instead::Answer(201, "text/html", "<h1>".into()), 503),
        ("no name", Instead::Answer(201, "application/json", r#"{"expires_in":60}"#.into()), 503),
        (
            "our credential",
            Instead::Answer(401, "application/json", r#"{"error":"invalid_client"}"#.into()),
            503,
        ),
        ("a refusal", Instead::Answer(400, "application/json", REFUSAL.into()), 403),
    ] {
        let scene = at_server(by_gateway(), true);
        let mut browser = Browser::default();
        scene.leads(&mut browser, "client_id=web-app").await.unwrap();
        let (_, asked) = scene.pushed();
        scene.back(&mut browser, &asked, "cross-site").await.unwrap();
        let before = browser.cookies[COOKIE_NAME].clone();
        scene.server.pushes.lock().unwrap().push_back(instead);
        let query = "client_id=web-app&return_to=/app&max_age=60";
        let refusal = scene.leads(&mut browser, query).await.unwrap_err();
        match &refusal.denial {
            Denial::SignInRefused(said) => {
                assert_eq!(
                    (said.error.as_str(), said.description.as_deref()),
                    ("invalid_scope", None),
                    "{what}"
                );
            }
            denial => assert_eq!(*denial, unavailable, "{what}"),
        }
        assert_eq!(refusal.denial.facts().status.as_u16(), status, "{what}");
        let again = login_path("web-app", Some("/app"), &StepUp::read(None, Some("60")).unwrap());
        assert_eq!(refusal.again, Some(again), "{what}");
        assert!(refusal.set_cookies.is_empty(), "{what}");
        assert_eq!(scene.pushes(), 2, "{what}: once, and not again");
        scene.counted("sign_ins_total", "result=\"failed\"", 1);
        assert!(scene.refresh(&before).await.is_ok(), "{what}: the session before goes on");
        assert!(scene.leads(&mut browser, query).await.is_ok(), "{what}: the next may be good");
    }
    assert!(lines.count("s3cret") == 0, "no credential is logged");
}

#[tokio::test]
async fn a_refusal_is_told_to_operators_and_as_an_error_where_no_link_can_be_its_cause() {
    for (error, asked, level) in [
        ("invalid_scope", "", "ERROR"),
        ("invalid_request", "", "ERROR"),
        ("unmet_authentication_requirements", "&acr_values=gold", "WARN"),
        ("invalid_request", "&max_age=60", "WARN"),
        ("invalid_request", "&login_hint=ada", "WARN"),
        ("access_denied", "", "WARN"),
    ] {
        for (description, repeats) in [("no such thing", false), ("no s3cret for you", true)] {
            let mut client = pushing(by_gateway());
            client.login.as_mut().unwrap().authorize_from_page = vec!["login_hint".into()];
            let scene = at_server(client, false);
            let said = json!({ "error": error, "error_description": description }).to_string();
            scene.server.pushes.lock().unwrap().push_back(Instead::Answer(400, "application/json", said));
            let lines = Lines::listen();
            let query = format!("client_id=web-app{asked}");
            let refusal = scene.leads(&mut Browser::default(), &query).await.unwrap_err();
            assert!(matches!(refusal.denial, Denial::SignInRefused(_)), "{:?}", refusal.denial);
            let text = lines.text();
            let told: Vec<_> =
                text.lines().filter(|line| line.contains("refused a pushed authorization request")).collect();
            let [line] = told[..] else { panic!("{error}: {text}") };
            for part in [level, "client=web issuer=demo", &format!("error=\"{error}\"")] {
                assert!(line.contains(part), "{part}: {line}");
            }
            assert_eq!(line.contains(description), !repeats, "{line}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }
}

#[tokio::test]
async fn without_the_endpoint_nobody_signs_in_and_the_log_says_why() {
    for (client, requires) in [(pushing(by_gateway()), false), (by_gateway(), true)] {
        let lines = Lines::listen();
        let scene = at_server(client, requires);
        scene.server.metadata.lock().unwrap()["pushed_authorization_request_endpoint"] = Value::Null;
        let refusal = scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap_err();
        assert_eq!((refusal.denial, scene.pushes()), (Denial::AuthorizationServerUnavailable, 0));
        assert_eq!(lines.count("no pushed authorization request endpoint"), 1);
    }
}

#[tokio::test]
async fn so_many_are_pushed_at_once_and_no_more() {
    let scene = at_server(by_gateway(), true);
    let at = by_gateway().issuer;
    let all: Vec<_> = (0..PUSHED_REQUESTS).map(|_| scene.gate.exchanges.begin_push(&at).unwrap()).collect();
    let refusal = scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap_err();
    assert_eq!((refusal.denial, scene.pushes()), (Denial::AuthorizationServerUnavailable, 0));
    drop(all);
    assert!(scene.leads(&mut Browser::default(), "client_id=web-app").await.is_ok());
}

#[tokio::test]
async fn nothing_is_pushed_for_an_address_that_was_denied_too_often() {
    let scene = at_server(by_gateway(), true);
    for _ in 0..20 {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        brake::note(&scene.gate, &scene.live, address, &Denial::BadSignature, Tally::Everybody);
    }
    let refusal = scene.leads(&mut Browser::default(), "client_id=web-app").await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::TooManyDenials { .. }), "{:?}", refusal.denial);
    assert_eq!(scene.pushes(), 0);
}
