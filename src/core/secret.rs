//! A value that must never be printed and is wiped when dropped: client secrets, refresh tokens,
//! keys. It has no `Display` and no `Serialize`; whoever needs the value writes `expose()`, which a
//! reviewer can search for.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroize;

/// A secret. `Debug` prints `[secret]`; equality takes the same time wherever two values differ.
pub struct Secret<T: Zeroize>(T);

pub type SecretString = Secret<String>;

impl<T: Zeroize> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. It must not reach a log, an error text or an answer to a browser.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, to be changed in place.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl Secret<Vec<u8>> {
    /// No bytes yet, and room for as many: a buffer that grows leaves copies of the secret behind.
    pub fn with_capacity(room: usize) -> Self {
        Self::new(Vec::with_capacity(room))
    }

    /// The form as it is sealed and kept. `room`: what it needs at most.
    pub fn of_form(form: &impl Serialize, room: usize) -> Self {
        let mut bytes = Self::with_capacity(room);
        // Writing to memory has no reason to fail; what is cut short is not readable.
        if rmp_serde::encode::write_named(bytes.expose_mut(), form).is_err() {
            bytes.expose_mut().clear();
        }
        bytes
    }
}

impl<T: Zeroize + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_ref(), other.0.as_ref()).is_ok()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

impl From<&str> for SecretString {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let secret = SecretString::from("hunter2");
        assert_eq!(format!("{secret:?}"), "[secret]");
        assert_eq!(secret.expose(), "hunter2");
    }
}
