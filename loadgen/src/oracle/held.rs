//! What is right in doubt: while nobody knows the time well it is held, and schedules do not count for essential access levels;
//! when the roster is too old, other levels do not count.

use kalitka_protocol::ReaderId;
use kalitka_protocol::credential::CardRead;
use kalitka_protocol::reason::{Denial, Direction, Verdict};

use super::roster::Mode;
use super::{Holder, Moment, Oracle, Reader, names};

impl Oracle {
    /// The right answer, as [`judge`](Oracle::judge) gives it, with what is in doubt at `moment`.
    #[must_use]
    pub fn judge_in_doubt(
        &self,
        reader: ReaderId,
        card: &CardRead,
        direction: Direction,
        age_ms: u16,
        moment: Moment<'_>,
    ) -> Verdict {
        self.grant(reader, card, direction, age_ms, moment).map_or_else(Verdict::Deny, Verdict::Grant)
    }

    /// Whether everybody passes; or why only essential levels do. No schedule opens a portal, and none closes it to those.
    pub(super) fn opens_while_held(
        &self,
        reader: &Reader,
        direction: Direction,
        now: i64,
    ) -> Result<(bool, Option<Denial>), Denial> {
        let usual = self.portals.iter().find(|portal| portal.name == reader.portal).map_or(Mode::Closed, |it| it.mode);
        let by_schedule = self.mode(&reader.portal, now);
        let opened = matches!(by_schedule, Mode::Free);
        match reader.is_free(if opened { usual } else { by_schedule }, direction) {
            Ok(free) => Ok((free, None)),
            Err(closed) if reader.is_free(usual, direction).is_ok() => Ok((false, Some(closed))),
            Err(closed) => Err(closed),
        }
    }

    /// Whether some level of `holder` that is `essential` names the portal and direction, by whatever schedule.
    pub(super) fn is_essential(
        &self,
        holder: &Holder,
        portal: &str,
        direction: Direction,
        essential: &[String],
    ) -> bool {
        let levels = self.levels.iter().filter(|level| essential.contains(&level.name));
        let held = levels.filter(|level| holder.levels.contains(&level.name));
        held.flat_map(|level| &level.grants).any(|grant| {
            grant.portals.iter().any(|name| name == portal || name == "*") && names(&grant.directions, direction)
        })
    }
}
