//! How often one address may do what costs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most addresses whose use is remembered. When there are more, those that have been idle
/// longest share what is left: the whole table is forgotten down to those that are in debt.
const ADDRESSES_MAX: usize = 1 << 16;

/// A bucket of tokens for each address.
#[derive(Debug)]
pub struct RateLimit {
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant)>>,
}

/// What counts as one address: all of an IPv6 network of 64 bits is one customer's.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl RateLimit {
    /// `per_second` with bursts of twice as many; `None` when it is zero: no limit.
    pub fn new(per_second: u32) -> Option<Self> {
        let rate = f64::from(per_second);
        (per_second > 0).then(|| Self {
            per_second: rate,
            burst: rate * 2.0,
            buckets: Mutex::default(),
        })
    }

    /// Whether `address` may go on at `now`.
    pub fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |tokens: f64, since: Instant| {
            let earned = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
            (tokens + earned).min(self.burst)
        };
        let address = network(address);
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, (tokens, since)| left(*tokens, *since) < self.burst);
            if buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = buckets.entry(address).or_insert((self.burst, now));
        let tokens = left(bucket.0, bucket.1);
        let allowed = tokens >= 1.0;
        *bucket = (if allowed { tokens - 1.0 } else { tokens }, now);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_has_its_rate_and_others_have_theirs() {
        let limit = RateLimit::new(10).unwrap();
        let now = Instant::now();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let burst = (0..30).filter(|_| limit.allows(one, now)).count();
        assert_eq!(burst, 20);
        assert!(limit.allows("::ffff:192.0.2.2".parse().unwrap(), now));
        assert!(!limit.allows("::ffff:192.0.2.1".parse().unwrap(), now));
        let later = now + Duration::from_millis(500);
        assert_eq!((0..30).filter(|_| limit.allows(one, later)).count(), 5);
        assert!(RateLimit::new(0).is_none());
    }

    #[test]
    fn one_network_is_one_customer() {
        let limit = RateLimit::new(1).unwrap();
        let now = Instant::now();
        let allowed = (0..9_u128)
            .filter(|n| limit.allows(IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n)), now))
            .count();
        assert_eq!(allowed, 2);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_whom_it_owes_nothing() {
        let limit = RateLimit::new(1).unwrap();
        let now = Instant::now();
        let address = |n: usize| IpAddr::V4(u32::try_from(n).unwrap().into());
        assert!((0..ADDRESSES_MAX).all(|n| limit.allows(address(n), now)));
        assert!(!limit.allows(address(ADDRESSES_MAX), now));
        assert!(limit.allows(address(ADDRESSES_MAX), now + Duration::from_secs(9)));
        assert_eq!(limit.buckets.lock().unwrap().len(), 1);
    }
}
