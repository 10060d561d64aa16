use super::*;

const CLI: Registered<'_> = Registered {
    client_id: "cli app",
    grants: &[
        GrantType::AuthorizationCode,
        GrantType::RefreshToken,
        GrantType::ClientCredentials,
        GrantType::DeviceCode,
        GrantType::TokenExchange,
        GrantType::JwtBearer,
    ],
    lends: false,
    redirect_uri: None,
    scope: Some("api:read"),
    resource: Some("https://api.example"),
};
const LENT: Registered<'_> = Registered {
    grants: &[GrantType::AuthorizationCode, GrantType::RefreshToken],
    lends: true,
    redirect_uri: Some("http://127.0.0.1/in"),
    ..CLI
};
const VERIFIER: &str = "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv";

fn authorization(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn basic_of(pair: &str) -> HeaderMap {
    authorization(&[&format!("Basic {}", STANDARD.encode(pair))])
}

fn read(client: Registered<'_>, headers: &HeaderMap, body: &str) -> Result<NativeRequest, Denial> {
    NativeRequest::read(headers, &Parameters::from_form(body.as_bytes())?, client)
}

/// What reaches the server of a request without an `Authorization` header.
fn sent(client: Registered<'_>, body: &str) -> Result<String, Denial> {
    let request = read(client, &HeaderMap::new(), body)?;
    let fields = match request.prover {
        ClientProver::Lent => Vec::new(),
        ClientProver::Brought { authentication, .. } => authentication.fields,
    };
    Ok(request.form.encode(&fields).expose().clone())
}

#[test]
fn each_grant_lets_its_own_parameters_through_and_no_others() {
    const MORE: &str =
        "&client_id=cli+app&username=u&password=p&cookie=c&scope=s&resource=https://r&audience=a";
    for (name, body, expected) in [
        (
            "authorization_code",
            "code=c&redirect_uri=r&code_verifier=v",
            "code=c&code_verifier=v&redirect_uri=r&scope=s&resource=https%3A%2F%2Fr",
        ),
        ("refresh_token", "refresh_token=t&code=c", "refresh_token=t&scope=s&resource=https%3A%2F%2Fr"),
        ("client_credentials", "x=y", "scope=s&resource=https%3A%2F%2Fr&audience=a"),
        (
            "urn:ietf:params:oauth:grant-type:device_code",
            "device_code=d",
            "device_code=d&resource=https%3A%2F%2Fr",
        ),
        (
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token=t&subject_token_type=k&actor_token=a",
            "subject_token=t&subject_token_type=k&actor_token=a&audience=a&scope=s&resource=https%3A%2F%2Fr",
        ),
        (
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion=j",
            "assertion=j&scope=s&resource=https%3A%2F%2Fr",
        ),
    ] {
        let sent = sent(CLI, &format!("grant_type={name}&{body}{MORE}")).unwrap();
        let name = name.replace(':', "%3A");
        assert_eq!(sent, format!("grant_type={name}&{expected}&client_id=cli+app"));
    }
}

#[test]
fn what_the_caller_does_not_name_is_the_configured() {
    const BOTH: &str = "scope=api%3Aread&resource=https%3A%2F%2Fapi.example";
    for (body, more) in [
        ("grant_type=client_credentials", BOTH),
        ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=j", BOTH),
        ("grant_type=refresh_token&refresh_token=t", "resource=https%3A%2F%2Fapi.example"),
    ] {
        assert_eq!(sent(CLI, body).unwrap(), format!("{body}&{more}&client_id=cli+app"));
    }
}

/// RFC 6749 section 6: without a scope a refresh is for what was granted, which may be less than what is
/// configured.
#[test]
fn a_grant_that_has_a_scope_is_asked_for_no_other_that_the_caller_does_not_name() {
    for client in [CLI, Registered { redirect_uri: None, ..LENT }] {
        let refresh = "grant_type=refresh_token&refresh_token=t";
        assert!(!sent(client, refresh).unwrap().contains("scope"));
        assert!(sent(client, &format!("{refresh}&scope=s")).unwrap().contains("&scope=s&"));
    }
    assert!(!sent(CLI, "grant_type=authorization_code&code=c").unwrap().contains("scope"));
}

#[test]
fn on_loopback_the_port_of_a_redirect_uri_does_not_count() {
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let configured = format!("http://{host}/in");
        for port in ["", ":1", ":49152"] {
            assert!(same_redirect(&configured, &format!("http://{host}{port}/in")), "{host}{port}");
        }
        for other in ["/else", ":1/else", ":1@evil.example/in", ".evil.example/in", "ly/in", "", ":1x/in"] {
            assert!(!same_redirect(&configured, &format!("http://{host}{other}")), "{host}{other}");
        }
        assert!(!same_redirect(&configured, &format!("https://{host}:1/in")));
    }
    assert!(!same_redirect("http://localhost/in", "http://127.0.0.1:1/in"));
    assert!(!same_redirect("https://app.example/in", "https://app.example:1/in"));
}

#[test]
fn grants_are_told_apart_from_those_that_there_are_not() {
    assert_eq!(sent(CLI, "grant_type=password&username=u").unwrap_err(), Denial::UnsupportedGrantType);
    assert_eq!(sent(LENT, "grant_type=client_credentials").unwrap_err(), Denial::UnauthorizedClient);
    for missing in ["", "grant_type=refresh_token", "grant_type=authorization_code&code="] {
        assert!(matches!(sent(CLI, missing), Err(Denial::InvalidRequest(_))), "{missing}");
    }
}

#[test]
fn the_caller_shows_itself_in_one_way_at_most() {
    const BODY: &str = "grant_type=client_credentials&client_id=cli+app";
    let assertion = "&client_assertion=j&client_assertion_type=k";
    for (more, expected) in [
        ("", "&client_id=cli+app"),
        ("&client_secret=s", "&client_id=cli+app&client_secret=s"),
        (assertion, "&client_id=cli+app&client_assertion_type=k&client_assertion=j"),
    ] {
        assert!(sent(CLI, &format!("{BODY}{more}")).unwrap().ends_with(expected), "{more}");
    }
    let headers = basic_of("cli+app:s%25");
    for (body, fields) in [(BODY, 1), ("grant_type=client_credentials", 0)] {
        let ClientProver::Brought { authentication, by_basic: true } =
            read(CLI, &headers, body).unwrap().prover
        else {
            panic!("not by Basic")
        };
        let header = authentication.authorization.unwrap();
        assert!(header.is_sensitive() && header == headers[header::AUTHORIZATION], "as it came");
        assert_eq!(authentication.fields.len(), fields);
    }
    for (headers, more) in [
        (&headers, "&client_secret=s"),
        (&headers, assertion),
        (&HeaderMap::new(), "&client_secret=s&client_assertion=j&client_assertion_type=k"),
        (&HeaderMap::new(), "&client_assertion=j"),
        (&HeaderMap::new(), "&client_assertion_type=k"),
        (&basic_of("cli:s"), ""),
        (&basic_of("cli app&x:s"), ""),
        (&basic_of("cli+app"), ""),
        (&authorization(&["Bearer t"]), ""),
        (&authorization(&["Basic !"]), ""),
        (&authorization(&["Basic Y2xpOnM=", "Basic Y2xpOnM="]), ""),
    ] {
        let read = read(CLI, headers, &format!("{BODY}{more}"));
        assert!(matches!(read, Err(Denial::InvalidRequest(_))), "{headers:?} {more}");
    }
}

#[test]
fn basic_names_the_client_where_the_body_does_not() {
    let named = |headers: &HeaderMap, body: &str| {
        named_client(headers, &Parameters::from_form(body.as_bytes()).unwrap()).ok()
    };
    assert_eq!(named(&basic_of("cli%20app:s"), "").as_deref(), Some("cli app"));
    assert_eq!(named(&basic_of("cli+app:"), "client_id=web").as_deref(), Some("web"));
    for headers in [HeaderMap::new(), basic_of(":s"), authorization(&["Bearer t"])] {
        assert_eq!(named(&headers, ""), None);
    }
}

#[test]
fn the_secret_is_lent_for_a_bound_code_or_a_refresh_token_and_to_nobody_with_one() {
    let code = format!(
        "grant_type=authorization_code&code=c&code_verifier={VERIFIER}&redirect_uri=http://127.0.0.1/in"
    );
    let refresh = "grant_type=refresh_token&refresh_token=t";
    for body in [code.as_str(), refresh, &code.replace("127.0.0.1", "127.0.0.1:49152")] {
        assert!(matches!(read(LENT, &HeaderMap::new(), body).unwrap().prover, ClientProver::Lent), "{body}");
        assert!(matches!(read(LENT, &basic_of("cli+app:s"), body), Err(Denial::InvalidRequest(_))));
        for more in ["client_secret=s", "client_secret=", "client_assertion=j", "client_assertion_type=k"] {
            assert!(
                matches!(sent(LENT, &format!("{body}&{more}")), Err(Denial::InvalidRequest(_))),
                "{more}"
            );
        }
    }
    for bad in [
        code.replace(VERIFIER, "short"),
        code.replace("&code_verifier=", "&x="),
        code.replace("&redirect_uri=", "&x="),
        code.replace("/in", "/else"),
        code.replace("127.0.0.1", "127.0.0.1.evil.example"),
        code.replace("127.0.0.1", "127.0.0.1:1@evil.example"),
        code.replace("http:", "https:"),
        format!("{refresh}&resource=https://other.example"),
    ] {
        assert!(matches!(sent(LENT, &bad), Err(Denial::InvalidRequest(_))), "{bad}");
    }
    // Were it configured so, it would not be lent.
    let all = Registered { grants: CLI.grants, ..LENT };
    for (name, grant) in GrantType::NAMES.into_iter().filter(|(_, grant)| !grant.may_borrow_the_secret()) {
        let body =
            format!("grant_type={name}&device_code=d&subject_token=t&subject_token_type=k&assertion=a");
        assert_eq!(sent(all, &body).unwrap_err(), Denial::UnauthorizedClient, "{grant:?}");
    }
}

#[test]
fn any_request_is_read_without_harm_and_nothing_is_lent_beside_a_credential() {
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(field, body)| {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(field) {
            headers.insert(header::AUTHORIZATION, value);
        }
        let Ok(parameters) = Parameters::from_form(body) else { return };
        let _ = named_client(&headers, &parameters);
        if let Ok(request) = NativeRequest::read(&headers, &parameters, LENT) {
            assert!(matches!(request.prover, ClientProver::Lent) && headers.is_empty());
        }
        let _ = NativeRequest::read(&headers, &parameters, CLI);
    });
}
