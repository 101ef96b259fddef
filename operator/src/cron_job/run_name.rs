//! Names of runs: functions of the CronJob's UID and the instant, so that whoever begins a run gives it the same name.
//!
//! ```text
//!   cron-3f2a9c1b7d5e4f60-20261122t190000z     by the schedule: the UID's hash, the scheduled instant in UTC
//!   manual-3f2a9c1b7d5e4f60-8c1e55d02b6f7a91   by the annotation: the UID's hash, the hash of the annotation's value
//! ```
//! Both are DNS labels. The instant can be read back, which is how a new leader recognises what an earlier one began.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use sha2::{Digest, Sha256};

const SCHEDULED: &str = "cron-";
const MANUAL: &str = "manual-";
const INSTANT: &str = "%Y%m%dt%H%M%Sz";

/// What stands for a CronJob in the names of its runs.
pub fn id(uid: &str) -> String {
    short_hash(uid)
}

/// The run of a scheduled instant.
pub fn scheduled(id: &str, instant: Timestamp) -> String {
    format!("{SCHEDULED}{id}-{}", instant.strftime(INSTANT))
}

/// The run that was asked for with this value of the annotation.
pub fn manual(id: &str, value: &str) -> String {
    format!("{MANUAL}{id}-{}", short_hash(value))
}

/// What stands for the CronJob in this name, if it is one of ours.
pub fn id_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(SCHEDULED).or_else(|| name.strip_prefix(MANUAL))?;
    Some(rest.split_once('-')?.0)
}

/// The scheduled instant of a run of this CronJob.
pub fn instant_of(name: &str, id: &str) -> Option<Timestamp> {
    let text = name.strip_prefix(SCHEDULED)?.strip_prefix(id)?.strip_prefix('-')?;
    let civil = DateTime::strptime(INSTANT, text).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_label_and_tells_its_cron_job_and_instant() {
        let (id, instant) =
            (id("6f1c9a52-0f3e-4d63-9d1a-0a4f8f1d2c3b"), "2026-11-22T19:00:05Z".parse().unwrap());
        let name = scheduled(&id, instant);
        assert_eq!(name, format!("cron-{id}-20261122t190005z"));
        assert_eq!((id_of(&name), instant_of(&name, &id)), (Some(id.as_str()), Some(instant)));
        assert_eq!(instant_of(&name, "0000000000000000"), None);
        let manual = manual(&id, "2026-11-22T19:00:05.123456789Z");
        assert_eq!((id_of(&manual), instant_of(&manual, &id)), (Some(id.as_str()), None));
        for name in [name, manual] {
            assert!(
                name.len() <= 63
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn what_somebody_else_named_is_not_taken_for_ours() {
        for name in ["", "cron-", "cron-x", "backup-1-2", "cron-0123456789abcdef-yesterday"] {
            assert_eq!(instant_of(name, "0123456789abcdef"), None, "{name}");
        }
        assert_eq!(id_of("backup-0123456789abcdef-1"), None);
    }

    #[test]
    fn another_value_another_cron_job_and_another_instant_have_another_name() {
        let instant = |text: &str| text.parse::<Timestamp>().unwrap();
        let names = [
            scheduled(&id("a"), instant("2026-11-22T19:00:00Z")),
            scheduled(&id("b"), instant("2026-11-22T19:00:00Z")),
            scheduled(&id("a"), instant("2026-11-22T19:00:01Z")),
            manual(&id("a"), "2026-11-22T19:00:00.1Z"),
            manual(&id("a"), "2026-11-22T19:00:00.2Z"),
        ];
        let distinct: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
