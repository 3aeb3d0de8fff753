//! A journal in a folder of its own, with nobody around it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kalitka_core::{Decided, Decision, Follows, Keys, Overlay};
use kalitka_outbox::Bounds;
use kalitka_process::age::Age;
use kalitka_protocol::event::{Body, Event, Events};
use kalitka_protocol::handshake::Psk;
use kalitka_protocol::message::{Report, ReportKind};
use kalitka_protocol::reason::{Denial, Direction, Verdict};
use kalitka_protocol::upstream::{CommandOutcome, Hello};
use kalitka_protocol::{BootId, EpochId, LogId, ReaderId};
use kalitka_snapshot::model::PortalMode;
use kalitka_uplink::{HeadSeen, Request, Run};
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot, watch};

use crate::clock::{Clock, Moment};
use crate::journal::{Door, Holder, Journal, JournalStatus, JournalTally, Recorder, SafetyFile, Setup, Work, rings};
use crate::published::Published;
use crate::udp::{Post, Posts};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const BUILDING: u32 = 17;
/// The readers that have keys.
pub(super) const READERS: [ReaderId; 2] = [ReaderId(101), ReaderId(102)];
pub(super) const LOG: LogId = LogId(7);
/// Records that a worker's ring has room for.
pub(super) const RING: usize = 4096;
const WORKERS: usize = 2;
pub(super) const BOUNDS: Bounds = Bounds { events_max: 100_000, bytes_max: 1 << 30, keep_acknowledged: 1000 };

/// A running journal.
pub(super) struct Rig {
    state: PathBuf,
    /// Of each worker.
    pub(super) recorders: Vec<RefCell<Recorder>>,
    pub(super) door: Door,
    pub(super) overlay: Arc<Overlay>,
    posts: Receiver<Post>,
    status: watch::Receiver<JournalStatus>,
    head: watch::Receiver<Option<HeadSeen>>,
    pub(super) live: broadcast::Sender<Arc<[u8]>>,
    clock: Clock,
    /// Until it begins.
    journal: Option<Journal>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    pub(super) fn start(folder: &TempDir, operators: Vec<[u8; 32]>) -> Self {
        Self::start_within(folder.path(), operators, BOUNDS)
    }

    pub(super) fn start_within(state: &Path, operators: Vec<[u8; 32]>, bounds: Bounds) -> Self {
        let mut rig = Self::stalled(state, operators, bounds, RING);
        rig.begin();
        rig
    }

    /// A journal that has not begun yet, with rings for `capacity` records each.
    pub(super) fn stalled(state: &Path, operators: Vec<[u8; 32]>, bounds: Bounds, capacity: usize) -> Self {
        // What it says of its troubles is shown with a test that fails.
        let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
        let clock = Clock::good();
        let (recorders, door, ring) = rings(WORKERS, capacity);
        let (posts, mut boxes) = Posts::detached(1);
        let (safety_file, kept) = SafetyFile::open(state);
        let overlay = Arc::new(Overlay::default());
        match &kept {
            Some(kept) => overlay.restore(kept.safety.orders().entries()).unwrap(),
            None => overlay.safe_mode(PortalMode::Closed),
        }
        let keys = Keys::new(1, READERS.map(|reader| (reader, Psk::new([1; 32])))).unwrap();
        let (head, status) = (watch::Sender::new(None), watch::Sender::new(JournalStatus::default()));
        let live = broadcast::Sender::new(16);
        let (head_seen, shown) = (head.subscribe(), status.subscribe());
        let journal = Journal::new(Setup {
            building: BUILDING,
            state: state.into(),
            bounds,
            retention: Age::days(90),
            operators,
            clock: clock.clone(),
            ring,
            posts,
            views: Arc::new(Published::new(None)),
            keys: Arc::new(Published::new(Some(Arc::new(keys)))),
            overlay: Arc::clone(&overlay),
            kept,
            safety_file,
            head,
            live: live.clone(),
            status,
            tally: Arc::new(JournalTally::new()),
        });
        Self {
            state: state.into(),
            recorders: recorders.into_iter().map(RefCell::new).collect(),
            door,
            overlay,
            posts: boxes.remove(0),
            status: shown,
            head: head_seen,
            live,
            clock,
            journal: Some(journal),
            thread: None,
        }
    }

    /// Lets the journal begin.
    pub(super) fn begin(&mut self) {
        let journal = self.journal.take().unwrap();
        self.thread = Some(std::thread::spawn(move || journal.run()));
    }

    /// Ends the journal in order.
    pub(super) fn stop(mut self) {
        self.door.wait_to_hand_in(Work::Stop);
        self.thread.take().unwrap().join().unwrap();
    }

    /// A copy of the state folder as it now is: what a killed process leaves.
    pub(super) fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&self.state, copy.path());
        copy
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn decided(&self, request: u32) {
        self.decided_at(0, request);
    }

    /// A decision of `worker`.
    pub(super) fn decided_at(&self, worker: usize, request: u32) {
        let decided = decided(READERS[worker], request);
        self.tell(worker, |recorder| recorder.decided(self.now(), decided, Holder::default()));
    }

    pub(super) fn reported(&self, number: u64, oldest: bool) {
        self.reported_at(0, number, oldest);
    }

    /// A report of a reader of `worker`.
    pub(super) fn reported_at(&self, worker: usize, number: u64, oldest: bool) {
        self.tell(worker, |recorder| {
            recorder.reported(self.now(), READERS[worker], report(number, oldest), Follows::Nothing);
        });
    }

    pub(super) fn command_ended(&self, reader: ReaderId, id: u64, outcome: CommandOutcome) {
        self.tell(0, |recorder| recorder.command_ended(reader, id, outcome));
    }

    fn tell(&self, worker: usize, tell: impl FnOnce(&mut Recorder)) {
        let mut recorder = self.recorders[worker].borrow_mut();
        tell(&mut recorder);
        recorder.publish();
    }

    /// What comes out for a worker next.
    pub(super) fn post(&self) -> Post {
        self.posts.recv_timeout(PATIENCE).expect("nothing came out")
    }

    /// The next receipt's number.
    #[track_caller]
    pub(super) fn receipt(&self) -> u64 {
        match self.post() {
            Post::Receipt { reader, log, number } => {
                assert_eq!((reader, log), (READERS[0], LOG));
                number
            }
            post => panic!("no receipt: {post:?}"),
        }
    }

    /// The number of a receipt that is there already.
    pub(super) fn posted(&self) -> Option<u64> {
        match self.posts.try_recv().ok()? {
            Post::Receipt { number, .. } => Some(number),
            post => panic!("no receipt: {post:?}"),
        }
    }

    /// The next receipt's number, if one comes in time.
    pub(super) fn receipt_within(&self, patience: Duration) -> Option<u64> {
        match self.posts.recv_timeout(patience) {
            Ok(Post::Receipt { number, .. }) => Some(number),
            Ok(post) => panic!("no receipt: {post:?}"),
            Err(_) => None,
        }
    }

    /// Whether the journal shows that the outbox is at its bound.
    pub(super) fn is_at_bound(&self) -> bool {
        self.status.borrow().at_bound
    }

    /// Whether nothing has come out when all that was handed in has been dealt with.
    pub(super) fn is_silent(&self) -> bool {
        self.standing();
        self.posts.try_recv().is_err()
    }

    /// The reply to a request, if there is one.
    pub(super) fn asked<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, replied) = oneshot::channel();
        self.door.wait_to_hand_in(Work::Uplink(Box::new(request(reply))));
        replied.blocking_recv().ok()
    }

    /// How the journal shows that it fares, once it `holds`.
    pub(super) fn shown(&mut self, holds: impl Fn(&JournalStatus) -> bool) -> JournalStatus {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let shown = async {
            tokio::time::timeout(PATIENCE, self.status.wait_for(|status| holds(status)))
                .await
                .map(|of| of.unwrap().clone())
        };
        runtime.block_on(shown).expect("it does not show")
    }

    /// The hello that the uplink would say now; waits until there is one.
    pub(super) fn standing(&self) -> Hello {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((hello, _)) = self.asked(|reply| Request::Standing { reply }) {
                return hello;
            }
            assert!(Instant::now() < deadline, "the outbox does not open");
        }
    }

    /// All events of `epoch`.
    pub(super) fn events_of(&self, epoch: EpochId) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        let mut from = 1;
        while let Some(run) = self.read(epoch, from) {
            events.extend(Events::new(&run.events).map(|event| event.unwrap().bytes.to_vec()));
            from = run.last() + 1;
        }
        events
    }

    /// All events of the present epoch.
    pub(super) fn events(&self) -> Vec<Vec<u8>> {
        self.events_of(self.standing().epoch)
    }

    pub(super) fn read(&self, epoch: EpochId, from: u64) -> Option<Run> {
        self.asked(|reply| Request::Read { epoch, from, bytes_max: 1 << 20, reply }).unwrap().unwrap()
    }

    /// The numbers of the reports among `events`.
    pub(super) fn reports(&self) -> Vec<u64> {
        let of = |event: &Vec<u8>| match Event::parse(event).unwrap().body {
            Body::Report(taken) => Some(taken.report.number),
            _ => None,
        };
        self.events().iter().filter_map(of).collect()
    }

    /// The kinds of the present epoch's events.
    pub(super) fn kinds(&self) -> Vec<u8> {
        self.events().iter().map(|event| event[3]).collect()
    }

    pub(super) fn head(&self) -> HeadSeen {
        self.head.borrow().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.door.wait_to_hand_in(Work::Stop);
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the journal panicked");
        }
    }
}

/// A denial at `reader`.
pub(in crate::journal) fn decided(reader: ReaderId, request: u32) -> Decided {
    let decision = Decision {
        verdict: Verdict::Deny(Denial::UnknownCredential),
        credential: None,
        holder: None,
        profile: None,
        portal: None,
        generation: 0,
        hold_open_ms: 0,
    };
    Decided { reader, boot: BootId(1), request, direction: Direction::Entry, age_ms: 3, decision }
}

pub(in crate::journal) fn report(number: u64, oldest: bool) -> Report {
    Report {
        log: LOG,
        number,
        boot: BootId(0),
        request: 0,
        age_ms: 0,
        count: 0,
        kind: ReportKind::Passed,
        direction: Some(Direction::Entry),
        input: 0,
        unasked: false,
        oldest,
        card: None,
    }
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &place);
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}
