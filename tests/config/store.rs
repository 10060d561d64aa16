//! Where sessions and revocations are kept.

use std::path::Path;
use std::time::Duration;

use tollgate::config::settings::*;

use super::support::*;

#[test]
fn store_is_a_folder_or_a_redis_in_short_and_in_long() {
    let of = |store: &str| settings(&stored(store)).store;
    assert_eq!(of("kept"), Store::folder("/etc/tollgate/kept"));
    assert_eq!(of("{ path: /kept }"), Store::folder("/kept"));
    assert_eq!(of("{}"), Store::folder("/etc/tollgate/data"));
    let short = of("redis://cache");
    assert_eq!(short.folder, Path::new("/etc/tollgate/data"));
    let redis = short.redis.unwrap();
    assert_eq!(redis.servers, [RedisServer { host: "cache".to_owned(), port: 6379 }]);
    assert_eq!((redis.topology, redis.tls, redis.database), (Topology::Single, None, 0));
    assert_eq!((redis.prefix.as_str(), redis.on_outage), ("tollgate:", OnOutage::Refuse));
    assert_eq!(redis.max_staleness, Duration::from_secs(300));
    assert_eq!(redis.credentials, RedisCredentials::default());
    assert_eq!(of("{ url: redis://cache }"), of("redis://cache"));
    assert_eq!(of("{ url: [redis://cache:6379/0] }"), of("redis://cache"));

    let secure = of("\"rediss://us%40er:p%2Fw:d@[::1]:6380/3\"").redis.unwrap();
    assert_eq!(secure.servers, [RedisServer { host: "::1".to_owned(), port: 6380 }]);
    assert_eq!((secure.tls, secure.database), (Some(RedisTls::default()), 3));
    assert_eq!(secure.credentials, credentials(Some("us@er"), "p/w:d"));
    let named = of("\"redis://:${WEB_APP_SECRET}@cache\"").redis.unwrap();
    assert_eq!(named.credentials, credentials(None, "a secret of the demo"));
    assert_eq!(
        of("{ url: \"redis://127.0.0.1\", password: x }").redis.unwrap().credentials,
        credentials(None, "x")
    );

    let cluster = of("{ url: [redis://a, redis://b:7000], cluster: true }").redis.unwrap();
    assert_eq!((cluster.servers.len(), &cluster.topology), (2, &Topology::Cluster));
    assert_eq!(cluster.to_string(), "redis://a:6379,b:7000/0 (cluster)");
    let watched = of("{ url: redis://a:26379/1, sentinel: mymaster }").redis.unwrap();
    assert_eq!(watched.database, 1);
    assert!(matches!(watched.topology, Topology::Sentinel { master, .. } if master == "mymaster"));
}

#[test]
fn a_redis_without_tls_is_warned_about_unless_it_is_on_this_machine() {
    for (url, warned) in [
        ("redis://cache", true),
        ("redis://10.0.0.1", true),
        ("rediss://cache", false),
        ("redis://localhost", false),
        ("redis://127.0.0.1", false),
        ("\"redis://[::1]\"", false),
    ] {
        let warnings = parse(&stored(url)).unwrap().warnings;
        assert_eq!(warnings.iter().any(|warning| warning.message.contains("not encrypted")), warned, "{url}");
    }
}

#[test]
fn what_a_store_cannot_be_is_told_with_its_place_and_without_a_password() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "ca", &["ca"]);
    write_certificate(folder.path(), "other", &["other"]);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, key, other) = (file("ca.pem"), file("ca.key"), file("other.key"));
    for (store, place, message) in [
        ("http://cache:6379", "store", "is not a URL of Redis"),
        ("redis:/cache", "store", "names no host"),
        ("\"redis://:hunter2@\"", "store", "is not a URL of Redis"),
        ("\"redis://u:hun/ter2@cache\"", "store", "goes into `password`"),
        ("\"redis://u:12/hunter2@cache\"", "store", "is not the number of a database"),
        ("\"redis://hunter2@cache\"", "store", "a user and no password"),
        ("\"rediss://:hunter2@cache/0#insecure\"", "store", "a query or a fragment"),
        ("\"redis://:hunter2@cache/0?protocol=3\"", "store", "a query or a fragment"),
        ("redis://cache/one", "store", "is not the number of a database"),
        ("{ url: [] }", "store.url", "the list is empty"),
        ("{ url: [redis://a, redis://b] }", "store.url", "several servers"),
        (
            "{ url: [\"redis://:hunter2@a\", \"redis://:hunter2@a\"], cluster: true }",
            "store.url[1]",
            "in this list already",
        ),
        ("{ url: [redis://a, rediss://b], cluster: true }", "store.url[1]", "TLS with all or with none"),
        ("{ url: [redis://a/1, redis://b/2], sentinel: m }", "store.url[1]", "another database"),
        ("{ url: redis://a/1, cluster: true }", "store.url", "only the database 0"),
        ("{ url: redis://a, cluster: true, sentinel: m }", "store.cluster", "no Sentinels"),
        ("{ url: \"redis://:hunter2@a\", password: hunter3 }", "store.url", "keep one of the two"),
        ("{ url: \"redis://:hunter2@a\", sentinel: m }", "store.url", "`sentinel.password`"),
        (
            "{ url: [\"redis://:hunter2@a\", \"redis://:hunter3@b\"], cluster: true }",
            "store.url",
            "different users or passwords",
        ),
        ("{ url: redis://a, username: gate }", "store.username", "no `password` beside it"),
        (
            "{ url: redis://a, sentinel: { master: m, username: gate } }",
            "store.sentinel.username",
            "no `password`",
        ),
        ("{ url: redis://a, sentinel: { password: x } }", "store.sentinel", "`master` is missing"),
        (
            "{ url: redis://a, password: \"${WEB_APP_SECRET:-x}\" }",
            "store.password",
            "must not have a default",
        ),
        ("\"redis://:${NO:-hunter2}@cache\"", "store", "must not have a default"),
        ("\"${NO:-redis://:hunter2@cache}\"", "store", "must not have a default"),
        ("{ url: [\"redis://:${HELD:-x}@cache\"] }", "store.url[0]", "must not have a default"),
        ("{ url: redis://a, prefix: \"a b\" }", "store.prefix", "without spaces"),
        ("{ url: redis://a, prefix: \"{a}\" }", "store.prefix", "brackets"),
        ("{ url: redis://a, on_outage: wait }", "store.on_outage", "write one of `refuse`, `serve`"),
        ("{ on_outage: serve }", "store.on_outage", "there is no `url`"),
        ("{ max_staleness: 1m }", "store.max_staleness", "there is no `url`"),
        ("{ url: redis://a, max_staleness: 1s }", "store.max_staleness", "10s"),
        ("{ path: kept, password: hunter2 }", "store.password", "there is no `url`"),
        (&format!("{{ url: redis://a, ca: {ca} }}"), "store.ca", "without TLS"),
        (&format!("{{ url: rediss://a, certificate: {ca} }}"), "store.certificate", "`key` is missing"),
        (&format!("{{ url: rediss://a, key: {key} }}"), "store.key", "`certificate` is missing"),
        (&format!("{{ url: rediss://a, certificate: {ca}, key: {other} }}"), "store.key", "is not the key"),
        (
            &format!("{{ url: rediss://a, certificate: {key}, key: {key} }}"),
            "store.certificate",
            "no certificate",
        ),
    ] {
        only_error(&stored(store), place, message);
        let told = errors(&stored(store)).concat();
        assert!(!told.contains("hunter") && !told.contains("ter2"), "{told}");
    }
    let host = settings(&stored("\"redis://:${HELD}@${NO:-cache}\"")).store.redis.unwrap();
    assert_eq!(host.servers[0].host, "cache", "a host may have a default");
}

#[test]
fn a_store_may_be_shown_a_certificate_and_another_in_its_file_is_another_store() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "gate", &["gate"]);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let pair = format!("certificate: {}, key: {}", file("gate.pem"), file("gate.key"));
    let of = || settings(&stored(&format!("{{ url: rediss://a, {pair} }}")));
    let before = of();
    let identity = before.store.redis.as_ref().unwrap().tls.as_ref().unwrap().identity.as_ref();
    assert_eq!(identity.map(|(_, shown)| &shown.file), Some(&file("gate.pem")));
    assert!(before.certificates.is_empty(), "whose dates count is up to the store that is used");
    assert_eq!(before.store, of().store);
    write_certificate(folder.path(), "gate", &["gate"]);
    assert_ne!(before.store, of().store, "a reload says that it waits for a restart");

    let clear = errors(&stored(&format!("{{ url: redis://127.0.0.1, {pair} }}")));
    assert!(clear.len() == 2 && clear.iter().all(|told| told.contains("without TLS")), "{clear:?}");
    let nowhere = errors(&stored(&format!("{{ path: kept, {pair} }}")));
    assert!(nowhere.len() == 2 && nowhere.iter().all(|told| told.contains("no `url`")), "{nowhere:?}");
}

#[test]
fn with_redis_what_replicas_share_must_be_given() {
    let alone = errors(&good().with("store: redis://127.0.0.1").text());
    assert_eq!(alone.len(), 2, "{alone:?}");
    assert!(alone[0].contains("`sessions.keys`") && alone[0].contains("tollgate keys cookie"), "{alone:?}");
    assert!(alone[1].contains("`admin.token`"), "{alone:?}");
}

#[test]
fn a_host_is_no_folder() {
    for host in
        ["cache:6379", "10.0.0.5:6379", "cache.internal:6379/0", "cache:6379?db=1", "redis//cache:6379"]
    {
        only_error(&stored(host), "store", "`redis://cache:6379`");
        only_error(&stored(&format!("{{ path: \"{host}\" }}")), "store.path", "`redis://cache:6379`");
    }
    only_error(&stored("{ path: \"redis://cache:6379\" }"), "store.path", "`redis://cache:6379`");
    for folder in ["./cache:6379", "redis/data", "a/b:1", "C:data", "data:"] {
        let read = settings(&stored(&format!("\"{folder}\"")));
        assert!(
            read.store.redis.is_none() && read.store.folder.ends_with(folder.trim_start_matches("./")),
            "{folder}"
        );
    }
}
