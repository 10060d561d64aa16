//! stub
/// The keys that cookies are sealed with: the first seals, all open.
#[derive(Debug)]
pub struct KeyRing {}

impl KeyRing {
    /// `keys`: 32 bytes each; shorter or longer is an error, so is an empty list.
    pub fn new(keys: Vec<crate::core::secret::Secret<Vec<u8>>>) -> Result<Self, String> {
        let _ = keys;
        Ok(Self {})
    }
}
