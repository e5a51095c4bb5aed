//! How long a run that failed its worker waits.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);

/// The delay before a run is delivered again after `failures` turns in a row panicked: it doubles from a quarter of a
/// second to a minute.
#[must_use]
pub fn redelivery_delay(failures: u32) -> Duration {
    doubled(FIRST, failures.saturating_sub(1), LONGEST)
}

/// The delay before storage that failed `failures` times in a row is asked again.
pub(crate) fn storage_delay(failures: u32) -> Duration {
    doubled(
        Duration::from_millis(500),
        failures.saturating_sub(1),
        Duration::from_secs(30),
    )
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(times.min(16)))
        .min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_and_stops_at_a_minute() {
        let delays: Vec<u128> = (0..5).map(|n| redelivery_delay(n).as_millis()).collect();
        assert_eq!(delays, [250, 250, 500, 1_000, 2_000]);
        assert_eq!(redelivery_delay(u32::MAX), Duration::from_secs(60));
    }
}
