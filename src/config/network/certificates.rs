//! Certificates and their keys, in PEM (RFC 7468): read, held against each other, and asked for the names
//! that they are for (RFC 6125). The cryptography is rustls' and aws-lc-rs'.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::network::validity;
use crate::config::settings::{Certificate, ClientIdentity, ShownCertificate};
use crate::config::text::read::{Keys, Value};
use crate::core::secret::Secret;
use crate::core::session::oauth::authentication::certificate_thumbprint;

/// `{ certificate, key }`: the chain, the server's own certificate first, and its private key.
pub(in crate::config) fn read(keys: &Keys<'_>) -> Option<Certificate> {
    let chain = keys.get("certificate").and_then(|value| Some((chain(&value)?, value)));
    let key = keys.get("key").and_then(|value| private_key(&value));
    let ((chain, value), key) = (chain?, key?);
    let names = match names(chain.first()?) {
        Ok(names) => names,
        Err(why) => {
            value.wrong(why);
            return None;
        }
    };
    if names.is_empty() {
        value.warn("names no host (subjectAltName), so clients will accept it for none");
    }
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(key) => {
            let shown = validity::note(&value, key.cert.first()?)?;
            Some(Certificate { names, key: Arc::new(key), shown })
        }
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            keys.wrong("key", "is not the key of this certificate; name the two that belong together");
            None
        }
        Err(error) => {
            keys.wrong("key", format!("cannot be used: {error}"));
            None
        }
    }
}

fn chain(value: &Value<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let (_, pem) = value.file()?;
    chain_in(value, &pem)
}

/// `pem`: what is in the file that `value` names.
fn chain_in(value: &Value<'_>, pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Some(chain),
        Ok(_) => {
            value.wrong("holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)");
            None
        }
        Err(error) => {
            value.wrong(format!("is not readable as PEM: {error}"));
            None
        }
    }
}

fn private_key(value: &Value<'_>) -> Option<PrivateKeyDer<'static>> {
    let (_, mut pem) = value.file()?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    zeroize::Zeroize::zeroize(&mut pem);
    if key.is_err() {
        value.wrong("holds no private key in PEM that is not encrypted (`-----BEGIN PRIVATE KEY-----`)");
    }
    key.ok()
}

/// `x5t#S256` of the certificate of a client's key, `pem`, which must be its own.
pub(in crate::config) fn thumbprint(value: &Value<'_>, pem: Option<&Secret<Vec<u8>>>) -> Option<String> {
    let chain = chain(value)?;
    validity::note(value, chain.first()?);
    let thumbprint = certificate_thumbprint(chain.first()?);
    // A key that cannot be read has been told.
    let key = PrivateKeyDer::from_pem_slice(pem?.expose()).ok()?;
    match CertifiedKey::from_der(chain, key, &default_provider()) {
        Ok(_) => Some(thumbprint),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            value.wrong("is not of `private_key`; name the two that belong together");
            None
        }
        Err(error) => {
            value.wrong(format!("cannot be used: {error}"));
            None
        }
    }
}

/// The names that a certificate is for, in lower case.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    let unreadable = |error| format!("its first certificate cannot be read: {error}");
    let (_, certificate) =
        X509Certificate::from_der(certificate).map_err(|error| unreadable(error.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let names = names.filter_map(|name| match *name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|ip| ip.to_string()),
        _ => None,
    });
    Ok(names.collect())
}

/// RFC 5280 section 4.2.1.6: four bytes, or sixteen.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The authorities whose client certificates count.
pub(in crate::config) fn roots(value: &Value<'_>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(value)? {
        roots.add(certificate).ok()?;
    }
    Some(roots)
}

/// The certificates of authorities, each of which can be one.
pub(in crate::config) fn authorities(value: &Value<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let (_, pem) = value.file()?;
    authorities_in(value, &pem)
}

/// The same of what is in the file that `value` names.
pub(in crate::config) fn authorities_in(
    value: &Value<'_>,
    pem: &[u8],
) -> Option<Vec<CertificateDer<'static>>> {
    let chain = chain_in(value, pem)?;
    let mut roots = RootCertStore::empty();
    for certificate in &chain {
        if let Err(error) = roots.add(certificate.clone()) {
            value.wrong(format!("holds a certificate that cannot be an authority's: {error}"));
            return None;
        }
        if X509Certificate::from_der(certificate).is_err() {
            value.wrong("holds a certificate that cannot be read");
            return None;
        }
    }
    Some(chain)
}

/// `certificate` and `key` that Tollgate itself shows where it is the client. `None`: neither is given, or
/// they cannot be used.
pub(in crate::config) fn client_identity(keys: &Keys<'_>) -> Option<(ClientIdentity, ShownCertificate)> {
    match (keys.has("certificate"), keys.has("key")) {
        (true, true) => client_pair(keys),
        (true, false) => {
            keys.wrong("certificate", "`key` is missing; name the private key of this certificate");
            None
        }
        (false, true) => {
            keys.wrong("key", "`certificate` is missing; name the certificate of this key");
            None
        }
        (false, false) => None,
    }
}

fn client_pair(keys: &Keys<'_>) -> Option<(ClientIdentity, ShownCertificate)> {
    let chain = keys.get("certificate").and_then(|value| Some((chain(&value)?, value)));
    let key = keys.get("key").and_then(|value| private_key(&value));
    let ((chain, value), key) = (chain?, key?);
    if chain.iter().any(|certificate| X509Certificate::from_der(certificate).is_err()) {
        value.wrong("holds a certificate that cannot be read");
        return None;
    }
    let der = Secret::new(key.secret_der().to_vec());
    // What is handed on is the bare key, whose kind must show by itself.
    if PrivateKeyDer::try_from(der.expose().as_slice()).is_err() {
        keys.wrong("key", "cannot be used: write it as PKCS#8 (`-----BEGIN PRIVATE KEY-----`)");
        return None;
    }
    match CertifiedKey::from_der(chain.clone(), key, &default_provider()) {
        Ok(_) => {
            let shown = validity::note(&value, chain.first()?)?;
            Some((ClientIdentity { chain, key: der }, shown))
        }
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            keys.wrong("key", "is not the key of this certificate; name the two that belong together");
            None
        }
        Err(error) => {
            keys.wrong("key", format!("cannot be used: {error}"));
            None
        }
    }
}
