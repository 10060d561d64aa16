//! Calls that Redis refuses, or makes without anybody hearing of it.

use super::*;

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
            cable.is_mute.store(false, Ordering::SeqCst);
        };
        let changes = [Change::Add(revoked.clone())];
        let (made, ()) = tokio::join!(replica.log.append(&changes), lose);
        assert!(made.is_err(), "nobody heard of it");
        let is_in_doubt = matches!(made, Err(StoreFault::Unfinished(_)));
        if is_in_doubt {
            until("it to count", async || replica.refuses(&revoked)).await;
        }
        // It was away already, or a busy machine took the whole second of the call.
        is_in_doubt
    })
    .await;
}
