//! The Debian packages of the programs under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

use crate::fresh_root::FreshRoot;
use crate::process::program;
use crate::tree::root;

/// Every package.
pub const PACKAGES: [&str; 4] = ["kalitka-doc", "kalitka-gateway", "kalitka-hub", "kalitka-tools"];

/// Builds the packages into `out`, of another version than that of Cargo.toml if one is given. What is missing to do so is
/// installed.
///
/// # Panics
/// When it fails; so do all functions here when something does.
pub fn build(out: &Path, version: Option<&str>) {
    static SET_UP: Once = Once::new();
    SET_UP.call_once(|| {
        let setup = root().join("deploy/setup-debian");
        let needed = ["dpkg-shlibdeps", "systemd-analyze", "groff", "adduser"];
        assert!(Command::new(setup).args(needed).status().unwrap().success());
    });
    let gateway = program("kalitka-gateway");
    let mut build = Command::new(root().join("deploy/build-deb"));
    build.arg("--fast").args(version.map(|version| ["--version", version]).into_iter().flatten());
    let output = build.arg(gateway.parent().unwrap()).arg(out).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The file of `package` in `folder`.
#[must_use]
pub fn file(folder: &Path, package: &str) -> PathBuf {
    let is_its = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{package}_"));
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find(is_its).unwrap()
}

/// Brings `folder`'s packages to `machine`, and gives where each of them lies there.
#[must_use]
pub fn brought(machine: &FreshRoot, folder: &Path) -> Vec<String> {
    let bring = |package: &str| {
        let deb = file(folder, package);
        let path = format!("{BROUGHT}/{}", deb.file_name().unwrap().to_str().unwrap());
        machine.copy_in(&deb, &path);
        path
    };
    PACKAGES.iter().map(|package| bring(package)).collect()
}

/// The folder that they are brought to.
pub const BROUGHT: &str = "/packages";
