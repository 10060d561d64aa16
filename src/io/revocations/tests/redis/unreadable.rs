//! A Redis that answers, and whose list cannot be followed.

use super::*;
use crate::flows::testing::lines::Lines;

const NEWER: &str = "a newer Tollgate wrote it";

fn scans(server: &Server) -> usize {
    let stats = server.ask_all("INFO commandstats");
    let scans = stats.split_once("cmdstat_hscan:calls=").and_then(|(_, scans)| scans.split_once(','));
    scans.map_or(0, |(scans, _)| scans.parse().unwrap())
}

/// One thread: what is logged is heard.
#[tokio::test]
async fn a_list_that_cannot_be_read_is_told_once_and_tried_ever_more_seldom() {
    let lines = Lines::listen();
    let server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    add(&*replica.log, [jti("a")]).await;
    assert_eq!(server.ask(&format!("HSET {KEY}records x 1:2:x")), ":1");
    let (before, began) = (scans(&server), Instant::now());
    let late = Replica::start(settings(&[&server]), folder());
    until("it to be tried again and again", async || scans(&server) >= before + 5).await;
    // Five times a second it was.
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(lines.count(NEWER), 1, "{}", lines.text());
    let StoreHealth::Away { why, alone: false, .. } = late.log.health() else { panic!("{:?}", late.log) };
    assert!(why.contains(NEWER), "{why}");
    assert_eq!((late.link.health(), late.tables.currency(now())), (StoreHealth::Up, Currency::Unknown));
    assert_eq!(replica.log.health(), StoreHealth::Up, "it follows the log");

    assert_eq!(server.ask(&format!("HDEL {KEY}records x")), ":1");
    loaded(&late.tables).await;
    assert_eq!(late.log.health(), StoreHealth::Up);
    assert_eq!((lines.count(NEWER), lines.count("followed again")), (1, 1), "{}", lines.text());
    // What comes after it is told again: of an entry of the log, of which a cursor leads on to it.
    let entry = format!("XADD {KEY}log 99-0 o A n 12345678 r 1:2:x");
    assert_eq!(server.ask(&entry), "$4");
    assert_eq!(server.ask(&format!("HSET {KEY}about seq 99")), ":0");
    until("both to tell it", async || lines.count(NEWER) == 3).await;
    assert!(matches!(replica.log.health(), StoreHealth::Away { alone: false, .. }));
}
