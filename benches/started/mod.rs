//! The gateway that was built beside a bench, started with a configuration of the bench, and addresses for it.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

type Failure = Box<dyn Error + Send + Sync>;

/// A process under measurement. Ends with the value.
pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) process: Child,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A gateway whose configuration has the members of `config`, and addresses of its own. `jwks.json` in its
/// folder has the keys.
pub(crate) fn start_gateway(folder: &Path, jwks: &str, config: Value) -> Result<Started, Failure> {
    let [address, admin] = free_addresses()?;
    let Value::Object(mut config) = config else { return Err("a configuration has members".into()) };
    let of_its_own = [
        ("public_url", format!("http://localhost:{}", address.port())),
        ("listen", address.to_string()),
        ("admin", admin.to_string()),
        ("store", "data".to_owned()),
    ];
    config.extend(of_its_own.map(|(key, value)| (key.to_owned(), json!(value))));
    std::fs::write(folder.join("jwks.json"), jwks)?;
    std::fs::write(folder.join("config.yaml"), Value::Object(config).to_string())?;
    // The access log is written, as in production, to nowhere.
    let process = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["run", "config.yaml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("stderr"))?)
        .spawn()?;
    Ok(Started { address, process })
}

/// As many as are asked for. All are held until all are there, or two could be the same.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], Failure> {
    let held = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let addresses = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().map_err(|_| "an address is missing".into())
}
