//! Asks servers over and over how they are, each on a connection of its own, and at all addresses of its name until one
//! is well.

use std::sync::{Arc, Weak};

use futures_util::future::join_all;
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
use crate::edge::timeouts::is_final;

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
    let mut times = tokio::time::interval(check.interval);
    times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let Some(upstream) = upstream.upgrade() else { return };
        join_all(upstream.servers.iter().map(async |server| {
            let good = is_well(server, &check, &connector).await;
            upstream.checked(server, good);
        }))
        .await;
    }
}

/// Asks at one address after the other until one is well, which requests then go to. Only where all have failed has the
/// check: a name may have addresses at which nobody listens (`localhost` as `::1`).
async fn is_well(server: &Server, check: &HealthCheck, connector: &Connector) -> bool {
    for peer in server.peers(check.timeout).await {
        let answer = ask(server, peer.clone(), check, connector);
        if let Ok(Ok(200..=399)) = tokio::time::timeout(check.timeout, answer).await {
            return true;
        }
        server.not_well_at(&peer);
    }
    false
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
}
