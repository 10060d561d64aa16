//! Redis, Sentinels and a cluster that take only clients with a certificate, as Redis does where nobody says
//! otherwise.

use super::*;
use crate::config::settings::Store as Settings;
use crate::io::store::reach;

impl Certificate {
    /// A server's that takes only clients with this certificate.
    fn strict(&self) -> Vec<String> {
        [self.arguments(), ["--tls-auth-clients", "yes"].map(str::to_owned).to_vec()].concat()
    }

    /// These servers, to which it is shown, with its `key` as DER.
    fn shown_to(&self, servers: &[&Server], key: Vec<u8>) -> Redis {
        let (chain, at) = (vec![self.der.clone()], Timestamp::from_secs(0));
        let shown = ShownCertificate { file: "gate.pem".to_owned(), begins_at: at, ends_at: at };
        let identity = Some((ClientIdentity { chain, key: Secret::new(key) }, shown));
        let tls = Some(RedisTls { authorities: vec![self.der.clone()], identity });
        Redis { tls, ..self.settings(servers) }
    }

    /// The key as RFC 5915 has it, which is within the one of RFC 5958.
    fn sec1(&self) -> Vec<u8> {
        let version_and_key = [2, 1, 1, 4, 32];
        let mut parts = self.key_der.windows(version_and_key.len());
        let at = parts.position(|part| part == version_and_key).expect("it is of P-256");
        self.key_der[at - 2..].to_vec()
    }
}

fn start_strict(arguments: &[String]) -> Server {
    Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_certificate_is_shown_to_redis_to_sentinels_and_to_a_cluster() {
    let certificate = Certificate::of("127.0.0.1");
    for key in [certificate.key_der.clone(), certificate.sec1()] {
        let server = start_strict(&certificate.strict());
        suite::holds_for(Arc::new(up(certificate.shown_to(&[&server], key)).await)).await;
    }

    let master = start_strict(&certificate.strict());
    let watched = master.argument("--tls-port").parse().unwrap();
    let sentinel = sentinel(watched, &certificate.strict());
    let mut asked = certificate.shown_to(&[&sentinel], certificate.key_der.clone());
    let credentials = RedisCredentials::default();
    asked.topology = Topology::Sentinel { master: "mymaster".to_owned(), credentials };
    suite::holds_for(Arc::new(up(asked).await)).await;

    let servers = cluster(|| certificate.strict());
    let mut asked = certificate.shown_to(&[&servers[0], &servers[1]], certificate.key_der.clone());
    asked.topology = Topology::Cluster;
    suite::holds_for(Arc::new(up(asked).await)).await;
}

/// What `check --live` says of one that asks for a certificate and is shown none. It closes at once, so what
/// is written meanwhile may meet a connection that broke before the alert was read.
async fn told(asked: &Settings) -> String {
    let began = Instant::now();
    loop {
        let told = reach(asked, Arc::new(SystemClock)).await.unwrap_err();
        if told.contains("tls-auth-clients") {
            return told;
        }
        assert!(began.elapsed() < LONG, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_shows_none_where_one_is_asked_for_is_told_what_asks_and_what_to_name() {
    crate::io::install_crypto_providers();
    let certificate = Certificate::of("127.0.0.1");
    let server = start_strict(&certificate.strict());
    let none = certificate.settings(&[&server]);
    is_away(&start(none.clone()), "tls-auth-clients").await;
    let folder = tempfile::tempdir().unwrap();
    let asked = |redis: Redis| Settings { folder: folder.path().to_owned(), redis: Some(redis) };
    let hint = told(&asked(none)).await;
    assert!(hint.contains("`store.certificate`"), "{hint}");
    let shown = asked(certificate.shown_to(&[&server], certificate.key_der.clone()));
    assert_eq!(reach(&shown, Arc::new(SystemClock)).await.unwrap(), "can be read and written");

    let servers = cluster(|| certificate.strict());
    let none = Redis { topology: Topology::Cluster, ..certificate.settings(&[&servers[0]]) };
    told(&asked(none)).await;

    let master = start_strict(&certificate.strict());
    let sentinel = sentinel(master.argument("--tls-port").parse().unwrap(), &certificate.strict());
    let mut none = certificate.settings(&[&sentinel]);
    none.topology =
        Topology::Sentinel { master: "mymaster".to_owned(), credentials: RedisCredentials::default() };
    told(&asked(none)).await;

    // One that its authorities have not signed is another matter.
    let stranger = Certificate::of("127.0.0.1");
    let mut strange = certificate.shown_to(&[&server], Vec::new());
    let (identity, dates) =
        stranger.shown_to(&[&server], stranger.key_der.clone()).tls.unwrap().identity.unwrap();
    strange.tls.as_mut().unwrap().identity = Some((identity, dates));
    let told = reach(&asked(strange), Arc::new(SystemClock)).await.unwrap_err();
    assert!(!told.contains("tls-auth-clients"), "{told}");
}
