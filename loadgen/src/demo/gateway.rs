//! The gateway of the demo.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::child::{Child, Service, finish, says_ok};
use crate::keys::ReaderKey;

/// How to start the gateway, and where it then is.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub(super) service: Service,
    pub(super) udp: SocketAddr,
    pub(super) http: SocketAddr,
    socket: PathBuf,
}

impl Gateway {
    /// A gateway of `building` in `folder`, with ports that are free now. It knows nobody yet.
    pub(super) fn new(program: PathBuf, folder: &Path, building: u32) -> io::Result<Self> {
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let (config, log) = (folder.join("gateway.toml"), folder.join("gateway.log"));
        let gateway = Self {
            service: Service { name: "gateway", program, config, log },
            udp: UdpSocket::bind(loopback)?.local_addr()?,
            http: TcpListener::bind(loopback)?.local_addr()?,
            socket: folder.join("control"),
        };
        let (state, inbox) = (folder.join("state"), folder.join("inbox"));
        DirBuilder::new().mode(0o700).create(&state)?;
        fs::create_dir_all(&inbox)?;
        let config = format!(
            "building = {building}\nstate = {state:?}\n\n[udp]\nlisten = \"{}\"\n\n[snapshots]\ninbox = {inbox:?}\n\n\
             [http]\nlisten = \"{}\"\n\n[control]\nsocket = {:?}\n",
            gateway.udp, gateway.http, gateway.socket
        );
        fs::write(&gateway.service.config, config)?;
        Ok(gateway)
    }

    /// Makes the box known to the hub at `quic` by a one-time `token`.
    pub(super) fn enrol(&self, quic: SocketAddr, token: &str) -> io::Result<()> {
        let hub = quic.to_string();
        finish(&mut self.service.command(&["enrol", "--hub", &hub, "--token", token])).map(drop)
    }

    /// Starts it and waits until it can be spoken to.
    pub(super) fn start(&self, stop: &AtomicBool) -> io::Result<Child> {
        let mut child = Child::start(self.service.clone())?;
        child.wait_until(stop, "does not serve", || says_ok(self.http, "/healthz") && self.socket.exists())?;
        Ok(child)
    }

    /// Whether it decides by a snapshot.
    pub(super) fn is_ready(&self) -> bool {
        says_ok(self.http, "/readyz")
    }

    /// Has the running gateway make a key for `reader`.
    pub(super) fn add_reader(&self, reader: u32) -> io::Result<ReaderKey> {
        let output = finish(&mut self.service.command(&["reader", "add", &reader.to_string(), "--json"]))?;
        serde_json::from_slice(&output.stdout).map_err(|error| io::Error::other(format!("reader add: {error}")))
    }
}
