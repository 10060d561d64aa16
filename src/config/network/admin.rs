//! `admin:` — where operators come in, what they prove themselves with, and by which names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::network::addresses::address;
use crate::config::settings::Admin;
use crate::config::text::read::{Keys, Value};
use crate::core::secret::Secret;

pub(in crate::config) const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);

/// The shortest token, in bytes: nobody guesses 16 random ones.
const SHORTEST_TOKEN: usize = 16;

pub(in crate::config) fn read(root: &Keys<'_>) -> Admin {
    let value = root.get("admin");
    let Some(keys) = value.as_ref().and_then(Value::keys) else {
        let address = value.and_then(|value| address(&value)).unwrap_or(DEFAULT_ADMIN);
        return Admin { address, token: None, hosts: Vec::new() };
    };
    let address: Option<SocketAddr> = keys.get("address").and_then(|value| address(&value));
    let token = keys.get("token").and_then(|value| token(&value));
    // An empty list is the default, written out.
    let hosts = keys.get("hosts").filter(|value| !value.is_list() || !value.items().is_empty());
    let hosts = hosts.and_then(|value| value.texts()).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|(value, text)| host(value, text));
    Admin { address: address.unwrap_or(DEFAULT_ADMIN), token, hosts: hosts.collect() }
}

/// What is shown as `Authorization: Bearer`.
pub(in crate::config) fn token(value: &Value<'_>) -> Option<Secret<Vec<u8>>> {
    let token = value.secret()?;
    if token.expose().len() < SHORTEST_TOKEN || !token.expose().iter().all(u8::is_ascii_graphic) {
        value.wrong(format!("must be {SHORTEST_TOKEN} or more visible ASCII characters without spaces, like `openssl rand -hex 32` prints"));
        return None;
    }
    Some(token)
}

fn host(value: &Value<'_>, text: &str) -> Option<String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
    if !text.bytes().all(fits) {
        value.wrong(format!(
            "`{}` is not a host name; write it without scheme and port, like `tollgate-admin.internal`",
            value.written()
        ));
        return None;
    }
    Some(text.to_ascii_lowercase())
}
