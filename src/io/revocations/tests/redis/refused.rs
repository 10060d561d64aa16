//! Calls that Redis refuses, or makes without anybody hearing of it.

use super::*;
use crate::io::store::tests::redis::is_up;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_redis_made_before_its_connection_broke_is_not_said_to_be_not_made() {
    let server = Server::start(&[]);
    let cable = Cable::to(&server).await;
    let replica = Replica::start(cable.settings(&server), folder());
    loaded(&replica.tables).await;
    let count = || server.ask(&format!("HLEN {KEY}records"));
    let mut rounds = 0..;
    until("an answer that is lost", async || {
        replica.is_up().await;
        let (revoked, before) = (jti(rounds.next().unwrap()), count());
        cable.is_mute.store(true, Ordering::SeqCst);
        let lose = async {
            let is_away = || replica.link.health() != StoreHealth::Up;
            until("the change", async || count() != before || is_away()).await;
            cable.cut();
        };
        let changes = [Change::Add(revoked.clone())];
        let (made, ()) = tokio::join!(replica.log.append(&changes), lose);
        assert!(made.is_err(), "nobody heard of it");
        // Not before: what is said before the cut is through nobody must hear either. And whoever asked
        // meanwhile asks anew.
        cable.is_mute.store(false, Ordering::SeqCst);
        cable.cut();
        let is_in_doubt = matches!(made, Err(StoreFault::Unfinished(_)));
        if is_in_doubt {
            until("it to count", async || replica.refuses(&revoked)).await;
        }
        // Or it was away already.
        is_in_doubt
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_right_that_the_list_alone_needs_costs_sessions_nothing_where_it_is_missing() {
    let servers = cluster(|| acl(&[ACL[0], "+ping +cluster|slots"]));
    let credentials = credentials(Some("gate"), "acl-hunter2");
    let asked = Redis { topology: Topology::Cluster, credentials, ..settings(&[&servers[0]]) };
    let replica = Replica::start(asked, folder());
    replica.is_up().await;
    // How often it was refused, as the server counts it.
    let refused = || {
        let logs = servers.iter().map(|server| server.ask_all("ACL LOG 10"));
        let counts = logs.filter_map(|log| {
            let (_, count) = log.split_once("$5\ncount\n:")?;
            log.contains("info").then(|| count.lines().next()?.parse::<u64>().ok()).flatten()
        });
        counts.sum::<u64>()
    };
    until("the list to be asked for more than once", async || refused() >= 3).await;
    assert_eq!((replica.link.health(), replica.link.times_reached()), (StoreHealth::Up, 1));
    assert_eq!(replica.tables.currency(now()), Currency::Unknown);
    let store = RedisStore::over(replica.link.clone());
    is_up(&store).await;
    for server in &servers {
        assert_eq!(server.ask("ACL SETUSER gate +info"), "+OK");
    }
    loaded(&replica.tables).await;
    add(&*replica.log, [jti("a")]).await;
    assert!(replica.refuses(&jti("a")));
    assert_eq!(replica.link.times_reached(), 1);
}
