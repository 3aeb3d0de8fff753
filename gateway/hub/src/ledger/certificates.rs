//! Tokens and certificates: who may become a gateway, and who is one.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, Sheet, get, hex_bytes, len, open, put};
use crate::failure::Failure;
use crate::limits::{CERTIFICATES_MAX, ENROL_AGAIN, TOKEN_REMEMBERED, TOKENS_MAX};
use crate::pki::{GatewayCertificate, Issued};
use redb::{ReadableTable, WriteTransaction};

/// By the hash of the token's secret.
const TOKENS: Sheet<&[u8; 32]> = Sheet::new("tokens");
/// By serial number.
pub(super) const CERTIFICATES: Sheet<&[u8]> = Sheet::new("certificates");

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenEntry {
    pub(crate) building: u32,
    /// Seconds since 1970, like every time here.
    pub(crate) expires: i64,
    pub(crate) used: Option<Use>,
}

/// What a token was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) at: i64,
    /// SHA-256 of the request.
    #[serde(with = "hex_bytes")]
    pub(crate) request: [u8; 32],
    /// What was given for it, DER.
    #[serde(with = "hex_bytes")]
    pub(crate) certificate: Vec<u8>,
}

/// A certificate that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateEntry {
    #[serde(with = "hex_bytes")]
    pub(crate) serial: Vec<u8>,
    pub(crate) building: u32,
    /// The gateway's key, in hex.
    pub(crate) key: String,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) revoked: Option<i64>,
}

/// What the ledger says of a certificate that its gateway shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    Revoked,
    /// It is of our authority, but nobody knew it here: the store is younger than it, or an older copy. Known from now on.
    Unknown,
}

/// What a token was good for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Redeemed {
    /// A new certificate, DER.
    New(Vec<u8>),
    /// The one that the same request got before: its answer was lost.
    Again(Vec<u8>),
    Unknown,
    Used,
    Expired,
    OtherBuilding,
}

impl Ledger<'_> {
    /// Keeps a new token.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when there are too many.
    pub(crate) fn add_token(self, hash: &[u8; 32], building: u32, now: i64, expires: i64) -> Result<(), LedgerError> {
        self.change(|transaction| {
            let mut tokens = open(transaction, TOKENS)?;
            let remembered = now.saturating_sub(TOKEN_REMEMBERED.as_secs().cast_signed());
            let old = |entry: &TokenEntry| entry.expires < remembered;
            tokens
                .retain(|_, bytes| super::decode(bytes).is_ok_and(|entry| !old(&entry)))
                .map_err(crate::store::StoreError::from)?;
            if len(&tokens)? >= TOKENS_MAX {
                return Err(LedgerError::Refused(format!(
                    "{TOKENS_MAX} tokens are waiting or lately used; wait until some have expired"
                )));
            }
            Ok(put(&mut tokens, hash, &TokenEntry { building, expires, used: None })?)
        })
    }

    /// The token of this hash.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn token(self, hash: &[u8; 32]) -> Result<Option<TokenEntry>, LedgerError> {
        self.get(TOKENS, hash)
    }

    /// Uses the token for `request` and keeps what `issue` makes, in one transaction: when this returns, the token is used
    /// and the certificate known, whatever happens to the answer. The same request within [`ENROL_AGAIN`] gets the same.
    ///
    /// # Errors
    /// What the store or `issue` says; then nothing has changed.
    pub(crate) fn redeem(
        self,
        (hash, building): (&[u8; 32], u32),
        request: &[u8; 32],
        now: i64,
        issue: impl FnOnce() -> Result<Issued, Failure>,
    ) -> Result<Redeemed, LedgerError> {
        self.change(|transaction| {
            let mut tokens = open(transaction, TOKENS)?;
            let entry: Option<TokenEntry> = get(&tokens, hash)?;
            let Some(entry) = entry else { return Ok(Redeemed::Unknown) };
            if entry.building != building {
                return Ok(Redeemed::OtherBuilding);
            }
            if let Some(used) = entry.used {
                let lately = now.saturating_sub(used.at) <= ENROL_AGAIN.as_secs().cast_signed();
                let same = used.request == *request && lately;
                return Ok(if same { Redeemed::Again(used.certificate) } else { Redeemed::Used });
            }
            if now >= entry.expires {
                return Ok(Redeemed::Expired);
            }
            let issued = issue().map_err(LedgerError::Unmade)?;
            add_certificate(transaction, building, &issued)?;
            let used = Use { at: now, request: *request, certificate: issued.certificate.clone() };
            put(&mut tokens, hash, &TokenEntry { used: Some(used), ..entry })?;
            Ok(Redeemed::New(issued.certificate))
        })
    }

    /// Keeps a certificate that was given without a token.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn add_certificate(self, building: u32, issued: &Issued) -> Result<(), LedgerError> {
        self.change(|transaction| add_certificate(transaction, building, issued))
    }

    /// Every certificate that was given.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn certificates(self) -> Result<Vec<CertificateEntry>, LedgerError> {
        self.all(CERTIFICATES, |_, entry| Some(entry))
    }

    /// How `shown` stands, which is of our authority. Whoever has to be known to be revoked is known when this returns.
    ///
    /// # Errors
    /// What the store says: then nobody knows.
    pub(crate) fn standing(self, shown: &GatewayCertificate) -> Result<Standing, LedgerError> {
        let entry: Option<CertificateEntry> = self.get(CERTIFICATES, shown.serial.as_slice())?;
        if let Some(entry) = entry {
            return Ok(if entry.revoked.is_some() { Standing::Revoked } else { Standing::Good });
        }
        self.change(|transaction| {
            let entry = CertificateEntry {
                serial: shown.serial.clone(),
                building: shown.building,
                key: hex::encode(shown.public_key),
                not_before: shown.not_before,
                not_after: shown.not_after,
                revoked: None,
            };
            add(transaction, &entry)
        })?;
        Ok(Standing::Unknown)
    }

    /// The keys of every certificate that a gateway of `building` was given or has shown, in hex.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn keys(self, building: u32) -> Result<BTreeSet<String>, LedgerError> {
        let of = |_: &[u8], entry: CertificateEntry| (entry.building == building).then_some(entry.key);
        Ok(self.all(CERTIFICATES, of)?.into_iter().collect())
    }

    /// Revokes every certificate that `choose` chooses; gives those that were not revoked before.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn revoke(
        self,
        now: i64,
        choose: impl Fn(&CertificateEntry) -> bool,
    ) -> Result<Vec<CertificateEntry>, LedgerError> {
        self.change(|transaction| {
            let mut table = open(transaction, CERTIFICATES)?;
            let mut chosen = Vec::new();
            for entry in table.iter().map_err(crate::store::StoreError::from)? {
                let (_, value) = entry.map_err(crate::store::StoreError::from)?;
                let entry: CertificateEntry = super::decode(value.value())?;
                if entry.revoked.is_none() && choose(&entry) {
                    chosen.push(CertificateEntry { revoked: Some(now), ..entry });
                }
            }
            for entry in &chosen {
                put(&mut table, entry.serial.as_slice(), entry)?;
            }
            Ok(chosen)
        })
    }
}

pub(super) fn add_certificate(
    transaction: &WriteTransaction,
    building: u32,
    issued: &Issued,
) -> Result<(), LedgerError> {
    let entry = CertificateEntry {
        serial: issued.serial.clone(),
        building,
        key: issued.public_key.clone(),
        not_before: issued.not_before,
        not_after: issued.not_after,
        revoked: None,
    };
    add(transaction, &entry)
}

fn add(transaction: &WriteTransaction, entry: &CertificateEntry) -> Result<(), LedgerError> {
    let mut table = open(transaction, CERTIFICATES)?;
    if len(&table)? >= CERTIFICATES_MAX {
        return Err(LedgerError::Refused(format!("{CERTIFICATES_MAX} certificates are kept, and no more can be")));
    }
    Ok(put(&mut table, entry.serial.as_slice(), entry)?)
}
