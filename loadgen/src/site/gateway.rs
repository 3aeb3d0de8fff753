//! A gateway of a site.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::child::{Child, Service, finish, says_ok};
use crate::keys::ReaderKey;

/// What a gateway is told beyond its paths and ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) building: u32,
    /// The publisher's public key in hex; an enrolled box has it from its hub.
    pub(crate) publisher: Option<String>,
    /// Lines of the section `[udp]`.
    pub(crate) udp: String,
    /// Whole sections.
    pub(crate) also: String,
}

/// How to start the gateway, and where it then is.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) service: Service,
    pub(crate) udp: SocketAddr,
    pub(crate) http: SocketAddr,
    inbox: PathBuf,
    socket: PathBuf,
}

impl Gateway {
    /// A gateway in `folder`, with ports that are free now. It knows nobody yet.
    pub(crate) fn new(program: PathBuf, folder: &Path, settings: &Settings) -> io::Result<Self> {
        let loopback = (Ipv4Addr::LOCALHOST, 0);
        let (config, log) = (folder.join("gateway.toml"), folder.join("gateway.log"));
        let gateway = Self {
            service: Service { name: "gateway", program, config, log },
            udp: UdpSocket::bind(loopback)?.local_addr()?,
            http: TcpListener::bind(loopback)?.local_addr()?,
            inbox: folder.join("inbox"),
            socket: folder.join("control"),
        };
        let state = folder.join("state");
        DirBuilder::new().mode(0o700).create(&state)?;
        fs::create_dir_all(&gateway.inbox)?;
        fs::write(&gateway.service.config, gateway.config(&state, settings))?;
        Ok(gateway)
    }

    fn config(&self, state: &Path, settings: &Settings) -> String {
        let Self { udp, http, inbox, socket, .. } = self;
        let Settings { building, publisher, udp: more_udp, also } = settings;
        let publishers: Vec<&String> = publisher.iter().collect();
        format!(
            "building = {building}\nstate = {state:?}\n\n[udp]\nlisten = \"{udp}\"\n{more_udp}\n[snapshots]\ninbox = {inbox:?}\n\
             publishers = {publishers:?}\n\n[http]\nlisten = \"{http}\"\n\n[control]\nsocket = {socket:?}\n\n\
             # Readers here are judged by this machine's clock, whoever keeps it.\n[time]\ntrust = \"always\"\n\n{also}"
        )
    }

    /// Makes the box known to the hub at `quic` by a one-time `token`.
    pub(crate) fn enrol(&self, quic: SocketAddr, token: &str) -> io::Result<()> {
        let hub = quic.to_string();
        finish(&mut self.service.command(&["enrol", "--hub", &hub, "--token", token])).map(drop)
    }

    /// Starts it and waits until it can be spoken to.
    pub(crate) fn start(&self, stop: &AtomicBool) -> io::Result<Child> {
        let mut child = Child::start(self.service.clone())?;
        child.wait_until(stop, "does not serve", || says_ok(self.http, "/healthz") && self.socket.exists())?;
        Ok(child)
    }

    /// Whether it decides by a snapshot.
    pub(crate) fn is_ready(&self) -> bool {
        says_ok(self.http, "/readyz")
    }

    /// Puts a snapshot into its inbox, under another name until it is whole.
    pub(crate) fn offer(&self, snapshot: &Path) -> io::Result<()> {
        let arriving = self.inbox.join(".arriving");
        fs::copy(snapshot, &arriving)?;
        fs::rename(arriving, self.inbox.join("offered.snapshot"))
    }

    /// Has the running gateway make a key for `reader`.
    pub(crate) fn add_reader(&self, reader: u32) -> io::Result<ReaderKey> {
        let output = finish(&mut self.service.command(&["reader", "add", &reader.to_string(), "--json"]))?;
        serde_json::from_slice(&output.stdout).map_err(|error| io::Error::other(format!("reader add: {error}")))
    }

    /// Has the running gateway give the OSDP device of `reader` a key, as soon as it answers.
    pub(crate) fn enrol_device(&self, reader: u32) -> io::Result<()> {
        finish(&mut self.service.command(&["osdp", "enrol", "--reader", &reader.to_string(), "--for", "60s"])).map(drop)
    }
}
