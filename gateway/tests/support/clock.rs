//! A wall clock that a test sets, for a gateway that knows nothing of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{BINARY, Gateway, Site};

/// The gateway's wall clock, and whether the kernel says that it is kept. It goes on from where it was set.
pub(crate) struct WallClock {
    file: File,
}

impl WallClock {
    /// A clock in the folder of `site`, that says `wall_us` and is not kept.
    pub(crate) fn new(site: &Site, wall_us: i64) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clock.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(site.path("clock.so")).arg(source);
        assert!(cc.status().expect("the C compiler that Rust links with").success());
        let file = File::create(site.path("clock")).unwrap();
        let clock = Self { file };
        clock.keep(false);
        clock.set(wall_us);
        clock
    }

    /// Sets it.
    pub(crate) fn set(&self, wall_us: i64) {
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
        self.file.write_all_at(&(wall_us - now).to_ne_bytes(), 0).unwrap();
    }

    /// From now on somebody keeps it, or nobody.
    pub(crate) fn keep(&self, kept: bool) {
        self.file.write_all_at(&i64::from(kept).to_ne_bytes(), 8).unwrap();
    }

    /// Starts a gateway whose wall clock it is.
    pub(crate) fn start(&self, site: &Site) -> Gateway {
        let mut command = Command::new(BINARY);
        command.env("LD_PRELOAD", site.path("clock.so")).env("TEST_CLOCK", site.path("clock"));
        site.start_by(&mut command)
    }
}
