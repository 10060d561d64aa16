//! What a configuration asks of the machine that it is read on, and of its files.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tollgate::config::machine::{Machine, Variables};
use tollgate::config::{self, Loaded, error::ConfigErrors};

use super::support::{env, good, only_error};

/// A machine with two addresses beside those of loopback, and a variable that is no UTF-8.
struct Server;

impl Machine for Server {
    fn variable(&self, name: &str) -> Option<OsString> {
        match name {
            "LATIN1" => Some(OsString::from_vec(b"stra\xdfe".to_vec())),
            _ => Variables(&env).variable(name),
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        ["10.0.0.5", "2001:db8::5"].iter().any(|own| own.parse() == Ok(address))
    }
}

fn parse(text: &str) -> Result<Loaded, ConfigErrors> {
    config::parse_on(&Server, text, Path::new("/etc/tollgate"), &|path| fs::read(path))
}

#[test]
fn an_upstream_that_may_be_tollgate_itself_by_an_address_of_the_machine_is_warned_about() {
    let to = |admin: &str, to: &str| {
        let text = good().with(&format!("admin: \"{admin}\"")).text();
        parse(&text.replace("http://10.0.0.1:3000", to)).map(|loaded| format!("{:?}", loaded.warnings))
    };
    for (admin, upstream) in [
        ("0.0.0.0:8081", "http://10.0.0.5:8081"),
        ("[::]:8081", "http://10.0.0.5:8081"),
        ("[::]:8081", "http://[2001:db8::5]:8081"),
        ("[::]:8081", "http://[::ffff:10.0.0.5]:8081"),
    ] {
        let told = to(admin, upstream).unwrap();
        assert!(told.contains("routes[0].to") && told.contains("where `admin` takes"), "{told}");
    }
    let own = to("127.0.0.1:9", "http://10.0.0.5:8080").unwrap();
    assert!(own.contains("where `listen` takes"), "{own}");
    for (admin, upstream) in [
        ("0.0.0.0:8081", "http://10.0.0.6:8081"),
        ("0.0.0.0:8081", "http://10.0.0.5:8082"),
        ("0.0.0.0:8081", "http://[2001:db8::5]:8081"),
        ("127.0.0.1:8081", "http://10.0.0.5:8081"),
        ("10.0.0.7:8081", "http://10.0.0.5:8081"),
    ] {
        let told = to(admin, upstream).unwrap();
        assert!(!told.contains("takes connections"), "{admin} {upstream}: {told}");
    }
    // Of no machine nothing is known: as before.
    let text =
        good().with("admin: 0.0.0.0:8081").text().replace("http://10.0.0.1:3000", "http://10.0.0.5:8081");
    assert!(super::support::parse(&text).is_ok());
    only_error(&text.replace("10.0.0.5", "127.0.0.9"), "routes[0].to", "Tollgate itself");
}

#[test]
fn a_variable_that_is_no_text_is_told_as_that() {
    for written in ["${LATIN1}", "${LATIN1:-x}"] {
        for line in [format!("secret: \"{written}\""), format!("resource: \"{written}\"")] {
            let told = parse(&good().client(&line).text()).map(|_| ()).unwrap_err().to_string();
            assert!(told.contains("`LATIN1` is set, and is not UTF-8"), "{told}");
            assert!(!told.contains("stra"), "{told}");
        }
    }
}

#[test]
fn a_file_is_another_when_who_may_read_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate.pem");
    fs::write(&file, "x").unwrap();
    let before = config::look(&file);
    assert_eq!(before, config::look(&file));
    // The clock of a file system may tick less often than this runs.
    let changed = (0..1_000_000).any(|round| {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600 | (round % 2) << 5)).unwrap();
        config::look(&file) != before
    });
    assert!(changed);
}

#[test]
fn that_a_file_could_not_be_read_is_noted_where_nothing_may_show_when_that_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let unread = |secret: &str| {
        fs::write(&file, good().client(&format!("secret: {{ file: {secret} }}")).text()).unwrap();
        let noted = RefCell::default();
        let loaded = config::load_noting(&file, &Variables(&env), &noted);
        let noted: config::Noted = noted.into_inner();
        assert!(noted.files.contains_key(&file) && noted.files.len() == 2);
        (loaded.is_ok(), noted.unread)
    };
    fs::write(folder.path().join("secret"), "a secret of the demo").unwrap();
    fs::write(folder.path().join("large"), vec![b' '; (1 << 20) + 1]).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    assert_eq!(unread("secret"), (true, false));
    assert_eq!(unread("loop"), (false, true));
    assert_eq!(unread("folder"), (false, true));
    assert_eq!(unread("nowhere"), (false, false), "it is seen when it comes");
    assert_eq!(unread("large"), (false, false), "a mistake");
}
