//! When to try again.

use std::time::Duration;

use palisade_base::Timestamp;

/// The longest that a server may ask us to wait.
pub const RETRY_AFTER_MAX: Duration = Duration::from_mins(10);

/// The value of `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Timestamp::from_http_date(text)?.since(now),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Waits that double, each from half to all of its size, so that many clients that failed
/// together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
    seed: u64,
}

impl Backoff {
    /// Begins with about `first` and never waits longer than `longest`; `seed` differs from
    /// client to client.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { next: first, longest, seed }
    }

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2);
        // A linear congruential step (Knuth, MMIX) is random enough to spread clients.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let half = whole / 2;
        half + half.mul_f64((self.seed >> 32) as f64 / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = Timestamp::from_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        };
        check("120", Some(120));
        check(" 5 ", Some(5));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("99999999", Some(600));
        check("soon", None);
        check("-1", None);
        check("", None);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(6), 7);
        for whole in [1, 2, 4, 6, 6] {
            let wait = backoff.wait();
            let whole = Duration::from_secs(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
    }
}
