//! A store that is found damaged while the journal runs: it is cured without a restart, and without a person.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kalitka_protocol::event::{Body, Event, LossCause};

use kalitka_uplink::Request;

use super::rig::{PATIENCE, Rig};

fn store(state: &Path) -> PathBuf {
    let entries = fs::read_dir(state.join("outbox")).unwrap().map(|entry| entry.unwrap().path());
    let mut stores = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("sled-"));
    stores.next().unwrap()
}

/// Sends report `number` until it is receipted, as a reader does.
fn report_until_receipted(rig: &mut Rig, number: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        rig.reported(number, false);
        // Behind the report: the journal has dealt with it, or has nothing to do it with.
        rig.standing();
        if rig.posted().is_some_and(|receipted| receipted >= number) {
            return;
        }
        assert!(Instant::now() < deadline, "report {number} gets no receipt");
    }
}

#[test]
fn damage_found_by_a_commit_is_cured_while_decisions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(&folder, Vec::new());
    for number in 1..=50 {
        rig.reported(number, number == 1);
    }
    while rig.receipt() < 50 {}
    let before = rig.standing();
    // sled never syncs what lies there, so a commit that finds something refuses it.
    fs::write(store(folder.path()).join("blobs/77"), b"not synced").unwrap();
    rig.decided(1);
    let since = Instant::now();
    report_until_receipted(&mut rig, 51);
    println!("receipts again after {:?}", since.elapsed());
    let after = rig.standing();
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(rig.events_of(before.epoch).len() as u64, before.last, "all that was whole is still sent");
    let begun = rig.events();
    let Body::EpochBegun(begun) = Event::parse(&begun[0]).unwrap().body else { panic!("{:?}", rig.kinds()) };
    assert_eq!((begun.before, begun.last, begun.hash), (Some(before.epoch), before.last, before.hash));
    let lost = rig
        .events()
        .iter()
        .any(|event| matches!(Event::parse(event).unwrap().body, Body::Loss(loss) if loss.cause == LossCause::Damaged));
    assert!(!lost, "nothing of what was durable is missing");
    assert!(rig.kinds().contains(&kalitka_protocol::event::kind::DECISION), "what was decided meanwhile is kept");
    assert_eq!(rig.reports(), [51], "each once");
    let shown = rig.shown(|status| status.quarantined == 1);
    assert!(shown.taking && shown.reopens == 1 && shown.quarantine_bytes > 0 && !shown.on_refuge, "{shown:?}");
}

/// The hub says it once, whether there is a store at that moment or not.
#[test]
fn what_the_hub_acknowledges_while_there_is_no_store_is_known_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(&folder, Vec::new());
    for number in 1..=5 {
        rig.reported(number, number == 1);
    }
    while rig.receipt() < 5 {}
    let before = rig.standing();
    fs::write(store(folder.path()).join("blobs/77"), b"not synced").unwrap();
    // Where a file stands no store can be opened.
    let (outbox, aside) = (folder.path().join("outbox"), folder.path().join("aside"));
    fs::rename(&outbox, &aside).unwrap();
    fs::write(&outbox, b"").unwrap();
    rig.reported(6, false);
    rig.shown(|status| !status.taking);
    rig.door.uplink(Request::Acknowledged { epoch: before.epoch, number: before.last }).unwrap();
    // Behind it.
    let _ = rig.asked(|reply| Request::Standing { reply });
    assert!(!rig.shown(|_| true).taking);
    // At once: the journal tries again meanwhile.
    let exchange = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, &aside, rustix::fs::CWD, &outbox, exchange).unwrap();
    report_until_receipted(&mut rig, 6);
    let shown = rig.shown(|status| status.taking && status.unacknowledged == status.number);
    assert!(shown.number > 0 && shown.events > shown.number, "{shown:?}");
}

/// Four times damaged, and a process opens sled four times at most.
#[test]
fn plain_log_takes_over_after_the_third_reopening_and_receipts_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(&folder, Vec::new());
    rig.reported(1, true);
    rig.receipt();
    for number in 2..=5 {
        fs::write(store(folder.path()).join("blobs/77"), b"not synced").unwrap();
        report_until_receipted(&mut rig, number);
    }
    let shown = rig.shown(|status| status.on_refuge);
    assert_eq!((shown.reopens, shown.taking), (4, true));
    assert_eq!(shown.quarantined, 3, "the oldest has given way");
    report_until_receipted(&mut rig, 6);
    rig.stop();
    let mut rig = Rig::start(&folder, Vec::new());
    report_until_receipted(&mut rig, 7);
    assert!(!rig.shown(|status| status.taking).on_refuge, "a restart goes back to sled");
}
