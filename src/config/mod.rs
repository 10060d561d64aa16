//! WHAT WAS ASKED. config.yaml becomes [`settings::Settings`], or a list of everything that is
//! wrong with it, each with path, line and remedy.
//!
//! - `text`: from the file's text to its values, each with its place in it
//! - `schema`: the keys that there are
//! - `machine`: the environment and the addresses that it is read on; `names`: what operators call things
//! - `network`, `issuers`, `clients`, `keys`, `sessions`, `store`, `cors`, `identity`, `signals`,
//!   `upstreams`, `routes`: what each part means and what contradicts it; `resolve`: all parts in order
//! - `settings`: what comes out of it
//! - `redact`: the whole for people to look at; `summary`: what it does, in short
//! - `error`: what was found on the way
//!
//! Only [`load`] reads files, and nothing reads the environment: to all the rest both are arguments.

pub mod error;
pub mod keys;
pub mod machine;
pub mod schema;
pub mod settings;
pub mod summary;

mod clients;
mod cors;
mod identity;
mod issuers;
mod names;
mod network;
mod redact;
mod resolve;
mod routes;
mod sessions;
mod signals;
mod store;
mod text;
mod upstreams;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use error::{ConfigErrors, Mistake};
use machine::{Machine, Variables};
use settings::{Settings, ShownCertificate};
use text::read::Reader;
use text::report::Report;
use text::tree::Place;

/// The largest file that a configuration may name, in bytes.
const FILE_LIMIT: u64 = 1 << 20;

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// What somebody should know before using it, in the file's order. For what depends on the time:
    /// [`Self::with_dates_at`].
    pub warnings: Vec<Mistake>,
    /// Certificates that Tollgate shows, each with its place and no message.
    dated: Vec<(Mistake, ShownCertificate)>,
    /// Every key that was looked for, as [`schema::paths`] writes them.
    pub asked: BTreeSet<String>,
    /// Every file that was read, as it was just before.
    pub files: BTreeMap<PathBuf, Seen>,
}

/// What tells one state of a file from the next. `None`: not there.
pub type Seen = Option<FileStamp>;

/// A file is another when one of these is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// When its content was changed: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// When anything of it was changed, such as who may read it.
    pub changed: (i64, i64),
    pub length: u64,
    pub inode: u64,
}

/// What a file is now.
pub fn look(file: &Path) -> Seen {
    let about = fs::metadata(file).ok()?;
    Some(FileStamp {
        modified: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
        length: about.len(),
        inode: about.ino(),
    })
}

/// What a reading asked for.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// Every file, as it was just before it was read.
    pub files: BTreeMap<PathBuf, Seen>,
    /// One of them could not be read, for a cause that may end without a change that [`look`] sees.
    pub unread: bool,
}

/// One that is not there is seen when it comes; one that is too large is a mistake.
fn may_end_unseen(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
}

/// Reads a config file and the files that it names. `env` looks variables up.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    load_noting(path, &Variables(env), &RefCell::default())
}

/// As [`load`], on this machine; `noted` learns what was asked for, whatever came of it.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn load_noting(
    path: &Path,
    machine: &dyn Machine,
    noted: &RefCell<Noted>,
) -> Result<Loaded, ConfigErrors> {
    let read_file = |path: &Path| {
        noted.borrow_mut().files.entry(path.to_owned()).or_insert_with(|| look(path));
        let content = read_file(path);
        noted.borrow_mut().unread |= content.as_ref().is_err_and(may_end_unseen);
        content
    };
    let file = path.display().to_string();
    let alone = |line, message: String| {
        let mistake = Mistake { path: String::new(), line, column: usize::from(line > 0), message };
        ConfigErrors { file: file.clone(), mistakes: vec![mistake] }
    };
    let bytes = read_file(path).map_err(|error| alone(0, format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        alone(line, "is not UTF-8 text from here on; save it as UTF-8".to_owned())
    })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let loaded = parse_as(&file, &text, base, machine, &read_file)?;
    Ok(Loaded { files: noted.borrow().files.clone(), ..loaded })
}

/// Reads a configuration from text; `base` is the folder to which its paths are relative.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn parse(
    text: &str,
    base: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Loaded, ConfigErrors> {
    parse_on(&Variables(env), text, base, read_file)
}

/// As [`parse`], on this machine.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn parse_on(
    machine: &dyn Machine,
    text: &str,
    base: &Path,
    read_file: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Loaded, ConfigErrors> {
    parse_as("config.yaml", text, base, machine, read_file)
}

fn parse_as(
    file: &str,
    text: &str,
    base: &Path,
    machine: &dyn Machine,
    read_file: &dyn Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Loaded, ConfigErrors> {
    // Some editors begin UTF-8 with a mark of the byte order (RFC 3629 section 6).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let report = Report::default();
    let (root, given_twice) = text::tree::read(text).map_err(|unreadable| {
        let text::unreadable::Unreadable { line, column, message } = unreadable;
        let mistake = Mistake { path: String::new(), line, column, message };
        ConfigErrors { file: file.to_owned(), mistakes: vec![mistake] }
    })?;
    for place in &given_twice {
        report.wrong(place, "is given twice; keep one of the two");
    }
    text::walk::section(&root, schema::ROOT, &Place::default(), &report);
    let reader = Reader { machine, read_file, base, report, asked: RefCell::default() };
    let shown = redact::redacted(&root, schema::ROOT);
    let settings = reader.root(&root).and_then(|keys| resolve::settings(&keys, shown));
    let Reader { report, asked, .. } = reader;
    match settings {
        Some(settings) if report.is_clean() => Ok(Loaded {
            settings,
            dated: report.dated(text),
            warnings: report.warnings(text),
            asked: asked.into_inner(),
            files: BTreeMap::new(),
        }),
        _ => {
            if report.is_clean() {
                report.wrong(&Place::default(), "cannot be read as a configuration");
            }
            Err(report.errors(file, text))
        }
    }
}

/// Reads a file of at most [`FILE_LIMIT`] bytes.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > FILE_LIMIT) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(content)
}
