//! What is revoked while a replica takes in the whole list.

use super::*;

/// A replica whose disk may hang for as long as the test likes.
async fn patient(server: &Server) -> (Replica, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let backend = Backend { faults: Some(faults.clone()) };
    let tuning = Tuning { backend, disk: HOUR, ..Tuning::default() };
    let replica = Replica::start_as(settings(&[server]), folder(), Arc::new(SystemClock), false, tuning);
    loaded(&replica.tables).await;
    (replica, faults)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_revoked_while_the_list_is_read_whole_counts_and_whoever_revokes_it_is_answered() {
    let server = Server::start(&[]);
    let (replica, faults) = patient(&server).await;
    let other = Replica::of(&server).await;
    for part in 0..3 {
        add(&*other.log, (part * 50..(part + 1) * 50).map(jti)).await;
    }
    add(&*other.log, [block("bob")]).await;
    replica.has_kept(&block("bob")).await;
    faults.hangs.store(true, Ordering::SeqCst);
    let mut refused = true;
    for n in 0..10 {
        if n == 0 || n == 5 {
            // Another log, which does not lead on from the one that both have read; and once more while they
            // read on.
            assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}log")), ":2");
        }
        add(&*other.log, [jti(format!("other:{n}"))]).await;
        lift(&*other.log, &block("bob")).await;
        until("the other's", async || replica.refuses(&jti(format!("other:{n}")))).await;
        add(&*replica.log, [jti(format!("own:{n}"))]).await;
        refused &= replica.refuses(&jti(format!("own:{n}")));
    }
    let listed = replica.log.list(&ListQuery::default()).await;
    faults.hangs.store(false, Ordering::SeqCst);
    assert!(refused, "its own at once");
    assert!(listed.is_err(), "it is held up still, and its file lacks what was answered");
    let part = ListQuery { limit: 500, ..ListQuery::default() };
    until("the file", async || all(&*replica.log, part.clone()).await.len() == 170).await;
    assert!((0..150).all(|n| replica.refuses(&jti(n))) && !replica.refuses(&block("bob")));
    assert!((0..10).all(|n| replica.refuses(&jti(format!("own:{n}")))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lift_that_was_heard_while_the_disk_hung_holds_though_redis_loses_all_before_it_goes_on() {
    let server = Server::start(&[]);
    let (replica, faults) = patient(&server).await;
    let other = Replica::of(&server).await;
    add(&*other.log, [block("bob"), jti("kept")]).await;
    replica.has_kept(&jti("kept")).await;
    faults.hangs.store(true, Ordering::SeqCst);
    assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}log")), ":2");
    add(&*other.log, [jti("heard")]).await;
    until("the other's", async || replica.refuses(&jti("heard"))).await;
    lift(&*other.log, &block("bob")).await;
    until("the lift", async || !replica.refuses(&block("bob"))).await;
    drop(other);
    assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}log {KEY}records {KEY}ends")), ":4");
    faults.hangs.store(false, Ordering::SeqCst);
    until("Redis to have the rest again", async || server_has(&server, 2)).await;
    assert!(!replica.refuses(&block("bob")) && replica.refuses(&jti("heard")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_lifted_here_while_the_file_was_shut_is_not_given_back() {
    let server = Server::start(&[]);
    let writer = Replica::of(&server).await;
    let cable = Cable::to(&server).await;
    let faults = Arc::new(Faults::default());
    let tuning = Tuning { backend: Backend { faults: Some(faults.clone()) }, ..super::patient() };
    let clock = Arc::new(SystemClock);
    let replica = Replica::start_as(cable.settings(&server), folder(), clock, false, tuning);
    loaded(&replica.tables).await;
    add(&*replica.log, [jti("first")]).await;
    replica.has_kept(&jti("first")).await;
    faults.full.store(true, Ordering::SeqCst);
    add(&*replica.log, [block("bob"), jti("late")]).await;
    let is_told = async || matches!(replica.log.health(), StoreHealth::Away { alone: true, .. });
    until("the full disk to be told", is_told).await;
    cable.pull();
    replica.is_away().await;
    lift(&*writer.log, &block("bob")).await;
    add(&*writer.log, [jti("new")]).await;
    // The log does not say any more that it was lifted.
    assert_eq!(server.ask(&format!("XTRIM {KEY}log MAXLEN 1")), ":4");
    cable.plug_in();
    let has_it = async || !replica.refuses(&block("bob")) && replica.refuses(&jti("new"));
    until("the list to be read whole", has_it).await;
    drop(writer);
    assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}log {KEY}records {KEY}ends")), ":4");
    // Of its file it has nothing, and with what it gives back at once would be what was lifted.
    until("Redis to have again what it heard", async || server_has(&server, 2)).await;
    assert!(!replica.refuses(&block("bob")) && replica.refuses(&jti("late")));
    faults.full.store(false, Ordering::SeqCst);
    until("the rest, of its file", async || server_has(&server, 3)).await;
    assert!(!replica.refuses(&block("bob")));
}
