//! What the log tells operators of a set-up that is wrong, here or at the authorization server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::config::settings::PrivateKey;
use crate::core::session::oauth::authentication::{Audience, KeyNames};
use crate::flows::testing::lines::Lines;

fn strict() -> Client {
    Client { accept_any_access_token: false, ..client() }
}

/// `invalid_client`, in words.
fn invalid_client(description: &str) -> Instead {
    let body = json!({ "error": "invalid_client", "error_description": description });
    Instead::Answer(401, "application/json", body.to_string())
}

const NOT_BASIC: &str = "the client supports 'client_secret_post', but 'client_secret_basic' was requested";

#[tokio::test]
async fn what_the_server_says_of_our_own_credential_is_told_with_the_method_and_without_the_secret() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let lines = Lines::listen();
    scene.next(invalid_client(NOT_BASIC));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert_eq!(refusal.denial, Denial::AuthorizationServerUnavailable);
    let text = lines.text();
    assert!(text.contains(NOT_BASIC) && text.contains("method=\"client_secret_basic\""), "{text}");
    scene.next(invalid_client("AADSTS7000222: the secret is over"));
    assert!(scene.post(None, &code_exchange()).await.is_err());
    assert_eq!(lines.count("AADSTS7000222"), 1, "{}", lines.text());
    scene.next(invalid_client("the secret s3cret is not one of web-app's"));
    assert!(scene.post(None, &code_exchange()).await.is_err());
    let text = lines.text();
    assert!(!text.contains("s3cret") && lines.count("invalid_client") == 3, "{text}");
}

#[tokio::test]
async fn what_the_server_says_of_a_lent_credential_is_told_too() {
    let lent = NativeClient {
        name: ClientName::new("cli"),
        client_id: "cli".into(),
        issuer: IssuerName::new("demo"),
        credential: ClientCredential::Secret("s3cret".into()),
        redirect_uri: None,
        grants: vec![GrantType::RefreshToken],
        scope: None,
        resource: None,
    };
    let scene = Scene::with_native(lent);
    *scene.server.metadata.lock().unwrap() =
        json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] });
    let lines = Lines::listen();
    scene.next(invalid_client("AADSTS7000222: the secret is over"));
    let mut of_an_application = headers(None);
    of_an_application.remove(ORIGIN);
    let refused =
        scene.send(of_an_application, "grant_type=refresh_token&client_id=cli&refresh_token=r-1").await;
    assert_eq!(refused.unwrap_err().denial, Denial::AuthorizationServerUnavailable);
    let text = lines.text();
    assert!(text.contains("AADSTS7000222") && text.contains("method=\"client_secret_post\""), "{text}");
}

#[tokio::test]
async fn by_what_an_assertion_was_signed_is_told_and_is_what_the_server_lists() {
    let pem = Secret::new(include_bytes!("../../../tests/data/config/rsa2048.pem").to_vec());
    let key = PrivateKey {
        pem,
        algorithm: Algorithm::Rs256,
        names: KeyNames::default(),
        audience: Audience::Issuer,
    };
    let client = Client { credential: ClientCredential::PrivateKey(key), ..client() };
    let scene = Scene::with(client, Duration::from_secs(5));
    *scene.server.metadata.lock().unwrap() =
        json!({ "token_endpoint_auth_signing_alg_values_supported": ["ES256", "PS256"] });
    let lines = Lines::listen();
    scene.next(invalid_client("no such key"));
    assert!(scene.post(None, &code_exchange()).await.is_err());
    let (_, form) = scene.server.token_requests.lock().unwrap().last().unwrap().clone();
    let mut form = form_urlencoded::parse(form.as_bytes());
    let (_, assertion) = form.find(|(name, _)| name == "client_assertion").unwrap();
    let header = URL_SAFE_NO_PAD.decode(assertion.split('.').next().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&header).unwrap()["alg"], "PS256");
    let text = lines.text();
    assert!(text.contains("method=\"private_key_jwt\" assertion_alg=\"PS256\""), "{text}");
}

#[tokio::test]
async fn an_access_token_that_would_be_refused_is_told_with_what_to_change() {
    for (changes, reason, told) in [
        (json!({ "aud": "web-app" }), "wrong_token_type", "make the AS name an API there"),
        (
            json!({ "nonce": "n", "client_id": null }),
            "wrong_token_type",
            "it repeats the `nonce` of the sign-in",
        ),
        (json!({ "aud": "else" }), "wrong_audience", "which is issuers.demo.audience"),
        (json!({ "iat": null }), "token_malformed", "as `detail` asks"),
        (json!({ "exp": 1_800_000_000 }), "token_lives_too_long", "raise issuers.demo.max_token_lifetime"),
        (json!({ "groups": "g".repeat(9000) }), "token_too_large", "raise limits.token"),
    ] {
        let mut issuer = issuer(Duration::from_secs(5));
        issuer.rules.audiences.push("web-app".into());
        let scene = Scene::of(strict(), issuer);
        let lines = Lines::listen();
        let header = json!({ "alg": "ES256", "kid": keys().p256.kid() });
        let token = keys().p256.sign_as(&header, &with(claims_at(scene.clock.now()), changes));
        scene.next(Instead::With(json!({ "access_token": token, "scope": null })));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
        let text = lines.text();
        assert!(text.contains(&format!("reason=\"{reason}\"")) && text.contains(told), "{reason}: {text}");
        assert_eq!(text.contains("which is issuers.demo.audience"), reason == "wrong_audience", "{text}");
    }
}

/// Keycloak without a mapper: its account console is all that an access token is for.
#[tokio::test]
async fn for_whom_a_token_should_have_been_and_is_stands_in_one_line_with_the_remedy() {
    for (aud, said) in [
        (json!("account"), r#"aud="\"account\"""#),
        (json!(["account", "b\n"]), r#"aud="[\"account\",\"b\\n\"]""#),
        (Value::Null, r#"aud="(there is none)""#),
        (json!("a".repeat(1000)), &"a".repeat(199)),
    ] {
        let scene = Scene::of(strict(), issuer(Duration::from_secs(5)));
        let lines = Lines::listen();
        let header = json!({ "alg": "ES256", "kid": keys().p256.kid() });
        let claims = with(claims_at(scene.clock.now()), json!({ "aud": aud }));
        let token = keys().p256.sign_as(&header, &claims);
        scene.next(Instead::With(json!({ "access_token": token, "scope": null })));
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
        let text = lines.text();
        let wanted = r#"wanted="https://api.example.com""#;
        for part in
            [wanted, said, "a mapper of the kind «Audience»", "clients.web.resource", "docs/deployment.md"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(!text.contains(&"a".repeat(200)), "{text}");
    }
}

/// LemonLDAP::NG and Glewlwyd compare what came with the secret as it is.
#[tokio::test]
async fn a_secret_that_is_form_encoded_on_its_way_is_told_to_be_and_another_is_not() {
    let (basic, post) = ("client_secret_basic", "client_secret_post");
    for (secret, method, is_encoded) in [
        ("s3cret:a%b +c", basic, true),
        ("s3cr\u{e9}t", basic, true),
        ("A-z.0_9*", basic, false),
        ("s3cret:a%b +c", post, false),
    ] {
        let client = Client { credential: ClientCredential::Secret(secret.into()), ..client() };
        let scene = Scene::with(client, Duration::from_secs(5));
        *scene.server.metadata.lock().unwrap() = json!({ "token_endpoint_auth_methods_supported": [method] });
        let lines = Lines::listen();
        scene.next(invalid_client("no"));
        assert!(scene.post(None, &code_exchange()).await.is_err());
        let text = lines.text();
        assert_eq!(text.contains("RFC 6749 section 2.3.1"), is_encoded, "{secret} {method}: {text}");
        assert!(!text.contains(secret), "{text}");
    }
}

/// Glewlwyd answers so to a secret that is wrong, which may have come by an upgrade or a rotation there.
#[tokio::test]
async fn what_the_server_says_instead_of_new_tokens_is_told_once_with_the_client() {
    let scene = Scene::new();
    let cookie = scene.signed_in_cookie().await;
    let lines = Lines::listen();
    let said = json!({ "error": "unauthorized_client", "error_description": "not for this client" });
    scene.next(Instead::Answer(400, "application/json", said.to_string()));
    let refusal = scene.refresh(&cookie).await.unwrap_err();
    assert!(matches!(refusal.denial, Denial::FromAuthorizationServer(_)) && refusal.set_cookie.is_none());
    let text = lines.text();
    assert_eq!(lines.count("error=\"unauthorized_client\""), 1, "{text}");
    assert!(text.contains("not for this client") && text.contains("client=web"), "{text}");
    // What the server wants in a proof is an answer like any other, and nobody's fault.
    let said = json!({ "error": "use_dpop_nonce" });
    scene.next(Instead::Answer(400, "application/json", said.to_string()));
    assert!(scene.refresh(&cookie).await.is_err());
    assert_eq!(lines.count("use_dpop_nonce"), 0, "{}", lines.text());
}

/// Glewlwyd again, to an assertion that it does not take.
#[tokio::test]
async fn an_answer_that_is_no_json_is_told_with_its_status_and_what_it_may_mean() {
    let scene = Scene::new();
    let lines = Lines::listen();
    for (status, may_be_the_credential) in [(401, true), (403, true), (404, false), (200, false)] {
        scene.next(Instead::Answer(status, "text/plain", String::new()));
        assert!(scene.post(None, &code_exchange()).await.is_err());
        let text = lines.text();
        let line = text.lines().find(|line| line.contains(&format!("status={status}"))).expect(&text);
        assert_eq!(line.contains("credential does not count"), may_be_the_credential, "{line}");
    }
}

/// LemonLDAP::NG says no `token_type`, django-oauth-toolkit no `iat` either, and `aud` only where a resource
/// was asked for; Canaille calls inactive what the client that asks is no audience of.
#[tokio::test]
async fn what_the_answer_about_an_opaque_token_lacks_is_told_and_not_what_a_jwt_would() {
    for (changes, reason, told) in [
        (json!({ "token_type": null }), "wrong_token_type", "say `token_type: Bearer`"),
        (json!({ "aud": null }), "wrong_audience", "say one of `wanted` in `aud`"),
        (json!({ "iat": null }), "token_malformed", "be as `detail` asks"),
        (json!({ "active": false }), "token_inactive", "issuers.demo.introspection may not ask about it"),
    ] {
        let scene = Scene::of(strict(), introspecting_issuer());
        let good = json!({ "active": true, "token_type": "Bearer", "iss": null, "aud": AUDIENCE });
        let said = with(with(claims_at(scene.clock.now()), good), changes);
        *scene.server.introspection.lock().unwrap() = Some(said);
        let lines = Lines::listen();
        let refusal = scene.post(None, &code_exchange()).await.unwrap_err();
        assert_eq!(refusal.denial, Denial::AccessTokenUnusable);
        let text = lines.text();
        assert!(text.contains(&format!("reason=\"{reason}\"")) && text.contains(told), "{reason}: {text}");
        assert!(text.contains("Opaque tokens") && !text.contains("issue a JWT"), "{text}");
    }
}
