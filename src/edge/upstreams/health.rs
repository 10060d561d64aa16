//! Asks servers over and over how they are, each by itself and on a connection of its own, and at all
//! addresses of its name until one is well. One that says nothing keeps no other from being asked.

use std::sync::{Arc, Weak};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use tokio::task::AbortHandle;

use super::authorities::{self, Unreadable};
use super::{Server, Upstream, Upstreams};
use crate::config::settings::{HealthCheck, Settings};
use crate::edge::request::timeouts::is_final;

/// Asks the servers of every upstream that has `health`.
pub(crate) struct Prober {
    configuration: Arc<ServerConf>,
    /// Made when it is first needed: it may read all authorities of the system.
    connector: Mutex<Option<Arc<Connector>>>,
    /// What is asked, and by which task.
    asked: Mutex<Vec<(Weak<Upstream>, AbortHandle)>>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        for (_, task) in self.asked.get_mut() {
            task.abort();
        }
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober").finish_non_exhaustive()
    }
}

impl Prober {
    pub(crate) fn new(configuration: Arc<ServerConf>) -> Self {
        Self { configuration, connector: Mutex::new(None), asked: Mutex::new(Vec::new()) }
    }

    /// Asks these from now on, and no others.
    pub(crate) fn ask(&self, upstreams: &Upstreams) {
        let mut asked = self.asked.lock();
        asked.retain(|(known, task)| {
            let stays = upstreams.checked().any(|upstream| known.ptr_eq(&Arc::downgrade(upstream)));
            if !stays {
                task.abort();
            }
            stays
        });
        for upstream in upstreams.checked() {
            let known = Arc::downgrade(upstream);
            let Some(check) = &upstream.settings.health else { continue };
            if asked.iter().any(|(other, _)| other.ptr_eq(&known)) {
                continue;
            }
            let task = tokio::spawn(keep_asking(known.clone(), check.clone(), self.connector()));
            asked.push((known, task.abort_handle()));
        }
    }

    /// Makes what it asks with, where some upstream of these has `health`: pingora would panic at it later.
    ///
    /// # Errors
    /// The system's authorities, which it has to know, cannot be read any more.
    pub(crate) fn prepare(&self, settings: &Settings) -> Result<(), Unreadable> {
        let asks = settings.upstreams.iter().any(|upstream| upstream.health.is_some());
        if asks && self.connector.lock().is_none() && self.configuration.ca_file.is_none() {
            authorities::can_be_read()?;
            self.connector();
        }
        Ok(())
    }

    fn connector(&self) -> Arc<Connector> {
        let mut connector = self.connector.lock();
        let options = || ConnectorOptions::from_server_conf(&self.configuration);
        connector.get_or_insert_with(|| Arc::new(Connector::new(Some(options())))).clone()
    }
}

async fn keep_asking(upstream: Weak<Upstream>, check: HealthCheck, connector: Arc<Connector>) {
    let servers = upstream.upgrade().map_or(0, |upstream| upstream.servers.len());
    join_all((0..servers).map(|at| keep_asking_one(&upstream, at, &check, &connector))).await;
}

async fn keep_asking_one(upstream: &Weak<Upstream>, at: usize, check: &HealthCheck, connector: &Connector) {
    let mut times = tokio::time::interval(check.interval);
    times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        let Some(server) = upstream.servers.get(at) else { return };
        let good = is_well(server, check, connector).await;
        upstream.checked(server, good);
    }
}

/// Asks at the address in use, and where that is not well at all others at once, until one is, which requests
/// then go to. Only where all have failed has the check: a name may have addresses at which nobody listens
/// (`localhost` as `::1`).
async fn is_well(server: &Server, check: &HealthCheck, connector: &Connector) -> bool {
    let peers = server.peers(check.timeout).await;
    let Some((in_use, others)) = peers.split_first() else { return false };
    if is_well_at(server, in_use, check, connector).await {
        return true;
    }
    let others = others.iter().map(async |peer| (peer, is_well_at(server, peer, check, connector).await));
    let mut others: FuturesUnordered<_> = others.collect();
    while let Some((peer, is_well)) = others.next().await {
        if is_well {
            server.well_at(peer);
            return true;
        }
    }
    false
}

async fn is_well_at(server: &Server, peer: &HttpPeer, check: &HealthCheck, connector: &Connector) -> bool {
    let answer = ask(server, Box::new(peer.clone()), check, connector);
    let is_well = matches!(tokio::time::timeout(check.timeout, answer).await, Ok(Ok(200..=399)));
    if !is_well {
        server.not_well_at(peer);
    }
    is_well
}

/// The status of the answer.
async fn ask(
    server: &Server,
    mut peer: Box<HttpPeer>,
    check: &HealthCheck,
    connector: &Connector,
) -> pingora::Result<u16> {
    // A connection that is full is not kept for the next check.
    peer.options.max_h2_streams = 1;
    let (mut session, _) = connector.get_http_session(&*peer).await?;
    let mut request = RequestHeader::build("GET", check.path.as_bytes(), None)?;
    request.insert_header(http::header::HOST, &server.host_header)?;
    request.insert_header(http::header::USER_AGENT, "tollgate-health")?;
    for (name, value) in &server.own_headers {
        request.insert_header(name.clone(), value.clone())?;
    }
    if let HttpSession::H2(_) = session {
        let scheme = if peer.is_tls() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", server.authority, check.path);
        let invalid = |_| pingora::Error::new(pingora::ErrorType::InvalidHTTPHeader);
        request.set_uri(uri.parse().map_err(invalid)?);
        request.remove_header(&http::header::HOST);
    }
    session.write_request_header(Box::new(request)).await?;
    session.finish_request_body().await?;
    session.set_read_timeout(Some(check.timeout));
    loop {
        session.read_response_header().await?;
        let Some(answer) = session.response_header() else { return Ok(0) };
        if is_final(answer.status) {
            return Ok(answer.status.as_u16());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::super::server::tests::server_at;
    use super::*;

    /// Answers everybody so.
    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 1024]).await.unwrap();
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address
    }

    fn check() -> HealthCheck {
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        HealthCheck { path: "/healthz".to_owned(), interval, timeout }
    }

    #[tokio::test]
    async fn the_answer_that_counts_is_the_final_one() {
        let connector = Connector::new(None);
        for (answer, is_good) in [
            ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", false),
        ] {
            let server = server_at(&[answering(answer).await]);
            assert_eq!(is_well(&server, &check(), &connector).await, is_good, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_name_is_well_where_one_of_its_addresses_is_and_requests_go_there() {
        let connector = Connector::new(None);
        // Bound and never listening: nobody else gets the port.
        let held = TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let nobody = held.local_addr().unwrap();
        let sick = answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
        let well = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        for (addresses, is_good) in [
            (&[nobody, well][..], true),
            (&[sick, nobody, well], true),
            (&[well, nobody], true),
            (&[nobody, sick], false),
            (&[], false),
        ] {
            let server = server_at(addresses);
            assert_eq!(is_well(&server, &check(), &connector).await, is_good, "{addresses:?}");
            if is_good {
                let at = server.peer(&[], Duration::ZERO).await.unwrap()._address;
                assert_eq!(at.as_inet(), Some(&well), "{addresses:?}");
            }
        }
    }

    /// Takes connections and says nothing.
    async fn silent() -> (SocketAddr, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (listener.local_addr().unwrap(), listener)
    }

    #[tokio::test]
    async fn addresses_that_say_nothing_are_waited_for_together() {
        let connector = Connector::new(None);
        let mut held = Vec::new();
        for _ in 0..40 {
            held.push(silent().await);
        }
        let mut addresses: Vec<_> = held.iter().map(|(address, _)| *address).collect();
        let impatient = HealthCheck { timeout: Duration::from_secs(1), ..check() };
        let begun = std::time::Instant::now();
        assert!(!is_well(&server_at(&addresses), &impatient, &connector).await);
        // As long as two of them, on a machine that is not busy.
        assert!(begun.elapsed() < 25 * impatient.timeout, "not one by one: {:?}", begun.elapsed());
        addresses.push(answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
        let server = server_at(&addresses);
        assert!(is_well(&server, &check(), &connector).await);
        let at = server.peer(&[], Duration::ZERO).await.unwrap()._address;
        assert_eq!(at.as_inet(), addresses.last(), "requests go there");
    }
}
