//! What was answered and a replica's file lacks, because its disk is full or hangs.

use super::failover::Masters;
use super::*;

#[ignore = "it is so in about every second run: docs/limits.md, on what a file lacks"]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_file_lacks_is_given_back_after_a_failover_and_a_disk_that_hangs_is_told() {
    for hangs in [false, true] {
        let mut masters = Masters::start().await;
        let faults = Arc::new(Faults::default());
        let backend = Backend { faults: Some(faults.clone()) };
        let tuning = Tuning { backend, disk: Duration::from_millis(500), ..Tuning::default() };
        let one = Replica::start_as(masters.settings(), folder(), Arc::new(SystemClock), false, tuning);
        loaded(&one.tables).await;
        add(&*one.log, [jti("early"), block("lifted")]).await;
        assert!(masters.is_replicated());
        one.has_kept(&jti("early")).await;
        masters.part();
        let fault = if hangs { &faults.hangs } else { &faults.full };
        fault.store(true, Ordering::SeqCst);
        lift(&*one.log, &block("lifted")).await;
        add(&*one.log, [jti("late"), block("bob")]).await;
        let is_told = async || matches!(one.log.health(), StoreHealth::Away { alone: true, .. });
        until("the fault to be told", is_told).await;
        assert!(one.log.list(&Part::default()).await.is_err(), "{hangs}: the file lacks what was answered");
        let still = [jti("early"), jti("late"), block("bob")];
        masters.fail_over([&one, &one], &still).await;
        // The lift is lost: what was lifted counts again, at a price.
        let gets_it = async || server_has(&masters.next, 4);
        until("the next master to get what nobody else has", gets_it).await;
        let third = Replica::start(masters.settings(), folder());
        loaded(&third.tables).await;
        until("one that comes later", async || still.iter().all(|revoked| third.refuses(revoked))).await;
        fault.store(false, Ordering::SeqCst);
        until("the file", async || one.log.health() == StoreHealth::Up).await;
        one.has_kept(&jti("late")).await;
        let part = Part { limit: 10, ..Part::default() };
        until("the file to be whole", async || one.log.list(&part).await.is_ok()).await;
        assert!(still.iter().all(|revoked| one.refuses(revoked)));
    }
}
