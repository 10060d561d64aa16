//! What operators see of the store, and what a gateway does without it.

use serde_json::json;

use crate::support::gateway::Gateway;
use crate::support::operator::Operator;
use crate::support::redis::Server;
use crate::support::upstream::Upstream;
use crate::support::{until, within};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A configuration with this Redis, and what replicas must share beside it.
fn with_redis(server: &Server, more: &str, upstream: &Upstream) -> String {
    format!(
        "store: {{ url: \"redis://127.0.0.1:{}/0\"{more} }}\nsessions: {{ keys: [\"{}\"] }}\n\
         routes: [{{ path: /*, to: \"{}\", public: true }}]\n",
        server.port,
        "0a".repeat(32),
        upstream.url()
    )
}

async fn gateway(rest: &str) -> Gateway {
    Gateway::administered(TOKEN, rest).await
}

async fn status(gateway: &Gateway) -> serde_json::Value {
    status_of(gateway, "store").await
}

async fn status_of(gateway: &Gateway, what: &str) -> serde_json::Value {
    Operator::with_token(gateway, TOKEN).get("/status").await.json()[what].clone()
}

async fn metric(gateway: &Gateway) -> String {
    let text = String::from_utf8(gateway.admin("/metrics").await.body).unwrap();
    let line = text.lines().find(|line| line.starts_with("tollgate_store_up "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

async fn degraded_of(gateway: &Gateway, named: &str) -> (u16, Vec<String>) {
    let answer = gateway.admin("/readyz").await;
    let degraded = answer.json()["degraded"].as_array().unwrap().clone();
    let those = degraded.iter().filter_map(|what| what.as_str()).filter(|what| what.starts_with(named));
    (answer.status, those.map(str::to_owned).collect())
}

async fn degraded(gateway: &Gateway) -> (u16, Vec<String>) {
    degraded_of(gateway, "store").await
}

#[tokio::test]
async fn an_outage_of_redis_is_told_and_takes_no_replica_out_of_the_balancer() {
    let upstream = Upstream::start().await;
    for (more, alone) in [("", false), (", on_outage: serve", true)] {
        let mut redis = Server::start(&[]);
        let gateway = gateway(&with_redis(&redis, more, &upstream)).await;
        until("the store to be up", async || metric(&gateway).await == "tollgate_store_up 1").await;
        assert_eq!(degraded(&gateway).await, (200, vec![]));
        let told = status(&gateway).await;
        let at = format!("redis://127.0.0.1:{}/0", redis.port);
        let on_outage = if alone { "serve" } else { "refuse" };
        assert_eq!(told, json!({ "kind": "redis", "at": at, "up": true, "on_outage": on_outage }));

        redis.kill();
        until("the outage", async || metric(&gateway).await == "tollgate_store_up 0").await;
        let (status_code, what) = degraded(&gateway).await;
        assert_eq!((status_code, what.len()), (200, 1));
        assert_eq!(what[0].contains("coordinates alone"), alone, "{what:?}");
        let told = status(&gateway).await;
        assert_eq!(told["up"], json!(false));
        assert!(told["away_since"].is_string() && told["why"].is_string(), "{told}");
        assert_eq!(
            gateway.connect().await.get("/x", &[]).await.status,
            200,
            "requests that need no store go on"
        );

        redis.start_again();
        until("the store to be back", async || metric(&gateway).await == "tollgate_store_up 1").await;
        assert_eq!(degraded(&gateway).await, (200, vec![]));
        let kept = std::fs::read_dir(gateway.folder().join("data")).unwrap();
        let kept: Vec<_> = kept.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(kept, ["revocations.redb"], "nothing secret is kept beside a Redis");
    }
}

#[tokio::test]
async fn a_list_of_revocations_that_cannot_be_kept_beside_redis_is_told() {
    let (upstream, redis) = (Upstream::start().await, Server::start(&[]));
    let gateway = gateway(&with_redis(&redis, "", &upstream)).await;
    until("the store to be up", async || metric(&gateway).await == "tollgate_store_up 1").await;
    let folder = gateway.folder().join("data");
    // One whose file another process has.
    let second = Gateway::administered_as(TOKEN, &with_redis(&redis, "", &upstream), |settings| {
        settings.store.folder.clone_from(&folder);
    });
    until("the fault", async || degraded_of(&second, "revocations").await.1.len() == 1).await;
    assert_eq!(metric(&second).await, "tollgate_store_up 0");
    let told = status_of(&second, "revocations").await;
    assert!(told["why"].as_str().unwrap().contains("in use by another process"), "{told}");
    assert_eq!(degraded_of(&gateway, "revocations").await, (200, vec![]));
    within("the stop", gateway.app.stop(std::time::Duration::ZERO)).await;
    until("the file", async || degraded_of(&second, "revocations").await.1.is_empty()).await;
    until("the store", async || metric(&second).await == "tollgate_store_up 1").await;
}

#[tokio::test]
async fn a_gateway_starts_while_redis_is_down_and_finds_it_later() {
    let upstream = Upstream::start().await;
    let mut redis = Server::start(&[]);
    redis.kill();
    let gateway = Gateway::administered_unready(TOKEN, &with_redis(&redis, "", &upstream));
    assert_eq!(metric(&gateway).await, "tollgate_store_up 0");
    until("the outage", async || degraded(&gateway).await.1.iter().any(|what| what.contains("store"))).await;
    assert_eq!(degraded(&gateway).await.0, 503, "it does not know what was revoked");
    redis.start_again();
    until("readiness", async || degraded(&gateway).await.0 == 200).await;
    until("the store", async || metric(&gateway).await == "tollgate_store_up 1").await;
}

#[tokio::test]
async fn a_folder_is_up_and_given_up_at_the_end() {
    let upstream = Upstream::start().await;
    let rest = format!("routes: [{{ path: /*, to: \"{}\", public: true }}]\n", upstream.url());
    let whole = format!("issuers: {{ a: {{ url: \"http://127.0.0.1:9\", audience: a }} }}\n{rest}");
    let first = gateway(&rest).await;
    let folder = first.folder().join("data");
    let told = status(&first).await;
    assert_eq!(
        told,
        json!({ "kind": "folder", "at": folder.display().to_string(), "up": true, "on_outage": "refuse" })
    );
    assert_eq!(metric(&first).await, "tollgate_store_up 1");

    let second = Gateway::unready(&whole, |settings| settings.store.folder.clone_from(&folder));
    let Err(error) = second else { panic!("two had one file") };
    assert!(error.to_string().contains("in use by another process"), "{error}");
    within("the stop", first.app.stop(std::time::Duration::ZERO)).await;
    let second = Gateway::unready(&whole, |settings| settings.store.folder.clone_from(&folder));
    drop(second.expect("the file is free"));
}
