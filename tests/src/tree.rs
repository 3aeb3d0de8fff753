//! The repository's own files.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not the repository's, wherever they stand.
const FOREIGN: [&str; 2] = [".git", "target"];

/// The repository's folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// A file of the repository.
#[derive(Debug)]
pub struct File {
    /// Its path from [`root`], with `/` between its parts.
    pub path: String,
    /// What stands in it; what is no UTF-8 is replaced.
    pub text: String,
}

/// Whether the file at `path` is only ever compiled into tests and examples.
#[must_use]
pub fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.contains("/examples/") || path.ends_with("tests.rs")
}

/// Every file whose name ends in one of `endings`, in the order of their paths.
#[must_use]
pub fn files(endings: &[&str]) -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut |path| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(File { path: name, text: String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned() });
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if FOREIGN.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() { walk(&path, visit) } else { visit(&path) }
    }
}
