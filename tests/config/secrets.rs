//! No secret is in anything that is shown or said.

use std::fs;

use tollgate::config;
use tollgate::config::settings::*;

use super::support::*;

#[test]
fn a_secret_never_shows_in_settings_or_errors() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = config::parse(&full(folder.path()), folder.path(), &env, &|path| fs::read(path)).unwrap();
    let shown = format!("{:?}{}", loaded.settings, config::summary::summary("config.yaml", &loaded));
    for secret in
        ["a secret of the demo", "0123456789abcdef", "MIGHAgEA", "0a0a0a0a", "10, 10, 10", "-hunter2"]
    {
        assert!(!shown.contains(secret), "{secret}");
    }
    let told = errors(&good().issuer("shared_secret: hunter2, algorithms: [ES256]").text()).concat();
    assert!(!told.contains("hunter2"), "{told}");
    let told = errors(&good().issuer("clock_skew: \"${SECRET_DURATION}\"").text()).concat();
    assert!(!told.contains("hunter2") && told.contains("SECRET_DURATION"), "{told}");
    for line in [r#"origins: "https://u:hunter2@app.example.com""#, "secret: [hunter2]", "secert: hunter2"] {
        let told = errors(&good().client(line).text()).concat();
        assert!(!told.contains("hunter2"), "{told}");
    }
    let told = errors(&good().with("sessions: { keys: [hunter2] }").text()).concat();
    assert!(!told.contains("hunter2"), "{told}");
}

/// Whose braces nobody quoted: its parts are names of keys then.
#[test]
fn a_secret_in_braces_is_repeated_by_no_message() {
    let secret = "clients.web.secret";
    for braces in [
        "{hunter2}",
        "{hunter2, hunter2}",
        "{ file: a, hunter2: b }",
        "{ fil: hunter2, hunter2: {} }",
        "{ hunter2: [1] }",
    ] {
        let text = good().client(&format!("secret: {braces}")).text();
        only_error(&text, secret, "other keys than `file`; write text in quotes");
        assert!(!parse(&text).unwrap_err().to_string().contains("hunter2"), "{braces}");
    }
    for (text, place) in [
        (good().with("sessions: { keys: {hunter2} }"), "sessions.keys"),
        (good().with("sessions: { keys: {hunter2: 1, hunter2: 2} }"), "sessions.keys"),
        (good().with("sessions: { keys: [{hunter2}] }"), "sessions.keys[0]"),
        (good().with("admin: { address: 127.0.0.1:1, token: {hunter2} }"), "admin.token"),
        (good().issuer("shared_secret: {hunter2: x}, algorithms: HS256"), "issuers.corp.shared_secret"),
    ] {
        let found = errors(&text.text()).concat();
        assert!(found.contains(place) && !found.contains("hunter2"), "{found}");
    }
    let twice = errors(&good().client("secret: { file: a, file: b }").text()).concat();
    assert!(twice.contains("clients.web.secret.file: is given twice"), "{twice}");
}

#[test]
fn no_error_repeats_what_a_variable_holds() {
    let gate = "public_url: https://gate.example.com";
    let again = |routes: &str| Parts { routes: routes.to_owned(), ..good() };
    let client = |more: &str| good().client(more);
    let every_name = ["HELD", "HELD_NAME", "HELD_CASE", "HELD_PORT", "HELD_DOT", "HELD_URL", "HELD_SPELT"];
    let mut cases: Vec<Parts> = Vec::new();
    for name in every_name {
        let keys =
            ["host", "issuers", "clients", "sign_in", "methods", "resource", "strip_prefix", "rewrite"];
        for key in keys.into_iter().chain(["encoded_slash"]) {
            cases.push(good().route(&format!("{key}: \"${{{name}}}\"")));
        }
        cases.push(again(&format!("  - {{ path: \"${{{name}}}/\", to: \"http://10.0.0.1:3000\" }}\n")));
        cases.push(again(&format!("  - {{ path: \"/${{{name}}}/../x\", to: \"http://10.0.0.1:3000\" }}\n")));
        cases.push(again(&format!("  - {{ path: \"/x/*\", to: \"${{{name}}}\" }}\n")));
        for key in ["issuer", "origins", "grants", "login", "mode", "redirect_uri", "return_to"] {
            cases.push(client(&format!("{key}: \"${{{name}}}\"")));
        }
        for key in ["url", "discovery", "algorithms", "clock_skew", "ca"] {
            cases.push(good().issuer(&format!("{key}: \"${{{name}}}\"")));
        }
        for key in ["admin", "trusted_proxies", "limits: { connections", "log: { level", "store: { url"] {
            let end = if key.contains('{') { " }" } else { "" };
            cases.push(good().with(&format!("{key}: \"${{{name}}}\"{end}")));
        }
    }
    let to = "to: \"http://10.0.0.1:3000\"";
    cases.extend([
        again(&format!("  - {{ path: \"${{HELD_PATH}}/*\", {to} }}\n").repeat(2)),
        again(&format!("  - {{ path: /x, host: \"${{HELD_NAME}}\", {to} }}\n").repeat(2)),
        again(&format!("  - {{ path: /x/*, name: \"${{HELD}}\", {to} }}\n  - {{ path: /y/*, name: \"${{HELD}}\", {to} }}\n")),
        again(&format!("  - {{ path: \"${{HELD_PATH}}/*\", strip_prefix: /x, {to} }}\n")),
        good().route("require: { scope: \"${HELD_SCOPES}\" }"),
        good().issuer("timeout: \"${HELD_TIME}\""),
        good().with("trusted_proxies: \"${HELD_NETWORK}\""),
        good().with("admin: \"${HELD_ADDRESS}\""),
    ]);
    let mut same_id = good().client("client_id: \"${HELD}\"");
    same_id.clients += &same_id.clients.replace("web:", "other:");
    cases.push(same_id);
    let mut listeners = good();
    listeners.top = format!("{gate}\nlisten: [\"${{HELD_ADDRESS}}\", \"${{HELD_ADDRESS}}\"]\n");
    cases.push(listeners);
    let short = errors(&good().route("clients: \"${HELD_LETTER}\"").text()).concat();
    assert!(short.contains("there is no client `${HELD_LETTER}`; no client is configured"), "{short}");
    let mut told = 0;
    for text in cases.iter().map(Parts::text) {
        let Err(errors) = parse(&text) else { continue };
        told += 1;
        let shown = errors.to_string().to_lowercase();
        for held in ["hunter2", "4242", "10.42"] {
            assert!(!shown.contains(held), "{shown}\n{text}");
        }
    }
    assert!(told > 100, "{told} of {}", cases.len());
}

#[test]
fn a_secret_file_is_read_beside_the_config_without_one_newline() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], Result<&str, &str>); 7] = [
        (b"hunter2\n", Ok("hunter2")),
        (b"hunter2\r\n", Ok("hunter2")),
        (b"${WEB_APP_SECRET}", Ok("${WEB_APP_SECRET}")),
        (b"two\n\n", Err("one line")),
        (b"", Err("empty")),
        (b"\n", Err("nothing but a newline")),
        (b"\xef\xbb\xbfhunter2\n", Err("byte order mark")),
    ];
    fs::write(folder.path().join("config.yaml"), good().client("secret: { file: secret.txt }").text())
        .unwrap();
    for (content, expected) in cases {
        fs::write(folder.path().join("secret.txt"), content).unwrap();
        let loaded = config::load(&folder.path().join("config.yaml"), &env);
        match (loaded, expected) {
            (Ok(loaded), Ok(secret)) => {
                let ClientCredential::Secret(found) = &loaded.settings.clients[0].credential else {
                    panic!()
                };
                assert_eq!(found.expose(), secret);
            }
            (Err(errors), Err(part)) => assert!(errors.to_string().contains(part), "{errors}"),
            (loaded, _) => panic!("{content:?}: {loaded:?}"),
        }
    }
    fs::remove_file(folder.path().join("secret.txt")).unwrap();
    let errors = config::load(&folder.path().join("config.yaml"), &env).unwrap_err();
    assert!(errors.to_string().contains("`secret.txt` cannot be read"), "{errors}");
    assert!(errors.to_string().contains("clients.web.secret.file"), "{errors}");
}

#[test]
fn what_is_shown_of_a_configuration_holds_no_secret() {
    let text = good()
        .with("admin: { address: 0.0.0.0:9000, token: 0123456789abcdef }\nsessions: { keys: [\"0a\"] }")
        .client("secret: hunter2hunter2, scope: a b")
        .text()
        .replace("[\"0a\"]", &format!("[\"{}\"]", "0a".repeat(32)));
    let shown = settings(&text).shown;
    assert_eq!(shown["admin"]["token"], "[secret]");
    assert_eq!(shown["clients"]["web"]["secret"], "[secret]");
    assert_eq!(shown["clients"]["web"]["scope"], "a b");
    assert_eq!(shown["sessions"]["keys"][0], "[secret]");
    assert_eq!(shown["listen"], "0.0.0.0:8080");
    let redis = "{ url: [\"redis://gate:hunter2@a:1/0\", \"redis://gate:hunter2@b\"], cluster: true }";
    let redis = settings(&stored(redis)).shown;
    assert_eq!(redis["store"]["url"][0], "redis://[secret]@a:1/0");
    assert_eq!(settings(&stored("redis://cache:6379/0")).shown["store"], "redis://cache:6379/0");
    assert_eq!(
        settings(&stored("{ url: redis://a, password: hunter2 }")).shown["store"]["password"],
        "[secret]"
    );
    let text = format!("{shown}{redis}");
    assert!(
        !text.contains("hunter2") && !text.contains("0123456789abcdef") && !text.contains("0a0a"),
        "{text}"
    );
}
