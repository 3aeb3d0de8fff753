//! Commands: those that wait for their results, and what became of the others.

use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerError, Sheet, decode, get, hex_bytes, open, put};
use crate::limits::{COMMANDS_KEPT_MAX, COMMANDS_WAITING_MAX};
use crate::store::StoreError;

/// By building and number.
const WAITING: Sheet<(u32, u64)> = Sheet::new("commands_waiting");
/// By building and number.
const ENDED: Sheet<(u32, u64)> = Sheet::new("commands_ended");

/// A command that the hub carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandEntry {
    pub(crate) building: u32,
    pub(crate) number: u64,
    /// As the operator signed it (SPEC 15.8).
    #[serde(with = "hex_bytes")]
    pub(crate) envelope: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) received: i64,
    /// The user who handed it in.
    pub(crate) by_uid: u32,
    /// How often it was sent to the gateway.
    pub(crate) sent: u32,
    pub(crate) result: Option<CommandState>,
}

/// What the gateway said of a command (SPEC 15.9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandState {
    pub(crate) code: u8,
    pub(crate) at: i64,
}

impl Ledger<'_> {
    /// Keeps a command to be handed down. The same one come again is kept once.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] when its number is not above the building's highest, or too many wait.
    pub(crate) fn add_command(self, entry: &CommandEntry) -> Result<(), LedgerError> {
        self.change(|transaction| {
            let building = entry.building;
            let mut waiting = open(transaction, WAITING)?;
            let newest = [newest(&waiting, building)?, newest(&open(transaction, ENDED)?, building)?];
            let highest = newest.into_iter().flatten().max_by_key(|(number, _)| *number);
            if let Some((number, kept)) = highest {
                if number == entry.number && kept.envelope == entry.envelope {
                    return Ok(());
                }
                if number >= entry.number {
                    return Err(LedgerError::Refused(format!(
                        "building {building}: the number {} is not above {number}, the highest so far; sign it anew with \
                         a higher one",
                        entry.number
                    )));
                }
            }
            if waiting.range(of(building)).map_err(StoreError::from)?.count() >= COMMANDS_WAITING_MAX {
                return Err(LedgerError::Refused(format!(
                    "building {building}: {COMMANDS_WAITING_MAX} commands wait for its gateway; is it connected?"
                )));
            }
            Ok(put(&mut waiting, (building, entry.number), entry)?)
        })
    }

    /// The next commands of `building` without a result, with numbers above `after`, up to `count`; each is counted as sent.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn take_commands(
        self,
        building: u32,
        after: u64,
        count: usize,
    ) -> Result<Vec<CommandEntry>, LedgerError> {
        if count == 0 || after == u64::MAX || self.waiting(building, after)? == 0 {
            return Ok(Vec::new());
        }
        self.change(|transaction| {
            let mut table = open(transaction, WAITING)?;
            let mut taken = Vec::new();
            for entry in
                table.range((building, after + 1)..=(building, u64::MAX)).map_err(StoreError::from)?.take(count)
            {
                let (_, value) = entry.map_err(StoreError::from)?;
                let entry: CommandEntry = decode(value.value())?;
                taken.push(CommandEntry { sent: entry.sent.saturating_add(1), ..entry });
            }
            for entry in &taken {
                put(&mut table, (building, entry.number), entry)?;
            }
            Ok(taken)
        })
    }

    /// How many commands of `building` with numbers above `after` have no result.
    fn waiting(self, building: u32, after: u64) -> Result<usize, LedgerError> {
        self.look(|transaction| match transaction.open_table(WAITING) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
            table => Ok(table?.range((building, after + 1)..=(building, u64::MAX))?.count()),
        })
    }

    /// Notes the result of a command; says whether one of this number waited.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn note_command(
        self,
        (building, number): (u32, u64),
        result: CommandState,
    ) -> Result<bool, LedgerError> {
        self.change(|transaction| {
            let mut waiting = open(transaction, WAITING)?;
            let entry: Option<CommandEntry> = get(&waiting, (building, number))?;
            let Some(entry) = entry else { return Ok(false) };
            waiting.remove((building, number)).map_err(StoreError::from)?;
            end(transaction, &CommandEntry { result: Some(result), ..entry })?;
            Ok(true)
        })
    }

    /// The commands of `building`, by number.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn commands(self, building: u32) -> Result<Vec<CommandEntry>, LedgerError> {
        let mut all = Vec::new();
        for sheet in [ENDED, WAITING] {
            all.extend(self.all(sheet, |(of, _), entry: CommandEntry| (of == building).then_some(entry))?);
        }
        all.sort_by_key(|entry| entry.number);
        Ok(all)
    }
}

/// Keeps `entry` among those that have ended, and lets go of the oldest beyond the bound.
fn end(transaction: &WriteTransaction, entry: &CommandEntry) -> Result<(), LedgerError> {
    let mut ended = open(transaction, ENDED)?;
    put(&mut ended, (entry.building, entry.number), entry)?;
    let kept = ended.range(of(entry.building)).map_err(StoreError::from)?.count();
    for _ in COMMANDS_KEPT_MAX..kept {
        let oldest = ended.range(of(entry.building)).map_err(StoreError::from)?.next();
        let oldest = oldest.transpose().map_err(StoreError::from)?.map(|(key, _)| key.value());
        if let Some(key) = oldest {
            ended.remove(key).map_err(StoreError::from)?;
        }
    }
    Ok(())
}

fn newest(
    table: &impl ReadableTable<(u32, u64), &'static [u8]>,
    building: u32,
) -> Result<Option<(u64, CommandEntry)>, StoreError> {
    let newest = table.range(of(building))?.next_back().transpose()?;
    newest.map(|(key, value)| Ok((key.value().1, decode(value.value())?))).transpose()
}

const fn of(building: u32) -> std::ops::RangeInclusive<(u32, u64)> {
    (building, 0)..=(building, u64::MAX)
}
