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
    // Another log, which does not lead on from the one that both have read.
    assert_eq!(server.ask(&format!("DEL {KEY}about {KEY}log")), ":2");
    let mut refused = true;
    for n in 0..10 {
        add(&*other.log, [jti(format!("other:{n}"))]).await;
        lift(&*other.log, &block("bob")).await;
        until("the other's", async || replica.refuses(&jti(format!("other:{n}")))).await;
        add(&*replica.log, [jti(format!("own:{n}"))]).await;
        refused &= replica.refuses(&jti(format!("own:{n}")));
    }
    let listed = replica.log.list(&Part::default()).await;
    faults.hangs.store(false, Ordering::SeqCst);
    assert!(refused, "its own at once");
    assert!(listed.is_err(), "it is held up still, and its file lacks what was answered");
    let part = Part { limit: 500, ..Part::default() };
    until("the file", async || all(&*replica.log, part.clone()).await.len() == 170).await;
    assert!((0..150).all(|n| replica.refuses(&jti(n))) && !replica.refuses(&block("bob")));
    assert!((0..10).all(|n| replica.refuses(&jti(format!("own:{n}")))));
}
