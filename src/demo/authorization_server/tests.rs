//! The rules of the demo's authorization server, over its sockets.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{AsClient, AsOptions, AuthorizationServer, RunningAs};
use crate::demo::browser::{Answer, Browser};
use crate::demo::sign_in::{SignInFault, SignInRequest, SignedIn, sign_in};

const BACK: &str = "http://localhost:8080/";
/// A secret with characters that a form encodes, so that nobody forgets to.
const SECRET: &str = "s+cr%t:&= ü";

fn listener() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    (listener, issuer)
}

fn options(issuer: String) -> AsOptions {
    let client = |id: &str, secret: &str| AsClient {
        id: id.into(),
        secret: secret.into(),
        redirect_uris: vec![BACK.into()],
    };
    AsOptions {
        issuer,
        clients: vec![client("web-app", SECRET), client("other", "another secret")],
        access_token_lifetime: Duration::from_secs(30),
        token_latency: Duration::ZERO,
        audience: "https://api.example.com".into(),
    }
}

fn start() -> RunningAs {
    let (listener, issuer) = listener();
    AuthorizationServer::start(listener, options(issuer)).unwrap()
}

fn request(server: &RunningAs) -> SignInRequest<'_> {
    SignInRequest {
        issuer: server.issuer(),
        client_id: "web-app",
        redirect_uri: BACK,
        scope: "openid api:read",
        user: "alice",
        an_hour_ago: false,
        max_age: None,
    }
}

fn basic(id: &str, secret: &str) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encode(id), encode(secret))))
}

async fn post(server: &RunningAs, path: &str, authorization: &str, form: &[(&str, &str)]) -> Answer {
    let url = format!("{}{path}", server.issuer());
    Browser::new().post(&url, &[("Authorization", authorization)], form).await.unwrap()
}

async fn token(server: &RunningAs, form: &[(&str, &str)]) -> Answer {
    post(server, "/token", &basic("web-app", SECRET), form).await
}

async fn redeem(server: &RunningAs, signed_in: &SignedIn) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &signed_in.code),
        ("redirect_uri", BACK),
        ("code_verifier", &signed_in.code_verifier),
    ];
    token(server, &form).await
}

async fn refresh(server: &RunningAs, refresh_token: &str) -> Answer {
    token(server, &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)]).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

#[track_caller]
fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status.as_u16(), text(&answer.json(), "error").as_str()), (status, error));
    assert_eq!(answer.header(&header::CACHE_CONTROL), "no-store");
}

/// Header and claims of a token whose signature holds under the published key.
async fn verified(server: &RunningAs, token: &str, audience: &str) -> (Value, Value) {
    let jwks = Browser::new().get(&format!("{}/jwks", server.issuer()), &[]).await.unwrap();
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&jwks.body).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[audience]);
    validation.set_issuer(&[server.issuer()]);
    let key = jsonwebtoken::DecodingKey::from_jwk(&keys.keys[0]).unwrap();
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    assert_eq!(decoded.header.kid, keys.keys[0].common.key_id);
    (serde_json::to_value(&decoded.header).unwrap(), decoded.claims)
}

#[tokio::test]
async fn a_sign_in_gives_tokens_that_verify_with_the_published_key() {
    let server = start();
    let answer = redeem(&server, &sign_in(&request(&server)).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.json();
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(30)));

    let (header, claims) = verified(&server, &text(&body, "access_token"), "https://api.example.com").await;
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("web-app")));
    assert_eq!(claims["scope"], "openid api:read");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 30);
    for name in ["jti", "sid", "acr"] {
        assert!(!text(&claims, name).is_empty());
    }

    let (header, id) = verified(&server, &text(&body, "id_token"), "web-app").await;
    assert_eq!(header["typ"], "JWT");
    assert_eq!(
        (&id["sub"], &id["sid"], &id["auth_time"]),
        (&claims["sub"], &claims["sid"], &claims["auth_time"])
    );
    assert!(id["nonce"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn discovery_says_the_same_at_both_addresses() {
    let server = start();
    let browser = Browser::new();
    let mut documents = Vec::new();
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        documents.push(browser.get(&format!("{}{path}", server.issuer()), &[]).await.unwrap().json());
    }
    assert_eq!(documents[0], documents[1]);
    assert_eq!(documents[0]["issuer"], server.issuer());
    assert_eq!(documents[0]["code_challenge_methods_supported"], json!(["S256"]));
}

#[tokio::test]
async fn a_code_used_twice_ends_what_it_gave() {
    let server = start();
    let signed_in = sign_in(&request(&server)).await.unwrap();
    let first = redeem(&server, &signed_in).await.json();
    assert_error(&redeem(&server, &signed_in).await, 400, "invalid_grant");
    assert_error(&refresh(&server, &text(&first, "refresh_token")).await, 400, "invalid_grant");
}

#[tokio::test]
async fn a_wrong_verifier_is_refused_and_spends_the_code() {
    let server = start();
    let mut signed_in = sign_in(&request(&server)).await.unwrap();
    let right = std::mem::replace(&mut signed_in.code_verifier, "x".repeat(43));
    assert_error(&redeem(&server, &signed_in).await, 400, "invalid_grant");
    signed_in.code_verifier = right;
    assert_error(&redeem(&server, &signed_in).await, 400, "invalid_grant");
}

#[tokio::test]
async fn reuse_of_a_replaced_refresh_token_ends_the_grant() {
    let server = start();
    let signed_in = sign_in(&request(&server)).await.unwrap();
    let first = text(&redeem(&server, &signed_in).await.json(), "refresh_token");
    let second = text(&refresh(&server, &first).await.json(), "refresh_token");
    assert_eq!((server.grants_alive(), server.reuse_detected()), (1, 0));
    assert_error(&refresh(&server, &first).await, 400, "invalid_grant");
    assert_error(&refresh(&server, &second).await, 400, "invalid_grant");
    assert_eq!((server.grants_alive(), server.reuse_detected()), (0, 1));
    assert_eq!((server.refresh_count(), server.token_requests()), (3, 4));
}

#[tokio::test]
async fn of_many_refreshes_with_one_token_exactly_one_wins_and_the_grant_ends() {
    let server = start();
    let signed_in = sign_in(&request(&server)).await.unwrap();
    let token = text(&redeem(&server, &signed_in).await.json(), "refresh_token");
    let answers = futures_util::future::join_all((0..20).map(|_| refresh(&server, &token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    assert_eq!((server.refresh_count(), server.reuse_detected(), server.grants_alive()), (20, 1, 0));
}

#[tokio::test]
async fn a_refresh_narrows_the_scope_and_never_widens_it() {
    let server = start();
    let bob = SignInRequest { user: "bob", scope: "api:read admin", ..request(&server) };
    let body = redeem(&server, &sign_in(&bob).await.unwrap()).await.json();
    assert_eq!(body["scope"], "api:read", "bob is no administrator");
    let token_form = |scope| {
        let refresh_token = text(&body, "refresh_token");
        let server = &server;
        async move {
            let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh_token), ("scope", scope)];
            token(server, &form).await
        }
    };
    assert_error(&token_form("api:read admin").await, 400, "invalid_scope");
    assert_eq!(token_form("api:read").await.status, StatusCode::OK, "the refused one was not used up");
}

#[tokio::test]
async fn revocation_ends_the_grant_and_an_unknown_token_is_no_error() {
    let server = start();
    let signed_in = sign_in(&request(&server)).await.unwrap();
    let body = redeem(&server, &signed_in).await.json();
    let refresh_token = text(&body, "refresh_token");
    let right = basic("web-app", SECRET);

    let wrong = post(&server, "/revoke", &basic("web-app", "guess"), &[("token", &refresh_token)]).await;
    assert_error(&wrong, 401, "invalid_client");
    let other =
        post(&server, "/revoke", &basic("other", "another secret"), &[("token", &refresh_token)]).await;
    assert_eq!((other.status, server.grants_alive()), (StatusCode::OK, 1));
    let access = post(&server, "/revoke", &right, &[("token", &text(&body, "access_token"))]).await;
    assert_error(&access, 400, "unsupported_token_type");

    let ended = post(&server, "/revoke", &right, &[("token", &refresh_token)]).await;
    assert_eq!((ended.status, server.grants_alive()), (StatusCode::OK, 0));
    assert_error(&refresh(&server, &refresh_token).await, 400, "invalid_grant");
    let again = post(&server, "/revoke", &right, &[("token", &refresh_token)]).await;
    assert_eq!((again.status, server.revocations()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_client_proves_itself_in_exactly_one_way() {
    let server = start();
    let grant = ("grant_type", "refresh_token");
    let unencoded = format!("Basic {}", STANDARD.encode(format!("web-app:{SECRET}")));
    for authorization in
        [&basic("web-app", "wrong"), &basic("web-app", ""), &basic("nobody", ""), "Bearer x", &unencoded]
    {
        let answer = post(&server, "/token", authorization, &[grant, ("refresh_token", "x")]).await;
        assert_error(&answer, 401, "invalid_client");
        assert!(answer.header(&header::WWW_AUTHENTICATE).starts_with("Basic"));
    }
    let both = [grant, ("refresh_token", "x"), ("client_id", "web-app"), ("client_secret", SECRET)];
    assert_error(&token(&server, &both).await, 400, "invalid_request");

    let url = format!("{}/token", server.issuer());
    let body = Browser::new().post(&url, &[], &both).await.unwrap();
    assert_error(&body, 400, "invalid_grant");
    let nothing = [grant, ("refresh_token", "x"), ("client_id", "web-app")];
    assert_error(&Browser::new().post(&url, &[], &nothing).await.unwrap(), 401, "invalid_client");
}

#[tokio::test]
async fn a_parameter_given_twice_and_an_unknown_grant_are_refused() {
    let server = start();
    let twice = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("refresh_token", "x")];
    assert_error(&token(&server, &twice).await, 400, "invalid_request");
    assert_error(&token(&server, &[("grant_type", "password")]).await, 400, "unsupported_grant_type");
    let code = [("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", BACK)];
    assert_error(&token(&server, &code).await, 400, "invalid_request");
}

#[tokio::test]
async fn an_address_that_is_not_registered_is_never_redirected_to() {
    let server = start();
    for (client_id, redirect_uri) in [
        ("web-app", "http://localhost:8080"),
        ("web-app", "http://localhost:8080/x"),
        ("web-app", "https://evil.example/"),
        ("nobody", BACK),
    ] {
        let fault =
            sign_in(&SignInRequest { client_id, redirect_uri, ..request(&server) }).await.unwrap_err();
        assert!(matches!(fault, SignInFault::Page(StatusCode::BAD_REQUEST)), "{redirect_uri}: {fault}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_goes_back_with_state_and_iss() {
    let server = start();
    let challenge = URL_SAFE_NO_PAD.encode([7; 32]);
    let right = [
        ("response_type", "code"),
        ("client_id", "web-app"),
        ("redirect_uri", BACK),
        ("state", "a&b"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (changed, value, error) in [
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
    ] {
        let pairs = right.iter().map(|(name, own)| (*name, if *name == changed { value } else { *own }));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let url = format!("{}/authorize?{query}", server.issuer());
        let answer = Browser::new().get(&url, &[]).await.unwrap();
        let location = url::Url::parse(answer.header(&header::LOCATION)).unwrap();
        let pairs: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
        assert_eq!(pairs["error"], error, "{changed}={value}");
        assert_eq!((pairs["state"].as_str(), pairs["iss"].as_str()), ("a&b", server.issuer()));
    }
}

#[tokio::test]
async fn the_sign_in_page_escapes_and_carries_a_strict_policy() {
    let server = start();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("response_type", "code")
        .append_pair("client_id", "web-app")
        .append_pair("redirect_uri", BACK)
        .append_pair("state", "\"><script>alert(1)</script>")
        .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode([7; 32]))
        .append_pair("code_challenge_method", "S256")
        .finish();
    let url = format!("{}/authorize?{query}", server.issuer());
    let page = Browser::new().get(&url, &[]).await.unwrap();
    let html = String::from_utf8_lossy(&page.body);
    assert!(!html.contains("<script"), "{html}");
    let policy = page.header(&header::CONTENT_SECURITY_POLICY);
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("form-action 'self' http://localhost:8080;"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    let style = html.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = STANDARD.encode(super::keys::sha256(style.as_bytes()));
    assert!(policy.contains(&hash), "the hash is that of the style as it stands in the page");
    assert_eq!(page.header(&header::CACHE_CONTROL), "no-store");
}

#[tokio::test]
async fn another_site_cannot_send_the_form() {
    let server = start();
    let url = format!("{}/authorize", server.issuer());
    for headers in [
        [("Sec-Fetch-Site", "cross-site"), ("Origin", "null")].as_slice(),
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
    ] {
        let answer = Browser::new().post(&url, headers, &[("user", "alice")]).await.unwrap();
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
}

#[tokio::test]
async fn a_sign_in_of_an_hour_ago_counts_unless_the_client_asks_for_a_newer_one() {
    let server = start();
    for (max_age, an_hour) in [(None, true), (Some(7200), true), (Some(300), false)] {
        let signed_in =
            sign_in(&SignInRequest { an_hour_ago: true, max_age, ..request(&server) }).await.unwrap();
        let body = redeem(&server, &signed_in).await.json();
        let (_, claims) = verified(&server, &text(&body, "access_token"), "https://api.example.com").await;
        let age = claims["iat"].as_i64().unwrap() - claims["auth_time"].as_i64().unwrap();
        assert_eq!(age >= 3600, an_hour, "max_age {max_age:?}: {age} seconds");
    }
}

#[tokio::test]
async fn it_answers_to_its_own_name_only() {
    let server = start();
    let other = server.issuer().replace("127.0.0.1", "localhost");
    let answer = Browser::new().get(&format!("{other}/jwks"), &[]).await.unwrap();
    assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST);
    let wrong =
        Browser::new().send(Method::PUT, &format!("{}/token", server.issuer()), &[], None).await.unwrap();
    assert_eq!((wrong.status, wrong.header(&header::ALLOW)), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
}

#[tokio::test]
async fn it_refuses_to_listen_off_loopback() {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let fault = AuthorizationServer::start(listener, options("http://127.0.0.1:1".into())).unwrap_err();
    assert_eq!(fault.kind(), std::io::ErrorKind::InvalidInput);
    assert!(fault.to_string().contains("loopback"));
    for issuer in ["http://127.0.0.1:1/", "http://127.0.0.1:1/x", "ftp://127.0.0.1:1", "nothing"] {
        assert!(AuthorizationServer::start(self::listener().0, options(issuer.into())).is_err(), "{issuer}");
    }
}

#[tokio::test]
async fn counts_are_public_and_hold_nothing_secret() {
    let server = start();
    redeem(&server, &sign_in(&request(&server)).await.unwrap()).await;
    let counts = Browser::new().get(&format!("{}/demo/counts", server.issuer()), &[]).await.unwrap().json();
    let expected = json!({
        "token_requests": 1, "refreshes": 0, "revocations": 0, "reuse_detected": 0, "grants_alive": 1,
    });
    assert_eq!(counts, expected);
}
