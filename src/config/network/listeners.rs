//! `listen:` — where requests are taken: in clear text, over TLS (RFC 8446, RFC 5246), or only to be sent
//! to https. One address is enough for most; keys, or a list of either, say more.

use std::sync::Arc;

use crate::config::network::addresses::{Overlap, address, overlap};
use crate::config::network::{certificates, networks};
use crate::config::settings::{ClientCertificates, Listener, ServerTls, Serves};
use crate::config::text::read::{Keys, Value};
use crate::config::text::tree::Place;
use crate::core::request::Origin;

pub(in crate::config) fn read(root: &Keys<'_>, public_url: Option<&Origin>) -> Vec<Listener> {
    let Some(value) = root.get("listen") else { return Vec::new() };
    let entries = value.entries();
    if entries.is_empty() {
        value.wrong("the list is empty, so nobody could come in; name an address, like `0.0.0.0:8080`");
    }
    let mut listeners: Vec<Listener> = Vec::new();
    let mut places: Vec<Place> = Vec::new();
    for entry in entries {
        let Some(listener) = listener(&entry, public_url) else { continue };
        let mut before = listeners.iter().zip(&places);
        let overlaps = before.find_map(|(other, at)| Some((overlap(other.address, listener.address)?, at)));
        match overlaps {
            None => {}
            Some((Overlap::Same, other)) => {
                entry.wrong(format!("takes the same address as {other}; give one another port"));
            }
            Some((Overlap::BothFamilies, other)) => entry.wrong(format!(
                "takes the same address as {other}: `[::]` takes IPv4 too; leave the one of IPv4 out, or give one another port"
            )),
        }
        listeners.push(listener);
        places.push(entry.place.clone());
    }
    let none_serves = listeners.iter().all(|listener| matches!(listener.serves, Serves::RedirectToHttps));
    if none_serves && !listeners.is_empty() {
        value.wrong("every listener redirects, so nothing is served; add one that serves https");
    }
    listeners
}

fn listener(entry: &Value<'_>, public_url: Option<&Origin>) -> Option<Listener> {
    let Some(keys) = entry.keys() else {
        let address = address(entry)?;
        return Some(Listener { address, serves: Serves::ClearText, proxy_protocol: Vec::new() });
    };
    let address = keys.get("address").and_then(|value| address(&value));
    let tls = keys.get("tls").map(|value| tls(&value, &keys, public_url));
    if tls.is_none() && keys.has("client_certificates") {
        keys.wrong("client_certificates", "browsers and devices show them over TLS only; add `tls`");
    }
    let redirects = keys.word("redirect", &[("https", true)], false);
    if redirects && tls.is_some() {
        keys.wrong("redirect", "`tls` is given too; redirect from a listener in clear text");
    }
    if redirects && public_url.is_some_and(|public| !public.is_https()) {
        keys.wrong("redirect", "`public_url` is not `https`, so there is nowhere to redirect to");
    }
    let serves = match tls {
        Some(tls) => Serves::Tls(Arc::new(tls?)),
        None if redirects => Serves::RedirectToHttps,
        None => Serves::ClearText,
    };
    let proxy_protocol = networks(
        &keys,
        "proxy_protocol",
        "takes everybody for a load balancer: anybody can then claim any client address",
    );
    Some(Listener { address: address?, serves, proxy_protocol })
}

fn tls(value: &Value<'_>, listener: &Keys<'_>, public_url: Option<&Origin>) -> Option<ServerTls> {
    let entries = value.items();
    if value.is_list() && entries.is_empty() {
        value.wrong("the list is empty; name a certificate and its key");
    }
    let count = entries.len();
    let certificates: Vec<_> = entries
        .iter()
        .filter_map(Value::keys)
        .filter_map(|keys| certificates::read(&keys).map(Arc::new))
        .collect();
    let clients = client_certificates(listener);
    if certificates.len() < count || certificates.is_empty() {
        return None;
    }
    let host = public_url.map(|public| public.host_name().trim_matches(['[', ']']));
    if let Some(host) = host
        && !certificates.iter().any(|certificate| certificate.covers(host))
    {
        value.warn(format!(
            "no certificate is for `{host}`, the host of `public_url`; browsers will refuse the connection"
        ));
    }
    Some(ServerTls { certificates, clients: clients? })
}

fn client_certificates(listener: &Keys<'_>) -> Option<ClientCertificates> {
    let Some(keys) = listener.get("client_certificates").and_then(|value| value.keys()) else {
        return Some(ClientCertificates::NotAsked);
    };
    let required = keys.get("required").is_none_or(|value| value.flag());
    let roots = keys.get("ca").and_then(|value| certificates::roots(&value))?;
    Some(ClientCertificates::Asked { roots: Arc::new(roots), required })
}
