//! The sick disk does what it says, and lets go.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::wait::until;

const BOUND: Duration = Duration::from_secs(20);

fn disk() -> (TempDir, SickDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = SickDisk::mount(&folder.path().join("disk"));
    (folder, disk)
}

#[test]
fn well_disk_does_what_a_folder_does() {
    let (folder, disk) = disk();
    let at = |name: &str| disk.folder().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/file"), "one").unwrap();
    let mut appended = OpenOptions::new().append(true).open(at("a/b/file")).unwrap();
    appended.write_all(b", two").unwrap();
    appended.sync_all().unwrap();
    assert_eq!(fs::read(folder.path().join("disk.well/a/b/file")).unwrap(), b"one, two");
    fs::set_permissions(at("a/b/file"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(at("a/b/file"), at("a/other")).unwrap();
    File::open(at("a")).unwrap().sync_all().unwrap();
    assert_eq!(fs::metadata(at("a/other")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(at("a/other")).unwrap().len(), 8);
    appended.set_len(3).unwrap();
    assert_eq!(fs::read_to_string(at("a/other")).unwrap(), "one");
    for number in 0..300 {
        fs::write(at(&format!("a/b/{number}")), "x").unwrap();
    }
    assert_eq!(fs::read_dir(at("a/b")).unwrap().count(), 300);
    fs::remove_dir_all(at("a")).unwrap();
    assert!(!at("a").exists() && rustix::fs::statvfs(disk.folder()).unwrap().f_bavail > 0);
    disk.say_free(Some(0));
    assert_eq!(rustix::fs::statvfs(disk.folder()).unwrap().f_bavail, 0);
}

#[test]
fn fault_strikes_its_operations_on_its_files_as_often_as_it_says() {
    let (_folder, disk) = disk();
    let at = |name: &str| disk.folder().join(name);
    let file = File::create(at("struck")).unwrap();
    let other = File::create(at("spared")).unwrap();
    let twice = disk.fault(Fault::new(&[Op::Sync], Ill::Io).of("/struck").next(2));
    let synced: Vec<bool> = (0..4).map(|_| file.sync_data().is_ok() & other.sync_data().is_ok()).collect();
    assert_eq!((synced, disk.struck(twice)), (vec![false, false, true, true], 2));
    let third = disk.fault(Fault::new(&[Op::Write], Ill::NoSpace).every(3));
    let written: Vec<bool> = (0..7).map(|at| file.write_at(b"x", at).is_ok()).collect();
    assert_eq!((written, disk.struck(third)), (vec![true, true, false, true, true, false, true], 2));
    disk.heal();
    let cases: [(&[Op], Ill, ErrorKind); 3] = [
        (&[Op::Read], Ill::Io, ErrorKind::Other),
        (CHANGES, Ill::ReadOnly, ErrorKind::ReadOnlyFilesystem),
        (&[Op::Create], Ill::NoSpace, ErrorKind::StorageFull),
    ];
    for (ops, ill, kind) in cases {
        let fault = disk.fault(Fault::new(ops, ill));
        let error = if ops == [Op::Read] { fs::read(at("struck")).err() } else { File::create(at("new")).err() };
        let error = error.unwrap();
        assert!(error.kind() == kind || error.raw_os_error() == Some(5), "{ill:?}: {error}");
        disk.lift(fault);
    }
    fs::write(at("new"), "well again").unwrap();
    assert_eq!(fs::read_to_string(at("new")).unwrap(), "well again");
}

#[test]
fn short_writes_and_reads_are_half_done() {
    let (_folder, disk) = disk();
    let path = disk.folder().join("file");
    let mut file = File::create(&path).unwrap();
    disk.fault(Fault::new(&[Op::Write], Ill::Short).next(1));
    assert_eq!(file.write(b"0123456789").unwrap(), 5);
    file.write_all(b"56789").unwrap();
    disk.fault(Fault::new(&[Op::Read], Ill::Short).next(1));
    let mut bytes = [0; 10];
    assert!(File::open(&path).unwrap().read(&mut bytes).unwrap() < 10);
    assert_eq!(fs::read_to_string(&path).unwrap(), "0123456789");
}

#[test]
fn hanging_sync_holds_up_nobody_else_and_ends_when_it_is_let_go() {
    let (_folder, disk) = disk();
    let file = File::create(disk.folder().join("file")).unwrap();
    let hang = disk.fault(Fault::new(&[Op::Sync], Ill::Hangs).of("/file"));
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || tell.send(file.sync_all().is_ok()).unwrap());
    until("a sync that waits", BOUND, || (disk.waiting() == 1).then_some(()));
    fs::write(disk.folder().join("other"), "goes on").unwrap();
    File::open(disk.folder().join("other")).unwrap().sync_all().unwrap();
    assert!(told.try_recv().is_err());
    disk.lift(hang);
    assert!(told.recv_timeout(BOUND).unwrap());
    thread.join().unwrap();
    let slow = disk.fault(Fault::new(&[Op::Sync], Ill::Slow(Duration::from_millis(200))));
    let since = std::time::Instant::now();
    File::open(disk.folder().join("file")).unwrap().sync_all().unwrap();
    assert!(since.elapsed() >= Duration::from_millis(200) && disk.struck(slow) == 1);
}

#[test]
fn disk_that_is_dropped_lets_go_of_whoever_waits() {
    let (_folder, disk) = disk();
    let file = File::create(disk.folder().join("file")).unwrap();
    disk.fault(Fault::new(&[Op::Sync], Ill::Hangs));
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || tell.send(file.sync_all().is_ok()).unwrap());
    until("a sync that waits", BOUND, || (disk.waiting() == 1).then_some(()));
    drop(disk);
    told.recv_timeout(BOUND).unwrap();
    thread.join().unwrap();
}

#[test]
fn power_cut_takes_what_was_not_synced_and_what_a_failed_sync_gave_up() {
    let (_folder, disk) = disk();
    let path = disk.folder().join("file");
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).unwrap();
    let page = |byte: u8| [byte; 4096];
    file.write_all_at(&page(1), 0).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&page(2), 4096).unwrap();
    disk.fault(Fault::new(&[Op::Sync], Ill::Io).next(1));
    let other = File::open(&path).unwrap();
    file.sync_all().unwrap_err();
    assert!(other.sync_all().is_err() && other.sync_all().is_ok(), "whoever has it open is told once");
    // The next one says that all is well, and the page is not there.
    file.write_all_at(&page(3), 8192).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&page(4), 0).unwrap();
    file.write_all_at(&page(5), 12288).unwrap();
    assert_eq!(fs::read(&path).unwrap().iter().step_by(4096).copied().collect::<Vec<_>>(), [4, 2, 3, 5]);
    drop(file);
    disk.cut_power();
    assert_eq!(fs::read(&path).unwrap().iter().step_by(4096).copied().collect::<Vec<_>>(), [1, 0, 3]);
}
