//! A folder of the demo's own, under the system's folder for temporary files, for its user alone (0700),
//! removed at the end.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The folder; dropping it removes it with everything in it.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes it; its name cannot be guessed, so nobody can have put something there before.
    pub(super) fn make() -> io::Result<Self> {
        let name = format!("tollgate-demo-{}", random_name()?);
        let path = std::env::temp_dir().join(name);
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|fault| io::Error::new(fault.kind(), format!("{}: {fault}", path.display())))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let mut bits = [0; 16];
    aws_lc_rs::rand::fill(&mut bits).map_err(|_| io::Error::other("the machine has no randomness"))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_for_its_user_alone_and_goes_with_everything_in_it() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::create_dir(path.join("data")).unwrap();
        fs::write(path.join("data/key"), "x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
