//! What is compared: each system, how it is set up, and what it claims to check. The settings are in `config/`,
//! as their own people would write them; `@NAMES@` are filled in here.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::load::Load;
use crate::process::{Process, cpu_time, pinned};
use crate::refusals::http_get;
use crate::tokens::{AUDIENCE, Algorithm, Bad, ISSUER};

/// What the upstream answers, small as most answers of APIs.
pub(crate) const ANSWER: &str = r#"{"items":[{"id":1,"name":"a thing"},{"id":2,"name":"another thing"}]}"#;

pub(crate) const NGINX: &str = "nginx, plain proxy";
pub(crate) const BARE: &str = "pingora, bare proxy";
pub(crate) const KNOWN: &str = "Tollgate, tokens seen before";

const SIGNATURE: &[Bad] = &[Bad::Absent, Bad::Forged, Bad::Unsigned, Bad::Confused];
const POLICY: &[Bad] = &[
    Bad::Absent,
    Bad::Forged,
    Bad::Unsigned,
    Bad::Confused,
    Bad::Expired,
    Bad::NotYetValid,
    Bad::OfAnotherIssuer,
    Bad::ForAnotherAudience,
];
/// `nbf` is not looked at.
const POLICY_OF_APACHE: &[Bad] = &[
    Bad::Absent,
    Bad::Forged,
    Bad::Unsigned,
    Bad::Confused,
    Bad::Expired,
    Bad::OfAnotherIssuer,
    Bad::ForAnotherAudience,
];

/// Under which heading a system stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    PassesOn,
    Tollgate,
    Others,
}

/// A system under measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    program: Program,
    /// Of the tokens it gets.
    pub(crate) algorithm: Algorithm,
    /// What it must have refused before it is measured.
    pub(crate) refuses: &'static [Bad],
    pub(crate) loads: &'static [Load],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Nginx,
    HaProxy { checks: &'static [&'static str] },
    Apache,
    Bare,
    Tollgate { assertion: &'static str, remembers: bool },
}

impl System {
    /// Whether it verifies a signature for each request, though it could remember.
    pub(crate) const fn verifies_each(&self) -> bool {
        matches!(self.program, Program::Tollgate { remembers: false, .. })
    }

    /// Tollgate says how many tokens it has verified. Those it remembers it must not verify again, and those that
    /// are to be new to it must be.
    ///
    /// # Errors
    /// When what was measured is not what the name says.
    pub(crate) fn expect_verified(&self, sent: u64, verified: u64) -> Result<(), Failure> {
        let Program::Tollgate { remembers, .. } = self.program else { return Ok(()) };
        let as_named = if remembers { verified * 100 <= sent } else { verified * 100 >= sent * 95 };
        if as_named {
            return Ok(());
        }
        Err(format!("{}: of {sent} requests' tokens {verified} were verified anew", self.name).into())
    }
}

/// All, in the order of the tables.
pub(crate) fn all() -> Vec<System> {
    const SIGNED: &[&str] = &[include_str!("config/haproxy-signature.cfg")];
    const FULL: &[&str] =
        &[include_str!("config/haproxy-signature.cfg"), include_str!("config/haproxy-policy.cfg")];
    use Algorithm::{EdDsa, Es256, Rs256};
    let plain = |name, program| System {
        name,
        group: Group::PassesOn,
        program,
        algorithm: Es256,
        refuses: &[],
        loads: Load::BOTH,
    };
    let other = |name, program, algorithm, refuses| System {
        name,
        group: Group::Others,
        program,
        algorithm,
        refuses,
        loads: Load::BOTH,
    };
    let tollgate = |name, assertion, remembers, algorithm| System {
        name,
        group: Group::Tollgate,
        program: Program::Tollgate { assertion, remembers },
        algorithm,
        refuses: POLICY,
        loads: if remembers { Load::BOTH } else { &[Load::Many] },
    };
    vec![
        plain(NGINX, Program::Nginx),
        plain("HAProxy, plain proxy", Program::HaProxy { checks: &[] }),
        plain(BARE, Program::Bare),
        tollgate(KNOWN, "{}", true, Es256),
        tollgate("Tollgate, seen before, an assertion a request", "{ bind: request }", true, Es256),
        tollgate("Tollgate, every token new, RS256", "{}", false, Rs256),
        tollgate("Tollgate, every token new, EdDSA", "{}", false, EdDsa),
        tollgate("Tollgate, every token new, ES256", "{}", false, Es256),
        other("HAProxy, RS256, only the signature", Program::HaProxy { checks: SIGNED }, Rs256, SIGNATURE),
        other("HAProxy, RS256, all claims", Program::HaProxy { checks: FULL }, Rs256, POLICY),
        other("HAProxy, ES256, only the signature", Program::HaProxy { checks: SIGNED }, Es256, SIGNATURE),
        other("HAProxy, ES256, all claims", Program::HaProxy { checks: FULL }, Es256, POLICY),
        other("Apache mod_auth_openidc, RS256", Program::Apache, Rs256, POLICY_OF_APACHE),
    ]
}

/// Whether the others are divided by it.
pub(crate) fn is_measure(name: &str) -> bool {
    name == NGINX || name == BARE
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
    admin: Option<SocketAddr>,
    process: Process,
}

impl Running {
    pub(crate) fn cpu_time(&self) -> Result<Duration, Failure> {
        cpu_time(self.process.0.id())
    }

    /// How many tokens it verified so far, where it says so.
    pub(crate) fn verified(&self) -> Result<Option<u64>, Failure> {
        let Some(admin) = self.admin else { return Ok(None) };
        let (_, metrics) = http_get(admin, "/metrics", None)?;
        let counted = metrics
            .lines()
            .filter(|line| {
                line.starts_with("tollgate_tokens_verified_total{") && line.contains(r#"path="verified""#)
            })
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum::<f64>();
        Ok(Some(counted as u64))
    }
}

/// Where everything is, and on which cores it runs.
#[derive(Debug)]
pub(crate) struct Place {
    /// The unpacked packages.
    pub(crate) gateways: PathBuf,
    folder: PathBuf,
    /// Of the system under measurement. `None`: there is only one core.
    own_core: Option<String>,
    /// Of the upstream and the load.
    pub(crate) others_cores: Option<String>,
}

impl Place {
    pub(crate) fn new(gateways: &Path, folder: &Path) -> Result<Self, Failure> {
        let last = std::thread::available_parallelism()?.get() - 1;
        let own_core = (last > 0).then(|| last.to_string());
        let others_cores = (last > 0).then(|| format!("0-{}", last - 1));
        Ok(Self { gateways: gateways.canonicalize()?, folder: folder.to_owned(), own_core, others_cores })
    }

    /// What the unpacked programs need that this system may not have.
    pub(crate) fn libraries(&self) -> String {
        let of =
            |folder: &str| self.gateways.join(folder).join(format!("{}-linux-gnu", std::env::consts::ARCH));
        format!("{}:{}", of("usr/lib").display(), of("lib").display())
    }

    pub(crate) fn start_upstream(&self) -> Result<Upstream, Failure> {
        let address = free_address()?;
        let config = self.fill(include_str!("config/upstream.conf"), &[("UPSTREAM", &address.to_string())]);
        let file = self.write("upstream.conf", &config)?;
        std::fs::create_dir_all(self.folder.join("upstream.tmp"))?;
        let mut command = self.unpacked("usr/sbin/nginx", self.others_cores.as_deref());
        command.args(["-e", "stderr", "-p"]).arg(&self.folder).arg("-c").arg(file);
        let process = self.spawn(command, "upstream")?;
        wait_for(address, "the upstream")?;
        Ok(Upstream { address, _process: process })
    }

    /// Starts a system on a core of its own, and waits until it listens.
    pub(crate) fn start(&self, system: System, upstream: &Upstream) -> Result<Running, Failure> {
        let (address, admin) = (free_address()?, free_address()?);
        let upstream = upstream.address.to_string();
        let name: String =
            system.name.to_lowercase().split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join("-");
        let core = self.own_core.as_deref();
        let listen = address.to_string();
        let algorithm = system.algorithm.name();
        let fill = |text: &str, more: &[(&str, &str)]| {
            let common = [("LISTEN", listen.as_str()), ("UPSTREAM", &upstream), ("ALGORITHM", algorithm)];
            self.fill(text, &[more, &common].concat())
        };
        let command = match system.program {
            Program::Nginx => {
                let file = self.write("nginx.conf", &fill(include_str!("config/nginx.conf"), &[]))?;
                std::fs::create_dir_all(self.folder.join("nginx.tmp"))?;
                let mut command = self.unpacked("usr/sbin/nginx", core);
                command.args(["-e", "stderr", "-p"]).arg(&self.folder).arg("-c").arg(file);
                command
            }
            Program::HaProxy { checks } => {
                let config = fill(include_str!("config/haproxy.cfg"), &[("CHECKS", &checks.concat())]);
                let file = self.write(&format!("{name}.cfg"), &config)?;
                let mut command = self.unpacked("usr/sbin/haproxy", core);
                command.args(["-db", "-f"]).arg(file);
                command
            }
            Program::Apache => {
                let modules = self.gateways.join("usr/lib/apache2/modules");
                // Read by root only; others run it as who they are.
                let user = "<IfModule mod_unixd.c>\nUser www-data\nGroup www-data\n</IfModule>";
                let more = [("MODULES", modules.to_str().unwrap_or_default()), ("USER", user)];
                let file = self.write("apache.conf", &fill(include_str!("config/apache.conf"), &more))?;
                let mut command = self.unpacked("usr/sbin/apache2", core);
                command.arg("-DFOREGROUND").arg("-f").arg(file);
                command
            }
            Program::Bare => {
                let mut command = pinned(&beside("passthrough", "PASSTHROUGH")?, core);
                command.args([&listen, &upstream, "1"]);
                command
            }
            Program::Tollgate { assertion, remembers } => {
                // It takes 4 KB to remember one token: here there is room for one in a hundred.
                let more = [
                    ("ADMIN", admin.to_string()),
                    ("ASSERTION", assertion.to_owned()),
                    ("TOKEN_MEMORY", if remembers { "64MiB" } else { "400KiB" }.to_owned()),
                    ("STORE", format!("{name}.store")),
                ];
                let more = more.each_ref().map(|(name, value)| (*name, value.as_str()));
                let file =
                    self.write(&format!("{name}.yaml"), &fill(include_str!("config/tollgate.yaml"), &more))?;
                let mut command = pinned(&beside("tollgate", "TOLLGATE")?, core);
                command.arg("run").arg(file);
                command
            }
        };
        let process = self.spawn(command, &name)?;
        let admin = matches!(system.program, Program::Tollgate { .. }).then_some(admin);
        wait_for(address, system.name)?;
        Ok(Running { system, address, admin, process })
    }

    fn unpacked(&self, program: &str, core: Option<&str>) -> Command {
        let mut command = pinned(&self.gateways.join(program), core);
        command.env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    fn spawn(&self, mut command: Command, name: &str) -> Result<Process, Failure> {
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(self.folder.join(format!("{name}.stderr")))?);
        Ok(Process(command.spawn().map_err(|error| format!("{name}: {error}"))?))
    }

    fn fill(&self, text: &str, with: &[(&str, &str)]) -> String {
        let folder = self.folder.to_string_lossy();
        let mut text = text.to_owned();
        let common = [("FOLDER", &*folder), ("ISSUER", ISSUER), ("AUDIENCE", AUDIENCE), ("ANSWER", ANSWER)];
        // What is filled in first may hold names of the rest.
        for (name, value) in with.iter().chain(&common) {
            text = text.replace(&format!("@{name}@"), value);
        }
        text
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let file = self.folder.join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }
}

/// The one that all systems pass requests to.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    _process: Process,
}

/// A program of ours, built beside this one, unless a variable names another.
fn beside(name: &str, variable: &str) -> Result<PathBuf, Failure> {
    match std::env::var_os(variable) {
        Some(path) => Ok(path.into()),
        None => Ok(std::env::current_exe()?.with_file_name(name)),
    }
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_for(address: SocketAddr, name: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            return Err(format!("{name} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
