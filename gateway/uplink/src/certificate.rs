//! What certificates say (SPEC 15.1).

use std::time::Duration;

use kalitka_protocol::upstream::BUILDING_NAME;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key::GatewayKey;
use crate::limits::{RENEW_AFTER, RENEW_SPREAD};

/// From when to when a certificate holds, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) begins: i64,
    pub(crate) expires: i64,
}

impl Validity {
    /// When the certificate `der` of this validity is to be renewed: behind a share of its life, and by another share of it
    /// later, which is always the same of one certificate, so that those of one day are not renewed on one day.
    pub(crate) fn renewal_due(self, der: &[u8]) -> i64 {
        let life = i128::from(self.expires.saturating_sub(self.begins).max(0));
        let (of, all) = RENEW_AFTER;
        let hash = ring::digest::digest(&ring::digest::SHA256, der);
        let chance = hash.as_ref().first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes));
        let wait = life * i128::from(of) / i128::from(all);
        let spread = life * i128::from(chance) / (i128::from(RENEW_SPREAD) << 16);
        self.begins.saturating_add(i64::try_from(wait + spread).unwrap_or(i64::MAX))
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let validity = certificate.validity();
    Validity { begins: validity.not_before.timestamp(), expires: validity.not_after.timestamp() }
}

/// When the certificate `der` expires, in seconds since 1970.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn expires(der: &[u8]) -> Result<i64, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
    Ok(validity(&certificate).expires)
}

/// Checks that the certificate `der` is for `key` and `building`; gives from when to when it holds.
///
/// # Errors
/// What does not fit.
pub(crate) fn examine(der: &[u8], key: &GatewayKey, building: u32) -> Result<Validity, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
    if !rest.is_empty() {
        return Err("bytes are left over behind the certificate".into());
    }
    if certificate.public_key().subject_public_key.data.as_ref() != key.public() {
        return Err("the certificate is for another key".into());
    }
    match building_of(&certificate) {
        Some(named) if named == building => Ok(validity(&certificate)),
        Some(named) => Err(format!("the certificate is for building {named}, not {building}")),
        None => Err(format!("the certificate does not name one building by a URI {BUILDING_NAME}N")),
    }
}

/// The building that the certificate names; `None` when it names none, or more than one.
fn building_of(certificate: &X509Certificate<'_>) -> Option<u32> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let number = uris.next()?.strip_prefix(BUILDING_NAME)?;
    let building = number.parse().ok().filter(|building: &u32| *building > 0 && building.to_string() == number)?;
    uris.next().is_none().then_some(building)
}

/// Checks that `ca` has issued `certificate` for a client, and that both are valid `now`, since 1970.
///
/// # Errors
/// What does not hold.
pub(crate) fn verify(certificate: &CertificateDer<'_>, ca: &CertificateDer<'_>, now: Duration) -> Result<(), String> {
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    let anchor = webpki::anchor_from_trusted_cert(ca).map_err(|error| format!("the CA certificate: {error}"))?;
    let end = webpki::EndEntityCert::try_from(certificate).map_err(|error| format!("the certificate: {error}"))?;
    let now = UnixTime::since_unix_epoch(now);
    let anchors = [anchor];
    let path = end.verify_for_usage(algorithms, &anchors, &[], now, KeyUsage::client_auth(), None, None);
    path.map(drop).map_err(|error| format!("the certificate does not hold under the CA: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_behind_two_thirds_of_the_life_and_spread_over_a_twelfth() {
        let validity = Validity { begins: 1_000_000, expires: 1_000_000 + 1200 * 86_400 };
        let days: Vec<i64> =
            (0..500_u16).map(|n| (validity.renewal_due(&n.to_le_bytes()) - 1_000_000) / 86_400).collect();
        assert!(days.iter().all(|day| (800..900).contains(day)), "{days:?}");
        for tenth in 0..10 {
            let of = days.iter().filter(|&&day| (day - 800) / 10 == tenth).count();
            assert!(of > 20, "the {tenth}th tenth of the spread has {of} of 500");
        }
        assert_eq!(validity.renewal_due(b"one"), validity.renewal_due(b"one"), "a restart changes nothing");
    }

    #[test]
    fn life_that_is_none_is_due_at_once() {
        for (begins, expires) in [(5, 5), (5, 1), (i64::MAX, i64::MIN)] {
            assert_eq!(Validity { begins, expires }.renewal_due(b""), begins);
        }
        let endless = Validity { begins: i64::MIN, expires: i64::MAX };
        assert!(endless.renewal_due(b"") > i64::MIN);
    }
}
