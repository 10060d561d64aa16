//! `tollgate run`: a gateway from its start to the signal that ends it. SIGHUP, or a file that changed, makes
//! it read its configuration again; a bad one is told in the log, and the old one stays. SIGQUIT makes it
//! start its successor; a successor that fails is told in the log, and this process stays.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

use super::files::{Due, Files};
use super::{App, HandOverError, Outside, StartError, take_over};
use crate::config::settings::Settings;
use crate::config::{self, Loaded, Noted};
use crate::flows::ports::Clock as _;
use crate::flows::reload::Reloaded;
use crate::io::handover::questions::Answers;
use crate::io::handover::{Channel, Successor};
use crate::io::system::{SystemClock, ThisMachine};
use crate::io::{log, supervisor};
use crate::state::lines::Lines;

/// How long its files may take to be read again: on a file system that hangs, or from a pipe, they never
/// come, and signals must still be heard.
const LONGEST_READING: Duration = Duration::from_secs(10);

/// How long a process that is killed may take to be gone: one that waits for a disk may never be.
const LONGEST_ENDING: Duration = Duration::from_secs(10);

/// How long requests may take yet when the process that took over has crashed: nobody lets clients in until
/// this one ends.
const DRAIN_AFTER_CRASH: Duration = Duration::from_secs(2);

/// What came of a reading, and what it asked for.
type Read = (Result<Loaded, Vec<String>>, Noted);

/// Where a configuration came from, to read it again.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    /// As messages call it.
    pub name: String,
}

/// The source, and the latest reading of it, for as long as it goes on: on a file system that hangs nobody
/// waits for it any more.
struct Reading {
    source: Source,
    under_way: Option<JoinHandle<Read>>,
}

impl Reading {
    /// `None`: it did not come to an end.
    async fn begin(&mut self) -> Option<Read> {
        let source = self.source.clone();
        let read = self.under_way.insert(spawn_blocking(move || source.read())).await;
        self.under_way = None;
        read.ok()
    }

    /// Whether another would only take another thread along.
    fn hangs(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| !under_way.is_finished())
    }
}

impl Source {
    /// The configuration, or every mistake in it as a line of text; and the files that were read.
    fn read(&self) -> Read {
        let noted = RefCell::default();
        let loaded = config::load_noting(&self.path, &ThisMachine, &noted);
        let loaded = loaded.map(|loaded| loaded.with_dates_at(SystemClock.now()));
        let told =
            loaded.map_err(|errors| errors.mistakes.iter().map(|mistake| mistake.show(&self.name)).collect());
        (told, noted.into_inner())
    }
}

/// Runs a gateway until SIGTERM or SIGINT, then drains it. A second signal ends at once. Says on standard
/// error why it did not start.
pub fn run(loaded: Loaded, source: Source) -> ExitCode {
    let messages = match log::install(&loaded.settings.log) {
        Ok(messages) => messages,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", StartError::Log(error));
            return ExitCode::FAILURE;
        }
    };
    let result = run_saying(loaded, source, messages.lines());
    if let Err(error) = &result {
        messages.say(&error.to_string());
    }
    messages.finish();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_saying(loaded: Loaded, source: Source, messages: &Arc<Lines>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    survive_size_limits(&runtime)?;
    warn(&loaded, &source);
    let files = Files::new(loaded.files);
    let settings = Arc::new(loaded.settings);
    let result = runtime.block_on(serve(settings, messages.clone(), files, source));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// SIGXFSZ would end the process where a file reaches the limit of its size (RLIMIT_FSIZE). With a handler,
/// which stays for good, the write fails instead (EFBIG), as it does where a disk is full.
fn survive_size_limits(runtime: &Runtime) -> io::Result<()> {
    let _entered = runtime.enter();
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// The signals that it hears.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
}

/// Told to end.
#[derive(Clone, Copy)]
enum End {
    /// SIGTERM came: after `timeouts.lame_duck`, so that balancers can see `/readyz` fail.
    AfterLameDuck,
    /// SIGINT came: with no new connections from then on.
    AtOnce,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn end(&mut self) -> End {
        tokio::select! {
            () = received(&mut self.terminate) => End::AfterLameDuck,
            () = received(&mut self.interrupt) => End::AtOnce,
        }
    }
}

/// Why a gateway stops serving.
enum Last {
    Told(End),
    /// Told once more before it had begun to stop.
    ToldAgain,
    HandedOver(Successor, Channel, Answers),
}

async fn serve(
    settings: Arc<Settings>,
    messages: Arc<Lines>,
    mut files: Files,
    source: Source,
) -> Result<(), StartError> {
    let mut signals = Signals::listen()?;
    let outside = Outside { messages, ..Outside::system(&settings)? };
    let Some(app) = start(&settings, outside, &mut signals).await? else { return Ok(()) };
    supervisor::ready();
    say_what_runs(&settings, &app);
    drop(settings);
    let last = serve_to_the_last(&app, &mut signals, &mut files, source).await;
    let drained = tokio::select! {
        drained = drain(app, last) => drained,
        _ = signals.end() => Err(ANOTHER_SIGNAL),
    };
    match drained {
        Ok(()) => tracing::info!("stopped"),
        Err(why) => tracing::warn!("{why}"),
    }
    Ok(())
}

/// Starts a gateway, in the place of another where there is one. `None`: told to end meanwhile.
async fn start(
    settings: &Arc<Settings>,
    outside: Outside,
    signals: &mut Signals,
) -> Result<Option<App>, StartError> {
    let Some(predecessor) = Channel::to_predecessor()? else {
        return App::start(settings.clone(), outside).map(Some);
    };
    tokio::select! {
        app = take_over(predecessor, settings.clone(), outside) => app.map(Some),
        _ = signals.end() => Ok(None),
    }
}

/// Serves, and reads the configuration again when asked to, until there is a reason to stop.
async fn serve_to_the_last(app: &App, signals: &mut Signals, files: &mut Files, source: Source) -> Last {
    let mut requests = app.gate.operators.reloads.listen();
    let mut reading = Reading { source, under_way: None };
    loop {
        tokio::select! {
            () = received(&mut signals.terminate) => return Last::Told(End::AfterLameDuck),
            () = received(&mut signals.interrupt) => return Last::Told(End::AtOnce),
            () = received(&mut signals.hangup) => drop(read_again(app, &mut reading, files).await),
            () = received(&mut signals.quit) => if let Some(last) = hand_over(app, signals).await {
                return last;
            },
            due = files.due() => match due {
                Due::Unread if reading.hangs() => files.put_off(),
                Due::Unread | Due::Changed => drop(read_again(app, &mut reading, files).await),
            },
            Some(waiting) = requests.recv() => {
                let _ = waiting.send(read_again(app, &mut reading, files).await);
            }
        }
    }
}

/// Finishes what was begun. `Err`: why some of it was not.
async fn drain(app: App, last: Last) -> Result<(), &'static str> {
    let lame_duck = match last {
        Last::Told(End::AfterLameDuck) => app.gate.live.load().settings.lame_duck,
        Last::Told(End::AtOnce) => Duration::ZERO,
        Last::ToldAgain => return Err(ANOTHER_SIGNAL),
        Last::HandedOver(new, to, answers) => {
            tracing::info!("draining: the new process serves, requests in flight here are finished");
            return leave(app, &new, to, &answers).await;
        }
    };
    supervisor::stopping();
    let seconds = lame_duck.as_secs_f64();
    tracing::info!(seconds, "draining: after that no new connections, requests in flight are finished");
    app.stop(lame_duck).await;
    Ok(())
}

const ANOTHER_SIGNAL: &str = "stopped at once, by another signal";

/// Finishes what was begun here, unless the new process crashes meanwhile: its service manager sees that only
/// when this one, whose child it is, has ended.
async fn leave(app: App, new: &Successor, to: Channel, answers: &Answers) -> Result<(), &'static str> {
    let mut leaving = pin!(app.leave(to, answers));
    let how = tokio::select! {
        () = &mut leaving => return Ok(()),
        how = new.crashed() => how,
    };
    tracing::error!(
        process = new.id(),
        how,
        "the new process has crashed, and serves nobody; this one ends within seconds, so that a service manager can start another"
    );
    let left = tokio::time::timeout(DRAIN_AFTER_CRASH, leaving).await;
    left.map_err(|_| "stopped at once, because the new process is gone")
}

/// Why a hand-over did not come to its end.
enum Unfinished {
    Failed(HandOverError),
    /// This process was told to end meanwhile.
    Told(End),
}

/// Starts a process that takes over from this one. `None`: it did not, and this one goes on.
async fn hand_over(app: &App, signals: &mut Signals) -> Option<Last> {
    let (successor, mut channel) = match Successor::start() {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(%error, "no new process could be started; this one goes on");
            return None;
        }
    };
    let id = successor.id();
    tracing::info!(process = id, "handing over to a new process");
    let outcome = tokio::select! {
        outcome = app.hand_over(&mut channel) => outcome.map_err(Unfinished::Failed),
        end = signals.end() => Err(Unfinished::Told(end)),
    };
    let why = match outcome {
        Ok(answers) => {
            supervisor::main_process_is(id);
            tracing::info!(process = id, "handed over: the new process serves");
            return Some(Last::HandedOver(successor, channel, answers));
        }
        Err(why) => why,
    };
    let again = matches!(why, Unfinished::Told(_));
    let status = match unless_told(take_back(app, successor), signals.end(), again).await {
        Ok(status) => status,
        Err(last) => {
            // What is still under way here wants it.
            app.take_back_meanwhile();
            return Some(last);
        }
    };
    match why {
        Unfinished::Failed(error) => {
            tracing::error!(process = id, %error, status, "the new process did not take over; this one goes on");
            None
        }
        Unfinished::Told(end) => Some(Last::Told(end)),
    }
}

/// Does this unless the process is told to end: the disk may hang, or the other process in the kernel.
/// `again`: it was told before.
async fn unless_told<T>(
    doing: impl Future<Output = T>,
    told: impl Future<Output = End>,
    again: bool,
) -> Result<T, Last> {
    tokio::select! {
        done = doing => Ok(done),
        end = told => Err(if again { Last::ToldAgain } else { Last::Told(end) }),
    }
}

/// Ends the process that did not take over, and returns with what it ended.
async fn take_back(app: &App, successor: Successor) -> Option<String> {
    // It has the sockets and perhaps the store: only when it is gone is all ours again.
    let ended = tokio::task::spawn_blocking(move || successor.end());
    let ended = tokio::time::timeout(LONGEST_ENDING, ended).await;
    let status = ended.ok().and_then(Result::ok).and_then(Result::ok).map(|status| status.to_string());
    if let Err(error) = app.take_back().await {
        tracing::error!(
            error,
            "what was closed for the hand-over cannot be opened again yet; it is tried again"
        );
    }
    status
}

/// Reads the configuration again and takes it over, or says why not. `files` are those to look at next.
async fn read_again(app: &App, reading: &mut Reading, files: &mut Files) -> Reloaded {
    let read = tokio::time::timeout(LONGEST_READING, reading.begin()).await;
    let source = &reading.source;
    let loaded = match read {
        Ok(Some((loaded, noted))) => {
            files.replace(noted);
            loaded
        }
        not_read => {
            files.not_read();
            Err(vec![format!("{}: {}", source.name, why_not_read(not_read.is_ok()))])
        }
    };
    let mistakes = match loaded {
        Ok(loaded) => {
            warn(&loaded, source);
            match app.reload(loaded.settings) {
                Ok(after_restart) => {
                    app.gate.metrics.config_reloaded(true);
                    tracing::info!("the configuration was read again and counts from here on");
                    for key in &after_restart {
                        tracing::warn!(key, "changed, and counts only after a restart");
                    }
                    return noted(app, Reloaded::TakenOver { after_restart });
                }
                Err(error) => vec![error.to_string()],
            }
        }
        Err(mistakes) => mistakes,
    };
    app.gate.metrics.config_reloaded(false);
    for mistake in &mistakes {
        tracing::error!("{mistake}");
    }
    tracing::error!(mistakes = mistakes.len(), "the configuration is not good; the one before stays");
    noted(app, Reloaded::Refused { mistakes })
}

/// Remembers for `/status` what became of it.
fn noted(app: &App, outcome: Reloaded) -> Reloaded {
    app.gate.operators.reloads.note(&outcome, app.gate.clock.now());
    outcome
}

/// `has_ended`: in the midst of it, by a panic.
fn why_not_read(has_ended: bool) -> String {
    if has_ended {
        "could not be read: Tollgate failed over it, which is its own fault; standard error has the panic"
            .to_owned()
    } else {
        format!("could not be read within {} s", LONGEST_READING.as_secs())
    }
}

fn warn(loaded: &Loaded, source: &Source) {
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.show(&source.name));
    }
}

async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

fn say_what_runs(settings: &Settings, app: &App) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        public_url = settings.public_url.as_str(),
        listen = ?app.running.public,
        admin = %app.running.admin,
        routes = settings.routes.len(),
        "tollgate runs"
    );
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn while_a_disk_hangs_a_signal_ends_it_and_a_second_one_at_once() {
        let hangs = || pending::<()>();
        let told = unless_told(hangs(), ready(End::AfterLameDuck), false).await;
        assert!(matches!(told, Err(Last::Told(End::AfterLameDuck))));
        assert!(matches!(unless_told(hangs(), ready(End::AtOnce), true).await, Err(Last::ToldAgain)));
        assert!(unless_told(ready(()), pending(), true).await.is_ok());
    }

    #[test]
    fn a_reading_that_panicked_is_not_said_to_have_taken_too_long() {
        assert!(why_not_read(false).ends_with("within 10 s"));
        assert!(why_not_read(true).contains("panic") && !why_not_read(true).contains("within"));
    }
}
