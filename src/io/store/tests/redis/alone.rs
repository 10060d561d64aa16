//! What a replica does alone while its Redis is away.

use super::*;

#[tokio::test]
async fn serving_alone_goes_on_in_memory_says_so_once_and_ends_when_redis_is_back() {
    let logged = Lines::listen();
    let mut server = Server::start(&[]);
    let asked = Redis { on_outage: OnOutage::Serve, ..settings(&[&server]) };
    let store = RedisOrAlone::new(up(asked).await, Arc::new(SystemClock));
    let in_redis = store.put_if(&key("x"), None, durable("in Redis")).await.unwrap().unwrap();
    for outage in 1..=2 {
        server.kill();
        let alone = async || matches!(store.health(), StoreHealth::Away { alone: true, .. });
        until("the outage", alone).await;
        assert_eq!(held(&store, &key("x")).await, None, "it is somewhere else, or of another outage");
        let shared = store.shared().unwrap().get(&key("x")).await;
        assert!(shared.is_err(), "whoever must not take that for an answer: {shared:?}");
        assert_eq!(store.put_if(&key("x"), Some(in_redis), durable("y")).await.unwrap(), None);
        let meanwhile = store.put_if(&key("x"), None, durable("meanwhile")).await.unwrap().unwrap();
        assert_eq!(held(&store, &key("x")).await, Some((meanwhile, "meanwhile".into())));
        assert_eq!(store.put_if(&key("x"), None, durable("y")).await.unwrap(), None);
        server.start_again();
        is_up(&store).await;
        assert_eq!(held(&store, &key("x")).await, None, "the restarted Redis is asked again");
        assert_eq!(store.put_if(&key("x"), Some(meanwhile), durable("y")).await.unwrap(), None);
        assert_eq!(logged.count("coordinates alone"), outage);
        assert_eq!(logged.count("the store is back"), outage);
    }
}

#[tokio::test]
async fn what_serves_alone_keeps_every_promise_of_a_store_within_its_process() {
    let server = Server::start(&[]);
    let asked = Redis { on_outage: OnOutage::Serve, ..settings(&[&server]) };
    suite::holds_for(Arc::new(RedisOrAlone::new(up(asked.clone()).await, Arc::new(SystemClock)))).await;
    drop(server);
    suite::holds_for(Arc::new(RedisOrAlone::new(start(asked), Arc::new(SystemClock)))).await;
}

#[tokio::test]
async fn refusing_says_so_once_an_outage() {
    let logged = Lines::listen();
    let mut server = Server::start(&[]);
    let store = up(settings(&[&server])).await;
    server.kill();
    is_away(&store, "refused").await;
    assert!(join_all((0..20).map(|_| async { store.get(&key("x")).await })).await.iter().all(Result::is_err));
    server.start_again();
    is_up(&store).await;
    assert_eq!(logged.count("what needs it is refused until it is back"), 1);
    assert_eq!(logged.count("the store is back"), 1);
}

/// It is not away: what one call got from memory the next, which is answered, would not know.
#[tokio::test]
async fn a_call_that_is_refused_while_others_are_answered_is_not_answered_from_memory() {
    let keys = acl(&ACL[..1]);
    let server = Server::start(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let credentials = credentials(Some("gate"), "acl-hunter2");
    let asked = Redis { credentials, on_outage: OnOutage::Serve, ..settings(&[&server]) };
    let store = RedisOrAlone::new(up(asked).await, Arc::new(SystemClock));
    store.put_if(&key("a"), None, durable("x")).await.unwrap().unwrap();
    assert_eq!(server.ask("ACL SETUSER gate resetkeys ~*heartbeat*"), "+OK");
    assert!(matches!(store.get(&key("a")).await, Err(StoreFault::Unfinished(_))));
    assert!(matches!(store.put_if(&key("b"), None, durable("y")).await, Err(StoreFault::Unfinished(_))));
    assert_eq!(store.health(), StoreHealth::Up);
}
