//! Makes folders that are missing, such that they are there after a loss of power, too: a folder is an entry of its
//! parent, and is lost with that entry, whatever is on the disk inside it.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes `folder` and what is missing above it, for this user alone. Changes nothing of what is there.
///
/// # Errors
/// When it cannot be made, or not be made to last.
pub(in crate::io) fn make(folder: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<_> = folder.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_missing_is_made_for_this_user_alone_and_what_is_there_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let there = root.path().join("there");
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, Permissions::from_mode(0o755)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for _ in 0..2 {
            make(&there.join("a/b")).unwrap();
            assert_eq!(
                [mode(&there), mode(&there.join("a")), mode(&there.join("a/b"))],
                [0o755, 0o700, 0o700]
            );
        }
        fs::write(there.join("file"), "").unwrap();
        assert!(make(&there.join("file")).is_err() && make(&there.join("file/c")).is_err());
    }
}
