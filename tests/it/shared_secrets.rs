//! Issuers that sign with a secret which the gateway shares, at the socket.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::issuer::AUDIENCE;
use crate::support::upstream::Upstream;

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The payload of a good token of `iss`, by a stranger to it.
fn payload(gateway: &Gateway, iss: &str) -> String {
    let token = gateway.issuer.token_with(json!({ "iss": iss, "sub": "alice" }));
    token.split('.').nth(1).unwrap().to_owned()
}

fn signed(hash: hmac::Algorithm, header: &Value, payload: &str) -> String {
    let message = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let mac = hmac::sign(&hmac::Key::new(hash, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
}

#[tokio::test]
async fn tokens_of_a_shared_secret_pass_by_the_algorithms_that_are_listed_and_by_no_other() {
    let upstream = Upstream::start().await;
    let issuer = |name: &str, listed: &str| {
        format!(
            "  {name}: {{ url: \"http://127.0.0.1:9/{name}\", audience: \"{AUDIENCE}\", shared_secret: {SECRET}{listed} }}\n"
        )
    };
    let issuers = [
        ("unsaid", "", &["HS256"][..]),
        ("third", ", algorithms: HS384", &["HS384"]),
        ("fifth", ", algorithms: [HS512]", &["HS512"]),
        ("several", ", algorithms: [HS512, HS256]", &["HS256", "HS512"]),
    ];
    let texts: String = issuers.iter().map(|(name, listed, _)| issuer(name, listed)).collect();
    let routes = format!("routes: [{{ path: /*, to: \"{}\", require: {{}} }}]\n", upstream.url());
    let gateway = Gateway::unready(&format!("issuers:\n{texts}{routes}"), |_| {}).unwrap();
    gateway.wait_until_ready().await;
    let mut client = gateway.connect().await;
    for (name, _, listed) in issuers {
        let payload = payload(&gateway, &format!("http://127.0.0.1:9/{name}"));
        let of_rsa = [("RS256", hmac::HMAC_SHA256), ("none", hmac::HMAC_SHA512)];
        let own = [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)];
        for (said, hash) in own.into_iter().chain(of_rsa) {
            let token = signed(hash, &json!({ "alg": said, "typ": "at+jwt" }), &payload);
            let answer = client.get("/x", &[("Authorization", &format!("Bearer {token}"))]).await;
            assert_eq!(answer.status, if listed.contains(&said) { 200 } else { 401 }, "{said} of {name}");
        }
    }
    assert_eq!(upstream.received().len(), 5);
}
