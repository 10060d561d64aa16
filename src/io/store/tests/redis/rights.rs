//! What its user must be allowed to, and how it is told where they are not.

use super::*;
use crate::config::settings::Store as Settings;
use crate::io::store::reach;

fn of_the_gate(redis: Redis) -> (tempfile::TempDir, Settings) {
    crate::io::install_crypto_providers();
    let folder = tempfile::tempdir().unwrap();
    let credentials = credentials(Some("gate"), "acl-hunter2");
    let settings = Settings { folder: folder.path().to_owned(), redis: Some(Redis { credentials, ..redis }) };
    (folder, settings)
}

fn commands(rules: &str) -> impl Iterator<Item = &str> {
    rules.split(' ').filter_map(|word| word.strip_prefix('+'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_user_may_not_do_is_named_before_a_gateway_meets_it() {
    let server = Server::start(&acl(&ACL[..1]).iter().map(String::as_str).collect::<Vec<_>>());
    let (_folder, asked) = of_the_gate(settings(&[&server]));
    let check = async || reach(&asked, Arc::new(SystemClock)).await;
    assert_eq!(check().await.unwrap(), "can be read and written");
    for command in commands(ACL[0]) {
        assert_eq!(server.ask(&format!("ACL SETUSER gate -{command}")), "+OK");
        let told = check().await.unwrap_err();
        let named = told.split_once(" (").unwrap().0;
        assert_eq!(named, format!("its user may not use {}", command.to_uppercase()), "{told}");
        assert!(told.contains("docs/deployment.md"), "{told}");
        assert_eq!(server.ask(&format!("ACL SETUSER gate +{command}")), "+OK");
    }
    assert_eq!(server.ask("ACL SETUSER gate -xadd -zrem"), "+OK");
    assert!(check().await.unwrap_err().contains("XADD, ZREM ("), "all at once");
    assert_eq!(server.ask("KEYS *check*"), "*0", "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_cluster_needs_besides_is_named_too() {
    let servers = cluster(|| acl(&[ACL[0], ACL[3]]));
    let (_folder, asked) =
        of_the_gate(Redis { topology: Topology::Cluster, ..settings(&[&servers[0], &servers[2]]) });
    let check = async || reach(&asked, Arc::new(SystemClock)).await;
    assert_eq!(check().await.unwrap(), "can be read and written");
    for command in commands(ACL[3]) {
        let allow = |sign| {
            let rule = format!("ACL SETUSER gate {sign}{command}");
            servers.iter().all(|server| server.ask(&rule) == "+OK")
        };
        assert!(allow("-"));
        let told = check().await.expect_err(command).to_lowercase();
        // Without the slots there is no cluster to be asked for the rest.
        assert!(told.contains(command), "{command}: {told}");
        assert!(allow("+"));
    }
    assert_eq!(check().await.unwrap(), "can be read and written");
}

#[tokio::test]
async fn a_call_that_is_refused_is_told_once_and_the_others_go_on() {
    let logged = Lines::listen();
    let server = Server::start(&acl(&ACL[..1]).iter().map(String::as_str).collect::<Vec<_>>());
    let (_folder, asked) = of_the_gate(settings(&[&server]));
    let link = patient_link(asked.redis.unwrap(), Arc::new(SystemClock));
    let store = RedisStore::over(link.clone());
    is_up(&store).await;
    for _ in 0..10 {
        let mut pop = ::redis::cmd("EVAL");
        pop.arg("return redis.call('LPOP', KEYS[1])").arg(1).arg("tollgate:x");
        let refused = link.ask(async |line| line.query::<Option<String>>(&mut pop).await.map(Ok)).await;
        assert!(matches!(refused, Err(StoreFault::Unfinished(_))), "{refused:?}");
        assert!(store.get(&key("x")).await.is_ok(), "another call");
    }
    assert_eq!((store.health(), link.times_reached()), (StoreHealth::Up, 1));
    assert_eq!(logged.count("refuses a call"), 1);
}
