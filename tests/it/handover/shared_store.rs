//! What a new process must be able to do with the store that replicas share before anybody hands over to it.

use tollgate::config::settings::{Redis, RedisCredentials, Settings};

use super::*;
use crate::support::redis::Server;
use crate::support::until;

fn with_redis(server: &Server, upstream: &Upstream) -> String {
    format!(
        "store: {{ url: \"redis://127.0.0.1:{}/0\" }}\nsessions: {{ keys: [\"{}\"] }}\nroutes: [{{ path: /public/*, to: \"{}\", public: true }}]\n",
        server.port,
        "0a".repeat(32),
        upstream.url()
    )
}

/// What the new process is to change of its Redis.
fn redis(settings: &mut Settings) -> &mut Redis {
    settings.store.redis.as_mut().unwrap()
}

fn as_user(settings: &mut Settings, name: &str, password: &str) {
    let (username, password) = (Some(name.to_owned()), Some(password.into()));
    redis(settings).credentials = RedisCredentials { username, password };
}

async fn hand_over(
    gateway: &Gateway,
    files: &Files,
    adjust: impl FnOnce(&mut Settings),
) -> (Result<Answers, HandOverError>, Result<App, StartError>) {
    let (to_new, to_old) = Channel::pair().unwrap();
    let new = new_as(to_old, gateway.folder(), files.of("new"), adjust);
    // The other process hears of a refusal by the end of the channel.
    let handing = async { gateway.app.hand_over(&mut { to_new }).await };
    within("the outcome", async { tokio::join!(handing, new) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hands_over_to_a_process_that_cannot_use_the_redis_or_has_not_read_its_list() {
    let upstream = Upstream::start().await;
    let mut server = Server::start(&[]);
    assert_eq!(server.ask("ACL SETUSER reader on >hunter2 ~* &* +@all -hscan"), "+OK");
    let gateway = Gateway::administered(&"s".repeat(40), &with_redis(&server, &upstream)).await;
    let files = Files::default();
    // The configuration of these tests has an issuer that is not there.
    let is_of_an_issuer = |said: &serde_json::Value| said.as_str().unwrap().starts_with("issuer ");
    let followed = async || {
        gateway.admin("/readyz").await.json()["degraded"].as_array().unwrap().iter().all(is_of_an_issuer)
    };
    until("the list", async || followed().await).await;
    for (name, password, part) in
        [("reader", "hunter3", "AuthenticationFailed"), ("reader", "hunter2", "hscan")]
    {
        let (handed, taken) = hand_over(&gateway, &files, |settings| as_user(settings, name, password)).await;
        let says = |why: &str| why.contains(part);
        assert!(matches!(&handed, Err(HandOverError::WithoutStore(why)) if says(why)), "{part}: {handed:?}");
        taken.unwrap_err();
        assert!(files.events().is_empty(), "{part}: it got no file");
        assert_eq!(gateway.connect().await.get("/public/x", &[]).await.status, 200, "{part}");
        assert!(followed().await, "{part}: the old one goes on");
    }
    // One that can do no less than the old one takes over.
    server.kill();
    until("the outage", async || !followed().await).await;
    let (handed, taken) = hand_over(&gateway, &files, |_| {}).await;
    handed.unwrap();
    within("the stop", taken.unwrap().stop(Duration::ZERO)).await;
}
