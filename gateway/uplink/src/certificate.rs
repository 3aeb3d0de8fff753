//! What certificates say (SPEC 15.1).

use std::time::Duration;

use kalitka_protocol::upstream::BUILDING_NAME;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::KeyUsage;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::key::GatewayKey;

/// Checks that the certificate `der` is for `key` and `building`; gives when it expires, in seconds since 1970.
///
/// # Errors
/// What does not fit.
pub(crate) fn examine(der: &[u8], key: &GatewayKey, building: u32) -> Result<i64, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| format!("no certificate: {error}"))?;
    if !rest.is_empty() {
        return Err("bytes are left over behind the certificate".into());
    }
    if certificate.public_key().subject_public_key.data.as_ref() != key.public() {
        return Err("the certificate is for another key".into());
    }
    match building_of(&certificate) {
        Some(named) if named == building => Ok(certificate.validity().not_after.timestamp()),
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
