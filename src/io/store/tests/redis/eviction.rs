//! A Redis that may throw away values that are still good, to make room.

use super::*;

/// So that a server says what it was asked.
const TOLD: [&str; 4] = ["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000"];

/// Until each was asked how it is with its memory: the store is up before that.
async fn are_asked(servers: &[&Server]) {
    let is_asked = |server: &&Server| server.ask_all("SLOWLOG GET 1000").contains("\nmemory\n");
    until("the question", async || servers.iter().all(is_asked)).await;
}

#[tokio::test]
async fn a_redis_that_may_throw_values_away_is_warned_about() {
    for (policy, limit, warned) in [
        ("allkeys-lru", "100mb", 1),
        ("volatile-ttl", "100mb", 1),
        ("noeviction", "100mb", 0),
        ("allkeys-lru", "0", 0),
    ] {
        let logged = Lines::listen();
        let more = [&["--maxmemory", limit, "--maxmemory-policy", policy], &TOLD[..]].concat();
        let server = Server::start(&more);
        let _store = up(settings(&[&server])).await;
        are_asked(&[&server]).await;
        until("the warning", async || logged.count("noeviction") >= warned).await;
        assert_eq!(logged.count("noeviction"), warned, "{policy}");
    }
}

#[tokio::test]
async fn a_redis_that_begins_to_throw_values_away_is_warned_about_when_it_is_reached_again() {
    let (server, logged) = (Server::start(&TOLD), Lines::listen());
    let _store = up(settings(&[&server])).await;
    are_asked(&[&server]).await;
    assert_eq!(logged.count("noeviction"), 0);
    assert_eq!(server.ask("CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru"), "+OK");
    assert_eq!(server.ask("CLIENT KILL TYPE normal SKIPME yes"), ":1");
    until("the warning", async || logged.count("noeviction") == 1).await;
}

#[tokio::test]
async fn a_cluster_of_which_one_server_may_throw_values_away_is_warned_about() {
    let servers = cluster(|| TOLD.map(ToString::to_string).to_vec());
    let asked = Redis { topology: Topology::Cluster, ..settings(&[&servers[0]]) };
    for warned in [0, 1] {
        let logged = Lines::listen();
        servers.iter().for_each(|server| assert_eq!(server.ask("SLOWLOG RESET"), "+OK"));
        let _store = up(asked.clone()).await;
        are_asked(&servers.iter().collect::<Vec<_>>()).await;
        until("the warning", async || logged.count("noeviction") >= warned).await;
        assert_eq!(logged.count("noeviction"), warned);
        assert_eq!(servers[2].ask("CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru"), "+OK");
    }
}
