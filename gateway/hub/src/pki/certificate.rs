//! What a gateway's certificate says.

use kalitka_protocol::upstream::BUILDING_NAME;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_SIG_ED25519;

/// A gateway's certificate, as far as the hub acts on it. Whether it is signed and in time TLS has looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GatewayCertificate {
    pub(crate) building: u32,
    /// As the certificate has it.
    pub(crate) serial: Vec<u8>,
    /// The gateway's Ed25519 key, which signs its batches too.
    pub(crate) public_key: [u8; 32],
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
}

/// Why a certificate is not a gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAGateway {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Layout,
    /// It has no, another or more than one alternative name.
    #[error("the certificate names no building")]
    NoBuilding,
    /// Another kind of key.
    #[error("the certificate's key is not an Ed25519 one")]
    Key,
}

impl GatewayCertificate {
    /// Reads DER.
    ///
    /// # Errors
    /// [`NotAGateway`].
    pub(crate) fn read(der: &[u8]) -> Result<Self, NotAGateway> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|_| NotAGateway::Layout)?;
        let names = certificate.subject_alternative_name().map_err(|_| NotAGateway::Layout)?;
        let names = names.ok_or(NotAGateway::NoBuilding)?;
        let [GeneralName::URI(name)] = names.value.general_names[..] else { return Err(NotAGateway::NoBuilding) };
        let building = building_of(name).ok_or(NotAGateway::NoBuilding)?;
        let key = certificate.public_key();
        if key.algorithm.algorithm != OID_SIG_ED25519 {
            return Err(NotAGateway::Key);
        }
        let public_key = key.subject_public_key.data.as_ref().try_into().map_err(|_| NotAGateway::Key)?;
        let (from, to) = (certificate.validity().not_before, certificate.validity().not_after);
        let (not_before, not_after) = (from.timestamp(), to.timestamp());
        Ok(Self { building, serial: certificate.raw_serial().to_vec(), public_key, not_before, not_after })
    }
}

/// The building that `name` names, in the one form that it has.
fn building_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix(BUILDING_NAME)?;
    let building = digits.parse().ok().filter(|building| *building > 0)?;
    (super::authority::building_urn(building) == name).then_some(building)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn building_has_one_form() {
        for (name, building) in [
            ("urn:kalitka:building:1", Some(1)),
            ("urn:kalitka:building:4294967295", Some(u32::MAX)),
            ("urn:kalitka:building:4294967296", None),
            ("urn:kalitka:building:0", None),
            ("urn:kalitka:building:01", None),
            ("urn:kalitka:building:+1", None),
            ("urn:kalitka:building:", None),
            ("urn:kalitka:building:1 ", None),
            ("URN:kalitka:building:1", None),
            ("https://hub/1", None),
        ] {
            assert_eq!(building_of(name), building, "{name}");
        }
    }
}
