//! What befalls the demo: a card blocked by command, gateway and hub killed, another blocked by the next snapshot.

use std::io;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::hub::Hub;
use crate::deck::Show;
use crate::fleet::Fleet;
use crate::play::Stage;
use crate::site::child::Child;
use crate::tally::{Mark, Tally};

/// One card in so many is one that gets blocked.
const MARKED_SHARE: u32 = 10;

/// How often the card that the snapshot blocks is shown after that at least.
const ENCORES: u32 = 5;

/// A card that gets blocked: the reader's place in the fleet, and how it is shown there.
pub(super) type Marked = (usize, Show);

/// Something that another thread does meanwhile, so that no card is shown late.
struct Chore {
    since: Duration,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Chore {
    fn begin(now: Duration, what: impl FnOnce() -> io::Result<()> + Send + 'static) -> Self {
        Self { since: now, thread: Some(thread::spawn(what)) }
    }

    /// Whether it has just been finished.
    ///
    /// # Errors
    /// Why it came to nothing.
    fn is_just_done(&mut self) -> io::Result<bool> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            None => Ok(false),
            Some(thread) => thread.join().map_err(|_| io::Error::other("a thread broke off"))?.map(|()| true),
        }
    }
}

/// When what is due, what is under way, and how long it took.
pub(super) struct Drama {
    pub(super) gateway: Child,
    pub(super) hub: Child,
    site: Hub,
    next_snapshot: PathBuf,
    by_snapshot: Marked,
    by_command: Marked,
    /// The UID of the card that the command blocks, in hex.
    uid: String,
    command_at: Option<Duration>,
    kill_gateway_at: Option<Duration>,
    kill_hub_at: Option<Duration>,
    publish_at: Option<Duration>,
    command: Option<Chore>,
    publish: Option<Chore>,
    /// How long it took from giving the command to its gateway's word that it was done.
    pub(super) command_took: Option<Duration>,
    /// How long it took from handing the snapshot in to the gateway's word that it was in force.
    pub(super) publish_took: Option<Duration>,
    shown: u32,
    /// Cards that are still to be shown when the snapshot is in force.
    encores: u32,
}

/// The parts of a drama.
pub(super) struct Cast {
    pub(super) gateway: Child,
    pub(super) hub: Child,
    pub(super) site: Hub,
    pub(super) next_snapshot: PathBuf,
    pub(super) by_snapshot: Marked,
    pub(super) by_command: Marked,
    pub(super) uid: String,
}

impl Drama {
    /// The command after a quarter of `duration`, the gateway's kill in the middle, the hub's after five eighths, the next
    /// snapshot after three quarters.
    pub(super) fn new(cast: Cast, duration: Duration) -> Self {
        let Cast { gateway, hub, site, next_snapshot, by_snapshot, by_command, uid } = cast;
        Self {
            gateway,
            hub,
            site,
            next_snapshot,
            by_snapshot,
            by_command,
            uid,
            command_at: Some(duration / 4),
            kill_gateway_at: Some(duration / 2),
            kill_hub_at: Some(duration / 8 * 5),
            publish_at: Some(duration / 4 * 3),
            command: None,
            publish: None,
            command_took: None,
            publish_took: None,
            shown: 0,
            encores: ENCORES,
        }
    }

    fn act(&mut self, at: Duration, now: Duration, fleet: &mut Fleet, tally: &mut Tally) -> io::Result<()> {
        if self.command_at.take_if(|due| *due <= at).is_some() {
            let (site, uid) = (self.site.clone(), self.uid.clone());
            tally.order(now);
            self.command = Some(Chore::begin(now, move || site.block(1, &uid)));
        }
        if self.kill_gateway_at.take_if(|due| *due <= at).is_some() {
            self.gateway.kill_and_restart()?;
            tally.begin_outage(now, fleet.begin_outage(now));
        }
        if self.kill_hub_at.take_if(|due| *due <= at).is_some() {
            self.hub.kill_and_restart()?;
        }
        if self.publish_at.take_if(|due| *due <= at).is_some() {
            let (site, snapshot) = (self.site.clone(), self.next_snapshot.clone());
            self.publish = Some(Chore::begin(now, move || site.publish(&snapshot)));
        }
        Ok(())
    }

    fn look(&mut self, now: Duration, tally: &mut Tally) -> io::Result<()> {
        if let Some(chore) = &mut self.command
            && chore.is_just_done()?
        {
            tally.order_done(now);
            self.command_took = Some(now.saturating_sub(chore.since));
        }
        if let Some(chore) = &mut self.publish
            && chore.is_just_done()?
        {
            tally.promise_last(now);
            self.publish_took = Some(now.saturating_sub(chore.since));
        }
        Ok(())
    }
}

impl Stage for Drama {
    fn turn(&mut self, at: Duration, now: Duration, fleet: &mut Fleet, tally: &mut Tally) -> io::Result<()> {
        self.act(at, now, fleet, tally)?;
        self.look(now, tally)?;
        self.gateway.check_alive()?;
        self.hub.check_alive()
    }

    fn next(&self) -> Duration {
        let due = [self.command_at, self.kill_gateway_at, self.kill_hub_at, self.publish_at];
        due.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    fn marked(&mut self) -> Option<(usize, Show, Mark)> {
        self.shown += 1;
        let place = self.shown.is_multiple_of(MARKED_SHARE).then_some(self.shown / MARKED_SHARE % 2)?;
        let ((place, show), mark) =
            if place == 0 { (self.by_snapshot, Mark::BySnapshot) } else { (self.by_command, Mark::ByCommand) };
        Some((place, show, mark))
    }

    fn encore(&mut self) -> Option<(usize, Show, Mark)> {
        if self.publish_took.is_some() {
            self.encores = self.encores.checked_sub(1)?;
        }
        let (place, show) = self.by_snapshot;
        Some((place, show, Mark::BySnapshot))
    }
}
