//! How often somebody may try in vain to be let in: a bucket for each address.
//!
//! Nobody guesses 32 random bytes. What is bounded here is what failures cost others: a question to the guard and,
//! where a change was asked for, a line in the journal. An address that has used its failures up is answered
//! without either, so that one which shares it with a broken script has to wait for a second.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::bucket::{Bucket, RateLimit};

/// A few slips at once, and one a second from then on.
const LIMIT: RateLimit = RateLimit {
    interval: Duration::from_secs(1),
    burst: 10,
};
/// Addresses with a bucket, each of which is full again after ten seconds without a failure. Those that come when
/// there are as many share one.
const ADDRESSES_MAX: usize = 1024;
const REFILLED: Duration = Duration::from_secs(10);
/// As much of an IPv6 address is its network's; whoever is in one has all of its addresses.
const NETWORK: u128 = !0 << 64;

#[derive(Debug, Default)]
pub(super) struct Strikes(Mutex<BTreeMap<IpAddr, Struck>>);

#[derive(Debug)]
struct Struck {
    bucket: Bucket,
    last: Instant,
}

impl Strikes {
    /// Whether somebody there may try.
    pub(super) fn may_try(&self, address: IpAddr, now: Instant) -> bool {
        let struck = self.lock();
        let own = struck.get(&key(&struck, address));
        own.is_none_or(|struck| struck.bucket.has(now))
    }

    /// Somebody there has failed.
    pub(super) fn strike(&self, address: IpAddr, now: Instant) {
        let mut struck = self.lock();
        if struck.len() >= ADDRESSES_MAX {
            struck.retain(|_, struck| now.saturating_duration_since(struck.last) < REFILLED);
        }
        let key = key(&struck, address);
        let own = struck.entry(key).or_insert_with(|| Struck {
            bucket: Bucket::new(LIMIT, now),
            last: now,
        });
        own.last = now;
        own.bucket.take(now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Struck>> {
        // Whoever panicked left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Its own where there is room, else everybody's.
fn key(struck: &BTreeMap<IpAddr, Struck>, address: IpAddr) -> IpAddr {
    let own = network(address);
    if struck.len() >= ADDRESSES_MAX && !struck.contains_key(&own) {
        return Ipv6Addr::UNSPECIFIED.into();
    }
    own
}

/// What an address is counted as.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn an_address_that_fails_has_to_wait_and_others_do_not() {
        let strikes = Strikes::default();
        let now = Instant::now();
        let tries = (0..100).filter(|_| {
            let may = strikes.may_try(HERE, now);
            strikes.strike(HERE, now);
            may
        });
        assert_eq!(tries.count(), 10);
        assert!(strikes.may_try([10, 0, 0, 1].into(), now));
        let later = now + Duration::from_millis(1100);
        assert!(strikes.may_try(HERE, later));
        strikes.strike(HERE, later);
        assert!(!strikes.may_try(HERE, later));
    }

    #[test]
    fn all_of_a_network_are_one_and_addresses_are_bounded() {
        let strikes = Strikes::default();
        let now = Instant::now();
        let of = |net: u128, host: u128| IpAddr::from(Ipv6Addr::from_bits(net << 64 | host));
        for host in 0..10 {
            strikes.strike(of(7, host), now);
        }
        assert!(!strikes.may_try(of(7, 99), now) && strikes.may_try(of(8, 0), now));
        for net in 0..5000 {
            strikes.strike(of(net, 0), now);
        }
        assert!(strikes.lock().len() <= ADDRESSES_MAX + 1);
        assert!(!strikes.may_try(of(9999, 0), now), "they share a bucket");
        let later = now + REFILLED;
        strikes.strike(of(9999, 0), later);
        assert_eq!(strikes.lock().len(), 1);
    }
}
