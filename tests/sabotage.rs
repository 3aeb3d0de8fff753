//! The list of faults fits the code: what it names stands there, once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;

use kalitka_tests::sabotage::faults;
use kalitka_tests::tree::{files, root};

/// How many promises are tried at the least.
const FAULTS_MIN: usize = 25;

#[test]
fn every_fault_fits_the_code_and_names_a_test_that_there_is() {
    let faults = faults(&root()).unwrap();
    assert!(faults.len() >= FAULTS_MIN, "{} faults", faults.len());
    let sources = files(&[".rs"]);
    let mut names = BTreeSet::new();
    let mut wrong = Vec::new();
    for fault in &faults {
        if !names.insert(&fault.name) {
            wrong.push(format!("{} stands twice", fault.name));
        }
        match fs::read_to_string(root().join(&fault.file)).map_err(|error| error.to_string()) {
            Ok(text) => wrong.extend(fault.put_into(&text).err()),
            Err(error) => wrong.push(format!("{}: {}: {error}", fault.name, fault.file)),
        }
        let function = format!("fn {}(", fault.test.rsplit("::").next().unwrap());
        if !sources.iter().any(|source| source.text.contains(&function)) {
            wrong.push(format!("{}: there is no test {}", fault.name, fault.test));
        }
    }
    assert!(wrong.is_empty(), "tests/sabotage.toml does not fit the code:\n  {}", wrong.join("\n  "));
}
