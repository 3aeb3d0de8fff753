//! The steady state allocates nothing, from the receiving call to the journal's ring.

use super::rig::{FIRST, Rig, ask};

#[test]
fn batches_of_asks_repeats_and_junk_allocate_nothing() {
    let mut rig = Rig::new();
    let mut readers: Vec<_> = (0..4).map(|place| rig.connected(FIRST + place)).collect();
    let mut round = |request: u32| {
        for reader in &mut readers {
            let (first, second) = (ask(reader, request), ask(reader, request));
            let ping = reader.ping(request);
            for datagram in [&first[..], &second, &ping, &first, &[0xff; 60]] {
                reader.socket.send(datagram).unwrap();
            }
        }
        let measured = allocation_counter::measure(|| rig.turn());
        let sent = rig.tally().sent.get();
        (measured.count_total, sent)
    };
    // What a thread makes once is made in its first turns.
    let (_, before) = round(1);
    let measured: Vec<_> = (2..50).map(&mut round).collect();
    assert_eq!(measured.iter().map(|(allocations, _)| allocations).sum::<u64>(), 0, "{measured:?}");
    assert_eq!(measured.last().map(|(_, sent)| sent - before), Some(48 * 4 * 3));
    assert_eq!(rig.ring.waiting(), 49 * 4);
}
