//! What ends, and clocks that are wrong, beside Redis.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_has_ended_leaves_redis() {
    let server = Server::start(&[]);
    let replica = Replica::of(&server).await;
    let ended = |n: usize| Revocation { until: Some(now().minus(Duration::from_secs(100))), ..jti(n) };
    add(&*replica.log, (0..250).map(ended)).await;
    let ending = Revocation { until: Some(now().minus(Duration::from_secs(20))), ..jti("kept") };
    add(&*replica.log, [ending, Revocation { until: None, ..block("bob") }]).await;
    until("Redis to have forgotten it", async || server_has(&server, 2)).await;
    assert_eq!(server.ask(&format!("ZCARD {KEY}ends")), ":1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_has_ended_leaves_the_file_of_a_replica_too() {
    let (server, clock) = (Server::start(&[]), TestClock::start());
    let tuning = Tuning { sweep: Duration::from_millis(20), ..patient() };
    let replica = Replica::start_as(settings(&[&server]), folder(), clock.clone(), false, tuning);
    loaded(&replica.tables).await;
    let ending = |n: usize| Revocation { until: Some(now().plus(Duration::from_secs(3600))), ..jti(n) };
    add(&*replica.log, (0..2500).map(ending)).await;
    add(&*replica.log, [Revocation { until: None, ..block("bob") }]).await;
    replica.has_kept(&block("bob")).await;
    let count = async || all(&*replica.log, ListQuery { limit: 5000, ..ListQuery::default() }).await.len();
    assert_eq!(count().await, 2501);
    clock.pass(Duration::from_secs(3700));
    until("the file to have forgotten it", async || count().await == 1).await;
    add(&*replica.log, [block("alice")]).await;
    until("the file to go on", async || count().await == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_whose_clock_ran_ahead_admits_nothing_that_the_others_refuse() {
    let (server, clock) = (Server::start(&[]), TestClock::start());
    let tuning = Tuning { sweep: Duration::from_millis(20), ..patient() };
    let start =
        |folder| Replica::start_as(settings(&[&server]), folder, clock.clone(), false, tuning.clone());
    let replica = start(folder());
    loaded(&replica.tables).await;
    clock.pass(HOUR);
    clock.is_swept_by().await;
    let until = Some(clock.now().plus(HOUR / 6));
    let signed_out = Revocation { until, ..jti("signed out") };
    add(&*replica.log, [signed_out.clone()]).await;
    replica.has_kept(&signed_out).await;
    clock.is_ahead(HOUR);
    clock.is_swept_by().await;
    clock.is_back(HOUR);
    assert!(refuses_aged(&replica.tables, &signed_out, 0, clock.now()));
    // Nor after a restart, which goes on where the file is.
    let left = replica.stop().await;
    let replica = start(left);
    loaded(&replica.tables).await;
    assert!(refuses_aged(&replica.tables, &signed_out, 0, clock.now()));
    clock.is_ahead(100 * DAY);
    clock.is_swept_by().await;
    clock.is_back(100 * DAY);
    assert!(refuses_aged(&replica.tables, &signed_out, 0, clock.now()));
    replica.has_kept(&signed_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_redis_lost_is_given_back_by_a_replica_whose_clock_runs_ahead() {
    let (server, clock) = (Server::start(&[]), TestClock::start());
    let replica = Replica::start_as(settings(&[&server]), folder(), clock.clone(), false, patient());
    loaded(&replica.tables).await;
    let holds = Revocation { until: Some(now().plus(HOUR)), ..jti("holds") };
    add(&*replica.log, [holds.clone()]).await;
    replica.has_kept(&holds).await;
    clock.is_ahead(2 * HOUR);
    assert_eq!(server.ask("FLUSHALL"), "+OK");
    until("Redis to have it again", async || {
        replica.log.find(holds.id()).await.is_ok_and(|there| there.as_ref() == Some(&holds))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_that_nobody_confirms_grows_old_while_the_machine_sleeps() {
    let (mut server, clock) = (Server::start(&[]), TestClock::start());
    let replica = Replica::start_as(settings(&[&server]), folder(), clock.clone(), false, patient());
    loaded(&replica.tables).await;
    let is_current = || matches!(replica.tables.currency(clock.now()), Currency::Current { .. });
    server.kill();
    replica.is_away().await;
    assert!(is_current());
    clock.is_ahead(2 * HOUR);
    assert!(!is_current(), "although hardly any time passed by the clock that stood still");
    server.start_again();
    until("the list", async || is_current()).await;
}
