//! What a gateway does before it runs, and what it says when it cannot.

use std::net::TcpListener;

use serde_json::json;

use crate::support::gateway::Gateway;

const DOWN: &str =
    "issuers: { as: { url: \"http://127.0.0.1:9/issuer\", audience: \"https://api.example.com\" } }
routes: [{ path: /*, to: \"http://127.0.0.1:9\" }]";

#[tokio::test]
async fn it_starts_while_the_authorization_server_is_down_and_says_so() {
    let gateway = Gateway::unready(DOWN, |_| {}).unwrap();
    let ready = gateway.admin("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["because"], "no issuer's keys could be read yet");
    assert_eq!(gateway.admin("/livez").await.status, 200);
    let bearer = gateway.bearer("alice", "");
    let answer = gateway.connect().await.get("/", &[("Authorization", &bearer)]).await;
    assert_eq!(
        (answer.status, &answer.json()["type"]),
        (503, &json!("urn:tollgate:refusal:keys_unavailable"))
    );
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(answer.challenge(), None, "the token may well be good");
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen", "admin"] {
        let refused = Gateway::unready(DOWN, |settings| match key {
            "listen" => settings.listen[0].address = address,
            _ => settings.admin.address = address,
        });
        let Err(error) = refused else { panic!("{key} was not refused") };
        let text = error.to_string();
        assert!(text.contains(&format!("{key} {address} is in use")), "{text}");
    }
}

#[tokio::test]
async fn a_store_folder_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = Gateway::unready(DOWN, |settings| settings.store.folder = file.path().join("data"));
    let Err(error) = refused else { panic!("it started") };
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_store_file_that_cannot_be_used_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("store.redb"), "not a store").unwrap();
    let rest = "issuers: { a: { url: \"http://127.0.0.1:9\", audience: a } }\nroutes: [{ path: /*, to: \"http://127.0.0.1:9\" }]\n";
    let refused = Gateway::unready(rest, |settings| settings.store.folder.clone_from(&data));
    let Err(error) = refused else { panic!("it started") };
    let text = error.to_string();
    assert!(text.contains(data.join("store.redb").to_str().unwrap()) && text.contains("damaged"), "{text}");
    assert_eq!(std::fs::read(data.join("store.redb")).unwrap(), b"not a store");
}
