//! Starts a gateway inside the current tokio runtime and stops it without losing a request. Ports are
//! known as soon as it runs, port 0 included, and several gateways can live in one process.
//!
//! A stop goes: readiness fails and answers say `Connection: close`; the listener closes; what the
//! kernel had already accepted is still served; idle connections close; requests in flight get
//! `patience.drain` to end, and are cut off. The admin listener goes last, so that the drain can be watched.
//!
//! Where another process has taken over the sockets, they stay open and readiness does not fail: whoever asks
//! at these addresses is served.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use pingora::apps::HttpServerOptions;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;

use crate::config::settings::{Limits, Listener, Settings};
use crate::core::ids::{NO_ROUTE, RouteName};
use crate::edge::admin::Admin;
use crate::edge::connection::confirmed::Counting;
use crate::edge::connection::connection_guard::Bounds;
use crate::edge::connection::connections::{Connections, MostOfOne};
use crate::edge::connection::door::Door;
use crate::edge::connection::endable_app::Endable;
use crate::edge::connection::guarded_app::Entry;
pub use crate::edge::connection::listen_error::ListenError;
pub use crate::edge::connection::listening::Inherited;
use crate::edge::connection::listening::{Entrance, Listening};
use crate::edge::connection::proxy_protocol::Balancers;
use crate::edge::drain::Drain;
use crate::edge::proxy::Proxy;
use crate::edge::proxy::access_log::AccessLog;
use crate::edge::proxy::serving::Serving;
use crate::edge::request::request_places::RequestPlaces;
use crate::edge::upstreams::Prober;
use crate::edge::upstreams::authorities;
use crate::flows::Gate;
use crate::state::live::Live;
use crate::state::metrics::{ListenerKind, Metrics};

/// How long connections without a request stay open once another process has taken over the sockets. Who asks
/// more often than that learns from an answer that the connection ends.
pub const IDLE_AFTER_HANDOVER: Duration = Duration::from_secs(5);
/// How much more than the largest header is read while one is due: a header that is a little too large is
/// answered, and a body may come with it.
const BEYOND_HEADER: usize = 128 * 1024;
/// Unused upstream connections that are kept.
const POOL: usize = 1024;
/// A request is tried at most this often, and only while that is safe; `retries` of its upstream says less.
const TRIES: usize = 12;

/// Open files that are kept for all else: the admin listener, authorization servers, the log.
const OTHER_FILES: usize = 64;

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    /// Where requests are taken, in the order of `listen`.
    pub public: Vec<SocketAddr>,
    /// Where metrics and health are.
    pub admin: SocketAddr,
    /// What cannot change without a restart counts from here.
    pub started_with: Arc<Settings>,
    serving: Arc<ArcSwap<Serving>>,
    prober: Prober,
    metrics: Metrics,
    drain: Arc<Drain>,
    public_services: Vec<Listening>,
    admin_service: Listening,
}

/// A gateway that is ready to run: its listeners are bound, and nobody is let in yet.
#[derive(Debug)]
pub struct Standby {
    started_with: Arc<Settings>,
    serving: Arc<ArcSwap<Serving>>,
    prober: Prober,
    metrics: Metrics,
    drain: Arc<Drain>,
    public: Vec<Entrance>,
    admin: Entrance,
}

/// Builds everything, and binds the listeners that are not `inherited`.
///
/// # Errors
/// When an address cannot be had, or an upstream cannot be reached securely.
pub fn stand_by(gate: Arc<Gate>, mut inherited: Inherited) -> Result<Standby, ListenError> {
    let live = gate.live.load_full();
    let settings = &live.settings;
    let sockets = settings.listen.iter().map(|listener| inherited.listen("listen", listener.address));
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    let admin = inherited.listen("admin", settings.admin.address)?;
    let (format, subject) = (settings.log.format, settings.log.subject);
    let log = Arc::new(AccessLog { format, subject, lines: gate.operators.access_log.clone() });
    let drain = Arc::new(Drain::default());
    let serving =
        Arc::new(ArcSwap::from_pointee(Serving::new(live.clone(), &gate.metrics, log, None, None)?));
    let configuration = Arc::new(configuration(settings)?);
    let prober = Prober::new(configuration.clone());
    serving.load().upstreams.take_over(None);
    prober.ask(&serving.load().upstreams);
    let most = most_connections(&settings.limits);
    let proxy = Proxy {
        places: RequestPlaces::new(most.public, settings.limits.connections_per_address),
        gate: gate.clone(),
        serving: serving.clone(),
        drain: drain.clone(),
        unrouted: RouteName::new(NO_ROUTE),
    };
    let proxy = Arc::new(http_app(proxy, configuration, settings));
    let most_of_one = MostOfOne {
        most: settings.limits.connections_per_address,
        but_for: settings.trusted_proxies.clone(),
    };
    let public_connections =
        Connections::new(gate.metrics.connections(ListenerKind::Public), most.public, most_of_one.clone());
    let admin_connections =
        Connections::new(gate.metrics.connections(ListenerKind::Admin), most.admin, most_of_one);
    let bounds = bounds(settings);
    let entry = |door, balancers_at, connections: &Arc<Connections>| Entry {
        door: Arc::new(door),
        balancers: Arc::new(Balancers::new(balancers_at, bounds.patience, gate.metrics.clone())),
        connections: connections.clone(),
        bounds,
    };
    let entrance = |(socket, listener): (_, &Listener)| {
        let entry = entry(door(listener)?, listener.proxy_protocol.clone(), &public_connections);
        Entrance::new(socket, entry, proxy.clone())
    };
    let public = sockets.into_iter().zip(&settings.listen).map(entrance).collect::<Result<Vec<_>, _>>()?;
    let admin_entry = entry(Door::ClearText, Vec::new(), &admin_connections);
    let metrics = gate.metrics.clone();
    let pages = serving.load().pages.over(false);
    let app = Arc::new(Admin {
        gate,
        started_with: settings.clone(),
        serving: serving.clone(),
        doors: public.iter().map(Entrance::door).cloned().collect(),
        drain: drain.clone(),
        pages,
        refusal_told_at: AtomicI64::new(0),
    });
    let admin = Entrance::new(admin, admin_entry, app)?;
    Ok(Standby { started_with: settings.clone(), serving, prober, metrics, drain, public, admin })
}

impl Standby {
    /// Lets clients in.
    pub fn serve(self) -> Running {
        let Self { started_with, serving, prober, metrics, drain, public, admin } = self;
        let public_services: Vec<_> = public.into_iter().map(Entrance::open).collect();
        let admin_service = admin.open();
        Running {
            public: public_services.iter().map(Listening::address).collect(),
            admin: admin_service.address(),
            started_with,
            serving,
            prober,
            metrics,
            drain,
            public_services,
            admin_service,
        }
    }
}

/// Another configuration, ready to be taken over.
#[derive(Debug)]
pub struct Prepared {
    serving: Serving,
    /// One for each listener, also for those that only a restart would open, with its address.
    doors: Vec<(SocketAddr, Door)>,
}

impl Running {
    /// Builds what the edge needs of another configuration; nothing of it counts yet.
    ///
    /// # Errors
    /// When a part of it cannot be used.
    pub fn prepare(&self, live: Arc<Live>) -> Result<Prepared, ListenError> {
        let doors = live.settings.listen.iter().map(|listener| Ok((listener.address, door(listener)?)));
        let doors = doors.collect::<Result<_, ListenError>>()?;
        self.prober.prepare(&live.settings)?;
        let brought = authorities::brought(&live.settings, &self.started_with)?;
        let before = self.serving.load();
        let log = before.log.clone();
        let serving = Serving::new(live, &self.metrics, log, Some(&before), brought.as_ref())?;
        Ok(Prepared { serving, doors })
    }

    /// Requests from here on are judged by this configuration. Listeners stay where they are and take over
    /// the certificates, also while another of them waits for a restart.
    pub fn adopt(&self, prepared: Prepared) {
        let mut doors = prepared.doors;
        for service in &self.public_services {
            let is_its =
                |(address, door): &(_, Door)| *address == service.asked_for() && service.door().is_like(door);
            if let Some(at) = doors.iter().position(is_its) {
                service.door().adopt(doors.remove(at).1);
            }
        }
        let serving = Arc::new(prepared.serving);
        let before = self.serving.load_full();
        // Before any request goes to them.
        serving.upstreams.take_over(Some(&before.upstreams));
        self.serving.store(serving.clone());
        self.prober.ask(&serving.upstreams);
    }

    /// Second handles on all its listening sockets, each with the address that was asked for.
    ///
    /// # Errors
    /// When no more files can be open.
    pub fn sockets(&self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        self.public_services.iter().chain([&self.admin_service]).map(Listening::socket).collect()
    }

    /// Drains and stops. `lame_duck` is how long new connections are still taken after readiness has
    /// begun to fail, so that balancers can notice.
    pub async fn stop(self, lame_duck: Duration) {
        self.drain.begin();
        tokio::time::sleep(lame_duck).await;
        let patience = self.started_with.patience.drain;
        join_all(self.public_services.into_iter().map(|service| service.stop(patience))).await;
        self.admin_service.stop(Duration::from_secs(1)).await;
    }

    /// Drains and stops, while another process serves at the same sockets.
    pub async fn leave(self) {
        self.drain.begin_unnoticed();
        let patience = self.started_with.patience.drain;
        let services = self.public_services.into_iter().chain([self.admin_service]);
        join_all(services.map(|service| service.leave(IDLE_AFTER_HANDOVER, patience))).await;
    }
}

/// How many connections the listeners may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most {
    public: usize,
    admin: usize,
}

impl Most {
    /// `open_files`: how many this process may have, where it is known. A client's connection needs a second
    /// file, towards the upstream. `wanted`: more are never had. Were all of them clients', health could not
    /// be asked any more.
    fn within(open_files: Option<usize>, wanted: usize) -> Self {
        let Some(files) = open_files else { return Self { public: wanted, admin: wanted } };
        let others = (files / 4).max(OTHER_FILES);
        let public = (files.saturating_sub(others) / 2).clamp(1, wanted);
        Self { public, admin: (others / 2).min(wanted) }
    }
}

fn most_connections(limits: &Limits) -> Most {
    // The soft limit is often 1024 for the sake of old programs; the hard one is what the operator allows.
    let open_files = rlimit::increase_nofile_limit(rlimit::INFINITY).ok();
    let open_files = open_files.map(|files| usize::try_from(files).unwrap_or(usize::MAX));
    let most = Most::within(open_files, limits.connections);
    if most.public < limits.connections {
        let connections_per_address = limits.connections_per_address;
        tracing::warn!(
            open_files,
            connections = most.public,
            connections_per_address,
            "few files may be open, so few clients are served at once{}; raise the limit to 65536 (LimitNOFILE, ulimit -n)",
            if connections_per_address < most.public {
                ""
            } else {
                ", and one address may take all their places"
            },
        );
    }
    most
}

/// Tells of a kernel that does not count.
fn counting() -> Option<Counting> {
    let counting = Counting::of_this_kernel();
    if counting.is_none() {
        tracing::warn!(
            "this kernel does not say what clients have confirmed of what was sent (Linux does since 4.1, gVisor and the user mode of QEMU do \
             not), so one that reads nothing of an answer may keep its connection for an hour, and one that reads less than 400 bytes a second \
             may be cut off"
        );
    }
    counting
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        patience: settings.patience.header,
        bytes: settings.limits.header.saturating_add(BEYOND_HEADER),
        between: settings.patience.next_request,
        unread: settings.patience.answer_unread,
        linger: settings.patience.linger,
        counting: counting(),
    }
}

fn configuration(settings: &Settings) -> Result<ServerConf, ListenError> {
    Ok(ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        max_retries: TRIES,
        upstream_keepalive_pool_size: POOL,
        ca_file: authorities::for_connectors(settings)?,
        ..ServerConf::default()
    })
}

fn door(listener: &Listener) -> Result<Door, ListenError> {
    Door::new(&listener.serves).map_err(|why| ListenError::Tls { address: listener.address, why })
}

/// The app that speaks HTTP on the listeners for clients.
fn http_app(proxy: Proxy, configuration: Arc<ServerConf>, settings: &Settings) -> Endable<HttpProxy<Proxy>> {
    let mut http = HttpProxy::new(proxy, configuration);
    http.handle_init_modules();
    http.server_options = Some(server_options(settings.patience.http2_idle));
    http.h2_options = Some(http2_options(settings.limits.header));
    Endable { inner: Arc::new(http), patience: settings.patience }
}

fn server_options(http2_idle: Duration) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(http2_idle);
    options
}

/// Requests on one HTTP/2 connection at a time.
const STREAMS: u32 = 100;
/// What a client may send of one body over HTTP/2 before it was read. A connection has room for as much of
/// each, so that a balancer's other clients do not wait for one whose upstream does not read. What all may
/// fill is bounded by the requests under way, which are counted.
const UPLOAD_WINDOW: u32 = 256 * 1024;

/// Bounds on what one HTTP/2 connection may cost (RFC 9113 section 10.5); those on resets, CONTINUATION
/// and settings are the codec's own.
fn http2_options(largest_header: usize) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_header_list_size(u32::try_from(largest_header).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_window_size(UPLOAD_WINDOW)
        .initial_connection_window_size(STREAMS * UPLOAD_WINDOW)
        .max_send_buffer_size(64 * 1024);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_files_for_everything_else() {
        let most = |files| Most::within(Some(files), 20_000);
        assert_eq!(most(1024), Most { public: 384, admin: 128 });
        assert_eq!((most(65_536).public, Most::within(None, 7).public), (20_000, 7));
        for files in [0, 1, 64, 100, 256, 4096, 20_000, 1 << 40] {
            let Most { public, admin } = most(files);
            assert!(public >= 1 && admin >= 1);
            assert!(files < 128 || 2 * public + admin < files, "{files}");
        }
    }
}
