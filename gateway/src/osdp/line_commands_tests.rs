use std::path::Path;

use tokio::runtime::Runtime;

use super::*;

/// A line with one device, whose reader is 101; its state folder is `folder`, and there is neither a port nor a gateway.
fn line(runtime: &Runtime, folder: &Path) -> Line {
    let _entered = runtime.enter();
    let shared = Shared {
        clock: Clock::start(),
        gateway: "127.0.0.1:9".parse().unwrap(),
        keys: Arc::new(Published::new(None)),
        keeper: std::sync::mpsc::sync_channel(1).0,
        last_commands: Arc::new(LastCommands::open(folder.join("osdp.commands"), std::iter::once(101)).unwrap()),
        boots: Boots::of(&[]),
        tally: OsdpTally::new(),
    };
    let settings = "port = \"/dev/no-such-line\"\n[[devices]]\naddress = 0\nreader = 101\nrelease = 0\n";
    let (_, orders) = mpsc::channel(1);
    let (keys, shown) = (DeviceKeys::open(folder.join("osdp.keys")).unwrap(), watch::channel(Vec::new()).0);
    Line::new(toml::from_str(settings).unwrap(), Arc::new(shared), &keys, orders, shown).unwrap()
}

#[test]
fn number_of_a_command_is_on_the_disk_before_it_is_done_and_known_after_a_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (mut kept, keep) = (Vec::new(), |line: &mut Line, id| {
        runtime.block_on(async {
            line.settle(0, Outcome { command: Some(id), ..Outcome::default() });
            line.kept.1.recv().await.map(|kept| (kept.place, kept.id, kept.is_kept)).unwrap()
        })
    });
    kept.push(keep(&mut line(&runtime, folder.path()), 5));
    let mut line = line(&runtime, folder.path());
    assert_eq!(line.seats[0].last_command(), 5);
    drop(folder);
    kept.push(keep(&mut line, 6));
    assert_eq!(kept, [(0, 5, true), (0, 6, false)]);
}
