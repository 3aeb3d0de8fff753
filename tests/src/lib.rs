//! What the whole-system tests and the house rules stand on.
//!
//! [`source`] and [`tree`] read the repository as the house rules need it. [`school`] invents rosters that sit on every
//! border, [`random`] says by which seed, [`mutate`] spoils good input. [`process`] runs the real programs, [`wait`] awaits what
//! they do; a [`site`] is a building, a [`city`] a building with its hub. A [`crowd`] reports and remembers what it was
//! receipted, a [`disk`] has a power that can be cut, a [`sick_disk`] is slow or fails when it is told so.
//! A [`peripheral`] is an OSDP device that is not ours, [`prometheus`] the real one, a [`browser`] Debian's; [`provision`] makes
//! them once. [`sabotage`] breaks the code on purpose and asks who notices. A [`wire`] joins two network namespaces. A
//! [`service_manager`] keeps sockets over restarts as systemd does, a [`fresh_root`] is a Debian in which packages can be
//! installed. A bad network is
//! [`kalitka_loadgen::relay`].
//! [`torture`] is all of that at once, and [`pictures`] show how it looks on the dashboards.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

pub mod browser;
pub mod city;
pub mod crowd;
pub mod disk;
pub mod fresh_root;
pub mod mutate;
pub mod packages;
pub mod peripheral;
pub mod pictures;
pub mod process;
pub mod prometheus;
pub mod provision;
pub mod random;
pub mod sabotage;
pub mod school;
pub mod service_manager;
pub mod sick_disk;
pub mod site;
pub mod source;
pub mod torture;
pub mod tree;
pub mod wait;
pub mod wire;
