//! Real Redis servers, Sentinels and clusters, each a process of its own on a free port of loopback, ended
//! with the test and leaving nothing behind. `tests/it` uses them too.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpSocket;

/// How long a server may take to be there on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// One `redis-server`.
pub(crate) struct Server {
    pub(crate) port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
    folder: TempDir,
}

impl Server {
    /// Without TLS; `arguments` as on the command line.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::launch(|port, _| {
            let port = ["--port".to_owned(), port.to_string()];
            port.into_iter().chain(arguments.iter().map(|argument| (*argument).to_owned())).collect()
        })
    }

    /// `arguments`: by port and folder.
    pub(crate) fn launch(arguments: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let (port, folder) = (own_port(), tempfile::tempdir().unwrap());
        let arguments = arguments(port, folder.path());
        let mut server = Self { port, arguments, process: None, folder };
        server.run();
        server
    }

    /// Starts it, and waits until it listens. Whoever listens at its port is this process: nobody else is
    /// given it.
    fn run(&mut self) {
        let fixed = ["--bind", "127.0.0.1", "--daemonize", "no", "--loglevel", "warning", "--logfile", "log"];
        let quiet = ["--save", "", "--appendonly", "no", "--dir"];
        let is_sentinel = self.arguments.iter().any(|argument| argument == "--sentinel");
        let mut command = Command::new("redis-server");
        command.args(&self.arguments);
        if !is_sentinel {
            command.args(fixed).args(quiet).arg(self.folder.path());
        }
        let started =
            command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut process = started.expect("redis-server is missing: run scripts/setup test");
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(ended) = process.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("redis-server {:?}: {ended}: {log}", self.arguments);
            }
            assert!(began.elapsed() < LONG, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(2));
        }
        self.process = Some(process);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The value that it was started with.
    pub(crate) fn argument(&self, name: &str) -> &str {
        let at = self.arguments.iter().position(|argument| argument == name).unwrap();
        &self.arguments[at + 1]
    }

    /// Ends it at once (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again on its port. It has forgotten everything.
    pub(crate) fn start_again(&mut self) {
        self.run();
    }

    /// It takes connections and answers nothing any more (SIGSTOP).
    pub(crate) fn hang(&self) {
        self.signal("STOP");
    }

    /// It goes on where it stopped (SIGCONT).
    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap().id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
        assert!(sent.success());
    }

    /// Asks it something over a connection of its own; returns the first line of the answer.
    pub(crate) fn ask(&self, command: &str) -> String {
        self.ask_all(command).lines().next().unwrap_or_default().to_owned()
    }

    /// The whole answer to whoever says this password first.
    pub(crate) fn ask_with(&self, password: Option<&str>, command: &str) -> String {
        let Some(password) = password else { return self.ask_all(command) };
        let answers = self.ask_all(&format!("AUTH {password}\r\n{command}"));
        answers.strip_prefix("+OK\n").expect("the password is taken").to_owned()
    }

    /// The whole answer, up to its end.
    pub(crate) fn ask_all(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(format!("{command}\r\nPING the-end\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        for line in BufReader::new(stream).split(b'\n') {
            let line = line.unwrap();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            if line == "the-end" {
                break;
            }
            answer.push_str(line);
            answer.push('\n');
        }
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a server speaks TLS with beside clear text, on a port of its own: the files of a certificate, which
/// its peers trust too, and of its key.
pub(crate) fn tls(certificate: &Path, key: &Path) -> Vec<String> {
    let file = |path: &Path| path.display().to_string();
    let settings = [
        ["--tls-port", &own_port().to_string()],
        ["--tls-cert-file", &file(certificate)],
        ["--tls-key-file", &file(key)],
        ["--tls-ca-cert-file", &file(certificate)],
        ["--tls-auth-clients", "no"],
        ["--tls-replication", "yes"],
        ["--tls-cluster", "yes"],
    ];
    settings.as_flattened().iter().map(|argument| (*argument).to_owned()).collect()
}

/// A Sentinel of the master on port `master`, which it calls `mymaster`. It replaces it when it is told to
/// (`fail_over`) and not before: a master that a busy machine held up is still the master. `more`: as on the
/// command line.
pub(crate) fn sentinel(master: u16, more: &[String]) -> Server {
    Server::launch(|port, folder| {
        let file = folder.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nlogfile log\ndir {}\nsentinel monitor mymaster 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds mymaster 600000\nsentinel failover-timeout mymaster 60000\n",
            folder.display()
        );
        std::fs::write(&file, text).unwrap();
        let sentinel = [file.display().to_string(), "--sentinel".to_owned()];
        sentinel.into_iter().chain(more.iter().cloned()).collect()
    })
}

/// The Sentinel has another server take over from `mymaster`. `password`: its own, where it has one.
pub(crate) fn fail_over(sentinel: &Server, password: Option<&str>) {
    let began = Instant::now();
    // One that it has not heard of lately cannot take over yet.
    while !sentinel.ask_with(password, "SENTINEL FAILOVER mymaster").starts_with("+OK") {
        assert!(began.elapsed() < LONG, "nobody can take over");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A cluster of three masters that share the slots. `more`: as on the command line, for each of them.
pub(crate) fn cluster(more: impl Fn() -> Vec<String>) -> [Server; 3] {
    let start = |_| {
        Server::launch(|port, _| {
            let (port, bus) = (port.to_string(), own_port().to_string());
            let settings = [
                ["--port", &port],
                ["--cluster-enabled", "yes"],
                ["--cluster-port", &bus],
                // Longer than a busy machine holds any of them up.
                ["--cluster-node-timeout", "30000"],
            ];
            settings.as_flattened().iter().map(|argument| (*argument).to_owned()).chain(more()).collect()
        })
    };
    let servers = [0, 1, 2].map(start);
    for (index, server) in servers.iter().enumerate() {
        let (first, last) = (index * 5462, (index * 5462 + 5461).min(16_383));
        assert_eq!(server.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")), "+OK");
        let (port, bus) = (servers[0].port, servers[0].argument("--cluster-port"));
        assert_eq!(server.ask(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")), "+OK");
    }
    let began = Instant::now();
    let agree = |server: &Server| {
        let info = server.ask_all("CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    while !servers.iter().all(agree) {
        assert!(began.elapsed() < LONG, "the cluster does not come together");
        std::thread::sleep(Duration::from_millis(10));
    }
    servers
}

/// A port that is given to nobody else for as long as this process runs: a socket keeps it that never
/// listens, beside which a server may. Until one does, whoever connects is refused.
pub(crate) fn own_port() -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}
