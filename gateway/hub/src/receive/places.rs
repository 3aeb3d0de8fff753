//! Who may shake hands: so many at a time, and so many of them from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{HANDSHAKES_MAX, HANDSHAKES_OF_ONE_MAX, HANDSHAKES_OF_ONE_UNPROVED_MAX, HANDSHAKES_UNPROVED_MAX};

/// The places of all who are shaking hands.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Never more than [`HANDSHAKES_MAX`], and none that is 0.
    of: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(of) = taken.of.get_mut(&self.network) {
            *of -= 1;
            if *of == 0 {
                taken.of.remove(&self.network);
            }
        }
    }
}

impl Places {
    /// Whether so many are taken that `address` has to prove itself first.
    pub(super) fn want_proof(&self, address: IpAddr) -> bool {
        let taken = self.lock();
        taken.all >= HANDSHAKES_UNPROVED_MAX || taken.of(network(address)) >= HANDSHAKES_OF_ONE_UNPROVED_MAX
    }

    /// A place for `address`.
    ///
    /// # Errors
    /// Why there is none, as the metric names it.
    pub(super) fn take(&self, address: IpAddr) -> Result<Place, &'static str> {
        let network = network(address);
        let mut taken = self.lock();
        if taken.all >= HANDSHAKES_MAX {
            return Err("handshakes");
        }
        if taken.of(network) >= HANDSHAKES_OF_ONE_MAX {
            return Err("handshakes_of_one");
        }
        taken.all += 1;
        *taken.of.entry(network).or_default() += 1;
        Ok(Place { places: self.clone(), network })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn of(&self, network: IpAddr) -> usize {
        self.of.get(&network).copied().unwrap_or(0)
    }
}

/// What one party is likely to have for itself: an IPv4 address, the upper half of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_does_not_keep_the_others_out() {
        let places = Places::default();
        let one = address("10.0.0.1");
        let mut held: Vec<_> = (0..HANDSHAKES_OF_ONE_MAX).map(|_| places.take(one).unwrap()).collect();
        assert_eq!(places.take(one).unwrap_err(), "handshakes_of_one");
        assert_eq!(places.take(address("::ffff:10.0.0.1")).unwrap_err(), "handshakes_of_one");
        held.push(places.take(address("10.0.0.2")).unwrap());
        held.remove(0);
        held.push(places.take(one).unwrap());
        held.clear();
        assert!(places.lock().of.is_empty() && places.lock().all == 0);
    }

    #[test]
    fn network_of_ipv6_counts_as_one_and_all_are_bounded() {
        let places = Places::default();
        let mut held: Vec<_> =
            (0..HANDSHAKES_OF_ONE_MAX).map(|n| places.take(address(&format!("fd00:0:0:1::{n:x}"))).unwrap()).collect();
        assert!(places.take(address("fd00:0:0:1:8::1")).is_err());
        for n in HANDSHAKES_OF_ONE_MAX..HANDSHAKES_MAX {
            held.push(places.take(address(&format!("fd00:0:{n:x}::1"))).unwrap());
        }
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), "handshakes");
    }

    #[test]
    fn proof_is_wanted_of_all_when_many_come_and_of_one_who_comes_often() {
        let places = Places::default();
        let one = address("10.0.0.1");
        let few: Vec<_> = (0..HANDSHAKES_OF_ONE_UNPROVED_MAX).map(|_| places.take(one).unwrap()).collect();
        assert!(places.want_proof(one) && !places.want_proof(address("10.0.0.2")));
        drop(few);
        assert!(!places.want_proof(one));
        let many: Vec<_> =
            (0..HANDSHAKES_UNPROVED_MAX).map(|n| places.take(address(&format!("10.1.0.{n}"))).unwrap()).collect();
        assert!(places.want_proof(one));
        drop(many);
    }
}
