//! Percentiles of measured times.

use std::time::Duration;

/// A set of measured times of one thing.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one measurement.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Adds all measurements of another set.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// How many there are.
    #[must_use]
    pub fn n(&self) -> usize {
        self.0.len()
    }

    /// The time that `percent` of the samples do not exceed, by the nearest-rank method; zero without samples.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// One line of a table: name, p50, p95, p99 in milliseconds, n.
    #[must_use]
    pub fn row(&self, name: &str) -> String {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        format!("{name:<44} {:>9.3} {:>9.3} {:>9.3} {:>6}", ms(50), ms(95), ms(99), self.n())
    }
}

/// The heading over the rows.
#[must_use]
pub fn heading() -> String {
    format!("{:<44} {:>9} {:>9} {:>9} {:>6}", "milliseconds", "p50", "p95", "p99", "n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut samples = Samples::default();
        for ms in (1..=100).rev() {
            samples.add(Duration::from_millis(ms));
        }
        assert_eq!(samples.percentile(50), Duration::from_millis(50));
        assert_eq!(samples.percentile(99), Duration::from_millis(99));
        assert_eq!(samples.percentile(100), Duration::from_millis(100));
    }

    #[test]
    fn no_samples_are_zero() {
        assert_eq!(Samples::default().percentile(99), Duration::ZERO);
    }
}
