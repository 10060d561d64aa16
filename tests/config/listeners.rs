//! Listeners, their certificates, and the admin listener.

use std::fs;
use std::path::Path;

use tollgate::config;
use tollgate::config::Loaded;
use tollgate::config::settings::*;

use super::support::*;

fn listening(folder: &Path, listen: &str) -> Result<Loaded, Vec<String>> {
    let text = good().text().replace("listen: 0.0.0.0:8080\n", &format!("listen: {listen}\n"));
    let read = |path: &Path| fs::read(path);
    config::parse(&text, folder, &env, &read).map_err(|errors| {
        errors.mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect()
    })
}

#[test]
fn listen_is_an_address_or_keys_or_a_list_of_either() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["Gate.example.com"]);
    write_certificate(folder.path(), "b", &["*.other.example", "other.example"]);
    let tls = "tls: [{ certificate: a.pem, key: a.key }, { certificate: b.pem, key: b.key }]";
    let loaded = listening(
        folder.path(),
        &format!("[\"[::]:80\", {{ address: 0.0.0.0:443, {tls}, client_certificates: {{ ca: b.pem }} }}, {{ address: 0.0.0.0:8088, redirect: https }}]"),
    )
    .unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let [plain, secure, redirect] = &loaded.settings.listen[..] else { panic!() };
    assert!(matches!(plain.serves, Serves::ClearText) && matches!(redirect.serves, Serves::RedirectToHttps));
    let Serves::Tls(tls) = &secure.serves else { panic!() };
    assert!(matches!(tls.clients, ClientCertificates::Asked { required: true, .. }));
    for (host, covered) in [
        ("gate.example.com", [true, false]),
        ("other.example", [false, true]),
        ("a.other.example", [false, true]),
        ("a.b.other.example", [false, false]),
        (".other.example", [false, false]),
    ] {
        let covers: Vec<bool> = tls.certificates.iter().map(|certificate| certificate.covers(host)).collect();
        assert_eq!(covers, covered, "{host}");
    }
    let one = listening(folder.path(), "{ address: 0.0.0.0:443, tls: [{ certificate: b.pem, key: b.key }] }")
        .unwrap();
    assert_eq!(one.warnings.len(), 1);
    assert!(one.warnings[0].message.contains("`gate.example.com`"), "{:?}", one.warnings);
}

/// As systems do that let `[::]` take IPv4 too, which is what the gateway asks for nowhere and Linux does.
#[test]
fn addresses_of_two_families_are_in_each_others_way_at_the_widest_of_ipv6_alone() {
    let folder = tempfile::tempdir().unwrap();
    for listen in [
        "[0.0.0.0:443, \"[::1]:443\"]",
        "[\"[2001:db8::1]:443\", 0.0.0.0:443]",
        "[127.0.0.1:443, \"[::1]:443\"]",
        "[\"[::]:443\", 0.0.0.0:80]",
        "\"[::1]:8081\"",
    ] {
        let loaded = listening(folder.path(), listen);
        assert!(loaded.is_ok(), "{listen}: {:?}", loaded.err());
    }
}

#[test]
fn a_certificate_may_be_for_an_address() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "ip", &["10.0.0.1", "::1"]);
    let listen = "{ address: 0.0.0.0:443, tls: [{ certificate: ip.pem, key: ip.key }] }";
    let warnings = |public: &str| {
        let text = good().text().replace("https://gate.example.com", public);
        let text = text.replace("listen: 0.0.0.0:8080\n", &format!("listen: {listen}\n"));
        config::parse(&text, folder.path(), &env, &|path| fs::read(path)).unwrap().warnings
    };
    for public in ["https://10.0.0.1", "https://10.0.0.1:8443", "https://[::1]:8443"] {
        assert!(warnings(public).is_empty(), "{public}: {:?}", warnings(public));
    }
    assert!(warnings("https://10.0.0.2")[0].message.contains("`10.0.0.2`"));
    assert!(warnings("https://[::2]")[0].message.contains("`::2`"));
}

#[test]
fn admin_is_an_address_or_keys_with_a_token_that_nobody_guesses() {
    let settings = settings(
        &good()
            .with("admin: { address: 0.0.0.0:9000, token: \"${WEB_APP_SECRET}x\", hosts: [Gate.Internal] }")
            .text()
            .replace("${WEB_APP_SECRET}", "0123456789abcde"),
    );
    assert_eq!(settings.admin.address.to_string(), "0.0.0.0:9000");
    assert_eq!(settings.admin.token.unwrap().expose(), b"0123456789abcdex");
    assert_eq!(settings.admin.hosts, ["gate.internal"]);
    let none = parse(&good().with("admin: { address: 0.0.0.0:9000, hosts: [] }").text()).unwrap();
    assert!(none.settings.admin.hosts.is_empty(), "as without it");
    for (admin, place, message) in [
        ("{ token: 0123456789abcdef }", "admin", "`address` is missing"),
        ("{ address: 0.0.0.0:9000, token: short }", "admin.token", "16 or more"),
        ("{ address: 0.0.0.0:9000, token: \"0123 456789abcdef\" }", "admin.token", "without spaces"),
        ("{ address: 0.0.0.0:9000, hosts: \"https://x\" }", "admin.hosts", "is not a host name"),
        ("[0.0.0.0:9000]", "admin", "is a list"),
    ] {
        only_error(&good().with(&format!("admin: {admin}")).text(), place, message);
    }
}

#[test]
fn what_a_listener_cannot_do_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path(), "a", &["gate.example.com"]);
    write_certificate(folder.path(), "b", &["gate.example.com"]);
    for (listen, place, message) in [
        ("[]", "listen", "the list is empty"),
        ("{ address: 0.0.0.0:80, redirect: https }", "listen", "nothing is served"),
        ("[0.0.0.0:80, 0.0.0.0:80]", "listen[1]", "same address as listen[0]; give one another port"),
        ("[0.0.0.0:80, 127.0.0.1:80]", "listen[1]", "same address as listen[0]; give"),
        ("[\"[::1]:80\", \"[::]:80\"]", "listen[1]", "same address as listen[0]; give"),
        ("[0.0.0.0:80, \"[::]:80\"]", "listen[1]", "`[::]` takes IPv4 too; leave the one of IPv4 out"),
        ("[\"[::]:80\", 127.0.0.1:80]", "listen[1]", "`[::]` takes IPv4 too; leave the one of IPv4 out"),
        ("\"[::]:8081\"", "listen", "`[::]` takes IPv4 too, so `listen` and `admin` (127.0.0.1:8081)"),
        ("[0.0.0.0:80, \"127.0.0.1:8081\"]", "listen", "same address"),
        ("{ address: x }", "listen.address", "is not an address"),
        ("{ tls: [] }", "listen", "`address` is missing"),
        ("{ address: 0.0.0.0:443, tls: [] }", "listen.tls", "the list is empty"),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: b.key }] }",
            "listen.tls[0].key",
            "not the key of this certificate",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.key, key: a.key }] }",
            "listen.tls[0].certificate",
            "no certificate",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: a.pem }] }",
            "listen.tls[0].key",
            "no private key",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: gone.pem, key: a.key }] }",
            "listen.tls[0].certificate",
            "cannot be read",
        ),
        (
            "{ address: 0.0.0.0:443, client_certificates: { ca: a.pem } }",
            "listen.client_certificates",
            "over TLS only",
        ),
        (
            "{ address: 0.0.0.0:443, tls: [{ certificate: a.pem, key: a.key }], redirect: https }",
            "listen.redirect",
            "in clear text",
        ),
        ("{ adress: 0.0.0.0:443 }", "listen.adress", "did you mean `address`?"),
        ("[[0.0.0.0:443]]", "listen[0]", "is a list"),
    ] {
        let told = listening(folder.path(), listen).unwrap_err();
        assert!(
            told.iter().any(|told| told.starts_with(&format!("{place}:")) && told.contains(message)),
            "{listen}: {told:?}"
        );
    }
    let text = "public_url: http://localhost:8080\nlisten: [127.0.0.1:8080, { address: 127.0.0.1:80, redirect: https }]\nissuers: { a: { url: \"https://a\", audience: x } }\nroutes: [{ path: /a, to: \"http://10.0.0.1:1\" }]\n";
    only_error(text, "listen[1].redirect", "nowhere to redirect to");
}

#[test]
fn load_balancers_of_a_listener_are_networks_of_whom_none_is_believed_by_a_header_too() {
    let folder = tempfile::tempdir().unwrap();
    let read = |networks: &str, trusted: &str| {
        let listen = format!("listen: {{ address: 0.0.0.0:8080, proxy_protocol: {networks} }}\n");
        let text = good().text().replace("listen: 0.0.0.0:8080\n", &listen);
        let text = text.replace("trusted_proxies: 10.0.0.1\n", trusted);
        config::parse(&text, folder.path(), &env, &|path: &Path| fs::read(path))
    };
    let warned = |loaded: &Loaded| -> Vec<String> {
        loaded.warnings.iter().map(|warning| warning.path.clone()).collect()
    };
    let loaded =
        read("[10.0.0.0/24, \"::ffff:192.0.2.1\", \"2001:db8::/64\"]", "trusted_proxies: 10.0.1.0/24\n")
            .unwrap();
    assert!(warned(&loaded).is_empty(), "{:?}", loaded.warnings);
    let networks = &loaded.settings.listen[0].proxy_protocol;
    let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/24", "192.0.2.1/32", "2001:db8::/64"]);
    for (networks, wrong) in [("lb.internal", "neither a network nor an address"), ("10.0.0.1/8", "bits")] {
        let mistakes = read(networks, "trusted_proxies: 10.0.1.0/24\n").unwrap_err().mistakes;
        assert_eq!(mistakes[0].path, "listen.proxy_protocol");
        assert!(mistakes[0].message.contains(wrong), "{mistakes:?}");
    }
    for (networks, trusted, place) in [
        ("0.0.0.0/0", "trusted_proxies: \"2001:db8::7\"\n", "listen.proxy_protocol"),
        ("10.0.0.7", "trusted_proxies: [10.0.0.0/8]\n", "trusted_proxies"),
        ("10.0.0.0/8", "trusted_proxies: [192.0.2.1, 10.0.0.7]\n", "trusted_proxies"),
    ] {
        assert_eq!(warned(&read(networks, trusted).unwrap()), [place], "{networks}");
    }
    // Who speaks TLS before it is not named, but clients are known.
    let loaded = read("10.0.0.7", "").unwrap();
    assert_eq!(warned(&loaded), ["listen"]);
    assert!(!loaded.warnings[0].message.contains("count as one address"), "{:?}", loaded.warnings);
}
