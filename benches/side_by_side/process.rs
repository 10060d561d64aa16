//! A server that was started from here, with all that it started in turn: what CPU time they took, what
//! memory they have, and their end.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::Failure;

/// Ends with the value.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    /// SIGTERM first: nginx and Apache end their workers then. The shell has `kill` built in.
    fn drop(&mut self) {
        let kill = format!("kill -TERM {}", self.0.id());
        let _ = Command::new("sh").args(["-c", &kill]).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that runs on these cores only (a list as of taskset), or anywhere.
pub(crate) fn pinned(program: &Path, cores: Option<&str>) -> Command {
    match cores {
        Some(cores) => {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", cores]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// User and system time so far of a process, of all its threads, of its children and theirs, also of those
/// that ended (proc(5), stat, fields 14 to 17).
///
/// # Errors
/// When the process is gone.
pub(crate) fn cpu_time(root: u32) -> Result<Duration, Failure> {
    /// `sysconf(_SC_CLK_TCK)` is 100 on every Linux that Rust runs on.
    const TICKS_PER_SECOND: u64 = 100;
    let ticks: u64 = tree(root)?.iter().map(|(_, ticks)| ticks).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Bytes resident of a process, of its children and theirs (proc(5), `smaps_rollup`). Of one process that is
/// its `Rss`. Of several, the greatest share that one has in common with others counts, and what each has for
/// itself: a master and its worker have most in common. Not `Pss`: that depends on how often the same program
/// runs beside it.
///
/// # Errors
/// When the process is gone, or is another user's.
pub(crate) fn resident(root: u32) -> Result<u64, Failure> {
    let (mut own, mut shared) = (0, 0);
    for (id, _) in tree(root)? {
        let memory = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        own += kilobytes(&memory, "Private_");
        shared = kilobytes(&memory, "Shared_").max(shared);
    }
    Ok((own + shared) * 1024)
}

/// The sum of the lines whose names begin so: `Private_Dirty:      1234 kB`.
fn kilobytes(memory: &str, name: &str) -> u64 {
    let lines = memory.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// A process, its children and theirs, with the clock ticks that each took.
fn tree(root: u32) -> Result<Vec<(u32, u64)>, Failure> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut ticks: HashMap<u32, u64> = HashMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((parent, spent)) = parent_and_ticks(&stat) else { continue };
        children.entry(parent).or_default().push(id);
        ticks.insert(id, spent);
    }
    let mut found = vec![(root, *ticks.get(&root).ok_or("a server has ended")?)];
    let mut left = children.remove(&root).unwrap_or_default();
    while let Some(id) = left.pop() {
        found.push((id, ticks.get(&id).copied().unwrap_or_default()));
        left.extend(children.remove(&id).unwrap_or_default());
    }
    Ok(found)
}

fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    // The name may hold spaces and brackets. What follows begins with field 3.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let spent = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some((parent, spent))
}
