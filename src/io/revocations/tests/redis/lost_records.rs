//! A Redis that throws away the largest key of the list alone, to make room.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn records_that_redis_threw_away_alone_are_given_back_and_what_was_lifted_is_not() {
    let endless = |value: &str| Revocation { until: None, ..block(value) };
    // Of what has no end nothing but what is known of the list says that it is lost.
    for list in [[jti("a"), block("bob")], [endless("a"), endless("bob")]] {
        let server = Server::start(&[]);
        let replica = Replica::of(&server).await;
        add(&*replica.log, list.clone()).await;
        add(&*replica.log, [endless("lifted")]).await;
        replica.has_kept(&endless("lifted")).await;
        lift(&*replica.log, &endless("lifted")).await;
        for named in &list {
            replica.has_kept(named).await;
        }
        assert_eq!(server.ask(&format!("DEL {KEY}records")), ":1");
        until("Redis to have them again", async || server_has(&server, 2)).await;
        let fresh = Replica::of(&server).await;
        until("a fresh one", async || list.iter().all(|named| fresh.refuses(named))).await;
        for replica in [&replica, &fresh] {
            assert!(list.iter().all(|named| replica.refuses(named)) && !replica.refuses(&endless("lifted")));
        }
        let ends = list.iter().filter(|named| named.until.is_some()).count();
        assert_eq!(server.ask(&format!("ZCARD {KEY}ends")), format!(":{ends}"));
        // A list that is empty because all of it was lifted is no loss.
        let epoch = || server.ask_all(&format!("HGET {KEY}about epoch"));
        let before = epoch();
        for named in &list {
            lift(&*replica.log, named).await;
        }
        add(&*replica.log, [jti("after")]).await;
        assert_eq!((epoch(), server_has(&server, 1)), (before, true));
    }
}
