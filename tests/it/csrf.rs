//! Whose request it is: every combination of what browsers say of a request to `/oauth/token`, against
//! an authorization server that counts how often it is asked.

use std::sync::Arc;

use crate::support::client::{Client, HOST, request};
use crate::support::gateway::Gateway;
use crate::support::upstream::{Received, Upstream};

/// Same site as the gateway, another origin, and listed.
const LISTED: &str = "http://app.gate.localhost:3000";
const ORIGINS: [Option<&str>; 8] = [
    None,
    Some("http://gate.localhost:8080"),
    Some(LISTED),
    Some("null"),
    Some("http://evil.example"),
    Some("http://evil.gate.localhost:3000"),
    Some("http://app.gate.localhost"),
    Some("HTTP://GATE.localhost:8080"),
];
const SITES: [Option<&str>; 5] =
    [None, Some("same-origin"), Some("same-site"), Some("cross-site"), Some("none")];
const MODES: [Option<&str>; 6] =
    [None, Some("cors"), Some("no-cors"), Some("same-origin"), Some("navigate"), Some("websocket")];
const TYPES: [Option<&str>; 5] = [
    Some("application/x-www-form-urlencoded"),
    Some("application/json"),
    Some("text/plain"),
    Some("multipart/form-data; boundary=x"),
    None,
];
const ASKS: [(&str, &str); 3] = [("POST", "authorization_code"), ("POST", "refresh_token"), ("DELETE", "")];

const NO_SESSION: &str = "The request has no cookie of this client, or one that cannot be opened. Sign in.";

/// Discovery, and a token endpoint that knows no code, and looks at proofs first: at one that is none, and at
/// one without its nonce.
pub fn authorization_server(asked: &Received) -> Vec<u8> {
    let issuer = format!("http://{}", asked.header("host").unwrap());
    let (status, body) = match asked.path() {
        "/token" if asked.header("dpop") == Some("x") => {
            ("400 Bad Request", r#"{"error":"invalid_dpop_proof"}"#.to_owned())
        }
        "/token" if asked.header("dpop").is_some() => {
            ("400 Bad Request", r#"{"error":"use_dpop_nonce"}"#.to_owned())
        }
        "/token" => ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned()),
        "/jwks" => ("200 OK", r#"{"keys":[]}"#.to_owned()),
        _ => (
            "200 OK",
            format!(
                r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/token","jwks_uri":"{issuer}/jwks","authorization_endpoint":"{issuer}/authorize","response_types_supported":["code"]}}"#
            ),
        ),
    };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

struct World {
    server: Upstream,
    client: Client,
    _gateway: Gateway,
}

impl World {
    async fn start(origins: &str) -> Self {
        let server = Upstream::answering(Arc::new(authorization_server)).await;
        let url = server.url();
        let config = format!(
            "limits: {{ denials_per_address: 0 }}
issuers: {{ fake: {{ url: \"{url}\", audience: \"https://api.example.com\" }} }}
clients: {{ web-app: {{ mode: token, login: page, redirect_uri: \"http://{HOST}/back\", origins: [{origins}] }} }}
routes: [{{ path: /api/*, to: \"http://127.0.0.1:9\" }}]
"
        );
        let gateway = Gateway::unready(&config, |_| {}).unwrap();
        let client = gateway.connect().await;
        Self { server, client, _gateway: gateway }
    }

    fn codes_asked(&self) -> usize {
        self.server.received().iter().filter(|asked| asked.path() == "/token").count()
    }
}

fn body(grant: &str, json: bool) -> String {
    let mut fields = vec![("grant_type", grant), ("client_id", "web-app")];
    let (back, verifier) = (format!("http://{HOST}/back"), "v".repeat(43));
    if grant == "authorization_code" {
        fields.extend([("code", "foreign"), ("redirect_uri", &back), ("code_verifier", &verifier)]);
    }
    if json {
        let object: serde_json::Map<String, serde_json::Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return serde_json::Value::from(object).to_string();
    }
    fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn every_combination_of_what_browsers_say_is_judged_as_written() {
    for own_is_listed in [true, false] {
        let own = if own_is_listed { format!("\"http://{HOST}\", ") } else { String::new() };
        let mut world = World::start(&format!("{own}\"{LISTED}\"")).await;
        let mut asked = 0;
        for origin in ORIGINS {
            for site in SITES {
                for mode in MODES {
                    // The table of the contract, once more in its own words.
                    let listed = origin == Some(LISTED) || (own_is_listed && origin == ORIGINS[1]);
                    let ours =
                        own_is_listed && site == Some("same-origin") && matches!(origin, None | Some("null"));
                    let passes = mode != Some("navigate") && (listed || ours);
                    for content_type in TYPES {
                        for (method, grant) in ASKS {
                            let readable = content_type.is_some_and(|t| t.starts_with("application/"));
                            let named = [
                                ("Origin", origin),
                                ("Sec-Fetch-Site", site),
                                ("Sec-Fetch-Mode", mode),
                                ("Content-Type", content_type),
                            ];
                            let fields: Vec<(&str, &str)> =
                                named.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
                            let bytes = if method == "DELETE" {
                                request(method, "/oauth/token?client_id=web-app", &fields, b"")
                            } else {
                                let json = content_type == Some("application/json");
                                request(method, "/oauth/token", &fields, body(grant, json).as_bytes())
                            };
                            world.client.send(bytes).await;
                            let answer = world.client.answer().await;
                            let expected = match (method, readable, passes) {
                                ("POST", false, _) => 400,
                                (_, _, false) => 403,
                                ("POST", true, true) => 400,
                                _ => 204,
                            };
                            let what = format!("{method} {grant} {fields:?}, own listed: {own_is_listed}");
                            assert_eq!(answer.status, expected, "{what}: {}", answer.head);
                            if (method, expected) == ("POST", 400) {
                                // Of a code the authorization server says so; nobody asks it of a session
                                // that is not there.
                                let (error, why) = match (readable, grant) {
                                    (false, _) => ("invalid_request", None),
                                    (true, "refresh_token") => ("invalid_grant", Some(NO_SESSION)),
                                    (true, _) => ("invalid_grant", None),
                                };
                                let said = answer.json();
                                assert_eq!(said["error"], error, "{what}");
                                if error == "invalid_grant" {
                                    assert_eq!(said["error_description"].as_str(), why, "{what}");
                                }
                            }
                            let clears = answer.all("set-cookie");
                            assert_eq!(clears.len(), usize::from(expected == 204), "{what}: {clears:?}");
                            asked += usize::from(grant == "authorization_code" && readable && passes);
                            if origin
                                .is_some_and(|origin| listed && answer.status != 204 && !origin.is_empty())
                            {
                                assert_eq!(answer.header("access-control-allow-origin"), origin, "{what}");
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(world.codes_asked(), asked, "nobody asks the authorization server for a foreign page");
        assert!(asked > 0);
    }
}

/// What a form on a foreign page sends, with a code that is good: of the attacker's own sign-in.
#[tokio::test]
async fn a_cross_site_form_with_a_foreign_code_plants_no_session() {
    let mut world = World::start(&format!("\"http://{HOST}\"")).await;
    let fields = [
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Sec-Fetch-Dest", "document"),
        ("Sec-Fetch-User", "?1"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    world
        .client
        .send(request("POST", "/oauth/token", &fields, body("authorization_code", false).as_bytes()))
        .await;
    let answer = world.client.answer().await;
    assert_eq!((answer.status, answer.header("set-cookie")), (403, None));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(world.codes_asked(), 0);
}
