//! The hot steps, each defined once: criterion times them, callgrind counts their instructions.

mod answers;
mod junk;
mod looking_up;
mod recording;
mod snapshots;
mod storing;
mod wire;

use crate::step::Step;

/// Every step, in the order of the table. Those that need the largest tables come last in their groups.
pub(crate) fn steps() -> Vec<Step> {
    let answering = [wire::steps(), looking_up::steps(), answers::steps(), recording::steps()];
    let others = [junk::steps(), snapshots::steps(), storing::steps()];
    answering.into_iter().chain(others).flatten().collect()
}
