//! Whether the addresses and serial ports of the configuration are the gateway's, or free for it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use super::{Case, Finding};
use crate::limits::{DOCTOR_PROCESSES_MAX, PROC_NET_UDP_MAX};
use crate::serial::port;

const CHECK: &str = "ports";

pub(super) fn look(case: &Case<'_>) -> Vec<Finding> {
    let config = case.config;
    let mut findings = match &case.running {
        Some(running) => of_running([config.udp.listen, config.http.listen], [running.status.udp, running.status.http]),
        None => vec![
            of_standing("udp.listen", config.udp.listen, UdpSocket::bind(config.udp.listen).map(drop), "udp"),
            of_standing("http.listen", config.http.listen, TcpListener::bind(config.http.listen).map(drop), "tcp"),
        ],
    };
    let serial = config.serial.iter().map(|line| ("serial.port", &line.port));
    let osdp = config.osdp.iter().map(|line| ("osdp.port", &line.port));
    findings.extend(serial.chain(osdp).map(|(key, path)| of_line(key, path)));
    findings
}

/// Of the addresses for readers and for whoever watches.
fn of_running(configured: [SocketAddr; 2], bound: [SocketAddr; 2]) -> Vec<Finding> {
    let keys = ["udp.listen", "http.listen"].into_iter().zip(configured).zip(bound);
    let other = keys.filter(|((_, configured), bound)| configured.port() != 0 && configured != bound);
    let wrong = other.map(|((key, configured), bound)| {
        let found = format!("{key}: the gateway listens on {bound}, and {configured} is configured");
        Finding::wrong(CHECK, found, "`systemctl restart kalitka-gateway`")
    });
    let wrong: Vec<Finding> = wrong.collect();
    let [udp, http] = bound;
    if wrong.is_empty() {
        vec![Finding::good(CHECK, format!("the gateway has udp {udp} and http {http}"))]
    } else {
        wrong
    }
}

fn of_standing(key: &str, address: SocketAddr, bound: io::Result<()>, protocol: &str) -> Finding {
    let Err(error) = bound else { return Finding::good(CHECK, format!("{key}: {address} is free")) };
    let family = if address.is_ipv4() { "" } else { "6" };
    match holder(&format!("/proc/self/net/{protocol}{family}"), address.port()) {
        // systemd, for the gateway's start.
        Some((1, _)) => Finding::good(CHECK, format!("{key}: {address} is kept for the gateway by its socket unit")),
        Some((pid, name)) => {
            let found = format!("{key}: {address}: process {pid} ({name}) has it");
            Finding::wrong(CHECK, found, "stop that, or configure another address")
        }
        None => {
            let found = format!("{key}: {address}: {error}");
            Finding::wrong(
                CHECK,
                found,
                "configure an address of this machine that is free; as root this says who has it",
            )
        }
    }
}

fn of_line(key: &str, path: &Path) -> Finding {
    match port::look_at(path) {
        Ok(()) => Finding::good(CHECK, format!("{key}: {} is there", path.display())),
        Err(error) => {
            let text = error.to_string();
            let (found, remedy) = text.split_once("; ").unwrap_or((&text, "see `kalitka-gateway serial list`"));
            Finding::wrong(CHECK, format!("{key}: {}: {found}", path.display()), remedy)
        }
    }
}

/// The process that has a socket on `port` in the kernel's `list`, as far as one may see.
fn holder(list: &str, port: u16) -> Option<(u32, String)> {
    let list = io::Read::take(fs::File::open(list).ok()?, PROC_NET_UDP_MAX);
    let lines = io::BufRead::lines(io::BufReader::new(list)).map_while(Result::ok);
    let inodes: Vec<String> = lines.filter_map(|line| inode_on(&line, port)).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pid = processes.take(DOCTOR_PROCESSES_MAX).find(|&pid: &u32| has_one_of(pid, &inodes))?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim_end().to_owned()))
}

/// The socket's number in a line of the list, if it is bound to `port`: the second field is the address in hex, the tenth the number.
fn inode_on(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (_, bound) = fields.nth(1)?.rsplit_once(':')?;
    (u16::from_str_radix(bound, 16) == Ok(port)).then(|| fields.nth(7).map(str::to_owned))?
}

fn has_one_of(pid: u32, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let is_one = |link: &PathBuf| inodes.iter().any(|inode| link.as_os_str() == format!("socket:[{inode}]").as_str());
    links.into_iter().any(|link| is_one(&link))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::super::tests::{config, judged};
    use super::*;

    #[test]
    fn port_that_somebody_else_has_is_named_with_who() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "");
        let look = |config: &crate::config::Config| judged(&look(&Case { config, running: None }));
        assert_eq!(look(&config).0, Verdict::Good);
        let ours = format!("process {} (", std::process::id());
        let (udp_holder, tcp_holder) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
        config.udp.listen = udp_holder.local_addr().unwrap();
        let (verdict, text) = look(&config);
        assert!(verdict == Verdict::Wrong && text.contains("udp.listen") && text.contains(&ours), "{text}");
        config.udp.listen = "127.0.0.1:0".parse().unwrap();
        config.http.listen = tcp_holder.local_addr().unwrap();
        let (verdict, text) = look(&config);
        assert!(verdict == Verdict::Wrong && text.contains("http.listen") && text.contains(&ours), "{text}");
    }

    #[test]
    fn address_of_another_machine_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), "");
        config.udp.listen = "192.0.2.1:4700".parse().unwrap();
        let (verdict, text) = judged(&look(&Case { config: &config, running: None }));
        assert!(verdict == Verdict::Wrong && text.contains("192.0.2.1:4700"), "{text}");
    }

    #[test]
    fn serial_port_that_is_not_there_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let more = "[[serial]]\nport = \"/dev/none\"\n[[osdp]]\nport = \"/dev/neither\"\ndevices = []\n";
        let config = config(folder.path(), more);
        let (verdict, text) = judged(&look(&Case { config: &config, running: None }));
        assert!(verdict == Verdict::Wrong, "{text}");
        assert!(text.contains("serial.port: /dev/none: ") && text.contains("osdp.port: /dev/neither: "), "{text}");
    }

    #[test]
    fn gateway_that_listens_elsewhere_than_configured_is_wrong() {
        let [one, other, any] = ["127.0.0.1:4700", "127.0.0.1:4701", "127.0.0.1:0"].map(|a| a.parse().unwrap());
        let judged = |configured, bound| judged(&of_running(configured, bound));
        assert_eq!(judged([one, other], [one, other]).0, Verdict::Good);
        assert_eq!(judged([any, any], [one, other]).0, Verdict::Good);
        for (configured, key) in [([other, other], "udp.listen"), ([one, one], "http.listen")] {
            let (verdict, text) = judged(configured, [one, other]);
            assert!(verdict == Verdict::Wrong && text.contains(key), "{text}");
        }
    }

    #[test]
    fn socket_is_found_in_the_kernels_list_by_its_port() {
        let line = " 12: 0100007F:125C 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4242 2 0 0";
        assert_eq!(inode_on(line, 0x125c).as_deref(), Some("4242"));
        assert_eq!(inode_on(line, 0x125d), None);
        assert_eq!(inode_on("cut off", 1), None);
    }
}
