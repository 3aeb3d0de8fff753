//! The readers of a snapshot, each with what a decision needs of it and of its portal side by side.

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::ShapeSet;
use kalitka_protocol::reason::FallBack;
use kalitka_snapshot::model::{ArchivedModel, ArchivedReader};

/// What the snapshot says of a reader and of the portal that it guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// The reader.
    pub reader: ReaderId,
    /// The portal that it guards.
    pub portal: u16,
    /// The shapes that it sends.
    pub shapes: ShapeSet,
    /// How long a grant holds the portal open, in milliseconds.
    pub hold_open_ms: u16,
    /// The directions that it serves: bits of the model.
    pub directions: u8,
    /// What it does while the gateway does not answer.
    pub fall_back: FallBack,
}

impl Served {
    /// Where none stands: no reader has the number 0.
    const NONE: Self = Self {
        reader: ReaderId(0),
        portal: 0,
        shapes: ShapeSet::from_bits(0),
        hold_open_ms: 0,
        directions: 0,
        fall_back: FallBack::Closed,
    };

    fn compile(model: &ArchivedModel, reader: &ArchivedReader) -> Self {
        let portal = reader.portal.to_native();
        let of = model.portals.get(usize::from(portal));
        Self {
            reader: ReaderId(reader.number.to_native()),
            portal,
            shapes: ShapeSet::from_bits(reader.shapes.to_native()),
            hold_open_ms: of.map_or(0, |portal| portal.hold_open_ms.to_native()),
            directions: reader.directions,
            fall_back: of.and_then(|portal| FallBack::from_code(portal.fall_back).ok()).unwrap_or(FallBack::Closed),
        }
    }
}

/// The table: open addressing, at most half full, each reader at its home or in the first free place after.
pub(crate) struct Readers {
    places: Vec<Served>,
    /// Of a 32-bit hash, the bits below those that name the home.
    shift: u32,
}

impl Readers {
    pub(crate) fn compile(model: &ArchivedModel) -> Self {
        Self::of(model.readers.iter().map(|reader| Served::compile(model, reader)))
    }

    fn of(readers: impl ExactSizeIterator<Item = Served>) -> Self {
        let bits = (2 * readers.len()).next_power_of_two().trailing_zeros().clamp(1, 31);
        let mut table = Self { places: vec![Served::NONE; 1 << bits], shift: u32::BITS - bits };
        readers.for_each(|served| table.insert(served));
        table
    }

    /// What is known of `reader`: one look as a rule.
    pub(crate) fn get(&self, reader: ReaderId) -> Option<&Served> {
        let mut run =
            self.places.get(self.home(reader)..)?.iter().take_while(|served| served.reader != Served::NONE.reader);
        run.find(|served| served.reader == reader)
    }

    fn insert(&mut self, served: Served) {
        let home = self.home(served.reader);
        let free = self.places.iter().skip(home).position(|place| place.reader == Served::NONE.reader);
        match free.and_then(|free| self.places.get_mut(home + free)) {
            Some(place) => *place = served,
            None => self.places.push(served),
        }
    }

    /// Knuth's multiplicative hash: neighbours in number are far apart.
    const fn home(&self, reader: ReaderId) -> usize {
        (reader.0.wrapping_mul(0x9e37_79b1) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reader of `numbers` is found, and none of their neighbours that is not among them.
    fn assert_found(numbers: &[u32]) {
        let served = numbers.iter().map(|&number| Served { reader: ReaderId(number), ..Served::NONE });
        let table = Readers::of(served);
        for &number in numbers {
            assert_eq!(table.get(ReaderId(number)).map(|served| served.reader), Some(ReaderId(number)));
            for other in [number.wrapping_sub(1), number.wrapping_add(1), number ^ 1 << 31] {
                assert_eq!(table.get(ReaderId(other)).is_some(), numbers.contains(&other), "{other}");
            }
        }
    }

    #[test]
    fn every_reader_is_found_and_no_other() {
        assert_found(&[]);
        assert_found(&[1]);
        assert_found(&[u32::MAX]);
        assert_found(&(1..=300).collect::<Vec<_>>());
        let mut rng = fastrand::Rng::with_seed(1);
        assert_found(&(0..300).map(|_| rng.u32(1..)).collect::<Vec<_>>());
    }

    #[test]
    fn readers_that_have_one_home_are_found_though_it_is_the_last() {
        let table = Readers::of([Served::NONE; 100].into_iter());
        let last = (1..).filter(|&number| table.home(ReaderId(number)) == 255).take(100).collect::<Vec<_>>();
        assert_found(&last);
    }

    #[test]
    fn number_0_is_nobody() {
        assert_eq!(Readers::of([].into_iter()).get(ReaderId(0)), None);
    }
}
