//! Whether a server of an upstream can be reached: `tollgate check --live`. Its name resolves, it takes a
//! connection, and over TLS it shows a certificate that counts. No request is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Host;

use crate::config::settings::{Server, Upstream, UpstreamTls};
use crate::io::http_client::system_roots;

/// How long the name, the connection and the handshake may each take is `timeouts.connect`.
///
/// # Errors
/// Why not, and what to do.
pub async fn reach(upstream: &Upstream, server: &Server) -> Result<String, String> {
    let within = upstream.timeouts.connect;
    let stream = connect(server, within).await?;
    if server.url.scheme() != "https" {
        return Ok("takes connections".to_owned());
    }
    let remedy = "`tls` of its upstream says whom to trust, for which name, and what to show";
    let (config, name) = tls(&upstream.tls, server).await.map_err(|why| format!("{why}; {remedy}"))?;
    match timeout(within, TlsConnector::from(Arc::new(config)).connect(name, stream)).await {
        Ok(Ok(_)) => Ok("takes connections, and its certificate counts".to_owned()),
        Ok(Err(error)) => Err(format!("the TLS handshake fails ({error}); {remedy}")),
        Err(_) => Err(format!("no TLS handshake within {}; see that it speaks TLS there", shown(within))),
    }
}

async fn connect(server: &Server, within: Duration) -> Result<TcpStream, String> {
    let mut last = "it has no address".to_owned();
    for address in addresses(server, within).await? {
        match timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: no connection within {}", shown(within)),
        }
    }
    Err(format!("{last}; see that it runs there and this machine may connect to it"))
}

async fn addresses(server: &Server, within: Duration) -> Result<Vec<SocketAddr>, String> {
    let port = server.url.port_or_known_default().unwrap_or_default();
    let name = match server.url.host() {
        Some(Host::Ipv4(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Ipv6(ip)) => return Ok(vec![(ip, port).into()]),
        Some(Host::Domain(name)) => name,
        None => return Err("its URL has no host".to_owned()),
    };
    let remedy = "see that the name is right and this machine's resolver knows it";
    match timeout(within, lookup_host((name, port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(format!("its name does not resolve ({error}); {remedy}")),
        Err(_) => Err(format!("its name does not resolve within {}; {remedy}", shown(within))),
    }
}

async fn tls(tls: &UpstreamTls, server: &Server) -> Result<(ClientConfig, ServerName<'static>), String> {
    let roots = if tls.authorities.is_empty() {
        spawn_blocking(system_roots).await.map_err(|error| error.to_string())?
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(tls.authorities.iter().cloned());
        roots
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::try_from(identity.key.expose().as_slice()).map_err(str::to_owned)?;
            let shown = builder.with_client_auth_cert(identity.chain.clone(), key.clone_key());
            shown.map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let host = server.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| "its host is no name for a certificate".to_owned())?;
    Ok((config, name))
}

fn shown(within: Duration) -> String {
    humantime::format_duration(within).to_string()
}
