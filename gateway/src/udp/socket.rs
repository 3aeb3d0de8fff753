//! The workers' sockets: one each, on one address.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::failure::Failure;
use crate::limits::RECEIVE_BUFFER_BYTES;

/// Bound sockets, and what the system made of the wishes.
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<UdpSocket>,
    /// The address with its port, also when any port was asked for.
    pub(crate) address: SocketAddr,
    /// Bytes of the smallest receive buffer, as the kernel counts them.
    pub(crate) receive_buffer: usize,
}

/// Binds one socket for each of `workers` to `listen`; the kernel spreads the readers over them.
///
/// # Errors
/// [`Failure::Environment`] naming the address, when another process has it or it is not this machine's.
pub(crate) fn bind(listen: SocketAddr, workers: u8) -> Result<Sockets, Failure> {
    let failed = |error: io::Error| {
        Failure::Environment(format!(
            "udp.listen: cannot listen on {listen}: {error}; stop what uses it, or configure another address"
        ))
    };
    // Alone first: sockets that share an address would also share it with another gateway, silently.
    let alone = open(listen, false).map_err(failed)?;
    let address = alone.local_addr().map_err(failed)?;
    let sockets = if workers == 1 {
        vec![alone]
    } else {
        drop(alone);
        (0..workers).map(|_| open(address, true)).collect::<io::Result<_>>().map_err(failed)?
    };
    let granted = sockets.iter().map(sockopt::socket_recv_buffer_size).collect::<rustix::io::Result<Vec<_>>>();
    let receive_buffer = granted.map_err(|error| failed(error.into()))?.into_iter().min().unwrap_or(0);
    Ok(Sockets { sockets, address, receive_buffer })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // Beyond the system's limit if we may, else up to it: `Sockets::receive_buffer` says what came of it.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER_BYTES)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_workers_share_one_port_and_nobody_else_gets_it() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        assert_eq!(sockets.sockets.len(), 3);
        assert!(sockets.sockets.iter().all(|socket| socket.local_addr().unwrap() == sockets.address));
        assert!(sockets.receive_buffer > 100_000);
        for workers in [1, 2] {
            let Err(Failure::Environment(text)) = bind(sockets.address, workers) else { panic!("bound twice") };
            assert!(text.contains(&sockets.address.to_string()) && text.contains("in use"), "{text}");
        }
    }
}
