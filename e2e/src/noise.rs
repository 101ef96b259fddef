//! Bytes that look random and are the same each time, so that a difference can be looked into.

use anyhow::Result;
use std::{io::Write, path::Path};

/// A generator of noise (SplitMix64).
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// The noise of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next eight bytes.
    pub fn next_bytes(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Writes a file of so many MiB.
    ///
    /// # Errors
    /// If the disk is full.
    pub fn write(&mut self, path: &Path, mebibytes: u64) -> Result<()> {
        let mut file = std::fs::File::create(path)?;
        for _ in 0..mebibytes {
            file.write_all(&self.bytes(1 << 20))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_every_byte_and_no_period_that_shows() {
        let bytes = Noise::new(1).bytes(100_001);
        assert_eq!(bytes.len(), 100_001);
        let kinds: std::collections::HashSet<_> = bytes.iter().collect();
        assert_eq!(kinds.len(), 256);
        assert_ne!(bytes[..1000], bytes[1000..2000]);
        assert_ne!(Noise::new(2).bytes(8), Noise::new(1).bytes(8));
    }
}
