//! Maps by inode number.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by inode number.
pub(crate) type InoMap<V> = HashMap<u64, V, BuildHasherDefault<InoHasher>>;

/// Spreads inode numbers, which count up: nobody outside chooses them, so nothing has to be kept from them.
#[derive(Default)]
pub(crate) struct InoHasher(u64);

impl Hasher for InoHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher as _, BuildHasherDefault};

    use super::InoHasher;

    #[test]
    fn numbers_that_count_up_are_spread_over_buckets_and_tags() {
        let build = BuildHasherDefault::<InoHasher>::default();
        // Of one layer of an overlay, whose number is in the upper bits, and without.
        for base in [0_u64, 3 << 48] {
            let hashes: Vec<u64> = (base..base + 4096).map(|ino| build.hash_one(ino)).collect();
            let buckets: HashSet<u64> = hashes.iter().map(|hash| hash & 4095).collect();
            let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
            assert!(buckets.len() > 2000, "{} buckets of 4096", buckets.len());
            assert_eq!(tags.len(), 128);
        }
    }
}
