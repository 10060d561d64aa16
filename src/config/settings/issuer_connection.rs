//! The way to an issuer or a transmitter of signals, where it is not the straight one.

use std::fmt;

use url::Url;

use crate::core::secret::SecretString;

/// How calls get there. TLS, and the name that the server's certificate must have, are those of the URL on
/// every way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IssuerConnection {
    /// Through this proxy; `None`: straight.
    pub proxy: Option<Proxy>,
    /// At another address than that of the URL.
    pub connect_to: Option<ConnectTo>,
}

/// An HTTP proxy that opens tunnels (RFC 9110 section 9.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub at: HostPort,
    pub credentials: Option<ProxyCredentials>,
}

/// What the proxy is shown (RFC 9110 section 11.7.2, RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// Without `:`.
    pub username: String,
    pub password: SecretString,
}

/// What is called at one host and port is connected to at another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    pub of: HostPort,
    pub to: HostPort,
}

/// A host and a port, as they stand in a URL and in the target of a CONNECT request (RFC 9112 section 3.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl HostPort {
    /// `host`: as a URL has it.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_ascii_lowercase(), port }
    }

    /// Where this URL is called.
    pub fn of(url: &Url) -> Option<Self> {
        Some(Self::new(url.host_str()?, url.port_or_known_default()?))
    }

    /// Reads `host:port` and nothing more.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port > 0 && is_number)?;
        let strange = |sign: char| sign.is_whitespace() || matches!(sign, '/' | '\\' | '@' | '?' | '#' | '%');
        let is_bare = host.contains(':') && !host.starts_with('[');
        if host.contains(strange) || is_bare {
            return None;
        }
        let url = Url::parse(&format!("http://{host}/")).ok().filter(|url| url.port().is_none())?;
        Some(Self::new(url.host_str()?, port))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        write!(f, "{host}:{port}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_have_one_reading() {
        let read = |text: &str| HostPort::parse(text).map(|read| read.to_string());
        for (text, as_read) in [
            ("keycloak.svc:8443", "keycloak.svc:8443"),
            ("Keycloak.SVC:443", "keycloak.svc:443"),
            ("10.0.0.7:8443", "10.0.0.7:8443"),
            ("[::1]:8443", "[::1]:8443"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(read(text).as_deref(), Some(as_read), "{text}");
        }
        for bad in [
            "",
            "keycloak.svc",
            ":443",
            "keycloak.svc:",
            "keycloak.svc:0",
            "keycloak.svc:65536",
            "keycloak.svc:+443",
            "keycloak.svc:https",
            "https://keycloak.svc:443",
            "keycloak.svc:443/",
            "keycloak.svc/x:443",
            "user@keycloak.svc:443",
            "keycloak.svc:80:443",
            "::1:443",
            "[::1]",
            "a b:443",
            "a%20b:443",
            "a?b:443",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_url_is_called_at_its_port_or_that_of_its_scheme() {
        let of = |url: &str| HostPort::of(&url.parse().unwrap()).unwrap().to_string();
        assert_eq!(of("https://Login.example.com/realms/main"), "login.example.com:443");
        assert_eq!(of("http://[::1]/"), "[::1]:80");
        assert_eq!(of("https://login.example.com:8443"), "login.example.com:8443");
    }

    #[test]
    fn a_proxy_does_not_print_its_password() {
        let credentials =
            ProxyCredentials { username: "gate".to_owned(), password: SecretString::from("hunter2") };
        let proxy = Proxy { at: HostPort::new("proxy", 3128), credentials: Some(credentials) };
        assert_eq!(proxy.to_string(), "http://proxy:3128");
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
