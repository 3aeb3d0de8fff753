//! What the kernel has dropped because a worker's receive buffer was full: its own count for each socket.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;

use crate::limits::PROC_NET_UDP_MAX;

/// Our sockets in the kernel's list of UDP sockets.
#[derive(Debug)]
pub(crate) struct KernelDrops {
    list: &'static str,
    inodes: Vec<u64>,
}

impl KernelDrops {
    /// The sockets that have these `inodes` and are bound to an address of the family of `address`. A process finds them among its
    /// own, also where it may see nothing of the machine (`ProcSubset=`).
    pub(crate) const fn of(inodes: Vec<u64>, address: SocketAddr) -> Self {
        Self { list: if address.is_ipv4() { "/proc/self/net/udp" } else { "/proc/self/net/udp6" }, inodes }
    }

    /// Datagrams dropped since the sockets were made; nothing when the list cannot be read.
    pub(super) fn count(&self) -> Option<u64> {
        let list = File::open(self.list).ok()?;
        Some(self.sum(BufReader::new(list.take(PROC_NET_UDP_MAX))))
    }

    /// The drops of our sockets in `list`: a line for each socket, its inode the tenth field and its drops the last.
    fn sum(&self, list: impl BufRead) -> u64 {
        let drops = |line: String| {
            let mut fields = line.split_ascii_whitespace();
            let inode: u64 = fields.nth(9)?.parse().ok()?;
            self.inodes.contains(&inode).then(|| fields.last()?.parse::<u64>().ok())?
        };
        list.lines().map_while(Result::ok).filter_map(drops).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::udp::open;
    use kalitka_process::handed::Handed;
    use std::net::UdpSocket;

    #[test]
    fn drops_of_our_sockets_are_summed_and_those_of_others_are_not() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n \
            1: 00000000:125C 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 11 2 0000000000000000 5\n \
            2: 00000000:125C 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 12 2 0000000000000000 70\n \
            3: 00000000:125C 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 111 2 0000000000000000 900\n \
            4: cut off 11\n";
        let drops = |inodes: &[u64]| {
            let address = "127.0.0.1:1".parse().unwrap();
            KernelDrops::of(inodes.to_vec(), address).sum(list.as_bytes())
        };
        assert_eq!((drops(&[11, 12]), drops(&[111]), drops(&[1]), drops(&[])), (75, 900, 0, 0));
    }

    #[test]
    fn what_a_full_buffer_drops_is_counted() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listen = listen.parse().unwrap();
            let udp = config::Udp { listen, workers: 2, receive_buffer_bytes: 1 << 16, ..config::Udp::default() };
            let sockets = open(&udp, &mut Handed::default()).unwrap();
            let drops = KernelDrops::of(sockets.inodes.clone(), sockets.address);
            assert_eq!(drops.count(), Some(0));
            let client = UdpSocket::bind(listen).unwrap();
            (0..2000).for_each(|_| drop(client.send_to(&[0; 1000], sockets.address)));
            let taken = sockets.sockets.iter().map(|socket| {
                socket.set_nonblocking(true).unwrap();
                std::iter::from_fn(|| socket.recv(&mut [0; 1000]).ok()).count() as u64
            });
            let taken: u64 = taken.sum();
            assert_eq!(drops.count(), Some(2000 - taken));
            assert!(taken > 0 && taken < 2000, "{taken}");
        }
    }
}
