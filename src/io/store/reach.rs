//! Whether the store can be used: `tollgate check --live`. A Redis is connected to, read and written, and
//! asked for all that its user must be allowed to; of a folder, which a running gateway may have open, only
//! that files can be made in it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::redis::link::{Link, Reached};
use crate::config::settings::Store as Settings;
use crate::flows::ports::{Clock, random};
use crate::io::folder;
use crate::io::store_file::StoreFileError;
use crate::io::system::SystemRandomness;

/// What there is, in words.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub async fn reach(settings: &Settings, clock: Arc<dyn Clock>) -> Result<String, String> {
    let folder = &settings.folder;
    let made = takes_files(folder);
    made.map_err(|source| StoreFileError::Folder { path: folder.clone(), source }.to_string())?;
    let Some(redis) = &settings.redis else { return Ok("can be written".to_owned()) };
    let Reached { missing, evicts } = Link::new(redis.clone(), clock).reach_once().await.map_err(|why| {
        format!("{why}; see that `store` names it rightly, its password included, and this machine may connect to it")
    })?;
    if let Some(missing) = missing {
        return Err(format!(
            "its user may not use {missing}; grant what docs/deployment.md lists, or not all of it works"
        ));
    }
    Ok(match evicts {
        None => "can be read and written".to_owned(),
        Some(policy) => format!(
            "can be read and written, but may throw away what keeps replays from going unnoticed ({policy}); set maxmemory-policy noeviction"
        ),
    })
}

/// Makes a file as the store makes its own, and removes it again: in the folder, or where the folder is to be
/// made.
fn takes_files(place: &Path) -> io::Result<()> {
    let there = place.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unique: [u8; 8] = random(&SystemRandomness);
    let name = format!(".check.{:016x}", u64::from_be_bytes(unique));
    let (draft, file) = (there.join(format!("{name}.draft")), there.join(name));
    OpenOptions::new().write(true).create_new(true).open(&draft)?;
    let put = folder::put_new(&draft, &file);
    folder::remove_draft(&draft)?;
    put.and_then(|()| fs::remove_file(&file))
}
