//! Keys that nobody configured: made once, kept in the store folder, readable by the owner alone; one that
//! others can read is refused.
//!
//! It must never overwrite a key: what an old key has sealed would be lost.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use zeroize::Zeroizing;

use crate::core::secret::Secret;
use crate::core::signing::{SigningKey, write_pem};
use crate::flows::ports::{Randomness, random};
use crate::io::folder;

/// The file that holds the key of the cookies, as 64 hexadecimal digits.
const COOKIE_KEY: &str = "cookie.key";
/// The file that holds the token of the admin listener: 64 hexadecimal digits, as they are sent.
const ADMIN_TOKEN: &str = "admin.token";
/// The file that holds the key of the assertions, in PKCS#8 PEM.
const ASSERTION_KEY: &str = "assertion.key";

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error(
        "the store folder {path} cannot be used: {source}; make it writable for this user, or set `store`"
    )]
    Folder { path: PathBuf, source: io::Error },
    #[error("the key file {path} cannot be used: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the key file {path} {why}")]
    NoSigningKey { path: PathBuf, why: String },
    #[error(
        "the key file {path} is open to others than its owner and group (mode {mode:04o}); run: chmod 600 {path}"
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "the key file {path} does not hold 64 hexadecimal digits; restore it, or remove it and a new one is made"
    )]
    Malformed { path: PathBuf },
}

/// The key that seals cookies: the one in `folder`, made now when there is none.
///
/// # Errors
/// When the folder cannot be used, or its key file is not a key or is readable by others.
pub fn cookie_key(folder: &Path, source: &dyn Randomness) -> Result<Secret<Vec<u8>>, KeyFileError> {
    made_once(folder, COOKIE_KEY, source)
}

/// The key that signs assertions, in PKCS#8 PEM: the one in `folder`, made now when there is none (P-256,
/// which every JWT library verifies).
///
/// # Errors
/// As [`cookie_key`].
pub fn assertion_key(folder: &Path) -> Result<Secret<Vec<u8>>, KeyFileError> {
    let path = folder.join(ASSERTION_KEY);
    let make = || new_assertion_key().map_err(|error| io::Error::other(error.to_string()));
    let text = kept_once(folder, ASSERTION_KEY, make)?;
    match SigningKey::from_pem(text.as_bytes()) {
        Ok(_) => Ok(Secret::new(text.as_bytes().to_vec())),
        Err(why) => Err(KeyFileError::NoSigningKey { path, why }),
    }
}

/// A new key that signs assertions, in PKCS#8 PEM.
///
/// # Errors
/// When the machine gives no random bits.
pub fn new_assertion_key() -> Result<Zeroizing<String>, Unspecified> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
    Ok(write_pem(key.as_ref()))
}

/// The token of the admin listener: the one in `folder`, made now when there is none.
///
/// # Errors
/// As [`cookie_key`].
pub fn admin_token(folder: &Path, source: &dyn Randomness) -> Result<Secret<Vec<u8>>, KeyFileError> {
    let bits = made_once(folder, ADMIN_TOKEN, source)?;
    Ok(Secret::new(to_hex(bits.expose()).as_bytes().to_vec()))
}

/// The token of the admin listener that a gateway made in `folder`, if it did.
///
/// # Errors
/// When its file is not a token, cannot be read, or can be read by others.
pub fn made_admin_token(folder: &Path) -> Result<Option<Secret<Vec<u8>>>, KeyFileError> {
    let path = folder.join(ADMIN_TOKEN);
    let Some(text) = read(&path)? else { return Ok(None) };
    let bits = bits(&text).ok_or(KeyFileError::Malformed { path })?;
    Ok(Some(Secret::new(to_hex(bits.expose()).as_bytes().to_vec())))
}

fn made_once(folder: &Path, name: &str, source: &dyn Randomness) -> Result<Secret<Vec<u8>>, KeyFileError> {
    let make = || {
        let mut text = to_hex(&*Zeroizing::new(random::<32>(source)));
        text.push('\n');
        Ok(text)
    };
    let text = kept_once(folder, name, make)?;
    bits(&text).ok_or_else(|| KeyFileError::Malformed { path: folder.join(name) })
}

/// The text of a file, which is made now when there is none.
fn kept_once(
    folder: &Path,
    name: &str,
    make: impl FnOnce() -> io::Result<Zeroizing<String>>,
) -> Result<Zeroizing<String>, KeyFileError> {
    let fault = |source| KeyFileError::Folder { path: folder.to_owned(), source };
    folder::make(folder).map_err(fault)?;
    let path = folder.join(name);
    if let Some(text) = read(&path)? {
        return Ok(text);
    }
    make().and_then(|text| create(folder, name, &text)).map_err(fault)?;
    read(&path)?.ok_or_else(|| KeyFileError::File { path, source: io::ErrorKind::NotFound.into() })
}

/// 64 hexadecimal digits.
fn bits(text: &str) -> Option<Secret<Vec<u8>>> {
    from_hex(text.trim_end()).map(Secret::new)
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, KeyFileError> {
    let fault = |source| KeyFileError::File { path: path.to_owned(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    keep_for_owner(&file, path)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(fault)?;
    Ok(Some(text))
}

/// Others than owner and group may not even look. Whoever gives a folder to a group gives it the files in it,
/// as Kubernetes does at each start of a pod with `fsGroup`: that is taken back where it can be, and is no
/// reason not to start.
fn keep_for_owner(file: &File, path: &Path) -> Result<(), KeyFileError> {
    let fault = |source| KeyFileError::File { path: path.to_owned(), source };
    let mode = file.metadata().map_err(fault)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    if mode & 0o070 != 0 {
        let (path, mode) = (path.display(), format!("{mode:04o}"));
        match file.set_permissions(Permissions::from_mode(0o600)) {
            Ok(()) => {
                tracing::warn!(%path, mode, "a key file was open to its group; it is its owner's alone now")
            }
            Err(error) => {
                tracing::warn!(%path, mode, %error, "a key file is open to its group, which cannot be changed; make it its owner's alone (chmod 600)");
            }
        }
    }
    Ok(())
}

/// Writes a new key beside its place and puts it there whole, so that of two processes that start at once
/// one wins and both use its key, and no reader ever sees half a key.
fn create(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let mut unique = [0; 8];
    aws_lc_rs::rand::fill(&mut unique).map_err(io::Error::other)?;
    let draft = folder.join(format!(".{name}.{:016x}", u64::from_be_bytes(unique)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let put = written.and_then(|()| folder::put_new(&draft, &folder.join(name)));
    folder::remove_draft(&draft)?;
    match put {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(folder)?.sync_all(),
    }
}

fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    // Room for all of it and a line's end: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len() + 1));
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(AtomicU8);

    impl Randomness for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn a_key_is_made_once_and_kept_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("data");
        let source = Counting::default();
        let first = cookie_key(&store, &source).unwrap();
        assert_eq!(first.expose().len(), 32);
        assert!(first == cookie_key(&store, &source).unwrap(), "the second start has the same key");
        let mode = fs::metadata(store.join(COOKIE_KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&store).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&store).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(COOKIE_KEY);
        fs::write(&path, "00").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let damaged = cookie_key(folder.path(), &Counting::default());
        assert!(matches!(damaged, Err(KeyFileError::Malformed { .. })), "{damaged:?}");
        for mode in [0o644, 0o604, 0o602, 0o661] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let exposed = cookie_key(folder.path(), &Counting::default()).unwrap_err();
            assert!(matches!(exposed, KeyFileError::Exposed { .. }), "{exposed:?}");
            assert!(
                exposed.to_string().contains(&format!("others than its owner and group (mode {mode:04o})"))
            );
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "left as it is");
        }
    }

    /// What the kubelet does to each file of a volume when a pod with `fsGroup` starts.
    #[test]
    fn a_key_that_was_given_to_a_group_is_its_owners_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, source) = (folder.path().join(ADMIN_TOKEN), Counting::default());
        let first = admin_token(folder.path(), &source).unwrap();
        for mode in [0o660, 0o640, 0o670] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(admin_token(folder.path(), &source).unwrap() == first);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(made_admin_token(folder.path()).unwrap() == Some(first), "a command that reads it");
    }

    #[test]
    fn a_key_for_assertions_is_made_once_and_signs() {
        let folder = tempfile::tempdir().unwrap();
        let first = assertion_key(folder.path()).unwrap();
        assert!(first == assertion_key(folder.path()).unwrap());
        let path = folder.path().join(ASSERTION_KEY);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "nothing").unwrap();
        let damaged = assertion_key(folder.path());
        assert!(matches!(damaged, Err(KeyFileError::NoSigningKey { .. })), "{damaged:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_used_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a-file");
        fs::write(&file, "").unwrap();
        let error = cookie_key(&file.join("data"), &Counting::default()).unwrap_err();
        assert!(error.to_string().contains("store"), "{error}");
    }
}
