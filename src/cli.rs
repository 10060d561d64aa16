//! The commands of `tollgate`. Decides where the configuration is found and what is printed. Must never print
//! a secret but the key that `keys` was asked for.

mod explain;
mod live;
mod revoke;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use explain::Explain;
use revoke::Revoke;

use crate::config::machine::Machine;
use crate::config::settings::Settings;
use crate::config::{self, Loaded, keys, schema, summary};
use crate::core::secret::Secret;
use crate::flows::ports::Clock as _;
use crate::io::admin_client::AdminClient;
use crate::io::key_files::{self, made_admin_token};
use crate::io::system::{SystemClock, ThisMachine};

/// Where the configuration is looked for when no file is named, in this order.
const PLACES: [&str; 2] = ["config.yaml", "/etc/tollgate/config.yaml"];

#[derive(Debug, Parser)]
#[command(name = "tollgate", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run {
        /// The configuration [default: ./config.yaml, then /etc/tollgate/config.yaml]
        config: Option<PathBuf>,
    },
    /// List every mistake in a configuration, or describe what it does
    Check {
        /// The configuration [default: ./config.yaml, then /etc/tollgate/config.yaml]
        config: Option<PathBuf>,
        /// Also try to reach issuers, upstreams and the store, and ask issuers whether they accept the
        /// credentials for them
        #[arg(long)]
        live: bool,
    },
    /// Show it all on this machine: an authorization server, the gateway, an upstream and a page
    Demo {
        /// End after the story, with 0 if every step went as it should
        #[arg(long)]
        once: bool,
    },
    /// Explain how a gateway with this configuration would judge a request; exit code 0: it passes, 1: it is
    /// refused, 2: that cannot be told
    Explain(Box<Explain>),
    /// Revoke access, list revocations, or lift one
    Revoke(Box<Revoke>),
    /// Make keys
    #[command(subcommand)]
    Keys(Keys),
    /// Print a JSON Schema of config.yaml, for editors
    Schema,
}

#[derive(Debug, Subcommand)]
enum Keys {
    /// Print a fresh key for `sessions.keys`
    Cookie,
    /// Print a fresh key for `identity.assertion.keys`
    Assertion,
}

/// What a command reads and writes, so that tests need no process.
#[allow(missing_debug_implementations)] // writers
pub struct Surroundings<'a> {
    pub machine: &'a dyn Machine,
    /// Relative paths of configurations begin here.
    pub folder: &'a Path,
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
}

/// The process: its arguments, its environment, its exit code.
pub fn main() -> ExitCode {
    let next = {
        // Nothing may hold these locks while the gateway runs.
        let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
        let folder = Path::new("");
        let mut around = Surroundings { machine: &ThisMachine, folder, out: &mut out, err: &mut err };
        prepare(std::env::args_os(), &mut around)
    };
    match next {
        Next::Done(code) => ExitCode::from(code),
        Next::Run(loaded, source) => run(*loaded, source),
        Next::Demo { once } => demo(once),
    }
}

/// What is left to do once the arguments and the configuration were read.
#[derive(Debug)]
pub enum Next {
    /// Nothing: the exit code.
    Done(u8),
    /// What to run, and where it came from: the path, and how messages call it.
    Run(Box<Loaded>, (PathBuf, String)),
    Demo {
        once: bool,
    },
}

/// Everything up to the moment where something must stay running. Exit codes: 0 good, 1 the
/// configuration is not, 2 the arguments are not.
pub fn prepare(arguments: impl IntoIterator<Item = OsString>, around: &mut Surroundings<'_>) -> Next {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            let text = error.render();
            let written =
                if error.use_stderr() { write!(around.err, "{text}") } else { write!(around.out, "{text}") };
            return Next::Done(if written.is_ok() {
                u8::try_from(error.exit_code()).unwrap_or(2)
            } else {
                1
            });
        }
    };
    match arguments.command {
        Command::Run { config } => match load(config, around) {
            Ok((file, loaded)) => {
                let path = around.folder.join(&file);
                Next::Run(Box::new(loaded), (path, file))
            }
            Err(code) => Next::Done(code),
        },
        Command::Check { config, live } => match load(config, around) {
            Ok((file, loaded)) => match say(around, &summary::summary(&file, &loaded)) {
                Next::Done(0) if live => Next::Done(live::run(loaded.settings, around)),
                done => done,
            },
            Err(code) => Next::Done(code),
        },
        Command::Demo { once } => Next::Demo { once },
        Command::Explain(explain) => Next::Done(match load(explain.config.clone(), around) {
            Ok((_, loaded)) => explain.run(loaded.settings, around),
            Err(_) => 2,
        }),
        Command::Revoke(revoke) => Next::Done(ask_admin(*revoke, around)),
        Command::Schema => say(around, &format!("{:#}\n", schema::json_schema())),
        Command::Keys(Keys::Cookie) => {
            let mut key = [0; keys::COOKIE_KEY_BYTES];
            if aws_lc_rs::rand::fill(&mut key).is_err() {
                let _ = writeln!(around.err, "this machine gives no random bytes");
                return Next::Done(1);
            }
            say(around, &format!("{}\n", keys::write_cookie_key(&key).expose()))
        }
        Command::Keys(Keys::Assertion) => match key_files::new_assertion_key() {
            Ok(pem) => say(around, &pem),
            Err(_) => {
                let _ = writeln!(around.err, "this machine gives no random bytes");
                Next::Done(1)
            }
        },
    }
}

/// Asks the gateway that is named, or that runs with this configuration.
fn ask_admin(revoke: Revoke, around: &mut Surroundings<'_>) -> u8 {
    let named = revoke.admin.zip(revoke.token_file.as_ref());
    let (address, token) = match named {
        Some((address, file)) => (address, read_token(&around.folder.join(file))),
        None => match load(revoke.config.clone(), around) {
            Ok((_, loaded)) => (loaded.settings.admin.address, admin_token(&loaded.settings)),
            Err(code) => return code,
        },
    };
    let who = |name| around.machine.variable(name)?.into_string().ok();
    let name = who("SUDO_USER").or_else(|| who("USER")).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let why = match (token, runtime) {
        (Ok(token), Ok(runtime)) => {
            return runtime.block_on(revoke.run(&AdminClient::new(address, &name, &token), around));
        }
        (Err(why), _) => why,
        (_, Err(error)) => format!("the runtime cannot be started: {error}"),
    };
    let _ = writeln!(around.err, "{why}");
    1
}

fn admin_token(settings: &Settings) -> Result<Secret<Vec<u8>>, String> {
    if let Some(token) = &settings.admin.token {
        return Ok(token.clone());
    }
    let folder = &settings.store.folder;
    let made = made_admin_token(folder).map_err(|error| error.to_string())?;
    made.ok_or_else(|| {
        format!("there is no admin.token in {}: a gateway makes it at its first start", folder.display())
    })
}

fn read_token(file: &Path) -> Result<Secret<Vec<u8>>, String> {
    let read = std::fs::read(file).map(Secret::new);
    let read = read.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Secret::new(read.expose().trim_ascii_end().to_vec()))
}

/// What a terminal would obey, as text.
fn escaped(c: char) -> impl Iterator<Item = char> {
    let is_control = c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = if is_control { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().collect::<Vec<_>>().into_iter()
}

fn say(around: &mut Surroundings<'_>, text: &str) -> Next {
    Next::Done(u8::from(around.out.write_all(text.as_bytes()).and_then(|()| around.out.flush()).is_err()))
}

/// The configuration with the name that it goes by in messages; or the exit code, after the reason
/// was printed.
fn load(named: Option<PathBuf>, around: &mut Surroundings<'_>) -> Result<(String, Loaded), u8> {
    let found =
        named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| around.folder.join(path).is_file()));
    let Some(path) = found else {
        let [here, there] = PLACES;
        let _ = writeln!(
            around.err,
            "no configuration: there is neither ./{here} nor {there}; name one, like `tollgate run my.yaml`, or with `--config my.yaml` where a command has that"
        );
        return Err(1);
    };
    match config::load_noting(&around.folder.join(&path), around.machine, &RefCell::default()) {
        Ok(loaded) => Ok((path.display().to_string(), loaded.with_dates_at(SystemClock.now()))),
        Err(mut errors) => {
            errors.file = path.display().to_string();
            let count = errors.mistakes.len();
            let mistakes = if count == 1 { "1 mistake" } else { &format!("{count} mistakes") };
            let _ = writeln!(around.err, "{errors}\n{mistakes}");
            Err(1)
        }
    }
}

#[cfg(not(feature = "edge"))]
fn run(_: Loaded, _: (PathBuf, String)) -> ExitCode {
    without_edge()
}

#[cfg(not(feature = "edge"))]
fn demo(_: bool) -> ExitCode {
    without_edge()
}

#[cfg(not(feature = "edge"))]
fn without_edge() -> ExitCode {
    let _ = writeln!(io::stderr(), "this build has no server in it; build it with the feature `edge`");
    ExitCode::FAILURE
}

#[cfg(feature = "edge")]
fn run(loaded: Loaded, (path, name): (PathBuf, String)) -> ExitCode {
    crate::app::run(loaded, crate::app::Source { path, name })
}

#[cfg(feature = "edge")]
fn demo(once: bool) -> ExitCode {
    crate::demo::run(once)
}
