//! Makes folders that are missing, such that they are there after a loss of power, too: a folder is an entry
//! of its parent, and is lost with that entry, whatever is on the disk inside it. And puts files into them
//! that are whole or not there.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Puts the file that was written at `draft` to its place, where nothing may be. Of two that do so one wins.
/// The draft may be there still, and its entry is on the disk when the folder is synced.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], or what the file system cannot do.
pub(in crate::io) fn put_new(draft: &Path, place: &Path) -> io::Result<()> {
    put_new_by(draft, place, |draft, place| fs::hard_link(draft, place))
}

fn put_new_by(
    draft: &Path,
    place: &Path,
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let Err(linking) = link(draft, place) else { return Ok(()) };
    if !has_no_links(&linking) {
        return Err(linking);
    }
    // SMB, FAT and most that keep objects as files have no links to files.
    renameat_with(CWD, draft, CWD, place, RenameFlags::NOREPLACE).map_err(|error| match error {
        Errno::EXIST => error.into(),
        error => {
            let lacks = format!(
                "its file system has no hard links ({linking}), and cannot rename without replacing ({error})"
            );
            io::Error::new(io::ErrorKind::Unsupported, lacks)
        }
    })
}

fn has_no_links(error: &io::Error) -> bool {
    let lacking = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|error| lacking.contains(&error))
}

/// Takes away a draft, which may be in its place.
pub(in crate::io) fn remove_draft(draft: &Path) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

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
    use std::fs::Permissions;
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

    #[test]
    fn a_file_is_put_in_its_place_once_also_where_there_are_no_hard_links() {
        let root = tempfile::tempdir().unwrap();
        let [draft, place] = ["draft", "place"].map(|name| root.path().join(name));
        for lacking in [None, Some(Errno::PERM), Some(Errno::OPNOTSUPP), Some(Errno::NOSYS)] {
            let link = |draft: &Path, place: &Path| match lacking {
                None => fs::hard_link(draft, place),
                Some(error) => Err(error.into()),
            };
            for (text, is_first) in [("first", true), ("second", false)] {
                fs::write(&draft, text).unwrap();
                let put = put_new_by(&draft, &place, link);
                remove_draft(&draft).unwrap();
                let is_there = put.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
                assert_eq!(is_there, !is_first, "{lacking:?}");
                assert_eq!(fs::read_to_string(&place).unwrap(), "first", "{lacking:?}");
                assert!(!draft.exists());
            }
            fs::remove_file(&place).unwrap();
        }
        // What keeps from writing at all is told as it is.
        let full = put_new_by(&draft, &place, |_, _| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        let none = put_new_by(&draft, &place, |_, _| Err(Errno::PERM.into())).unwrap_err();
        assert!(none.to_string().contains("no hard links"), "{none}");
    }
}
