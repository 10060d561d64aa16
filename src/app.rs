//! The wiring: what was asked becomes a gateway that runs. Shared by `tollgate run`, the demo and the
//! tests.
//!
//! - `run`: from a start to the signal that ends it; `reload`: another configuration, in a gateway that runs
//! - `handover`: one process gives way to the next; `files`: whether what a configuration was read from
//!   changed

mod files;
mod handover;
mod reload;
mod run;

pub use handover::{HandOverError, take_over};
use handover::{Predecessor, Reopening};
pub use run::{Source, run};

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::config::settings::{self, Settings};
use crate::core::assertion::Assertions;
use crate::core::route::table::RouteTable;
use crate::core::session::sealed::KeyRing;
use crate::core::signing::SigningKey;
use crate::edge::server::{self, Inherited, ListenError};
use crate::flows::keep_keys_fresh::keep_keys_fresh;
use crate::flows::open_requests::watch_open_requests;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::ports::{Clock, Exclusive, HttpClient, Randomness, random};
use crate::flows::{Gate, Operators, Ports};
use crate::io::handover::Channel;
use crate::io::handover::asking::ask;
use crate::io::handover::questions::Answers;
use crate::io::http_client::{Called, ClientSetupError, IssuerClients};
use crate::io::key_files::{self, KeyFileError};
use crate::io::line_writer::LineWriter;
use crate::io::open_store::OpenStore;
use crate::io::store_file::StoreFileError;
use crate::io::system::{SystemClock, SystemRandomness};
use crate::state::issuer_keys::Issuers;
use crate::state::lines::Lines;
use crate::state::live::Live;
use crate::state::metrics::{Log, Metrics};
use crate::state::revocations::Revocations;
use crate::state::transmitters::Transmitters;

/// How long a stop waits for exchanges at a slow authorization server: one that is cut off may cost its
/// session.
const EXCHANGES: Duration = Duration::from_secs(20);
/// How long it waits for what may be lost, such as revocations there.
const ERRANDS: Duration = Duration::from_secs(5);

/// Why a gateway does not start. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Store(#[from] StoreFileError),
    #[error(transparent)]
    Issuer(#[from] ClientSetupError),
    #[error("sessions.keys: {0}")]
    CookieKeys(String),
    #[error("identity.assertion.keys: a key {0}")]
    AssertionKey(String),
    #[error("{0}")]
    Issuers(String),
    #[error("routes: {0}")]
    Routes(String),
    #[error("the metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{0}")]
    Exclusive(String),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(#[from] io::Error),
    #[error("the log cannot be written: {0}")]
    Log(io::Error),
}

/// The world outside, as the gateway meets it.
pub struct Outside {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Randomness>,
    pub http: Arc<dyn HttpClient>,
    /// Where the access log goes.
    pub access_log: Box<dyn Write + Send>,
    /// Where our own messages wait for whoever writes them.
    pub messages: Arc<Lines>,
    /// What this process has open alone. [`App::start`] expects it open, [`take_over`] closed.
    pub exclusive: Vec<Arc<dyn Exclusive>>,
}

impl Outside {
    /// The clock, randomness, network and standard output of this machine.
    ///
    /// # Errors
    /// When an issuer's `ca` holds no certificate.
    pub fn system(settings: &Settings) -> Result<Self, StartError> {
        crate::io::install_crypto_providers();
        let issuers: Vec<_> = settings.called().iter().map(|called| Called::from(&**called)).collect();
        Ok(Self {
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandomness),
            http: Arc::new(IssuerClients::new(issuers)?),
            access_log: Box::new(own(io::stdout().as_fd()).map_err(StartError::Log)?),
            messages: Arc::default(),
            exclusive: Vec::new(),
        })
    }
}

/// A file of our own: what the library keeps of standard output has a lock and a buffer.
fn own(file: BorrowedFd<'_>) -> io::Result<File> {
    file.try_clone_to_owned().map(File::from)
}

impl std::fmt::Debug for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// A gateway that is ready to run: everything is built, its listeners are bound, keys are being fetched.
/// Nobody is let in yet.
#[derive(Debug)]
pub struct Standby {
    gate: Arc<Gate>,
    edge: server::Standby,
    background: Background,
    exclusive: Vec<Arc<dyn Exclusive>>,
    store: OpenStore,
    access_log: LineWriter,
}

/// What goes on beside the requests.
#[derive(Debug)]
struct Background {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Background {
    /// When nothing is under way any more: until then access is taken back.
    async fn end(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(Duration::from_secs(1), join_all(self.tasks)).await;
    }
}

/// A gateway that runs, with all that keeps it going.
#[derive(Debug)]
pub struct App {
    pub gate: Arc<Gate>,
    pub running: server::Running,
    background: Background,
    exclusive: Vec<Arc<dyn Exclusive>>,
    reopening: Reopening,
    predecessor: Predecessor,
    store: OpenStore,
    access_log: LineWriter,
}

impl Standby {
    /// Builds everything inside the current tokio runtime. Nothing of it needs an authorization server, or
    /// the Redis of `store`, to be up. `open`: opens the store, or leaves that for later.
    ///
    /// # Errors
    /// When an address, the store folder, its file or a key cannot be used.
    fn new(
        settings: Arc<Settings>,
        outside: Outside,
        inherited: Inherited,
        open: fn(&settings::Store, Arc<dyn Clock>) -> Result<OpenStore, StoreFileError>,
    ) -> Result<Self, StartError> {
        crate::io::install_crypto_providers();
        let metrics = Metrics::new()?;
        let token = match &settings.admin.token {
            Some(token) => token.clone(),
            None => key_files::admin_token(&settings.store.folder, &*outside.random)?,
        };
        let live = live(settings.clone(), &settings.store.folder, &*outside.random, None)?;
        let store = open(&settings.store, outside.clock.clone())?;
        let revocations = Arc::new(Revocations::new(random(&*outside.random)));
        let ports = Ports {
            clock: outside.clock,
            random: outside.random,
            http: outside.http,
            store: store.store.clone(),
            revocation_log: store.revocations.clone(),
        };
        let operators = Operators { token: Some(token), messages: outside.messages, ..Operators::default() };
        let (format, lines) = (settings.log.format, operators.access_log.clone());
        let access_log = LineWriter::start(Log::Access, format, outside.access_log, lines);
        let access_log = access_log.map_err(StartError::Log)?;
        let gate = Arc::new(Gate::new(Arc::new(live), revocations, metrics, operators, ports));
        begin_counting(&gate, &settings);
        gate.revocation_log.load(&gate.revocations);
        let edge = server::stand_by(gate.clone(), inherited)?;
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(follow_revocations(gate.clone(), stopped.clone())),
            tokio::spawn(keep_keys_fresh(gate.clone(), stopped.clone())),
            tokio::spawn(watch_open_requests(gate.clone(), stopped)),
        ];
        let mut exclusive = outside.exclusive;
        exclusive.extend(store.exclusive());
        Ok(Self { gate, edge, background: Background { stop, tasks }, exclusive, store, access_log })
    }

    /// Lets clients in.
    fn serve(self) -> App {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.gate.metrics.set_started(since.as_secs_f64());
        let Self { gate, edge, background, exclusive, store, access_log } = self;
        let (running, reopening, predecessor) = (edge.serve(), Reopening::default(), Predecessor::default());
        App { gate, running, background, exclusive, reopening, predecessor, store, access_log }
    }
}

impl App {
    /// Starts a gateway inside the current tokio runtime. Nothing of it needs an authorization server, or the
    /// Redis of `store`, to be up.
    ///
    /// # Errors
    /// When an address, the store folder, its file or a key cannot be used.
    pub fn start(settings: Arc<Settings>, outside: Outside) -> Result<Self, StartError> {
        Ok(Standby::new(settings, outside, Inherited::default(), OpenStore::open)?.serve())
    }

    /// Drains and stops; no request in flight is lost. `lame_duck`: how long new connections are
    /// still taken.
    pub async fn stop(self, lame_duck: Duration) {
        let Self { gate, running, background, reopening, predecessor, store, access_log, .. } = self;
        running.stop(lame_duck).await;
        // What the process before asks for are exchanges under way like those here.
        tokio::join!(finish_begun(&gate, EXCHANGES), predecessor.left(EXCHANGES));
        // What is closed here stays closed.
        drop(reopening);
        for part in store.exclusive() {
            if let Err(why) = part.close().await {
                tracing::error!(why, "not everything that the store holds was written");
            }
        }
        background.end().await;
        // Last: its reader may never read again.
        finish(access_log).await;
    }

    /// Drains and stops, after the process at the other end has taken over and said what it `answers`: what
    /// is left here finds its store and its list there.
    pub async fn leave(self, to: Channel, answers: &Answers) {
        let Self { gate, running, background, exclusive, predecessor, access_log, .. } = self;
        let (asking, conversation) = ask(to, gate.clock.clone());
        // Whose list this process follows by itself needs nobody to tell it.
        let is_alone = exclusive.iter().any(|exclusive| exclusive.keeps_sessions());
        let conversation = tokio::spawn(conversation.run(is_alone.then(|| gate.revocations.clone())));
        let to = answers.has_ours().then(|| asking.handed_to());
        exclusive.iter().for_each(|exclusive| exclusive.mark_handed_over(to.as_ref()));
        running.leave().await;
        // Nothing presses it.
        finish_begun(&gate, handover::LANDING).await;
        predecessor.left(handover::LEAVING).await;
        conversation.abort();
        background.end().await;
        finish(access_log).await;
    }
}

/// Lets the access log be written to its end, for as long as somebody reads it.
async fn finish(access_log: LineWriter) {
    if let Ok(Err(lines)) = tokio::task::spawn_blocking(|| access_log.finish()).await {
        tracing::warn!(lines, "nobody reads the access log, so its last lines are lost");
    }
}

/// Whoever reads the metrics finds the series of those who are configured.
fn begin_counting(gate: &Gate, settings: &Settings) {
    gate.metrics.begin(settings, OwnEndpoint::Token.label().as_ref());
}

/// `exchanges`: how long those under way may take.
async fn finish_begun(gate: &Gate, exchanges: Duration) {
    let hold = gate.exchanges.hold();
    let airborne = hold.landed(exchanges).await;
    if airborne > 0 {
        tracing::warn!(airborne, "exchanges were cut off at the end of the drain");
    }
    let left = gate.errands.finished(ERRANDS).await;
    if left > 0 {
        tracing::warn!(
            left,
            "errands (revocations at authorization servers, writes to the store) were cut off at the end of the drain"
        );
    }
}

/// Keeps the tables that requests ask in step with the list, until it is told to stop.
async fn follow_revocations(gate: Arc<Gate>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = gate.revocation_log.follow(gate.revocations.clone()) => {}
        // An error says that the sender is gone.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

/// `store`: the folder that this process started with. `before`: what a reload takes over from; what did not
/// change of it stays.
fn live(
    settings: Arc<Settings>,
    store: &Path,
    random: &dyn Randomness,
    before: Option<&Live>,
) -> Result<Live, StartError> {
    let routes = RouteTable::build(&settings.routes).map_err(|conflicts| {
        let all: Vec<_> = conflicts.into_iter().map(|conflict| conflict.why).collect();
        StartError::Routes(all.join("; "))
    })?;
    let makes_its_own = |settings: &Settings| settings.sessions.keys.is_empty();
    let cookie_keys = match before.filter(|before| makes_its_own(&before.settings)) {
        // It is at hand: were its file gone, a new one would sign everybody out.
        Some(before) if makes_its_own(&settings) => before.cookie_keys.clone(),
        _ => Arc::new(cookie_keys(&settings, store, random)?),
    };
    let issuers = Issuers::new(&settings.issuers, before.map(|before| &before.issuers));
    let before_reload = before.map(|before| &before.transmitters);
    let transmitters = Transmitters::new(&settings.signals, &issuers, before_reload);
    let assertions = assertions(&settings, store, before)?;
    Ok(Live { settings, routes, issuers, transmitters, cookie_keys, assertions })
}

/// The same as before where nothing of it changed, so that what was made stays good.
fn assertions(
    settings: &Settings,
    store: &Path,
    before: Option<&Live>,
) -> Result<Option<Arc<Assertions>>, StartError> {
    let Some(asked) = &settings.identity.assertion_keys else { return Ok(None) };
    let is_same = |before: &&Live| {
        before.settings.identity.assertion_keys.as_ref() == Some(asked)
            && before.settings.public_url == settings.public_url
    };
    if let Some(before) = before.filter(is_same) {
        return Ok(before.assertions.clone());
    }
    let mut pems = asked.clone();
    if pems.is_empty() {
        pems.push(key_files::assertion_key(store)?);
    }
    let keys: Result<Vec<_>, _> = pems.iter().map(|pem| SigningKey::from_pem(pem.expose())).collect();
    let keys = keys.map_err(StartError::AssertionKey)?;
    let issuer = settings.public_url.as_str().to_owned();
    Assertions::new(issuer, keys)
        .map(|assertions| Some(Arc::new(assertions)))
        .map_err(|error| StartError::AssertionKey(error.to_string()))
}

fn cookie_keys(settings: &Settings, store: &Path, random: &dyn Randomness) -> Result<KeyRing, StartError> {
    let mut keys = settings.sessions.keys.clone();
    if keys.is_empty() {
        keys.push(key_files::cookie_key(store, random)?);
    }
    KeyRing::new(keys).map_err(StartError::CookieKeys)
}
