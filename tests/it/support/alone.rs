//! A test in a process of its own: what a process has of memory is not one test's while others run beside it.

use std::process::Command;

/// Set in that process.
const MARK: &str = "TOLLGATE_TEST_ALONE";

/// Runs the test of this name in a process of its own and fails when it fails. True where that is done; false
/// in that process, where the test itself is to be run.
pub fn was_run_alone(module: &str, name: &str) -> bool {
    said_alone(module, name).is_some()
}

/// The same, and all that it said.
pub fn said_alone(module: &str, name: &str) -> Option<String> {
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    let module = module.split_once("::").unwrap().1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(format!("{module}::{name}")).args(["--exact", "--nocapture"]).env(MARK, "1");
    let output = command.output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success() && said.contains("test result: ok. 1 passed"), "{said}");
    Some(said)
}

/// Resident memory of this process, in bytes.
pub fn resident() -> usize {
    of_status("VmRSS:")
}

/// The most that it ever was, whoever looked meanwhile.
pub fn most_resident() -> usize {
    of_status("VmHWM:")
}

fn of_status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
