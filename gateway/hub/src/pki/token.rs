//! The one-time token with which a box enrols (SPEC 15.14).

use kalitka_protocol::upstream::Token;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A new token for whoever trusts the CA certificate `ca` (DER).
///
/// # Errors
/// [`Failure::Environment`] when the system gives no random bytes.
pub(crate) fn draw(ca: &[u8]) -> Result<Token, Failure> {
    let mut secret = Zeroizing::new([0; 16]);
    getrandom::fill(&mut *secret).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))?;
    Ok(Token::new(*secret, ca))
}

/// The text that an operator carries to the box.
pub(crate) fn text(token: &Token) -> String {
    String::from_utf8_lossy(&token.to_text()).into_owned()
}

/// By what the hub knows a token again. Its secret is random and of full length, so a plain hash tells nothing of it.
pub(crate) fn hash(secret: &[u8; 16]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}
