//! What was answered and a replica's file lacks, because its disk is full or hangs.

use super::failover::Masters;
use super::*;

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
        assert!(
            one.log.list(&ListQuery::default()).await.is_err(),
            "{hangs}: the file lacks what was answered"
        );
        let still = [jti("early"), jti("late"), block("bob")];
        masters.fail_over([&one, &one], &still).await;
        // Whatever the next master had, of these it had none. One that began to copy the master's list when
        // that died has nothing.
        let third = Replica::start(masters.settings(), folder());
        loaded(&third.tables).await;
        let alone = [jti("late"), block("bob")];
        let gets_it = async || alone.iter().all(|revoked| third.refuses(revoked));
        until("the next master to get what nobody else has", gets_it).await;
        fault.store(false, Ordering::SeqCst);
        until("the file", async || one.log.health() == StoreHealth::Up).await;
        one.has_kept(&jti("late")).await;
        let part = ListQuery { limit: 10, ..ListQuery::default() };
        until("the file to be whole", async || one.log.list(&part).await.is_ok()).await;
        until("the rest, which only the file has", async || {
            still.iter().all(|revoked| third.refuses(revoked))
        })
        .await;
        assert!(still.iter().all(|revoked| one.refuses(revoked)));
    }
}
