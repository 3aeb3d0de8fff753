//! The workers' sockets: one each, on one address.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use kalitka_process::handed::Handed;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::steering;
use crate::config;
use crate::failure::Failure;

/// Bound sockets, and what the system made of the wishes.
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<UdpSocket>,
    /// The address with its port, also when any port was asked for.
    pub(crate) address: SocketAddr,
    /// Bytes of the smallest receive buffer, as the kernel counts them: twice what is asked for.
    pub(crate) receive_buffer: usize,
    /// Whether each datagram comes to the worker that owns its reader. If not, workers hand over what strays, and no bell
    /// finds the worker that it is for.
    pub(crate) steered: bool,
    /// The sockets' numbers in `/proc/self/net/udp`.
    pub(crate) inodes: Vec<u64>,
}

/// One socket for each worker at the configured address: those that were handed over, or else bound here.
///
/// # Errors
/// [`Failure::Environment`] naming the address, when another process has it, it is not this machine's, or what was handed over
/// does not fit.
pub(crate) fn open(udp: &config::Udp, handed: &mut Handed) -> Result<Sockets, Failure> {
    let sockets = handed.take_udp("udp.listen", udp.listen, usize::from(udp.workers))?;
    if sockets.is_empty() {
        return bind(udp);
    }
    adopt(sockets, udp, steering::steer).map_err(|error| {
        Failure::Environment(format!("udp.listen: the sockets that were handed over cannot be used: {error}"))
    })
}

/// Binds one socket for each worker to the configured address.
///
/// # Errors
/// [`Failure::Environment`] naming the address, when another process has it or it is not this machine's.
pub(super) fn bind(udp: &config::Udp) -> Result<Sockets, Failure> {
    bind_steered(udp, steering::steer)
}

/// [`bind`] with another way to have datagrams steered.
pub(super) fn bind_steered(udp: &config::Udp, steer: fn(&UdpSocket, u8) -> bool) -> Result<Sockets, Failure> {
    let config::Udp { listen, workers, .. } = *udp;
    open_all(udp, steer).map_err(|error| {
        Failure::Environment(format!(
            "udp.listen: cannot listen on {listen} with {workers} workers: {error}; stop what uses it, or configure \
             another address"
        ))
    })
}

fn open_all(udp: &config::Udp, steer: fn(&UdpSocket, u8) -> bool) -> io::Result<Sockets> {
    // Alone first: sockets that share an address would also share it with another gateway, silently.
    let alone = fresh(udp)?;
    rustix::net::bind(&alone, &udp.listen)?;
    let address = alone.local_addr()?;
    let (mut sockets, mut steered) = (vec![alone], true);
    if udp.workers > 1 {
        sockets.clear();
        for worker in 0..udp.workers {
            let socket = fresh(udp)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            if worker == 0 {
                steered = steer(&socket, udp.workers);
            }
            // The order in which they are bound is the order in which the kernel counts them.
            rustix::net::bind(&socket, &address)?;
            sockets.push(socket);
        }
    }
    described(sockets, address, steered)
}

/// Sockets that were bound by somebody else, who goes on holding them. Several are a group only if they were bound as one: if
/// not, or if the kernel counts them in another order, workers hand over what strays.
fn adopt(sockets: Vec<UdpSocket>, udp: &config::Udp, steer: fn(&UdpSocket, u8) -> bool) -> io::Result<Sockets> {
    for socket in &sockets {
        // A worker waits in its call.
        socket.set_nonblocking(false)?;
        // Whoever bound it may have gone beyond the system's limit, to which we would fall back.
        if sockopt::socket_recv_buffer_size(socket)? < udp.receive_buffer_bytes.saturating_mul(2) {
            let _ = sockopt::set_socket_recv_buffer_size_force(socket, udp.receive_buffer_bytes);
        }
    }
    let steered = udp.workers == 1 || steer(&sockets[0], udp.workers);
    described(sockets, udp.listen, steered)
}

fn described(sockets: Vec<UdpSocket>, address: SocketAddr, steered: bool) -> io::Result<Sockets> {
    let granted = sockets.iter().map(sockopt::socket_recv_buffer_size).collect::<rustix::io::Result<Vec<_>>>()?;
    let inodes = sockets.iter().map(|socket| Ok(rustix::fs::fstat(socket)?.st_ino)).collect::<io::Result<_>>()?;
    Ok(Sockets { sockets, address, receive_buffer: granted.into_iter().min().unwrap_or(0), steered, inodes })
}

fn fresh(udp: &config::Udp) -> io::Result<UdpSocket> {
    let family = if udp.listen.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // Beyond the system's limit if we may, else up to it: `Sockets::receive_buffer` says what came of it.
    if sockopt::set_socket_recv_buffer_size_force(&socket, udp.receive_buffer_bytes).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, udp.receive_buffer_bytes)?;
    }
    Ok(UdpSocket::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(listen: SocketAddr, workers: u8) -> config::Udp {
        config::Udp { listen, workers, ..config::Udp::default() }
    }

    #[test]
    fn several_workers_share_one_port_and_nobody_else_gets_it() {
        let sockets = bind(&wish("127.0.0.1:0".parse().unwrap(), 3)).unwrap();
        assert_eq!(sockets.sockets.len(), 3);
        assert!(sockets.sockets.iter().all(|socket| socket.local_addr().unwrap() == sockets.address));
        assert!(sockets.receive_buffer > 100_000);
        for workers in [1, 2] {
            let Err(Failure::Environment(text)) = bind(&wish(sockets.address, workers)) else { panic!("bound twice") };
            assert!(text.contains(&sockets.address.to_string()) && text.contains("in use"), "{text}");
        }
    }

    #[test]
    fn kernel_lists_each_socket_under_its_number() {
        let sockets = bind(&wish("127.0.0.1:0".parse().unwrap(), 2)).unwrap();
        let listed = std::fs::read_to_string("/proc/net/udp").unwrap();
        for inode in sockets.inodes {
            assert!(listed.lines().any(|line| line.split_whitespace().nth(9) == Some(&inode.to_string())), "{listed}");
        }
    }
}
