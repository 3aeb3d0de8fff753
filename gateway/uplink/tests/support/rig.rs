//! An uplink that runs, between a hub and a journal.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kalitka_protocol::EpochId;
use kalitka_protocol::upstream::ALPN;
use kalitka_uplink::{Broken, Congestion, Options, Port, State, Tally, run};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hub::Hub;
use super::journal::Journal;
use super::pki::{Issued, Pki};

pub(crate) const BUILDING: u32 = 7;
pub(crate) const EPOCH: EpochId = EpochId(0xe1);

/// The wall clock.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) struct Rig {
    pub(crate) pki: Pki,
    pub(crate) hub: Hub,
    pub(crate) journal: Arc<Journal>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) folder: TempDir,
    pub(crate) options: Options,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) uplink: JoinHandle<Result<(), Broken>>,
    /// Seconds by which the uplink's clock is ahead.
    pub(crate) ahead: Arc<AtomicU64>,
}

impl Rig {
    /// An enrolled gateway of [`BUILDING`] whose uplink runs.
    pub(crate) fn start() -> Self {
        let pki = Pki::new();
        let issued = pki.gateway(&["urn:kalitka:building:7"]);
        Self::with(pki, &issued, |_, _| {})
    }

    /// The same, with an outbox that is not open yet.
    pub(crate) fn start_closed() -> Self {
        let pki = Pki::new();
        let issued = pki.gateway(&["urn:kalitka:building:7"]);
        Self::with(pki, &issued, |_, journal| {
            journal.head.send_replace(None);
        })
    }

    /// The same with another certificate and options.
    pub(crate) fn with(pki: Pki, issued: &Issued, change: impl FnOnce(&mut Options, &Journal)) -> Self {
        let hub = Hub::start(pki.server(ALPN, true));
        Self::at(pki, hub, issued, change)
    }

    pub(crate) fn at(pki: Pki, hub: Hub, issued: &Issued, change: impl FnOnce(&mut Options, &Journal)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("uplink");
        pki.write_identity(&identity, issued, BUILDING, &hub.address().to_string());
        let snapshots = folder.path().join("snapshots");
        let congestion = Congestion::default();
        let mut options = Options { building: BUILDING, hub: None, identity, snapshots, congestion, wall };
        let journal = Arc::new(Journal::new(BUILDING, EPOCH));
        change(&mut options, &journal);
        let tally = Arc::new(Tally::default());
        let (shown, state) = watch::channel(State::Off);
        let (shutdown, down) = watch::channel(false);
        let asked = Arc::clone(&journal);
        let port = Port {
            requests: Box::new(move |request| asked.take(request)),
            head: journal.head.subscribe(),
            live: journal.live.clone(),
            state: shown,
        };
        let ahead = Arc::new(AtomicU64::new(0));
        let (started, skipped) = (Instant::now(), Arc::clone(&ahead));
        let clock = move || started.elapsed() + Duration::from_secs(skipped.load(Relaxed));
        let uplink = tokio::spawn(run(options.clone(), port, Arc::clone(&tally), clock, down));
        Self { pki, hub, journal, tally, state, folder, options, shutdown, uplink, ahead }
    }

    /// Waits until the uplink shows that it is down; gives the hub's code and the text.
    pub(crate) async fn down(&mut self) -> (Option<u64>, String) {
        let shown = self.state.wait_for(|state| matches!(state, State::Down { .. })).await.unwrap();
        match &*shown {
            State::Down { code, text, .. } => (*code, text.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn snapshot_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.options.snapshots);
        entries.map_or_else(|_| Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
    }
}
