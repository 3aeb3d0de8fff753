//! The hub's own certificate authority: what it signs, and for how long.

use std::time::Duration;

use kalitka_protocol::upstream::{BUILDING_NAME, HUB_NAME};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::csr::Csr;
use crate::failure::Failure;
use crate::limits::{CA_LIFE, GATEWAY_CERTIFICATE_LIFE, HUB_CERTIFICATE_LIFE, WALL_SECONDS_MAX};

/// Random bytes of a serial number.
pub(crate) const SERIAL_LEN: usize = 16;

/// A certificate authority's key and certificate. All its keys are Ed25519 (SPEC 15.1).
pub(crate) struct Authority {
    key: KeyPair,
    certificate: CertificateDer<'static>,
}

/// A certificate that has been issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// The same as text (RFC 7468).
    pub(crate) pem: String,
    pub(crate) serial: Vec<u8>,
    /// The key that it is for, in hex.
    pub(crate) public_key: String,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

impl Authority {
    /// A new one, with a new key; and its certificate as text.
    ///
    /// # Errors
    /// [`Failure::Environment`] when the machine's clock or its random bytes are not to be had.
    pub(crate) fn generate(now: i64) -> Result<(Self, String), Failure> {
        let key = generate_key()?;
        let (mut params, _) = params("Kalitka CA", now, CA_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|error| defect(&error))?;
        let pem = certificate.pem();
        Ok((Self { key, certificate: certificate.into() }, pem))
    }

    /// The one whose key and certificate these are.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn from_parts(key: KeyPair, certificate: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|error| error.to_string())?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err("the CA's key is not that of its certificate".into());
        }
        Ok(Self { key, certificate })
    }

    /// Whether `certificate` is signed by it, for `public_key`.
    pub(crate) fn issued(&self, certificate: &[u8], public_key: &[u8]) -> bool {
        let parsed = x509_parser::parse_x509_certificate(certificate);
        let (Ok((_, ca)), Ok((_, leaf))) = (x509_parser::parse_x509_certificate(&self.certificate), parsed) else {
            return false;
        };
        leaf.public_key().subject_public_key.data.as_ref() == public_key
            && leaf.verify_signature(Some(ca.public_key())).is_ok()
    }

    /// Its certificate, DER.
    pub(crate) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its key, to be kept.
    pub(crate) const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// A certificate for the hub itself: the name that gateways look for, and a server's use only (SPEC 15.1).
    ///
    /// # Errors
    /// [`Failure`] as for [`Authority::generate`].
    pub(crate) fn issue_hub(&self, key: &KeyPair, now: i64) -> Result<Issued, Failure> {
        let name = HUB_NAME.try_into().map(SanType::DnsName).map_err(|error| defect(&error))?;
        self.issue(key, "Kalitka hub", name, ExtendedKeyUsagePurpose::ServerAuth, HUB_CERTIFICATE_LIFE, now)
    }

    /// A certificate for the gateway of `building` over the request's key: of the request nothing else is taken, so that
    /// nobody asks for a name.
    ///
    /// # Errors
    /// [`Failure`] as for [`Authority::generate`].
    pub(crate) fn issue_gateway(&self, csr: &Csr, building: u32, now: i64) -> Result<Issued, Failure> {
        let name = building_urn(building).try_into().map(SanType::URI).map_err(|error| defect(&error))?;
        let subject = format!("Kalitka gateway of building {building}");
        self.issue(csr.key(), &subject, name, ExtendedKeyUsagePurpose::ClientAuth, GATEWAY_CERTIFICATE_LIFE, now)
    }

    fn issue(
        &self,
        key: &impl PublicKeyData,
        subject: &str,
        name: SanType,
        purpose: ExtendedKeyUsagePurpose,
        life: Duration,
        now: i64,
    ) -> Result<Issued, Failure> {
        let (mut params, serial) = params(subject, now, life)?;
        params.subject_alt_names = vec![name];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(|error| defect(&error))?;
        let certificate = params.signed_by(key, &issuer).map_err(|error| defect(&error))?;
        Ok(Issued {
            certificate: certificate.der().to_vec(),
            pem: certificate.pem(),
            serial: serial.to_vec(),
            public_key: hex::encode(key.der_bytes()),
            not_before: now,
            not_after: now.saturating_add(life.as_secs().cast_signed()),
        })
    }
}

/// From when to when `certificate` holds, in seconds since 1970; `None` when it cannot be read.
pub(super) fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some((parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp()))
}

/// The name of `building` in its gateway's certificate (SPEC 15.1).
pub(crate) fn building_urn(building: u32) -> String {
    format!("{BUILDING_NAME}{building}")
}

/// A new Ed25519 key.
///
/// # Errors
/// [`Failure::Environment`] when the system gives no random bytes.
pub(crate) fn generate_key() -> Result<KeyPair, Failure> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))
}

fn params(subject: &str, now: i64, life: Duration) -> Result<(CertificateParams, [u8; SERIAL_LEN]), Failure> {
    let since = u64::try_from(now).ok().filter(|now| *now <= WALL_SECONDS_MAX).map(Duration::from_secs);
    let since = since.ok_or_else(|| {
        Failure::Environment(format!("the machine's clock says {now} s since 1970; set it, certificates need the time"))
    })?;
    let serial = serial()?;
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1) + since;
    params.not_after = date_time_ymd(1970, 1, 1) + since + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    Ok((params, serial))
}

/// Random; positive and of full length, so that it has one form in hex.
fn serial() -> Result<[u8; SERIAL_LEN], Failure> {
    let mut serial = [0; SERIAL_LEN];
    getrandom::fill(&mut serial).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn defect(error: &dyn std::fmt::Display) -> Failure {
    Failure::Defect(format!("a certificate was not made: {error}"))
}
