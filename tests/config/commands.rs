//! The commands `check`, `run` and `keys`, as far as they read a configuration.

use std::fs;
use std::path::Path;

use tollgate::cli::Next;

use super::support::*;

#[test]
fn check_says_what_a_good_file_does_and_ends_with_0() {
    let (next, out, err) = command(Path::new(TOP), &["check"]);
    assert!(matches!(next, Next::Done(0)), "{err}");
    for part in [
        "config.yaml is valid",
        "/api/admin/*",
        "demo",
        "web-app: mode token, of demo, client secret, the gateway signs in",
        "; or the session of portal, for which pages lead to sign-in",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(!out.contains("a secret of the demo"));
}

#[test]
fn check_and_run_say_everything_that_is_wrong_and_end_with_1() {
    for command_name in ["check", "run"] {
        let (next, out, err) = command(Path::new(TOP), &[command_name, "tests/data/config/mistakes.yaml"]);
        assert!(matches!(next, Next::Done(1)));
        assert!(out.is_empty());
        assert!(err.contains("tests/data/config/mistakes.yaml:1:1: public_url"), "{err}");
        assert!(err.lines().count() > 30, "{err}");
    }
}

#[test]
fn run_reads_the_named_file_or_looks_in_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let (next, _, err) = command(folder.path(), &["run"]);
    assert!(matches!(next, Next::Done(1)));
    assert!(err.contains("./config.yaml") && err.contains("/etc/tollgate/config.yaml"), "{err}");
    fs::write(folder.path().join("config.yaml"), good().text()).unwrap();
    let Next::Run(loaded, (path, name)) = command(folder.path(), &["run"]).0 else {
        panic!("it does not run")
    };
    assert_eq!(
        (loaded.warnings.len(), path, name.as_str()),
        (0, folder.path().join("config.yaml"), "config.yaml")
    );
    let page = good().client("").text();
    fs::write(folder.path().join("page.yaml"), &page).unwrap();
    let warned = command(folder.path(), &["run", "page.yaml"]).0;
    let line = 1 + page.lines().position(|line| line.contains("login: page")).unwrap();
    assert!(matches!(&warned, Next::Run(loaded, _) if loaded.warnings[0].line == line), "{warned:?}");
    assert!(matches!(command(folder.path(), &["run", "config.yaml"]).0, Next::Run(..)));
    assert!(matches!(command(folder.path(), &["run", "gone.yaml"]).0, Next::Done(1)));
    assert!(matches!(command(folder.path(), &["demo", "--once"]).0, Next::Demo { once: true }));
}

#[test]
fn keys_cookie_prints_a_fresh_key_that_the_file_takes() {
    let (_, first, _) = command(Path::new(TOP), &["keys", "cookie"]);
    let (_, second, _) = command(Path::new(TOP), &["keys", "cookie"]);
    assert_ne!(first, second);
    let text = good().with(&format!("sessions: {{ keys: [{}, {}] }}", first.trim(), second.trim())).text();
    assert_eq!(settings(&text).sessions.keys.len(), 2);
    only_error(&text.replace(second.trim(), first.trim()), "sessions.keys[1]", "already");
}

#[test]
fn help_comes_by_a_command_and_by_an_option() {
    for name in ["run", "check", "demo", "explain", "revoke", "keys", "schema"] {
        let (next, out, _) = command(Path::new(TOP), &["help", name]);
        assert!(matches!(next, Next::Done(0)) && out.contains(&format!("Usage: tollgate {name}")), "{out}");
        assert_eq!(out, command(Path::new(TOP), &[name, "--help"]).1);
    }
}

#[test]
fn wrong_arguments_end_with_2_and_version_with_0() {
    assert!(matches!(command(Path::new(TOP), &["chekc"]).0, Next::Done(2)));
    assert!(matches!(command(Path::new(TOP), &[]).0, Next::Done(2)));
    let folder = tempfile::tempdir().unwrap();
    for (wrong, says) in [
        (&["revoke"][..], "--sub <SUB>"),
        (&["revoke", "--reason", "why"], "--sub <SUB>"),
        (&["revoke", "--lift", "0a", "--reason", "why"], "cannot be used with"),
        (&["revoke", "--sub", "a", "--sid", "b"], "cannot be used with"),
    ] {
        let (next, _, err) = command(folder.path(), wrong);
        assert!(matches!(next, Next::Done(2)) && err.contains(says), "{wrong:?}: {err}");
    }
    let (next, _, err) = command(folder.path(), &["revoke", "--issuer", "corp"]);
    assert!(matches!(next, Next::Done(1)) && err.contains("no configuration"), "{err}");
    let (next, out, _) = command(Path::new(TOP), &["--version"]);
    assert!(matches!(next, Next::Done(0)));
    assert_eq!(out.trim(), concat!("tollgate ", env!("CARGO_PKG_VERSION")));
}
