//! A way to Redis that is too narrow for a whole page of the log in a second.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_of_large_entries_is_followed_over_a_narrow_way() {
    let server = Server::start(&[]);
    let writer = Replica::of(&server).await;
    let cable = Cable::to(&server).await;
    let reader = Replica::start(cable.settings(&server), folder());
    loaded(&reader.tables).await;
    cable.pull();
    reader.is_away().await;
    let reason = Some("x".repeat(6000));
    let large = |n: usize| Revocation { reason: reason.clone(), ..jti(n) };
    for part in 0..5 {
        add(&*writer.log, (part * 200..(part + 1) * 200).map(large)).await;
    }
    // Six megabytes, of which a second brings two at most.
    cable.narrow.store(2 << 20, Ordering::SeqCst);
    cable.plug_in();
    until("all of it", async || (0..1000).all(|n| reader.refuses(&jti(n)))).await;
}
