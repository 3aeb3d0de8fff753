//! The stamp file and what is taken up again from it.

use super::*;
use std::sync::mpsc::sync_channel;

fn psk(byte: u8) -> Psk {
    Psk::new([byte; 32])
}

fn book(version: u64, keys: &[(u32, u8)]) -> Arc<Keys> {
    Arc::new(Keys::new(version, keys.iter().map(|&(reader, byte)| (ReaderId(reader), psk(byte)))).unwrap())
}

fn taken(reader: u32, stamp: u64, key: u8) -> Taken {
    Taken { reader: ReaderId(reader), stamp: Stamp(stamp), key: KeyCheck::of(&psk(key)) }
}

/// Runs a keeper over `all` and gives the file's bytes.
fn kept(path: &Path, keys: &Arc<Published<Keys>>, all: &[Taken]) -> Vec<u8> {
    let keeper = Keeper::open(path.into(), Arc::clone(keys)).unwrap();
    let (sender, receiver) = sync_channel(all.len());
    all.iter().for_each(|&taken| sender.send(taken).unwrap());
    drop(sender);
    keeper.run(&receiver, &Clock::start());
    std::fs::read(path).unwrap()
}

#[test]
fn highest_stamp_is_read_again_after_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let keys = Arc::new(Published::new(Some(book(1, &[(101, 1), (102, 2)]))));
    kept(&path, &keys, &[taken(101, 5, 1), taken(101, 4, 1), taken(102, u64::MAX, 2)]);
    let current = Keeper::open(path, keys).unwrap().current();
    assert_eq!(current, [(ReaderId(101), Stamp(5)), (ReaderId(102), Stamp(u64::MAX))]);
}

#[test]
fn stamp_under_a_former_key_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let keys = Arc::new(Published::new(Some(book(1, &[(101, 1)]))));
    kept(&path, &keys, &[taken(101, 900, 1)]);
    keys.publish(book(2, &[(101, 7)]));
    assert_eq!(Keeper::open(path.clone(), Arc::clone(&keys)).unwrap().current(), []);
    kept(&path, &keys, &[taken(101, 3, 7)]);
    assert_eq!(Keeper::open(path, keys).unwrap().current(), [(ReaderId(101), Stamp(3))]);
}

#[test]
fn stamps_of_revoked_readers_leave_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE_NAME);
    let keys = Arc::new(Published::new(Some(book(1, &[(101, 1), (102, 2)]))));
    kept(&path, &keys, &[taken(101, 1, 1), taken(102, 1, 2)]);
    keys.publish(book(2, &[(102, 2)]));
    let bytes = kept(&path, &keys, &[taken(102, 2, 2)]);
    assert_eq!(parse(&bytes).unwrap().keys().copied().collect::<Vec<_>>(), [ReaderId(102)]);
}

#[test]
fn wrong_lines_are_named_and_nothing_panics() {
    let text = emit(&[(ReaderId(1), (Stamp(2), KeyCheck(3))), (ReaderId(4), (Stamp(5), KeyCheck(6)))].into());
    let right = parse(text.as_bytes()).unwrap();
    assert_eq!(emit(&right), text);
    for end in 0..text.len() {
        assert_eq!(parse(&text.as_bytes()[..end]).is_ok(), text.as_bytes()[..end].ends_with(b"\n"), "cut at {end}");
    }
    for bit in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(parse(&bytes).ok().as_ref(), Some(&right), "bit {bit}");
    }
    for (wrong, line) in [("", 1), ("1 2 3\n", 1)] {
        assert_eq!(parse(wrong.as_bytes()), Err(line));
    }
    for wrong in ["1 2\n", "1 2 0000000000000003 4\n", "01 2 0000000000000003\n", "1 2 3\n", "-1 2 0000000000000003\n"]
    {
        assert_eq!(parse(format!("{TITLE}\n{wrong}").as_bytes()), Err(2), "{wrong}");
    }
}
