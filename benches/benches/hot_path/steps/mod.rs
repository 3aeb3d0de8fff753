//! The hot steps, each defined once: criterion times them, callgrind counts their instructions.

mod answers;
mod junk;
mod looking_up;
mod snapshots;
mod storing;
mod wire;

use crate::step::Step;

/// Every step, in the order of the table. Those that need the largest tables come last in their groups.
pub(crate) fn steps() -> Vec<Step> {
    [wire::steps(), looking_up::steps(), answers::steps(), junk::steps(), snapshots::steps(), storing::steps()]
        .into_iter()
        .flatten()
        .collect()
}
