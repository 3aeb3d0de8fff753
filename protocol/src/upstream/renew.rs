//! How a gateway gets its next certificate by the one that it has (SPEC 15.15).

use super::enrol::{der, put_der};
use super::whole;
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// Codes of a refused renewal (SPEC 15.15).
pub mod renewal {
    /// The certificate is revoked.
    pub const REVOKED: u8 = 1;
    /// The request names another building than the certificate.
    pub const OTHER_BUILDING: u8 = 2;
    /// The request is malformed.
    pub const MALFORMED: u8 = 3;
    /// The hub gives none now: ask again later.
    pub const NOT_NOW: u8 = 4;
}

/// A new certificate, please. 6 bytes and the request (SPEC 15.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renew<'a> {
    /// The building of the certificate that is shown.
    pub building: u32,
    /// The request for a certificate, PKCS#10 in DER.
    pub csr: &'a [u8],
}

impl<'a> Renew<'a> {
    /// The request that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "renew", |cursor| {
            let building = cursor.u32_from_1("building")?;
            Ok(Self { building, csr: der(cursor, "certificate request")? })
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or the request is empty or too long.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&self.building.to_le_bytes())?;
        put_der(self.csr, out)
    }
}

/// The new certificate. 2 bytes and the certificate (SPEC 15.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed<'a> {
    /// DER, by the same CA.
    pub certificate: &'a [u8],
}

impl<'a> Renewed<'a> {
    /// The answer that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        whole(body, "renewed", |cursor: &mut Cursor<'a>| Ok(Self { certificate: der(cursor, "certificate")? }))
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit, or the certificate is empty or too long.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        put_der(self.certificate, out)
    }
}

/// None for you. 4 bytes (SPEC 15.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewRefused {
    /// Why: one of [`renewal`], or of a later version.
    pub code: u8,
}

impl RenewRefused {
    /// The refusal that `body` is.
    ///
    /// # Errors
    /// [`Malformed`] names the first field that is cut off or out of its range.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        whole(body, "renew refused", |cursor| {
            let code = cursor.u8("refusal")?;
            cursor.reserved(3, "refusal reserved")?;
            if code == 0 { Err(Malformed::Value("refusal")) } else { Ok(Self { code }) }
        })
    }

    /// Writes the body behind what `out` holds.
    ///
    /// # Errors
    /// [`NoRoom`] when it does not fit.
    pub fn emit(&self, out: &mut Writer<'_>) -> Result<(), NoRoom> {
        out.put(&[self.code, 0, 0, 0])
    }
}
