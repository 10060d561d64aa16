//! What the documentation gives as the default of a key means what leaving the key out means: both are tried,
//! key by key.

use serde_yaml::{Mapping, Value};
use tollgate::config::schema::{self, Need};

use super::support::{settings, write_certificate};

/// Every section in which a key has a default, with what the section needs.
const FULL: &str = r#"
public_url: https://gate.example.com
listen:
  - address: 0.0.0.0:443
    tls: [{ certificate: FOLDER/gate.pem, key: FOLDER/gate.key }]
    client_certificates: { ca: FOLDER/gate.pem }
issuers:
  name: { url: https://login.example.com, audience: api, introspection: { client_id: gateway, secret: "${WEB_APP_SECRET}" } }
clients:
  name: { issuer: name, mode: session, secret: "${WEB_APP_SECRET}", scope: openid }
routes:
  - { path: /a, to: "http://10.0.0.1:3000", require: { scope: read } }
  - { path: /b, to: name, require: { scope: read } }
upstreams:
  name: { url: http://10.0.0.2:3000, health: { path: /healthz } }
identity: { assertion: { keys: [{ file: FOLDER/gate.key }] } }
admin: { address: 127.0.0.1:8082, token: 0123456789abcdef }
signals: { name: { issuer: https://signals.example.com, audience: gate } }
sessions: { keys: [0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a] }
"#;

#[test]
fn what_the_file_leaves_out_has_the_documented_default_whatever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate.example.com"]);
    let full = FULL.replace("FOLDER", folder.path().to_str().unwrap());
    let full: Value = serde_yaml::from_str(&full).unwrap();
    let mut tried = 0;
    for (path, key) in schema::paths() {
        let Need::Default(default) = key.need else { continue };
        let mut without = full.clone();
        if path.starts_with("store.") {
            let redis = "{ url: \"redis://cache.internal:6379/0\" }";
            without["store"] = serde_yaml::from_str(redis).unwrap();
        } else if path.ends_with(".accept_any_access_token") {
            without["clients"]["name"]["mode"] = "token".into();
        } else if path.ends_with(".assertion_audience") {
            by_private_key(&mut without["clients"]["name"], &full);
            by_private_key(&mut without["issuers"]["name"]["introspection"], &full);
        } else if path == "admin" {
            without.as_mapping_mut().unwrap().remove("admin");
        }
        // In words it is another key's.
        let value = match default {
            "public_url" => "https://gate.example.com",
            other => {
                schema::paths().iter().find(|(path, _)| path == other).map_or(other, |(_, key)| {
                    match key.need {
                        Need::Default(default) => default,
                        _ => other,
                    }
                })
            }
        };
        let mut with = without.clone();
        set(&mut with, &path, serde_yaml::from_str(value).unwrap());
        let [without, with] = [without, with].map(|file| {
            let mut settings = settings(&serde_yaml::to_string(&file).unwrap());
            settings.shown = serde_json::Value::Null; // as the file says it
            format!("{settings:#?}")
        });
        let differs = without.lines().zip(with.lines()).find(|(without, with)| without != with);
        assert!(without == with, "{path}: {default} is not what leaving it out means: {differs:?}");
        tried += 1;
    }
    assert!(tried > 50, "{tried}");
}

/// Lets a client prove itself by a key.
fn by_private_key(client: &mut Value, full: &Value) {
    client.as_mapping_mut().unwrap().remove("secret");
    client["private_key"] = full["identity"]["assertion"]["keys"][0].clone();
}

/// Puts a value at a path of the schema, as `routes[].timeouts.read`; sections that are not there are made.
fn set(file: &mut Value, path: &str, value: Value) {
    let mut at = file;
    for part in path.split('.') {
        let name = part.trim_end_matches("[]").trim_matches(['<', '>']);
        if at.is_null() {
            *at = Value::Mapping(Mapping::new());
        }
        let below = at.as_mapping_mut().unwrap().entry(name.into()).or_insert(Value::Null);
        at = if part.ends_with("[]") { &mut below[0] } else { below };
    }
    assert!(at.is_null(), "{path} is there already");
    *at = value;
}
