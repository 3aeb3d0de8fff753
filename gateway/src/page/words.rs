//! What the page says, in each of its languages. Tests hold the languages to the same keys, and those to what can be said.

mod en;
mod ru;

use super::matter::{Level, Matter};
use super::overview::{State, Way};

/// A language of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    Russian,
}

/// Everything that is said in one language.
pub(super) struct Words {
    pub(super) title: &'static str,
    pub(super) building: &'static str,
    pub(super) languages: &'static str,
    /// By [`Level`]: a word beside the sign.
    pub(super) levels: [&'static str; 3],
    pub(super) well: (&'static str, &'static str),
    /// By [`Matter::ALL`]: what is wrong, and what to do.
    pub(super) matters: [(&'static str, &'static str); Matter::ALL.len()],
    pub(super) runbook: &'static str,
    /// What the runbook in this language calls the sections that matters name in English; none where it is English.
    pub(super) sections: &'static [(&'static str, &'static str)],
    pub(super) also: &'static str,
    pub(super) lost: (&'static str, &'static str),
    pub(super) no_script: &'static str,
    pub(super) readers: &'static str,
    pub(super) readers_up: &'static str,
    pub(super) reader: &'static str,
    pub(super) portal: &'static str,
    pub(super) way: &'static str,
    /// By [`Way`].
    pub(super) ways: [&'static str; 3],
    pub(super) state: &'static str,
    /// By [`State`].
    pub(super) states: [&'static str; 5],
    pub(super) heard: &'static str,
    pub(super) never: &'static str,
    pub(super) more: &'static str,
    pub(super) none: &'static str,
    pub(super) lines: &'static str,
    pub(super) port: &'static str,
    pub(super) open: &'static str,
    pub(super) gone: &'static str,
    pub(super) unreadable: &'static str,
    pub(super) portals: &'static str,
    pub(super) mode: &'static str,
    pub(super) modes: &'static [(&'static str, &'static str)],
    pub(super) ordered: &'static str,
    pub(super) snapshot: &'static str,
    pub(super) generation: &'static str,
    pub(super) age: &'static str,
    pub(super) entries: &'static str,
    pub(super) stale: &'static str,
    pub(super) refused: &'static str,
    pub(super) refused_why: &'static [(&'static str, &'static str)],
    pub(super) outbox: &'static str,
    pub(super) kept: &'static str,
    pub(super) waiting: &'static str,
    pub(super) oldest: &'static str,
    pub(super) bound: &'static str,
    pub(super) disk: &'static str,
    pub(super) yes: &'static str,
    pub(super) no: &'static str,
    pub(super) uplink: &'static str,
    pub(super) uplinks: &'static [(&'static str, &'static str)],
    pub(super) since: &'static str,
    pub(super) round_trip: &'static str,
    pub(super) code: &'static str,
    pub(super) refusals: &'static str,
    pub(super) nobody_refused: &'static str,
    pub(super) reason: &'static str,
    pub(super) recent: &'static str,
    pub(super) in_all: &'static str,
    pub(super) newest: &'static str,
    pub(super) reasons: &'static [(&'static str, &'static str)],
    pub(super) clock: &'static str,
    pub(super) clocks: &'static [(&'static str, &'static str)],
    pub(super) running: &'static str,
    pub(super) version: &'static str,
    pub(super) for_programs: &'static str,
    /// Day, hour, minute, second, millisecond.
    pub(super) units: [&'static str; 5],
    pub(super) ago: (&'static str, &'static str),
}

impl Language {
    pub(super) const ALL: [Self; 2] = [Self::English, Self::Russian];

    /// As `query` says (`lang=ru`), or else what the browser `accepts` best, or else English.
    pub(super) fn of(query: Option<&str>, accepts: Option<&str>) -> Self {
        let asked = query.into_iter().flat_map(|query| query.split('&')).find_map(|part| part.strip_prefix("lang="));
        asked.and_then(Self::named).or_else(|| accepts.and_then(Self::accepted)).unwrap_or(Self::English)
    }

    fn accepted(header: &str) -> Option<Self> {
        let ranges = header.split(',').enumerate().filter_map(|(place, range)| {
            let mut parts = range.split(';').map(str::trim);
            let language = Self::named(parts.next()?.split('-').next()?)?;
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok())?;
            (weight > 0.0).then_some((weight, std::cmp::Reverse(place), language))
        });
        let best = ranges.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        best.map(|(_, _, language)| language)
    }

    fn named(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| code.eq_ignore_ascii_case(language.code()))
    }

    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Russian => "ru",
        }
    }

    /// What those who speak it call it.
    pub(super) const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Russian => "Русский",
        }
    }

    pub(super) const fn words(self) -> &'static Words {
        match self {
            Self::English => &en::WORDS,
            Self::Russian => &ru::WORDS,
        }
    }
}

impl Words {
    pub(super) const fn level(&self, level: Level) -> &'static str {
        self.levels[level as usize]
    }

    pub(super) const fn matter(&self, matter: Matter) -> (&'static str, &'static str) {
        self.matters[matter as usize]
    }

    pub(super) const fn state(&self, state: State) -> &'static str {
        self.states[state as usize]
    }

    pub(super) const fn by(&self, way: Way) -> &'static str {
        self.ways[way as usize]
    }

    /// A length of time by its two largest units.
    pub(super) fn time(&self, seconds: u64) -> String {
        let [days, hours, minutes, second, _] = self.units;
        match seconds {
            0..60 => format!("{seconds} {second}"),
            60..3600 => format!("{} {minutes}", seconds / 60),
            3600..86_400 => format!("{} {hours} {} {minutes}", seconds / 3600, seconds / 60 % 60),
            _ => format!("{} {days} {} {hours}", seconds / 86_400, seconds / 3600 % 24),
        }
    }

    pub(super) fn ago(&self, seconds: u64) -> String {
        let (before, after) = self.ago;
        format!("{before}{}{after}", self.time(seconds))
    }
}

/// What `label` means by `table`; the label itself when that does not say.
pub(super) fn told<'a>(table: &'static [(&'static str, &'static str)], label: &'a str) -> &'a str {
    table.iter().find(|(of, _)| *of == label).map_or(label, |(_, words)| words)
}
