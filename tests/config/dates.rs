//! Certificates that have ended, end soon or do not count yet.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tollgate::cli::Next;
use tollgate::config;
use tollgate::config::settings::Serves;
use tollgate::core::time::Timestamp;

use super::support::{command, env};

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate that counts from so many hours from now on, until so many hours from now.
fn write(folder: &Path, name: &str, [from, to]: [i32; 2]) {
    let at = |hour: i32| match u32::try_from(hour) {
        Ok(later) => SystemTime::now() + HOUR * later,
        Err(_) => SystemTime::now() - HOUR * hour.unsigned_abs(),
    };
    let mut params = rcgen::CertificateParams::new(vec!["gate.example.com".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (at(from).into(), at(to).into());
    let key = rcgen::KeyPair::generate().unwrap();
    fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

const CONFIG: &str = r#"public_url: https://gate.example.com
listen:
  - address: 0.0.0.0:443
    tls:
      - { certificate: ended.pem, key: ended.key }
      - { certificate: later.pem, key: later.key }
      - { certificate: soon.pem, key: soon.key }
      - { certificate: good.pem, key: good.key }
admin: { address: 127.0.0.1:8082, token: 0123456789abcdef }
issuers: { login: { url: https://login.example.com, audience: api } }
upstreams:
  api: { url: "https://10.0.0.1", tls: { server_name: api, certificate: client.pem, key: client.key } }
routes: [{ path: /*, to: api }]
"#;

#[test]
fn a_certificate_that_has_ended_ends_soon_or_does_not_count_yet_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let all = [
        ("ended", [-99, -1]),
        ("later", [1, 9999]),
        ("soon", [-9999, 9 * 24 + 12]),
        ("good", [-99, 15 * 24]),
        ("client", [-99, 36]),
    ];
    for (name, hours) in all {
        write(folder.path(), name, hours);
    }
    fs::write(folder.path().join("config.yaml"), CONFIG).unwrap();

    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = Timestamp::from_secs(i64::try_from(since.as_secs()).unwrap());
    let loaded = config::load(&folder.path().join("config.yaml"), &env).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let files: Vec<&str> = loaded.settings.certificates.iter().map(|shown| shown.file.as_str()).collect();
    assert_eq!(files, ["client.pem"]);
    let Serves::Tls(tls) = &loaded.settings.listen[0].serves else { panic!("it speaks TLS") };
    let files: Vec<&str> = tls.certificates.iter().map(|one| one.shown.file.as_str()).collect();
    assert_eq!(files, ["ended.pem", "later.pem", "soon.pem", "good.pem"]);
    let warnings = loaded.with_dates_at(now).warnings;
    let told: Vec<_> =
        warnings.iter().map(|told| (told.path.as_str(), told.line, told.message.as_str())).collect();
    let said = [
        ("listen[0].tls[0].certificate", 5, "ended on "),
        ("listen[0].tls[1].certificate", 6, "counts from "),
        ("listen[0].tls[2].certificate", 7, "in 9 days; renew it"),
        ("upstreams.api.tls.certificate", 12, "in 1 day; renew it"),
    ];
    assert_eq!(told.len(), said.len(), "{told:?}");
    for ((path, line, message), said) in told.iter().zip(said) {
        assert!((*path, *line) == (said.0, said.1) && message.contains(said.2), "{path} {line} {message}");
    }

    let (next, out, err) = command(folder.path(), &["check"]);
    assert!(matches!(next, Next::Done(0)), "{err}");
    for (path, _, message) in said {
        assert!(out.lines().any(|line| line.contains(path) && line.contains(message)), "{path}: {out}");
    }
}
