//! Where what must outlive a request is kept.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use super::{ClientIdentity, ShownCertificate};
use crate::core::secret::SecretString;

/// Where what must outlive a request is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The folder for what this process keeps for itself; without `redis` for everything.
    pub folder: PathBuf,
    /// What replicas share.
    pub redis: Option<Redis>,
}

impl Store {
    /// All of it in a folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self { folder: path.into(), redis: None }
    }
}

/// For people; without user and password.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.redis {
            None => self.folder.display().fmt(f),
            Some(redis) => redis.fmt(f),
        }
    }
}

/// A Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redis {
    /// Never empty; with [`Topology::Sentinel`] its Sentinels.
    pub servers: Vec<RedisServer>,
    pub topology: Topology,
    /// How TLS is spoken, with all of them and with Sentinels; `None`: clear text.
    pub tls: Option<RedisTls>,
    pub database: u32,
    pub credentials: RedisCredentials,
    /// What every key begins with.
    pub prefix: String,
    pub on_outage: OnOutage,
    /// How old the list of revocations that requests are admitted on may be.
    pub max_staleness: Duration,
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(RedisServer::to_string).collect();
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        write!(f, "{scheme}://{}/{}", servers.join(","), self.database)?;
        match &self.topology {
            Topology::Single => Ok(()),
            Topology::Sentinel { master, .. } => write!(f, " (Sentinels of {master})"),
            Topology::Cluster => write!(f, " (cluster)"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisServer {
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Which server takes a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// The only one.
    Single,
    /// The master that Sentinels name. The credentials are for the Sentinels themselves.
    Sentinel { master: String, credentials: RedisCredentials },
    /// The one whose slot a key falls into.
    Cluster,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisTls {
    /// Authorities that sign its certificates, in DER; empty: the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// What Tollgate shows.
    pub identity: Option<(ClientIdentity, ShownCertificate)>,
}

/// What Tollgate proves itself with. Without a user it is Redis' `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisCredentials {
    pub username: Option<String>,
    pub password: Option<SecretString>,
}

impl RedisCredentials {
    pub const fn is_some(&self) -> bool {
        self.username.is_some() || self.password.is_some()
    }
}

/// What holds while Redis is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOutage {
    /// What needs the store is refused.
    Refuse,
    /// Each process coordinates alone.
    Serve,
}
