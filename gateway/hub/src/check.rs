//! `kalitka-hub check`: whether a start would succeed, as far as that can be told without one.

use rustix::fs::Access;

use crate::config::Config;
use crate::failure::Failure;
use crate::pki::Pki;
use crate::state;
use crate::store::FILE_NAME;

/// Looks at everything that the configuration names, and changes nothing.
///
/// # Errors
/// [`Failure`] for the first thing that is wrong.
pub(crate) fn check(config: &Config) -> Result<String, Failure> {
    let used = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    state::look_at("state", &config.state, used, crate::PROGRAM)?;
    Pki::open(&config.state)?;
    let store = config.state.join(FILE_NAME);
    let store = if store.exists() { store.display().to_string() } else { "none yet; the start makes it".into() };
    let keys = (config.publishers().map_err(Failure::Input)?.len(), config.operators().map_err(Failure::Input)?.len());
    Ok(format!(
        "the configuration and the certificates hold\nstore      {store}\ngateways   are given {} publishers' keys and {} operators'\n",
        keys.0, keys.1
    ))
}
