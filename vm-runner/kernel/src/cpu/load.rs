//! The load average: how many processes ran or wanted to, over the last one, five and fifteen minutes.
//!
//! Nothing samples it: it is worked out from the time that processes ran or waited for a turn, whenever somebody looks
//! or is charged.

use std::time::Duration;

use super::nanos;

/// How long one sample is, as Linux has it.
const SAMPLE: u64 = 5_000_000_000;
/// Samples in one, five and fifteen minutes.
const SAMPLES: [f64; 3] = [12.0, 60.0, 180.0];

/// The averages, as of some sample.
#[derive(Debug, Default)]
pub(super) struct Load {
    sample: u64,
    /// Nanoseconds that processes ran or waited for a turn in the sample.
    wanted: u64,
    averages: [f64; 3],
}

impl Load {
    /// Processes ran or waited for so long.
    pub(super) fn add(&mut self, now: Duration, wanted: u64) {
        self.advance(now);
        self.wanted = self.wanted.saturating_add(wanted);
    }

    /// The averages.
    pub(super) fn averages(&mut self, now: Duration) -> [f64; 3] {
        self.advance(now);
        self.averages
    }

    fn advance(&mut self, now: Duration) {
        let sample = nanos(now) / SAMPLE;
        let past = sample.saturating_sub(self.sample);
        if past == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an average, shown with two decimals")]
        let (active, idle) = (self.wanted as f64 / SAMPLE as f64, (past - 1) as f64);
        for (average, samples) in self.averages.iter_mut().zip(SAMPLES) {
            let keep = (-1.0 / samples).exp();
            *average = (*average * keep + active * (1.0 - keep)) * keep.powf(idle);
        }
        (self.sample, self.wanted) = (sample, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Load;

    #[test]
    fn the_average_climbs_to_what_runs_and_falls_when_nothing_does() {
        let mut load = Load::default();
        for second in 0..60 {
            load.add(Duration::from_secs(second), 2_000_000_000);
        }
        let [one, five, fifteen] = load.averages(Duration::from_secs(60));
        assert!((1.2..1.3).contains(&one), "{one}");
        assert!(one > five && five > fifteen && fifteen > 0.1);
        let [one, ..] = load.averages(Duration::from_secs(660));
        assert!(one < 0.01, "{one}");
    }
}
