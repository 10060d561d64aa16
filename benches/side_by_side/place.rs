//! Where the systems run: their settings (`config/`, where `@NAMES@` are filled in here), their folder, their
//! cores.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::asking::{ANSWER, Answer, ask, connect};
use crate::process::{Process, cpu_time, pinned, resident};
use crate::systems::{FEW_ROUTES, Program, System};
use crate::tls;
use crate::tokens::{AUDIENCE, ISSUER};

/// A system that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) system: System,
    pub(crate) address: SocketAddr,
    /// When it was started.
    pub(crate) begun: Instant,
    admin: Option<SocketAddr>,
    /// Where it speaks TLS.
    tls: Option<tls::Client>,
    process: Process,
}

impl Running {
    pub(crate) fn cpu_time(&self) -> Result<Duration, Failure> {
        cpu_time(self.process.0.id())
    }

    /// Bytes of memory that it has.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        resident(self.process.0.id())
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> Result<Answer, Failure> {
        match &self.tls {
            Some(client) => ask(client.connect(self.address)?, path, token),
            None => ask(connect(self.address)?, path, token),
        }
    }

    /// How many tokens it verified so far, where it says so.
    pub(crate) fn verified(&self) -> Result<Option<u64>, Failure> {
        let Some(admin) = self.admin else { return Ok(None) };
        let metrics = ask(connect(admin)?, "/metrics", None)?;
        let counted = metrics
            .body
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
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The unpacked packages.
    pub(crate) gateways: PathBuf,
    /// The keys and the certificate.
    keys: PathBuf,
    /// What trusts that certificate.
    client: tls::Client,
    /// What the systems write.
    folder: PathBuf,
    /// Of the system under measurement. `None`: there is only one core.
    own_core: Option<String>,
    /// Of the upstream and the load.
    pub(crate) others_cores: Option<String>,
}

impl Place {
    pub(crate) fn new(gateways: &Path, folder: &Path) -> Result<Self, Failure> {
        let last = std::thread::available_parallelism()?.get() - 1;
        Ok(Self {
            gateways: gateways.canonicalize()?,
            keys: folder.to_owned(),
            client: tls::make_certificate(folder)?,
            folder: folder.to_owned(),
            own_core: (last > 0).then(|| last.to_string()),
            others_cores: (last > 0).then(|| format!("0-{}", last - 1)),
        })
    }

    /// The same with a folder inside, for systems of the same names.
    pub(crate) fn within(&self, name: &str) -> Result<Self, Failure> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { folder, ..self.clone() })
    }

    /// What the unpacked programs need that this system may not have.
    pub(crate) fn libraries(&self) -> String {
        let of =
            |folder: &str| self.gateways.join(folder).join(format!("{}-linux-gnu", std::env::consts::ARCH));
        format!("{}:{}", of("usr/lib").display(), of("lib").display())
    }

    /// `token`: what it gives where it is asked for one.
    pub(crate) fn start_upstream(&self, token: &str) -> Result<Upstream, Failure> {
        let [address] = free_addresses()?;
        let more = [("UPSTREAM", &*address.to_string()), ("TOKEN", token)];
        let config = self.fill(include_str!("config/upstream.conf"), &more);
        let file = self.write("upstream.conf", &config)?;
        std::fs::create_dir_all(self.folder.join("upstream.tmp"))?;
        let mut command = self.unpacked("usr/sbin/nginx", self.others_cores.as_deref());
        command.args(["-e", "stderr", "-p"]).arg(&self.folder).arg("-c").arg(file);
        let mut process = self.spawn(command, "upstream")?;
        wait_for(address, "the upstream", &mut process)?;
        Ok(Upstream { address, _process: process })
    }

    /// Starts a system on a core of its own, and waits until it listens.
    pub(crate) fn start(&self, system: System, upstream: &Upstream) -> Result<Running, Failure> {
        let mut running = self.launch(system, upstream)?;
        wait_for(running.address, system.name, &mut running.process)?;
        Ok(running)
    }

    /// Starts a system on a core of its own.
    pub(crate) fn launch(&self, system: System, upstream: &Upstream) -> Result<Running, Failure> {
        let [address, admin] = free_addresses()?;
        let name: String =
            system.name.to_lowercase().split(|c: char| !c.is_alphanumeric()).collect::<Vec<_>>().join("-");
        let command = self.command(system, &name, address, admin, upstream)?;
        let begun = Instant::now();
        let process = self.spawn(command, &name)?;
        let admin = matches!(system.program, Program::Tollgate { .. }).then_some(admin);
        let tls = system.tls.then(|| self.client.clone());
        Ok(Running { system, address, begun, admin, tls, process })
    }

    /// Writes a system's settings.
    fn command(
        &self,
        system: System,
        name: &str,
        address: SocketAddr,
        admin: SocketAddr,
        upstream: &Upstream,
    ) -> Result<Command, Failure> {
        let (listen, upstream) = (address.to_string(), upstream.address.to_string());
        let core = self.own_core.as_deref();
        let fill = |text: &str, more: &[(&str, &str)]| {
            let algorithm = system.algorithm.name();
            let common = [("LISTEN", listen.as_str()), ("UPSTREAM", &upstream), ("ALGORITHM", algorithm)];
            self.fill(text, &[more, &common].concat())
        };
        let over_tls = |text: &'static str| if system.tls { text.trim_end() } else { "" };
        Ok(match system.program {
            Program::Nginx => {
                let tls = over_tls(include_str!("config/nginx-tls.conf"));
                let file =
                    self.write("nginx.conf", &fill(include_str!("config/nginx.conf"), &[("TLS", tls)]))?;
                std::fs::create_dir_all(self.folder.join("nginx.tmp"))?;
                let mut command = self.unpacked("usr/sbin/nginx", core);
                command.args(["-e", "stderr", "-p"]).arg(&self.folder).arg("-c").arg(file);
                command
            }
            Program::HaProxy { checks } => {
                let tls = over_tls(" ssl crt @KEYS@/tls.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3");
                let more = [("TLS", tls), ("CHECKS", &checks.concat())];
                let file =
                    self.write(&format!("{name}.cfg"), &fill(include_str!("config/haproxy.cfg"), &more))?;
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
                if system.tls {
                    command.arg(self.keys.join("tls.pem"));
                }
                command
            }
            Program::Tollgate { identity, remembers, routes } => {
                // It takes 4 KB to remember one token: here there is room for one in a hundred.
                let more = [
                    ("TLS", over_tls(include_str!("config/tollgate-tls.yaml")).to_owned()),
                    ("SCHEME", if system.tls { "https" } else { "http" }.to_owned()),
                    ("ADMIN", admin.to_string()),
                    ("ROUTES", more_routes(routes)),
                    ("IDENTITY", identity.to_owned()),
                    ("TOKEN_MEMORY", if remembers { "64MiB" } else { "400KiB" }.to_owned()),
                    ("STORE", format!("{name}.store")),
                ];
                let more = more.each_ref().map(|(name, value)| (*name, value.as_str()));
                let file =
                    self.write(&format!("{name}.yaml"), &fill(include_str!("config/tollgate.yaml"), &more))?;
                tollgate(&file, core)?
            }
            Program::TollgateExchanges => {
                let (admin, store) = (admin.to_string(), format!("{name}.store"));
                let more = [("ADMIN", &*admin), ("STORE", &store)];
                let text = fill(include_str!("config/tollgate-exchange.yaml"), &more);
                tollgate(&self.write(&format!("{name}.yaml"), &text)?, core)?
            }
        })
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
        let (folder, keys) = (self.folder.to_string_lossy(), self.keys.to_string_lossy());
        let mut text = text.to_owned();
        let common = [
            ("FOLDER", &*folder),
            ("KEYS", &*keys),
            ("ISSUER", ISSUER),
            ("AUDIENCE", AUDIENCE),
            ("ANSWER", ANSWER),
        ];
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

fn tollgate(settings: &Path, core: Option<&str>) -> Result<Command, Failure> {
    let mut command = pinned(&beside("tollgate", "TOLLGATE")?, core);
    command.arg("run").arg(settings);
    Ok(command)
}

/// Those that config/tollgate.yaml has not, so that there are so many.
fn more_routes(count: usize) -> String {
    let route = include_str!("config/tollgate-route.yaml").trim_end();
    (FEW_ROUTES..count)
        .map(|number| format!("\n{}", route.replace("@NUMBER@", &number.to_string())))
        .collect()
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

/// As many as are asked for. All are held until all are there, or two could be the same.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], Failure> {
    let held = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().map_err(|_| "an address is missing".into())
}

fn wait_for(address: SocketAddr, name: &str, process: &mut Process) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline || process.0.try_wait()?.is_some() {
            return Err(format!("{name} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
