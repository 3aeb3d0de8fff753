//! Renewals: the newest of each building, so that one whose answer was lost gets the same again.

use serde::{Deserialize, Serialize};

use super::certificates::{CERTIFICATES, CertificateEntry, add_certificate};
use super::{Ledger, LedgerError, Sheet, get, hex_bytes, open, put};
use crate::failure::Failure;
use crate::limits::{RENEW_AGAIN, RENEW_PAUSE};
use crate::pki::{GatewayCertificate, Issued};

/// By building.
const RENEWALS: Sheet<u32> = Sheet::new("renewals");

/// The newest renewal of a building.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RenewalEntry {
    /// Seconds since 1970.
    at: i64,
    /// SHA-256 of the request.
    #[serde(with = "hex_bytes")]
    request: [u8; 32],
    /// What was given for it, DER.
    #[serde(with = "hex_bytes")]
    certificate: Vec<u8>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// A new certificate, DER.
    New(Vec<u8>),
    /// The one that the same request got before.
    Again(Vec<u8>),
    /// The certificate that asks, or the one given before, is revoked.
    Revoked,
    /// The building has got another one lately.
    NotNow,
}

impl Ledger<'_> {
    /// Keeps what `issue` makes for `request` of the gateway that has shown `shown`, in one transaction with the look at
    /// whether that is revoked. The same request gets the same for [`RENEW_AGAIN`], another one nothing for [`RENEW_PAUSE`].
    ///
    /// # Errors
    /// What the store or `issue` says; then nothing has changed.
    pub(crate) fn renew(
        self,
        shown: &GatewayCertificate,
        request: &[u8; 32],
        now: i64,
        issue: impl FnOnce() -> Result<Issued, Failure>,
    ) -> Result<Renewal, LedgerError> {
        self.change(|transaction| {
            let is_revoked = |serial: &[u8]| -> Result<bool, LedgerError> {
                let known: Option<CertificateEntry> = get(&open(transaction, CERTIFICATES)?, serial)?;
                Ok(known.is_some_and(|entry| entry.revoked.is_some()))
            };
            if is_revoked(&shown.serial)? {
                return Ok(Renewal::Revoked);
            }
            let before: Option<RenewalEntry> = get(&open(transaction, RENEWALS)?, shown.building)?;
            // A clock that was set back is no reason to wait for the time that it said.
            let age = |entry: &RenewalEntry| u64::try_from(now.saturating_sub(entry.at)).unwrap_or(u64::MAX);
            if let Some(before) = before {
                if before.request == *request && age(&before) <= RENEW_AGAIN.as_secs() {
                    let given = GatewayCertificate::read(&before.certificate);
                    let revoked = given.map_or(Ok(true), |given| is_revoked(&given.serial))?;
                    return Ok(if revoked { Renewal::Revoked } else { Renewal::Again(before.certificate) });
                }
                if age(&before) < RENEW_PAUSE.as_secs() {
                    return Ok(Renewal::NotNow);
                }
            }
            let issued = issue().map_err(LedgerError::Unmade)?;
            add_certificate(transaction, shown.building, &issued)?;
            let entry = RenewalEntry { at: now, request: *request, certificate: issued.certificate.clone() };
            put(&mut open(transaction, RENEWALS)?, shown.building, &entry)?;
            Ok(Renewal::New(issued.certificate))
        })
    }

    /// When the first building's newest certificate that is not revoked expires, in seconds since 1970.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn expires_first(self) -> Result<Option<i64>, LedgerError> {
        let mut newest = std::collections::BTreeMap::new();
        for entry in self.certificates()?.into_iter().filter(|entry| entry.revoked.is_none()) {
            let kept = newest.entry(entry.building).or_insert(entry.not_after);
            *kept = entry.not_after.max(*kept);
        }
        Ok(newest.into_values().min())
    }
}
