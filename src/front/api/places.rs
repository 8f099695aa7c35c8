//! How many connections each caller may have, and all of them together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections each has that is known as `K`.
#[derive(Debug)]
pub(super) struct Places<K: Ord>(Mutex<BTreeMap<K, usize>>);

/// Of connections at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) all: usize,
    pub(super) each: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<K: Ord + Clone> {
    places: Arc<Places<K>>,
    key: K,
}

impl<K: Ord + Clone> Places<K> {
    /// Nothing when there is none left for this one.
    pub(super) fn take(places: &Arc<Self>, key: K, share: Share) -> Option<Place<K>> {
        let mut taken = places.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&key).copied().unwrap_or_default();
        if all >= share.all || own >= share.each {
            return None;
        }
        taken.insert(key.clone(), own + 1);
        let places = Arc::clone(places);
        Some(Place { places, key })
    }
}

impl<K: Ord> Places<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, usize>> {
        // Whoever panicked left plain counts behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord> Default for Places<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.key) {
            *own = own.saturating_sub(1);
        }
        taken.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_some_places_and_whoever_has_a_larger_share_finds_one() {
        let places = Arc::new(Places::default());
        let mut kept: Vec<Place<u32>> = Vec::new();
        let share = |all| Share { all, each: 16 };
        for uid in 1000..1010 {
            kept.extend((0..20).map_while(|_| Places::take(&places, uid, share(48))));
        }
        assert_eq!(kept.len(), 48);
        assert_eq!(kept.iter().filter(|place| place.key == 1000).count(), 16);
        kept.extend((0..20).map_while(|_| Places::take(&places, 0, share(64))));
        assert_eq!(kept.len(), 64);
        drop(kept);
        assert!(places.lock().is_empty());
    }
}
