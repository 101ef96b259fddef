//! The source of randomness, injected into every kernel.
//!
//! [`Random`] is the role; [`OsRandom`] asks the host. Tests inject a predictable one.

use vm_abi::Errno;

/// Where a kernel gets random bytes from.
pub trait Random: Send + Sync {
    /// Fills the buffer.
    ///
    /// # Errors
    /// `EIO` if the source fails.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Errno>;
}

/// The host's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Errno> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(Errno::EIO),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{OsRandom, Random};

    #[test]
    fn two_fillings_differ() {
        let (mut first, mut second) = ([0; 300], [0; 300]);
        OsRandom.fill(&mut first).unwrap();
        OsRandom.fill(&mut second).unwrap();
        assert_ne!(first, second);
    }
}
