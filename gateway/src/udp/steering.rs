//! The kernel brings each datagram to the worker that owns its reader: a program on the group of sockets that share the port.
//!
//! It reads what stands in the clear (SPEC 4, 5) and trusts none of it: a lie only brings a datagram to a worker that drops
//! it. What it cannot place the kernel spreads by its hash.

use std::net::UdpSocket;

use kalitka_core::limits::WORKERS_MAX;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;

use super::wake::{self, CALL};

const INITIATION: u32 = 1;
const SEALED: u32 = 3;
/// Where the number of the reader or of the session begins; its lowest byte comes first.
const NUMBER: u32 = 4;
/// What is shorter than a bell is nothing that the program knows.
const SHORTEST: u32 = 8;
/// Where a bell names the worker.
const CALLED: u32 = 1;
/// No socket has this place in the group, so the kernel falls back on its hash.
const NOBODY: u32 = u32::MAX;

const _: () = assert!(wake::CALL_LEN == SHORTEST as usize && wake::CALLED == CALLED as usize);

/// Lets the group that `first` begins choose among `workers` sockets in the order in which they are bound. Says whether the kernel
/// takes the program: not for one that is bound already, and not into a group.
pub(super) fn steer(first: &UdpSocket, workers: u8) -> bool {
    let mut program = program(workers);
    let Ok(len) = program.len().try_into() else { return false };
    let program = sock_fprog { len, filter: program.as_mut_ptr() };
    setsockopt(first, AttachReusePortCbpf, &program).is_ok()
}

/// Classic BPF over the payload of a datagram: gives the place of its socket in the group. A word is put together from bytes
/// because BPF's order of bytes is not the protocol's.
const fn program(workers: u8) -> [sock_filter; 28] {
    [
        statement(LOAD_LENGTH, 0),
        jump(IF_AT_LEAST, SHORTEST, 1, 0),
        statement(RETURN, NOBODY),
        statement(LOAD_BYTE, 0),
        // A sealed datagram: the session's number says whose it is.
        jump(IF_EQUAL, SEALED, 0, 3),
        statement(LOAD_BYTE, NUMBER),
        statement(AND, WORKERS_MAX as u32 - 1),
        statement(RETURN_A, 0),
        // A bell.
        jump(IF_EQUAL, CALL as u32, 0, 2),
        statement(LOAD_BYTE, CALLED),
        statement(RETURN_A, 0),
        // An initiation: reader r belongs to worker r modulo the workers.
        jump(IF_EQUAL, INITIATION, 1, 0),
        statement(RETURN, NOBODY),
        statement(LOAD_BYTE, NUMBER + 3),
        statement(SHIFT_LEFT, 8),
        statement(COPY_TO_X, 0),
        statement(LOAD_BYTE, NUMBER + 2),
        statement(OR_X, 0),
        statement(SHIFT_LEFT, 8),
        statement(COPY_TO_X, 0),
        statement(LOAD_BYTE, NUMBER + 1),
        statement(OR_X, 0),
        statement(SHIFT_LEFT, 8),
        statement(COPY_TO_X, 0),
        statement(LOAD_BYTE, NUMBER),
        statement(OR_X, 0),
        statement(REMAINDER, workers as u32),
        statement(RETURN_A, 0),
    ]
}

// The instructions, by what they do to the accumulator (linux/bpf_common.h).
const LOAD_LENGTH: u16 = 0x80;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const REMAINDER: u16 = 0x94;
const OR_X: u16 = 0x4c;
const COPY_TO_X: u16 = 0x07;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const RETURN_A: u16 = 0x16;

const fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Skips so many instructions when it holds, and so many when not.
const fn jump(code: u16, k: u32, holds: u8, fails: u8) -> sock_filter {
    sock_filter { code, jt: holds, jf: fails, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::udp::socket::{Sockets, bind};
    use std::time::Duration;

    const WORKERS: u8 = 3;

    fn bound(listen: &str) -> Sockets {
        let udp = config::Udp { listen: listen.parse().unwrap(), workers: WORKERS, ..config::Udp::default() };
        let sockets = bind(&udp).unwrap();
        for socket in &sockets.sockets {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        sockets
    }

    /// Which socket has got the one datagram that is under way.
    fn at(sockets: &[UdpSocket], expected: u8) -> u8 {
        let mut buffer = [0; 64];
        if sockets[usize::from(expected)].recv(&mut buffer).is_ok() {
            return expected;
        }
        let look = |socket: &UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            socket.recv(&mut [0; 64]).is_ok()
        };
        u8::try_from(sockets.iter().position(look).unwrap()).unwrap()
    }

    fn datagram(kind: u32, number: u32) -> [u8; 40] {
        let mut bytes = [0xa5; 40];
        bytes[0] = u8::try_from(kind).unwrap();
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    #[test]
    fn datagram_comes_to_the_worker_that_owns_its_reader() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let Sockets { sockets, address, steered, .. } = bound(listen);
            assert!(steered, "this kernel refuses the program");
            let client = UdpSocket::bind(listen).unwrap();
            for number in
                [0, 1, 2, 3, 64, 65, 255, 256, 65_535, 65_536, 16_777_217, u32::MAX - 1, u32::MAX, 0x1234_5678]
            {
                client.send_to(&datagram(INITIATION, number), address).unwrap();
                let owner = u8::try_from(number % u32::from(WORKERS)).unwrap();
                assert_eq!(at(&sockets, owner), owner, "initiation of reader {number}");
                let session = (number & !63) | (number % u32::from(WORKERS));
                client.send_to(&datagram(SEALED, session), address).unwrap();
                assert_eq!(at(&sockets, owner), owner, "session {session}");
            }
            for worker in 0..WORKERS {
                let mut call = [0; wake::CALL_LEN];
                (call[0], call[wake::CALLED]) = (CALL, worker);
                client.send_to(&call, address).unwrap();
                assert_eq!(at(&sockets, worker), worker, "bell");
            }
        }
    }

    #[test]
    fn what_names_no_worker_is_spread_and_not_lost() {
        let Sockets { sockets, address, .. } = bound("127.0.0.1:0");
        for socket in &sockets {
            socket.set_nonblocking(true).unwrap();
        }
        let mut got = [0; WORKERS as usize];
        for round in 0..40_u8 {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(&[], address).unwrap();
            client.send_to(&[3, 1, 0, 0, round % WORKERS], address).unwrap();
            client.send_to(&datagram(SEALED, 63), address).unwrap();
            client.send_to(&datagram(2, u32::from(round)), address).unwrap();
            client.send_to(&[0xff; 40], address).unwrap();
        }
        for (socket, got) in sockets.iter().zip(&mut got) {
            while socket.recv(&mut [0; 64]).is_ok() {
                *got += 1;
            }
        }
        assert_eq!(got.iter().sum::<u32>(), 200);
        assert!(got.iter().all(|&got| got > 20), "{got:?}");
    }
}
