//! Two machines and a wire between them: network namespaces of the test's own, made by iproute2, which is installed if missing.
//!
//! A thread is in one of them at a time, and what it starts (processes, threads) stays where it was started. The near one has
//! the test in it, so that its loopback is the one of everything that the test talks to.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::tree::root;

/// The far end's address on the wire.
pub const FAR: &str = "10.99.0.1";

/// The wire. Dropped, both namespaces are removed and the thread is where it was before.
#[derive(Debug)]
pub struct Wire {
    name: String,
    home: File,
}

impl Wire {
    /// Two namespaces with a wire, and the calling thread in the near one, which is at `address` on it.
    ///
    /// # Panics
    /// When the machine does not allow it (root, network namespaces); so do all functions here.
    #[must_use]
    pub fn lay(address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        see_to_ip();
        let name = format!("kalitka-{}-{}", process::id(), COUNT.fetch_add(1, Relaxed));
        let wire = Self { name, home: File::open("/proc/thread-self/ns/net").unwrap() };
        let (near, far) = (wire.near(), wire.far());
        ip(&["netns", "add", &near]);
        ip(&["netns", "add", &far]);
        ip(&["-n", &near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &far]);
        ip(&["-n", &far, "addr", "add", &format!("{FAR}/24"), "dev", "wire"]);
        for name in [&near, &far] {
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "wire", "up"]);
        }
        wire.take_address(address);
        wire.enter(&near);
        wire
    }

    /// The near end has `address` from now on, and no other.
    pub fn move_to(&self, address: &str) {
        self.lose_address();
        self.take_address(address);
    }

    /// The near end has no address from now on.
    pub fn lose_address(&self) {
        ip(&["-n", &self.near(), "addr", "flush", "dev", "wire"]);
    }

    /// The near end gets `address`.
    pub fn take_address(&self, address: &str) {
        ip(&["-n", &self.near(), "addr", "add", &format!("{address}/24"), "dev", "wire"]);
    }

    /// Does something at the far end.
    pub fn at_far_end<T>(&self, deed: impl FnOnce() -> T) -> T {
        self.enter(&self.far());
        let done = deed();
        self.enter(&self.near());
        done
    }

    fn near(&self) -> String {
        format!("{}-near", self.name)
    }

    fn far(&self) -> String {
        format!("{}-far", self.name)
    }

    fn enter(&self, name: &str) {
        enter(&File::open(format!("/run/netns/{name}")).unwrap());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        enter(&self.home);
        for name in [self.near(), self.far()] {
            let _ = Command::new("ip").args(["netns", "del", &name]).stderr(Stdio::null()).status();
        }
    }
}

fn enter(namespace: &File) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn see_to_ip() {
    let has_ip = || Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has_ip() {
        // It is called iproute2 as a package and is no program of that name, so it is installed.
        let installed = Command::new(root().join("deploy/setup-debian")).arg("iproute2").status().unwrap();
        assert!(installed.success() && has_ip(), "iproute2 is missing and cannot be installed");
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
