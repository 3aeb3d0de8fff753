//! Alarms: what a person has to look at. The newest are kept over restarts; each is also a line of the log and a metric.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::hub::Hub;
use crate::limits::{ALARM_REPEAT, ALARMS_MAX};
use crate::metrics::names;
use crate::store::{Store, StoreError};

/// Where the store keeps them.
const NOTE: &str = "alarms";

/// What an alarm is about; each is a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmKind {
    /// The same identity came with another hash (SPEC 15.13).
    Fork,
    /// A building has two living connections.
    SecondConnection,
    /// A hash or a signature of a batch does not hold.
    History,
    /// A message names another building than the certificate.
    Building,
    /// A message is malformed, out of place or of another version.
    Malformed,
    /// A certificate that is not one of ours, has expired or names no building; or one of ours that the store does not know.
    Certificate,
    /// A revoked certificate was used.
    Revoked,
    /// A gateway came with a certificate that has expired: it was away for long. It may renew it, and nothing else.
    Expired,
    /// An enrolment token was used again, or for another building.
    Token,
    /// The store cannot keep anything now.
    Store,
    /// Events are older than what is kept.
    Retention,
}

impl AlarmKind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Fork,
        Self::SecondConnection,
        Self::History,
        Self::Building,
        Self::Malformed,
        Self::Certificate,
        Self::Revoked,
        Self::Expired,
        Self::Token,
        Self::Store,
        Self::Retention,
    ];

    /// As metrics, logs and JSON name it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::SecondConnection => "second_connection",
            Self::History => "history",
            Self::Building => "building",
            Self::Malformed => "malformed",
            Self::Certificate => "certificate",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Token => "token",
            Self::Store => "store",
            Self::Retention => "retention",
        }
    }
}

/// One alarm, with how often it came again within [`ALARM_REPEAT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alarm {
    pub(crate) kind: AlarmKind,
    /// `None` when no building has been proved.
    pub(crate) building: Option<u32>,
    pub(crate) text: String,
    /// Microseconds since 1970: the first and the last time.
    pub(crate) first_us: i64,
    pub(crate) last_us: i64,
    pub(crate) times: u64,
}

/// The newest alarms.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    ring: Mutex<VecDeque<Alarm>>,
    /// Whether something is not in the store yet.
    changed: AtomicBool,
}

impl Alarms {
    /// Those that `store` keeps.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn of(store: &Store) -> Result<Self, StoreError> {
        let bytes = store.note(NOTE)?.unwrap_or_else(|| b"[]".to_vec());
        let ring = serde_json::from_slice(&bytes).map_err(|error| StoreError::Damaged(format!("alarms: {error}")))?;
        Ok(Self { ring: Mutex::new(ring), changed: AtomicBool::new(false) })
    }

    /// Puts what is new into the store. What fails is tried again next time.
    pub(crate) async fn keep(&self, hub: &Arc<Hub>) {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return;
        }
        let alarms = self.list();
        let shared = Arc::clone(hub);
        let kept = tokio::task::spawn_blocking(move || {
            let bytes = serde_json::to_vec(&alarms).map_err(|error| StoreError::Damaged(error.to_string()))?;
            shared.store.set_note(NOTE, &bytes)
        });
        if !matches!(kept.await, Ok(Ok(()))) {
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Raises an alarm: log, metric, list. `building` is the certificate's.
    pub(crate) fn raise(&self, kind: AlarmKind, building: Option<u32>, text: String) {
        metrics::counter!(names::ALARMS, "kind" => kind.label()).increment(1);
        self.note(kind, building, text, Clock::wall_us());
    }

    fn note(&self, kind: AlarmKind, building: Option<u32>, text: String, now_us: i64) {
        self.changed.store(true, Ordering::Release);
        let mut ring = self.ring();
        let again = ring.iter_mut().rev().find(|alarm| {
            let age = u128::try_from(now_us.saturating_sub(alarm.last_us)).unwrap_or(0);
            alarm.kind == kind && alarm.building == building && age < ALARM_REPEAT.as_micros()
        });
        if let Some(alarm) = again {
            *alarm = Alarm { text, last_us: now_us, times: alarm.times + 1, ..alarm.clone() };
            return;
        }
        if ring.len() >= ALARMS_MAX {
            ring.pop_front();
        }
        // Repeats are counted and not logged: whoever causes them does not fill the log.
        tracing::warn!(kind = kind.label(), building, text, "alarm");
        ring.push_back(Alarm { kind, building, text, first_us: now_us, last_us: now_us, times: 1 });
    }

    /// The alarms that are kept, oldest first.
    pub(crate) fn list(&self) -> Vec<Alarm> {
        self.ring().iter().cloned().collect()
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Alarm>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;

    #[test]
    fn repeats_are_counted_onto_the_one_before_and_the_list_is_bounded() {
        let alarms = Alarms::default();
        for _ in 0..5 {
            alarms.note(AlarmKind::Fork, Some(17), "first".into(), 0);
        }
        alarms.note(AlarmKind::Fork, Some(18), "another building".into(), 1);
        alarms.note(AlarmKind::Fork, Some(17), "within the minute".into(), MINUTE_US - 1);
        alarms.note(AlarmKind::Fork, Some(17), "later".into(), 3 * MINUTE_US);
        let list = alarms.list();
        let seen: Vec<_> = list.iter().map(|alarm| (alarm.building, alarm.times, alarm.text.as_str())).collect();
        assert_eq!(
            seen,
            [(Some(17), 6, "within the minute"), (Some(18), 1, "another building"), (Some(17), 1, "later")]
        );
        for minute in 0..2 * i64::try_from(ALARMS_MAX).unwrap() {
            alarms.note(AlarmKind::Token, None, "again".into(), (minute + 10) * MINUTE_US * 2);
        }
        assert_eq!(alarms.list().len(), ALARMS_MAX);
    }

    #[test]
    fn labels_are_what_json_says() {
        for kind in AlarmKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
        }
    }
}
