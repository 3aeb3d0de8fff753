//! Whether the kernel gives readers' datagrams the room that is configured.

use std::fs;

use super::{Case, Finding};
use crate::metrics::names;

const CHECK: &str = "kernel";
const RMEM_MAX: &str = "/proc/sys/net/core/rmem_max";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let wanted = case.config.udp.receive_buffer_bytes;
    let metrics = case.running.as_ref().map(|running| &running.metrics);
    let granted = metrics.and_then(|metrics| metrics.value(names::UDP_RECEIVE_BUFFER));
    let buffer = match granted {
        // The kernel counts twice what is asked for.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a gauge of bytes")]
        Some(granted) => judge(wanted, granted as usize / 2),
        None => match fs::read_to_string(RMEM_MAX).ok().and_then(|text| text.trim().parse().ok()) {
            Some(allowed) => judge(wanted, allowed),
            None => Finding::notice(CHECK, format!("{RMEM_MAX} cannot be read"), "run this as root"),
        },
    };
    let dropped = metrics.and_then(|metrics| metrics.value(names::UDP_KERNEL_DROPPED)).unwrap_or(0.0);
    std::iter::once(buffer).chain(drops(dropped)).collect()
}

fn judge(wanted: usize, granted: usize) -> Finding {
    if granted >= wanted {
        return Finding::good(CHECK, format!("receive buffers have the {wanted} bytes that are configured"));
    }
    let found = format!("receive buffers have {granted} bytes of {wanted}: a rush is dropped sooner");
    let remedy = format!(
        "write `net.core.rmem_max = {wanted}` into /etc/sysctl.d/kalitka.conf, `sysctl --system`, restart the gateway"
    );
    Finding::notice(CHECK, found, remedy)
}

fn drops(dropped: f64) -> Option<Finding> {
    let found = format!("{dropped} datagrams were dropped since the start because a receive buffer was full");
    (dropped > 0.0).then(|| {
        Finding::notice(
            CHECK,
            found,
            "readers ask again; see whether something floods the port, or raise udp.receive_buffer_bytes",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn buffer_below_what_is_configured_and_drops_are_noticed() {
        assert_eq!(judge(4 << 20, 4 << 20).verdict, Verdict::Good);
        let small = judge(4 << 20, 212_992);
        assert!(small.verdict == Verdict::Notice && small.remedy.unwrap().contains("rmem_max = 4194304"));
        assert_eq!(drops(0.0), None);
        assert!(drops(3.0).unwrap().found.starts_with("3 datagrams"));
    }
}
