//! Whether the gateway runs, and as the program that is installed.

use super::{Finding, Running};
use crate::config::Config;
use crate::failure::Failure;
use crate::state::is_taken;

const CHECK: &str = "gateway";

pub(super) fn look(config: &Config, asked: &Result<Running, Failure>) -> Finding {
    match asked {
        Ok(running) => of_running(&running.status.version, env!("CARGO_PKG_VERSION")),
        Err(failure) if is_taken(&config.state) == Some(true) => {
            let found = format!("it runs, and cannot be asked: {failure}");
            Finding::wrong(CHECK, found, "run this as root or as a member of the group kalitka")
        }
        Err(_) => Finding::wrong(
            CHECK,
            "it does not run: readers get no answers",
            "`systemctl start kalitka-gateway`; if it ends again, `journalctl -u kalitka-gateway -n 50` says why",
        ),
    }
}

fn of_running(running: &str, installed: &str) -> Finding {
    if running == installed {
        return Finding::good(CHECK, format!("version {running} runs"));
    }
    let found = format!("version {running} runs, and {installed} is installed");
    Finding::notice(CHECK, found, "`systemctl restart kalitka-gateway`")
}

/// Whether it is known that no gateway runs. Asked over a socket that the service manager keeps, one would be started.
pub(super) fn stands(config: &Config) -> bool {
    is_taken(&config.state) == Some(false)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::super::Verdict;
    use super::super::tests::config;
    use super::*;
    use crate::state::StateFolder;

    #[test]
    fn gateway_that_stands_is_told_from_one_that_cannot_be_asked() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("state"), "");
        let ask = || look(&config, &Running::ask(&config));
        assert!(ask().found.contains("does not run") && ask().verdict == Verdict::Wrong);
        let taken = StateFolder::take(&config.state, "gateway").unwrap();
        assert!(ask().found.contains("cannot be asked") && ask().verdict == Verdict::Wrong);
        drop(taken);
        assert!(ask().found.contains("does not run"));
    }

    #[test]
    fn gateway_that_stands_is_not_started_by_being_asked() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("state"), "");
        std::fs::create_dir(&config.state).unwrap();
        // As the service manager has it: whoever connects starts the service.
        let kept = std::os::unix::net::UnixListener::bind(&config.control.socket).unwrap();
        kept.set_nonblocking(true).unwrap();
        assert!(look(&config, &Running::ask(&config)).found.contains("does not run"));
        assert_eq!(kept.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn program_that_was_updated_and_not_started_anew_is_noticed() {
        assert_eq!(of_running("1.2.3", "1.2.3").verdict, Verdict::Good);
        let old = of_running("1.2.3", "1.2.4");
        assert!(
            old.verdict == Verdict::Notice && old.found.contains("1.2.3") && old.remedy.unwrap().contains("restart")
        );
    }
}
