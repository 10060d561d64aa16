//! Connections, as the configuration says: which server, with which certificates and credentials.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::AsyncDNSResolver;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
    from_redis_value,
};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::config::settings::{ClientIdentity, Redis, RedisCredentials, RedisServer, Topology};
use crate::io::names::Names;

/// How often the library may follow slots of a cluster that moved.
const MOVES: u32 = 3;

/// A connection that many calls use at once.
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// How Redis throws away what it has no room for, where it does; of a cluster any server that takes
    /// writes. `None` where none does, or does not say.
    pub(super) async fn eviction(&self) -> Option<String> {
        let mut ask = redis::cmd("INFO");
        ask.arg("memory");
        match self {
            Self::One(connection) => {
                let info: String = ask.query_async(&mut connection.clone()).await.ok()?;
                evicts(&info)
            }
            Self::Cluster(connection) => {
                // Of each its answer, under its address.
                let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let told = connection.clone().route_command(ask, masters).await.ok()?;
                let told: HashMap<String, Value> = from_redis_value(told).ok()?;
                told.into_values().find_map(|info| evicts(&from_redis_value::<String>(info).ok()?))
            }
        }
    }

    /// Asks every server of a cluster that takes writes, and returns the error where one answers with that.
    /// One server is asked by what else is asked of it.
    pub(super) async fn all_answer(&self) -> RedisResult<()> {
        let Self::Cluster(connection) = self else { return Ok(()) };
        // Of each its answer: what sums them up takes an error for one.
        let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        connection.clone().route_command(redis::cmd("PING"), masters).await?.extract_error().map(drop)
    }
}

fn evicts(info: &str) -> Option<String> {
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    value("maxmemory").filter(|limit| *limit != "0").map(|_| policy.to_owned())
}

/// `deadline`: that of a call, and of whatever is one step here.
pub(super) async fn connect(settings: &Redis, names: &Names, deadline: Duration) -> RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_dns_resolver(names.clone())
        .set_connection_timeout(Some(deadline))
        // Each call has its own deadline.
        .set_response_timeout(None);
    match &settings.topology {
        Topology::Single => {
            let info = settings.servers.first().map(|server| info(settings, server)).transpose()?;
            let info = info.ok_or((redis::ErrorKind::InvalidClientConfig, "there is no server"))?;
            let client = match certificates(settings)? {
                Some(certificates) => Client::build_with_tls(info, certificates)?,
                None => Client::open(info)?,
            };
            client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
        }
        Topology::Sentinel { master, credentials } => {
            let mut client = sentinels(settings, master, credentials)?.build()?;
            client.get_async_connection_with_config(&config).await.map(Connection::One)
        }
        Topology::Cluster => {
            let infos: Vec<_> =
                settings.servers.iter().map(|server| info(settings, server)).collect::<Result<_, _>>()?;
            let mut builder = ClusterClientBuilder::new(infos)
                .async_dns_resolver(names.clone())
                .connection_timeout(deadline)
                .response_timeout(deadline)
                .retries(MOVES)
                .min_retry_wait(10)
                .max_retry_wait(100);
            if let Some(certificates) = certificates(settings)? {
                builder = builder.certs(certificates);
            }
            builder.build()?.get_async_connection().await.map(Connection::Cluster)
        }
    }
}

impl AsyncDNSResolver for Names {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        host: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        async move {
            let mut addresses = self.addresses(host).await?.to_vec();
            addresses.iter_mut().for_each(|address| address.set_port(port));
            Ok(Box::new(addresses.into_iter()) as Box<_>)
        }
        .boxed()
    }
}

fn sentinels(settings: &Redis, master: &str, own: &RedisCredentials) -> RedisResult<SentinelClientBuilder> {
    let addresses = settings.servers.iter().map(|server| address(settings, server));
    let tcp = || TcpSettings::default().set_nodelay(true);
    let mut builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_db(i64::from(settings.database))
        .set_client_to_redis_tcp_settings(tcp())
        .set_client_to_sentinel_tcp_settings(tcp());
    if let Some(username) = &settings.credentials.username {
        builder = builder.set_client_to_redis_username(username);
    }
    if let Some(password) = &settings.credentials.password {
        builder = builder.set_client_to_redis_password(password.expose());
    }
    if let Some(username) = &own.username {
        builder = builder.set_client_to_sentinel_username(username);
    }
    if let Some(password) = &own.password {
        builder = builder.set_client_to_sentinel_password(password.expose());
    }
    if settings.tls.is_some() {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(settings)? {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    Ok(builder)
}

fn info(settings: &Redis, server: &RedisServer) -> RedisResult<ConnectionInfo> {
    let mut redis = RedisConnectionInfo::default()
        .set_db(i64::from(settings.database))
        .set_lib_name("tollgate", env!("CARGO_PKG_VERSION"));
    if let Some(username) = &settings.credentials.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &settings.credentials.password {
        redis = redis.set_password(password.expose());
    }
    let info = address(settings, server).into_connection_info()?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(TcpSettings::default().set_nodelay(true)))
}

fn address(settings: &Redis, server: &RedisServer) -> ConnectionAddr {
    let RedisServer { host, port } = server.clone();
    match settings.tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

/// Our own authorities, and what we show; `None`: the system's, and nothing.
fn certificates(settings: &Redis) -> RedisResult<Option<TlsCertificates>> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    let client_tls = tls.identity.as_ref().map(|(identity, _)| shown(identity)).transpose()?;
    let authorities: String = tls.authorities.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let root_cert = (!authorities.is_empty()).then(|| authorities.into_bytes());
    let is_any = client_tls.is_some() || root_cert.is_some();
    Ok(is_any.then_some(TlsCertificates { client_tls, root_cert }))
}

fn shown(identity: &ClientIdentity) -> RedisResult<ClientTlsConfig> {
    let label = match PrivateKeyDer::try_from(identity.key.expose().as_slice()) {
        Ok(PrivateKeyDer::Pkcs8(_)) => "PRIVATE KEY",
        Ok(PrivateKeyDer::Pkcs1(_)) => "RSA PRIVATE KEY",
        Ok(PrivateKeyDer::Sec1(_)) => "EC PRIVATE KEY",
        // The configuration takes no other.
        _ => return Err((redis::ErrorKind::InvalidClientConfig, "the key's kind is not known").into()),
    };
    let chain: String = identity.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let client_key = pem(label, identity.key.expose()).into_bytes();
    Ok(ClientTlsConfig { client_cert: chain.into_bytes(), client_key })
}

/// RFC 7468 section 2, but for the length of its lines, which nobody asks for.
fn pem(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", *text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::io::store::tests::redis::settings;

    /// The client library would look each up by itself, within the second that a connection has.
    #[tokio::test]
    async fn redis_is_called_at_the_address_that_is_known_of_its_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names = Names::with(|_| async { Ok(Arc::from([([127, 0, 0, 1], 0).into()])) }.boxed());
        for topology in [Topology::Single, Topology::Cluster] {
            let servers = vec![RedisServer { host: "redis.invalid".to_owned(), port }];
            let settings = Redis { servers, topology, ..settings(&[]) };
            let called = tokio::select! {
                called = listener.accept() => called.is_ok(),
                _ = connect(&settings, &names, Duration::from_secs(60)) => false,
            };
            assert!(called, "{:?}", settings.topology);
        }
    }
}
