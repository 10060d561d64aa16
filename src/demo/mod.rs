//! `tollgate demo`: an authorization server, an upstream and the gateway in one process.
//!
//! The authorization server is on another site than the gateway (`127.0.0.1` beside `localhost`), as it is
//! in production; nothing listens off loopback. The story is told at the public sockets, with a plain
//! HTTP client: it sees what a browser sees. Then a person can try it all on one page. A tap stands in front
//! of each server, so that the page can show what passes.
//!
//! - `authorization_server`, `upstream`: the demo's own servers (`serve`)
//! - `tap`, `wire`: what passes between them
//! - `page`: the page and its buttons
//! - `sign_in`, `browser`: how a person and their browser behave
//! - `operator`: takes access back over the admin API
//! - `story`, `terminal`: what is shown, and how
//! - `ports`, `folder`: where it listens, and what it leaves behind: nothing

pub mod authorization_server;
pub mod sign_in;
pub mod upstream;

mod browser;
mod folder;
mod operator;
mod page;
mod ports;
mod serve;
mod story;
mod tap;
mod terminal;
mod wire;

use std::error::Error;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Outside};
use crate::config;
use crate::config::settings::Settings;
use crate::core::secret::SecretString;
use crate::io::admin_client::AdminClient;
use crate::io::key_files;
use authorization_server::{AsClient, AsOptions, AuthorizationServer, RunningAs};
use folder::Folder;
use operator::Operator;
use page::Stage;
use ports::Ports;
use story::{CLIENT, Places, SESSION_CLIENT};
use tap::Tap;
use terminal::Terminal;
use upstream::Upstream;
use wire::{Feed, KeptCookies, Leg, Wire};

/// What the gateway of the demo runs with: the file at the top of the repository.
const CONFIGURATION: &str = include_str!("../../config.yaml");

/// So short that one sees tokens end.
const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(30);

/// How fast things go.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How long the authorization server takes for a token.
    token_latency: Duration,
    /// How long the gateway answers a replaced cookie again.
    grace: Duration,
}

/// A token takes its time, as over a network: a browser needs some to send fifty requests, and without it the
/// first would be answered, with a new cookie, before the last is sent. The grace is so short that one need
/// not wait long to see what a replayed cookie does.
const PACE: Pace = Pace { token_latency: Duration::from_millis(300), grace: Duration::from_secs(3) };

/// Everything that the demo starts.
#[derive(Debug)]
struct World {
    places: Places,
    /// In front of the gateway, the authorization server, the upstream and the gateway's admin listener; and
    /// of the gateway on IPv6, where there is that.
    taps: Vec<Arc<Tap>>,
    feed: Arc<Feed>,
    operator: Arc<Operator>,
    app: App,
    authorization_server: RunningAs,
    upstream: Upstream,
    /// Dropped last: it goes with the gateway's keys and log.
    folder: Folder,
}

/// Runs the demo. Blocks until its story is told (`once`), or until SIGINT, SIGTERM or SIGHUP. The exit code
/// is 0 when everything was as promised.
pub fn run(once: bool) -> ExitCode {
    let mut terminal = Terminal::stdout();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let told = runtime.map_err(Into::into).and_then(|runtime| {
        let told = runtime.block_on(demonstrate(once, &mut terminal));
        runtime.shutdown_timeout(Duration::from_secs(1));
        told
    });
    told.unwrap_or_else(|fault: Box<dyn Error>| {
        terminal.unexpected(fault);
        ExitCode::FAILURE
    })
}

async fn demonstrate(once: bool, terminal: &mut Terminal) -> Result<ExitCode, Box<dyn Error>> {
    let [mut interrupt, mut terminate, mut hang_up] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    // The last when its terminal is closed.
    let mut ended = async || {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hang_up.recv() => (),
        }
    };
    let ports = Ports::find().map_err(|fault| format!("no four ports are free from 8080 on: {fault}"))?;
    introduce(&ports, terminal);
    let world = World::start(ports, PACE)?;
    let told = tokio::select! {
        told = story::tell(&world.places, &world.operator, terminal) => told,
        () = ended() => false,
    };
    if told && !once {
        world.feed.forget();
        story::say_where_to_go(&world.places, world.folder.path(), terminal);
        ended().await;
    }
    world.stop().await;
    Ok(if told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl World {
    fn start(ports: Ports, pace: Pace) -> Result<Self, Box<dyn Error>> {
        let places = ports.places();
        let folder = Folder::make()?;
        let secrets = [folder::random_name()?, folder::random_name()?];
        let settings = settings(&ports.substituted(CONFIGURATION), folder.path(), &secrets, pace)?;
        let cookie = settings.clients.first().map(|client| client.cookie.name.clone()).unwrap_or_default();
        let wire = Arc::new(Wire {
            feed: Arc::new(Feed::new(folder::random_name()?)),
            cookies: Arc::new(KeptCookies::new(cookie, pace.grace)),
        });
        let Ports {
            authorization_server: as_door,
            upstream: upstream_door,
            gateway: [door, admin_door],
            gateway_v6: door_v6,
            ..
        } = ports;
        let mut outside = Outside::system(&settings)?;
        outside.access_log = Box::new(File::create(folder.path().join(ACCESS_LOG))?);
        let token = key_files::admin_token(&settings.store.folder, &*outside.random)?;
        let admin = AdminClient::new(admin_door.local_addr()?, "operator", &token);
        let clients = [CLIENT, SESSION_CLIENT].into_iter().zip(secrets).map(|(id, secret)| AsClient {
            id: id.to_owned(),
            secret: SecretString::new(secret),
            redirect_uris: vec![places.redirect_uri()],
        });
        let options = AsOptions {
            issuer: places.authorization_server.clone(),
            clients: clients.collect(),
            access_token_lifetime: ACCESS_TOKEN_LIFETIME,
            token_latency: pace.token_latency,
            audience: "https://api.example.com".to_owned(),
        };
        let tapped = |listener, to, leg| Tap::start(listener, to, wire.witnesses(leg)).map(Arc::new);
        let authorization_server = AuthorizationServer::start(any_port()?, options)?;
        let as_tap = tapped(as_door, authorization_server.address(), Leg::AuthorizationServer)?;
        let operator = Arc::new(Operator::new(admin, authorization_server.key_id().to_owned()));
        let stage = Stage {
            places: places.clone(),
            feed: Arc::clone(&wire.feed),
            cookies: Arc::clone(&wire.cookies),
            door: Arc::clone(&as_tap),
            operator: Arc::clone(&operator),
            tally: authorization_server.tally(),
            grace: pace.grace,
        };
        stage.tell_state();
        let upstream = Upstream::start_with_page(any_port()?, stage)?;
        let upstream_tap = tapped(upstream_door, upstream.address(), Leg::Upstream)?;
        let app = App::start(Arc::new(settings), outside)?;
        let behind = app.running.public.first().copied().ok_or("the gateway listens nowhere")?;
        let admin_tap = tapped(admin_door, app.running.admin, Leg::Admin)?;
        let mut taps = vec![tapped(door, behind, Leg::Gateway)?, as_tap, upstream_tap, admin_tap];
        if let Some(door) = door_v6 {
            taps.push(tapped(door, behind, Leg::Gateway)?);
        }
        let feed = Arc::clone(&wire.feed);
        Ok(Self { places, taps, feed, operator, app, authorization_server, upstream, folder })
    }

    async fn stop(self) {
        // First, so that the gateway does not wait for pages that listen to the wire.
        for tap in &self.taps {
            tap.close().await;
        }
        self.app.stop(Duration::ZERO).await;
        self.authorization_server.stop().await;
        self.upstream.stop().await;
    }
}

const ACCESS_LOG: &str = "access.log";

fn any_port() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// The configuration as it is written, but for two things: the gateway listens behind its taps, and a
/// replaced cookie is good for a shorter time.
fn settings(
    text: &str,
    folder: &Path,
    [web_app, portal]: &[String; 2],
    pace: Pace,
) -> Result<Settings, Box<dyn Error>> {
    let env = |name: &str| match name {
        "WEB_APP_SECRET" => Some(web_app.clone()),
        "PORTAL_SECRET" => Some(portal.clone()),
        _ => None,
    };
    let no_files = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let mut settings = config::parse(text, folder, &env, &no_files)?.settings;
    for listener in &mut settings.listen {
        listener.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    }
    settings.admin.address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.sessions.grace = pace.grace;
    Ok(settings)
}

fn introduce(ports: &Ports, terminal: &mut Terminal) {
    let places = ports.places();
    terminal.heading("Tollgate demo");
    terminal.line(format_args!("    gateway               {}", places.gateway));
    terminal.line(format_args!(
        "    authorization server  {}   on another site than the gateway",
        places.authorization_server
    ));
    terminal.line(format_args!("    upstream              {}", places.upstream));
    terminal.line(format_args!("    admin                 {}", places.admin));
    if ports.moved() {
        terminal
            .line(format_args!("    8080–8083 are not all free, so everything moved to {}", ports.text()));
    }
    terminal.line("");
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv6Addr;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_story_goes_as_told_and_leaves_nothing_behind() {
        let screen = Screen::default();
        let mut terminal = Terminal::new(Box::new(screen.clone()), false);
        let ports = Ports::find_from(20_000).unwrap();
        introduce(&ports, &mut terminal);
        let world = World::start(ports, PACE).unwrap();
        let told = story::tell(&world.places, &world.operator, &mut terminal).await;
        story::say_where_to_go(&world.places, world.folder.path(), &mut terminal);
        let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        assert!(told, "{text}");
        assert!(text.contains(&format!("open {}/ in", world.places.gateway)), "{text}");
        let server = &world.authorization_server;
        assert_eq!((server.reuse_detected(), server.revocations(), server.grants_alive()), (0, 6, 3));
        for line in text.lines().filter(|line| !line.contains("tail -f") && !line.contains("ADMIN=")) {
            assert!(line.chars().count() <= 100, "{line}");
        }
        let folder = world.folder.path().to_owned();
        assert!(folder.is_dir());
        world.stop().await;
        assert!(!folder.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn localhost_is_the_demos_own_on_ipv6_too() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return; // no IPv6 here, for nobody
        }
        let world = World::start(Ports::find_from(25_000).unwrap(), PACE).unwrap();
        let port = world.places.gateway.rsplit(':').next().unwrap().parse().unwrap();
        let taken = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let mut client = tokio::net::TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        world.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_access_log_of_the_story_holds_no_token() {
        let world = World::start(Ports::find_from(30_000).unwrap(), PACE).unwrap();
        let mut terminal = Terminal::new(Box::new(io::sink()), false);
        assert!(story::tell(&world.places, &world.operator, &mut terminal).await);
        let World { app, folder, .. } = world;
        app.stop(Duration::ZERO).await;
        let log = std::fs::read_to_string(folder.path().join(ACCESS_LOG)).unwrap();
        assert!(log.lines().count() > 60, "{log}");
        assert!(log.contains("\"alice\"") && log.contains("/api/hello"), "{log}");
        for secret in ["eyJ", "refresh_token=", "greet=world", "Bearer", "__Secure"] {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
    }
}
