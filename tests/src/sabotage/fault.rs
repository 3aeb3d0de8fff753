//! One line that breaks a promise, and the test that must notice.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// A fault, and who has to find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name, in few words.
    pub name: String,
    /// The file that it is put into, from the repository's root.
    pub file: String,
    /// What stands there: a part of exactly one line.
    pub line: String,
    /// What is put in its place.
    pub becomes: String,
    /// The package whose test must fail.
    pub package: String,
    /// The integration test's name; `None` for the package's unit tests.
    pub target: Option<String>,
    /// The test that must fail, with its modules.
    pub test: String,
}

impl Fault {
    /// The file's text with the fault in it.
    ///
    /// # Errors
    /// When the line does not stand there exactly once.
    pub fn put_into(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.line).count() {
            1 => Ok(text.replacen(&self.line, &self.becomes, 1)),
            times => Err(format!("{}: `{}` stands {times} times in {}, not once", self.name, self.line, self.file)),
        }
    }
}

/// What cargo builds and runs as one: a package's integration test, or its unit tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suite {
    package: String,
    target: Option<String>,
}

impl Suite {
    /// The suite that has the test of `fault`.
    #[must_use]
    pub fn of(fault: &Fault) -> Self {
        Self { package: fault.package.clone(), target: fault.target.clone() }
    }

    /// The arguments by which cargo runs the `tests` of this suite, and nothing else.
    #[must_use]
    pub fn cargo_test(&self, tests: &BTreeSet<&str>) -> Vec<String> {
        let mut args = vec!["test", "--locked", "--package", &self.package];
        match &self.target {
            Some(target) => args.extend(["--test", target]),
            None if self.is_of_a_program() => args.push("--bins"),
            None => args.push("--lib"),
        }
        args.extend(["--", "--exact"]);
        args.extend(tests);
        args.into_iter().map(str::to_owned).collect()
    }

    /// Whether the package is a program and has no library to test.
    fn is_of_a_program(&self) -> bool {
        matches!(self.package.as_str(), "kalitka-gateway" | "kalitka-hub" | "kalitka-tools")
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.target.as_deref().unwrap_or("unit tests"))
    }
}

/// The faults of `tests/sabotage.toml` in the repository at `root`.
///
/// # Errors
/// What is wrong with the list.
pub fn faults(root: &Path) -> Result<Vec<Fault>, String> {
    let path = root.join("tests/sabotage.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Fault>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let entries = table.get("fault").and_then(toml::Value::as_array).ok_or("there is no [[fault]]")?;
    entries.iter().map(fault).collect()
}

fn fault(entry: &toml::Value) -> Result<Fault, String> {
    let field = |name: &str| entry.get(name).and_then(toml::Value::as_str).map(str::to_owned);
    let needed = |name: &str| field(name).ok_or_else(|| format!("a fault has no `{name}`: {entry}"));
    Ok(Fault {
        name: needed("name")?,
        file: needed("file")?,
        line: needed("line")?,
        becomes: needed("becomes")?,
        package: needed("package")?,
        target: field("target"),
        test: needed("test")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[fault]]
        name = "no sync"
        file = "a.rs"
        line = "store.sync()"
        becomes = "Ok(())"
        package = "kalitka-outbox"
        test = "tests::synced"
    "#;

    #[test]
    fn fault_is_put_in_the_place_of_its_line_and_nowhere_else() {
        let fault = parse(LIST).unwrap().remove(0);
        assert_eq!(fault.put_into("a\n  store.sync()\nb").unwrap(), "a\n  Ok(())\nb");
        assert!(fault.put_into("a").unwrap_err().contains("0 times"));
        assert!(fault.put_into("store.sync() store.sync()").unwrap_err().contains("2 times"));
    }

    #[test]
    fn list_without_a_needed_field_is_refused_by_its_name() {
        for field in ["name", "file", "line", "becomes", "package", "test"] {
            let list: String =
                LIST.lines().filter(|line| !line.trim().starts_with(field)).collect::<Vec<_>>().join("\n");
            assert!(parse(&list).unwrap_err().contains(&format!("`{field}`")), "{field}");
        }
        assert!(parse("").is_err());
    }

    #[test]
    fn only_the_named_tests_are_run() {
        let mut fault = parse(LIST).unwrap().remove(0);
        let run = |fault: &Fault| Suite::of(fault).cargo_test(&["tests::synced", "tests::told"].into()).join(" ");
        assert_eq!(run(&fault), "test --locked --package kalitka-outbox --lib -- --exact tests::synced tests::told");
        fault.target = Some("system".into());
        assert!(run(&fault).contains("--test system --"));
        (fault.target, fault.package) = (None, "kalitka-hub".into());
        assert!(run(&fault).contains(" --bins "));
    }
}
