//! Whose word the gateway takes: the keys that are configured, and those that the enrolment has pinned.

use std::path::{Path, PathBuf};

use kalitka_snapshot::PublisherKey;
use kalitka_uplink::Identity;

use crate::config::Config;
use crate::failure::Failure;

/// The identity's folder in the state folder.
const IDENTITY_FOLDER: &str = "uplink";

/// The keys, and whether there is a hub.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// Who may publish snapshots.
    pub(crate) publishers: Vec<PublisherKey>,
    /// Whose commands are obeyed.
    pub(crate) operators: Vec<[u8; 32]>,
    /// Whether the box is enrolled with a hub.
    pub(crate) enrolled: bool,
}

/// Where the identity lies in the folder `state`.
pub(crate) fn identity_folder(state: &Path) -> PathBuf {
    state.join(IDENTITY_FOLDER)
}

impl Trust {
    /// The trust of `config` and of the identity in its state folder.
    ///
    /// # Errors
    /// [`Failure::Input`] when the identity cannot be used or is of another building, or when nobody could publish a snapshot.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let mut publishers = config.publishers().map_err(Failure::Input)?;
        let mut operators = config.operators().map_err(Failure::Input)?;
        let folder = identity_folder(&config.state);
        let identity = Identity::read(&folder).map_err(|error| Failure::Input(error.to_string()))?;
        if let Some(identity) = &identity {
            if identity.building() != config.building {
                return Err(Failure::Input(format!(
                    "{}: the box is enrolled for building {}, and `building` is {}; correct it, or enrol the box again",
                    folder.display(),
                    identity.building(),
                    config.building
                )));
            }
            publishers.extend(identity.publishers().iter().copied().map(PublisherKey::from_bytes));
            operators.extend(identity.operators());
        }
        if publishers.is_empty() {
            return Err(Failure::Input(
                "snapshots.publishers: no key is listed, and the box is not enrolled with a hub; list the publisher's key, or \
                 run `kalitka-gateway enrol`"
                    .into(),
            ));
        }
        Ok(Self { publishers, operators, enrolled: identity.is_some() })
    }
}
