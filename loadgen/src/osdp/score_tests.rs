use kalitka_protocol::credential::CardRead;

use super::*;
use crate::osdp::Pass;

const READER: u32 = 105;

fn card(byte: u8) -> CardRead {
    CardRead::from_uid(&[byte; 4]).unwrap()
}

fn log(passes: &[(u8, bool)]) -> Log {
    let pass = |&(byte, is_sure): &(u8, bool)| Pass::new(card(byte), is_sure);
    Log { passes: passes.iter().map(pass).collect(), ..Log::new(ReaderId(READER)) }
}

fn held(passes: &[(u32, u8, u64)]) -> Passes {
    passes.iter().map(|&(reader, byte, count)| ((reader, hex::encode(card(byte).to_bytes())), count)).collect()
}

#[test]
fn each_pass_is_held_once_and_an_unsure_one_once_at_most() {
    let logs = [log(&[(1, true), (1, true), (2, true), (3, false)])];
    for (at_hub, expected) in [
        (&[(READER, 1, 2), (READER, 2, 1)][..], AtHub { held: 3, lost: 0, doubled: 0 }),
        (&[(READER, 1, 2), (READER, 2, 1), (READER, 3, 1)], AtHub { held: 4, lost: 0, doubled: 0 }),
        (&[(READER, 1, 1), (READER, 2, 1)], AtHub { held: 2, lost: 1, doubled: 0 }),
        (&[(READER, 1, 3), (READER, 2, 1)], AtHub { held: 3, lost: 0, doubled: 1 }),
        (&[(READER, 1, 2), (READER, 2, 1), (READER, 3, 2), (READER, 4, 1)], AtHub { held: 4, lost: 0, doubled: 2 }),
        // Another reader's are none of ours.
        (&[(READER + 1, 1, 2), (READER, 2, 1)], AtHub { held: 1, lost: 2, doubled: 0 }),
        (&[], AtHub { held: 0, lost: 3, doubled: 0 }),
    ] {
        assert_eq!(compare(&held(at_hub), &logs), expected, "{at_hub:?}");
    }
}
