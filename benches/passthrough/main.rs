//! A bare pingora proxy: one upstream, HTTP/1.1 on both sides, nothing decided. The gateway's price
//! is measured against it (`make bench`), so it is as fast as pingora's own settings make it: no
//! modules, a large pool of kept connections, buffers that fit the requests, only the address of
//! the upstream in the peer.
//!
//! With a file that holds a certificate and its key (PEM) it speaks TLS instead, HTTP/1.1 and HTTP/2, as
//! pingora does by itself, with the cryptography that Tollgate has (aws-lc). Without one nothing of that
//! is there.
//!
//! FROZEN. Figures of different days can be compared only while this file and its settings stay as
//! they are. A change to it begins a new series.
//!
//! usage: passthrough LISTEN UPSTREAM THREADS [CERTIFICATE]

use std::error::Error;
use std::net::SocketAddr;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::modules::http::HttpModules;
use pingora::prelude::{HttpPeer, ProxyHttp, Server, Session, http_proxy_service};
use pingora::server::RunArgs;
use pingora::server::configuration::{Opt, ServerConf};

/// Bytes read ahead of a client, and bytes collected before a write.
const READ_BUFFER: usize = 4096;
const WRITE_BUFFER: usize = 1460;
const KEPT_CONNECTIONS: usize = 1024;

#[derive(Debug)]
struct PassThrough {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();

    fn new_ctx(&self) {}

    /// The default adds a compression module, switched off, to every request.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (listen, upstream, threads, certificate) = match arguments.as_slice() {
        [listen, upstream, threads] => (listen, upstream, threads, None),
        [listen, upstream, threads, certificate] => (listen, upstream, threads, Some(certificate)),
        _ => return Err("usage: passthrough LISTEN UPSTREAM THREADS [CERTIFICATE]".into()),
    };
    let upstream = upstream.parse()?;
    let tls = certificate.map(|file| tls(file)).transpose()?;
    let conf = ServerConf {
        threads: threads.parse()?,
        work_stealing: true,
        upstream_keepalive_pool_size: KEPT_CONNECTIONS,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..Default::default()
    };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, PassThrough { upstream });
    let listener =
        ListenerConfig::tcp(listen.as_str()).l4_buffer(L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER));
    service.add_listener(match tls {
        Some(settings) => listener.tls(settings),
        None => listener,
    });
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}

fn tls(certificate: &str) -> Result<TlsSettings, Box<dyn Error>> {
    // The first that is installed counts, and pingora's connectors would install another.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| "there is cryptography already")?;
    let mut settings = TlsSettings::intermediate(certificate, certificate)?;
    settings.enable_h2();
    Ok(settings)
}
