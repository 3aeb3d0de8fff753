//! The public key of a publisher.

use core::fmt;

use thiserror::Error;

/// An Ed25519 public key: who may publish snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublisherKey([u8; 32]);

/// Why a text is no [`PublisherKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a publisher's key is 64 hexadecimal digits; copy the line that `kalitka-snapshot keygen` printed")]
pub struct KeyError;

impl PublisherKey {
    /// The key of 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyError`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| KeyError)?;
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublisherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublisherKey({self})")
    }
}
