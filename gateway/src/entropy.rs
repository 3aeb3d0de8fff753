//! Random bytes from the operating system, many at a time.

use zeroize::Zeroize;

use crate::failure::Failure;

const BUFFER_LEN: usize = 1024;

/// The system's generator behind a buffer, so that a handshake does not cost a system call for each number.
pub(crate) struct SystemEntropy {
    buffer: Box<[u8; BUFFER_LEN]>,
    used: usize,
}

impl SystemEntropy {
    /// A full buffer.
    ///
    /// # Errors
    /// [`Failure::Environment`] when the system gives no random bytes.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut buffer = Box::new([0; BUFFER_LEN]);
        fill(&mut buffer[..])?;
        Ok(Self { buffer, used: 0 })
    }
}

impl kalitka_core::Entropy for SystemEntropy {
    /// # Panics
    /// When the system stops giving random bytes, which Linux never does once it has begun: without them no session can
    /// be safe, so the worker ends and with it the process.
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == BUFFER_LEN {
                #[allow(clippy::expect_used, reason = "the promise above")]
                getrandom::fill(&mut self.buffer[..]).expect("the system gives random bytes");
                self.used = 0;
            }
            *byte = self.buffer[self.used];
            self.buffer[self.used] = 0;
            self.used += 1;
        }
    }
}

impl Drop for SystemEntropy {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

/// Fills `bytes` at once; for keys.
///
/// # Errors
/// [`Failure::Environment`] when the system gives no random bytes.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Failure> {
    getrandom::fill(bytes).map_err(|error| Failure::Environment(format!("no random bytes: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalitka_core::Entropy;

    #[test]
    fn no_byte_is_given_twice() {
        let mut entropy = SystemEntropy::new().unwrap();
        let mut drawn = vec![[0; 16]; 300];
        drawn.iter_mut().for_each(|bytes| entropy.fill(bytes));
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), 300);
    }
}
