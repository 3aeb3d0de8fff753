use std::collections::HashSet;

use kalitka_protocol::datagram::Datagram;
use kalitka_protocol::handshake::{Hello, Initiator, Psk, TagKeys};
use kalitka_protocol::seal::SealKey;
use kalitka_protocol::{BootId, Stamp};

use super::*;

const SESSION: SessionId = SessionId(0x0102_0304);
const READER: ReaderId = ReaderId(101);
const PSK: [u8; 32] = [7; 32];
const KEY: [u8; 32] = [9; 32];

fn prey() -> Prey {
    let (psk, hello) = (Psk::new(PSK), Hello { boot: BootId(1), firmware: 0 });
    let (_, initiation) = Initiator::new(READER, &psk, &TagKeys::new(&psk), Stamp(1 << 33), &hello, [3; 32]);
    let seal = |(counter, len): (u64, usize)| {
        let mut bytes = vec![0; len];
        SealKey::new(&KEY).seal(SESSION, counter, &mut bytes, len - SEALED_HEADER_LEN - TAG_LEN).unwrap();
        bytes
    };
    Prey { reader: READER, session: SESSION, initiation, sealed: [(0, 44), (1, LEN), (2, LEN)].map(seal).to_vec() }
}

fn made(kind: Junk) -> Vec<Vec<u8>> {
    let lots = lots(kind, &[prey()], &mut Rng::with_seed(1)).unwrap();
    lots.iter().flat_map(|lot| lot.bytes.chunks(lot.len).map(<[u8]>::to_vec)).collect()
}

#[test]
fn sealed_junk_looks_right_and_its_seal_does_not_hold() {
    for (kind, is_living) in [(Junk::UnknownSession, false), (Junk::WrongTag, true)] {
        let mut counters = HashSet::new();
        for mut datagram in made(kind) {
            let Ok(Datagram::Sealed(sealed)) = Datagram::parse(&mut datagram) else { panic!("{}", kind.label()) };
            assert_eq!(sealed.session == SESSION, is_living);
            assert!(!is_living || sealed.counter >= AHEAD);
            counters.insert(sealed.counter);
            assert!(SealKey::new(&KEY).open(sealed).is_none());
        }
        assert!(counters.len() > KEPT - 5, "{} counters", counters.len());
    }
}

#[test]
fn repeated_junk_is_byte_for_byte_what_was_heard() {
    let heard = prey();
    let asks = &heard.sealed[1..];
    assert!(made(Junk::Replayed).iter().all(|datagram| asks.contains(datagram)));
    assert!(made(Junk::RepeatedInitiation).iter().all(|datagram| datagram[..] == heard.initiation));
}

#[test]
fn forged_initiation_has_a_new_stamp_and_a_wrong_tag() {
    for mut datagram in made(Junk::ForgedInitiation) {
        let Ok(Datagram::Initiation(initiation)) = Datagram::parse(&mut datagram) else { panic!("no initiation") };
        assert!(initiation.reader == READER && initiation.stamp > Stamp(1 << 33));
        assert!(!TagKeys::new(&Psk::new(PSK)).verify_initiation(&initiation));
    }
}

#[test]
fn malformed_junk_does_not_parse() {
    for kind in [Junk::WrongLength, Junk::WrongVersion, Junk::Random] {
        let (made, mut parsed) = (made(kind), 0);
        for mut datagram in made {
            parsed += usize::from(Datagram::parse(&mut datagram).is_ok());
        }
        assert_eq!(parsed, 0, "{}", kind.label());
    }
    let lens: HashSet<usize> = made(Junk::WrongLength).iter().map(Vec::len).collect();
    assert_eq!(lens, HashSet::from([31, 95, 1201]));
    let versions: HashSet<bool> = made(Junk::WrongVersion).iter().map(|datagram| datagram[1] == VERSION).collect();
    assert_eq!(versions, HashSet::from([true, false]), "of wrong type and of wrong version");
}

#[test]
fn nothing_is_made_of_what_nobody_has_sent() {
    let silent = Prey { sealed: vec![vec![0; 44]], ..prey() };
    for (kind, prey) in [(Junk::Replayed, &[silent][..]), (Junk::WrongTag, &[]), (Junk::ForgedInitiation, &[])] {
        let error = lots(kind, prey, &mut Rng::with_seed(1)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", kind.label());
    }
}
