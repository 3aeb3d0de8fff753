//! A set of places on a worker's desk.

use crate::limits::BATCH_MAX;

/// Places below [`BATCH_MAX`]; as an iterator it gives them from the lowest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places(u32);

const _: () = assert!(BATCH_MAX <= u32::BITS as usize);

impl Places {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn add(&mut self, place: usize) {
        self.add_if(true, place);
    }

    pub(super) const fn add_if(&mut self, is_in: bool, place: usize) {
        self.0 |= (is_in as u32) << place;
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros();
        self.0 &= self.0.checked_sub(1)?;
        Some(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_from_the_lowest_on_and_once() {
        let mut places = Places::NONE;
        assert!(places.is_empty() && places.next().is_none());
        for place in [31, 0, 7, 7, 30] {
            places.add(place);
            places.add_if(false, place - place / 2);
        }
        assert!(!places.is_empty());
        assert_eq!(places.collect::<Vec<_>>(), [0, 7, 30, 31]);
    }
}
