//! Manual pages and shell completions, made by the program that they are about: what it takes is what they say.
//!
//! Each program answers to `generate FOLDER`. That is no command of its command line, so no help, page or completion tells of
//! it: only packaging asks.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate_to};

/// The word by which a program is asked.
const WORD: &str = "generate";
/// Exit status when a file cannot be written, as in all programs.
const ENVIRONMENT: u8 = 4;
/// Folders within the one that is filled, and whose completions are in them.
const COMPLETIONS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

/// Does what packaging asks for, if it is what this process was started for; gives its exit status then.
pub fn made(command: impl FnOnce() -> Command) -> Option<ExitCode> {
    let folder = asked(env::args_os().skip(1))?;
    let Err(error) = write(command(), &folder) else { return Some(ExitCode::SUCCESS) };
    // With standard error gone there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{}: cannot write pages and completions: {error}", folder.display());
    Some(ExitCode::from(ENVIRONMENT))
}

/// The folder, if `words` ask.
fn asked(mut words: impl Iterator<Item = std::ffi::OsString>) -> Option<PathBuf> {
    let is_asked = words.next()? == WORD;
    let folder = words.next().filter(|_| is_asked)?;
    words.next().is_none().then(|| folder.into())
}

/// Writes what there is to say of `command` into `folder`: a page for it and for each of its subcommands into `man`, and its
/// completions into `bash`, `zsh` and `fish`, under the names by which these look for them.
///
/// # Errors
/// What the system says when a file cannot be written.
pub fn write(command: Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (place, shell) in COMPLETIONS {
        let place = folder.join(place);
        fs::create_dir_all(&place)?;
        let written = generate_to(shell, &mut command.clone(), &name, &place)?;
        if shell == Shell::Bash {
            // Found by the name of the command alone.
            fs::rename(written, place.join(&name))?;
        }
    }
    let pages = folder.join("man");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(command, &pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_completions_of_every_command_stand_where_they_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let verb = Command::new("reader").subcommand(Command::new("add").about("Give it a key"));
        write(Command::new("gate").version("1.2").subcommand(verb), folder.path()).unwrap();
        for (path, word) in [
            ("man/gate.1", "gate 1.2"),
            ("man/gate-reader.1", "reader"),
            ("man/gate-reader-add.1", "Give it a key"),
            ("bash/gate", "complete -F _gate"),
            ("zsh/_gate", "#compdef gate"),
            ("fish/gate.fish", "complete -c gate"),
        ] {
            let text = fs::read_to_string(folder.path().join(path)).unwrap();
            assert!(text.contains(word), "{path}: {text}");
        }
        let pages = fs::read_dir(folder.path().join("man")).unwrap();
        assert_eq!(pages.count(), 3, "a page for what nobody can call");
    }

    #[test]
    fn only_the_whole_question_is_answered() {
        for (words, folder) in [
            (&["generate", "/f"][..], Some("/f")),
            (&["generate"], None),
            (&["generate", "/f", "/g"], None),
            (&["run", "/f"], None),
            (&[], None),
        ] {
            assert_eq!(asked(words.iter().map(Into::into)), folder.map(Into::into), "{words:?}");
        }
    }
}
