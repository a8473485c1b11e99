//! How long to wait after a failed delivery.

use std::time::Duration;

/// The waits after failures: they double from `base` to `max`, and each is shortened by a
/// random part of up to half, so that many senders do not come back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), max: Duration::from_mins(1) }
    }
}

impl Backoff {
    /// The wait after the failure that is number `n_failures` (from 1) in a row. `random`
    /// is any number; `asked` is what the receiver asked for, which is never undercut.
    pub fn wait(self, n_failures: u32, random: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.base.saturating_mul(1 << n_failures.saturating_sub(1).min(30));
        let longest = doubled.min(self.max);
        let spread = longest / 2;
        let part = f64::from(random) / f64::from(u32::MAX);
        let wait = longest.saturating_sub(spread.mul_f64(part));
        asked.map_or(wait, |asked| asked.max(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_spread() {
        let backoff = Backoff::default();
        let check = |n, random, millis| {
            assert_eq!(backoff.wait(n, random, None), Duration::from_millis(millis), "{n}");
        };
        check(1, 0, 500);
        check(1, u32::MAX, 250);
        check(2, 0, 1000);
        check(7, 0, 32_000);
        check(8, 0, 60_000);
        check(u32::MAX, 0, 60_000);
        check(u32::MAX, u32::MAX, 30_000);
        let asked = Some(Duration::from_secs(90));
        assert_eq!(backoff.wait(1, 0, asked), Duration::from_secs(90));
        assert_eq!(backoff.wait(1, 0, Some(Duration::ZERO)), Duration::from_millis(500));
    }
}
