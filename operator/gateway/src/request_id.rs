//! Names for requests that came without one, and for what belongs to them. Not secret, only different.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

use crate::trace::hex;

/// Where names come from.
#[derive(Debug, Default)]
pub(crate) struct RequestIds {
    hashers: [RandomState; 3],
    count: AtomicU64,
}

impl RequestIds {
    /// Numbers that no other request has.
    pub(crate) fn next(&self) -> [u64; 3] {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        std::array::from_fn(|index| self.hashers[index].hash_one(count))
    }

    /// A name made of them.
    pub(crate) fn name([left, right, _]: [u64; 3]) -> HeaderValue {
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex(left));
        text[16..].copy_from_slice(&hex(right));
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_gets_a_name_of_its_own() {
        let ids = RequestIds::default();
        let names: std::collections::HashSet<_> = (0..1_000).map(|_| RequestIds::name(ids.next())).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| name.len() == 32));
    }
}
