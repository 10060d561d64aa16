//! `tollgate run`: a gateway from its start to the signal that ends it. SIGHUP, or a file that changed, makes
//! it read its configuration again; a bad one is told in the log, and the old one stays.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::files::Files;
use super::{App, Outside, StartError};
use crate::config::settings::Settings;
use crate::config::{self, Loaded};
use crate::flows::reload::Reloaded;

/// How long new connections are taken after SIGTERM, so that balancers can see `/readyz` fail.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// How long its files may take to be read again: on a file system that hangs, or from a pipe, they never come, and
/// signals must still be heard.
const READING: Duration = Duration::from_secs(10);

/// Where a configuration came from, to read it again.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    /// As messages call it.
    pub name: String,
}

impl Source {
    /// The configuration, or every mistake in it as a line of text; and the files that were read.
    fn read(&self) -> (Result<Loaded, Vec<String>>, Files) {
        let noted = RefCell::default();
        let env = |name: &str| std::env::var(name).ok();
        let loaded = config::load_noting(&self.path, &env, &noted);
        let told =
            loaded.map_err(|errors| errors.mistakes.iter().map(|mistake| mistake.show(&self.name)).collect());
        (told, Files::new(noted.into_inner()))
    }
}

/// Runs a gateway until SIGTERM or SIGINT, then drains it. A second signal ends at once.
///
/// # Errors
/// As [`App::start`].
pub fn run(loaded: Loaded, source: Source) -> Result<(), StartError> {
    crate::io::log::install(&loaded.settings.log);
    warn(&loaded, &source);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let files = Files::new(loaded.files);
    let result = runtime.block_on(serve(Arc::new(loaded.settings), files, source));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(settings: Arc<Settings>, mut files: Files, source: Source) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = App::start(settings.clone(), Outside::system(&settings)?)?;
    say_what_runs(&settings, &app);
    drop(settings);
    let mut requests = app.gate.operators.reloads.listen();
    let lame_duck = loop {
        tokio::select! {
            () = received(&mut terminate) => break LAME_DUCK,
            () = received(&mut interrupt) => break Duration::ZERO,
            () = received(&mut hangup) => drop(read_again(&app, &source, &mut files).await),
            () = files.changed() => drop(read_again(&app, &source, &mut files).await),
            Some(waiting) = requests.recv() => {
                let _ = waiting.send(read_again(&app, &source, &mut files).await);
            }
        }
    };
    tracing::info!("draining: no new connections soon, requests in flight are finished");
    tokio::select! {
        () = app.stop(lame_duck) => tracing::info!("stopped"),
        () = received(&mut terminate) => tracing::warn!("stopped at once, by a second signal"),
        () = received(&mut interrupt) => tracing::warn!("stopped at once, by a second signal"),
    }
    Ok(())
}

/// Reads the configuration again and takes it over, or says why not. `files` are those to look at next.
async fn read_again(app: &App, source: &Source, files: &mut Files) -> Reloaded {
    let from = source.clone();
    let reading = tokio::time::timeout(READING, tokio::task::spawn_blocking(move || from.read()));
    let loaded = if let Ok(Ok((loaded, read))) = reading.await {
        *files = read;
        loaded
    } else {
        files.look_again();
        Err(vec![format!("{}: could not be read within {} s", source.name, READING.as_secs())])
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
                    return Reloaded::TakenOver { after_restart };
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
    Reloaded::Refused { mistakes }
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
