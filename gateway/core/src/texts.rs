//! What a person is told: the text and tone of each verdict.

use kalitka_protocol::limits::TEXT_MAX;
use kalitka_protocol::reason::{Denial, Tone, Verdict};

/// A line for the person at the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Line {
    /// Come in.
    Granted,
    /// You may not pass here.
    Denied,
    /// You may not pass here now.
    NotNow,
    /// This way is closed; use another.
    OtherWay,
    /// The card was not read well; show it again.
    ShowAgain,
    /// Somebody must look into it: see the guard.
    SeeGuard,
}

impl Line {
    /// Every line, in the order of [`Texts`].
    pub const ALL: [Self; 6] =
        [Self::Granted, Self::Denied, Self::NotNow, Self::OtherWay, Self::ShowAgain, Self::SeeGuard];

    /// The line's name in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::NotNow => "not_now",
            Self::OtherWay => "other_way",
            Self::ShowAgain => "show_again",
            Self::SeeGuard => "see_guard",
        }
    }

    /// The line as it is shown unless configured otherwise.
    #[must_use]
    pub const fn default_text(self) -> &'static str {
        match self {
            Self::Granted => "Проходите",
            Self::Denied => "Проход запрещён",
            Self::NotNow => "Сейчас прохода нет",
            Self::OtherWay => "Проход закрыт",
            Self::ShowAgain => "Приложите карту ещё раз",
            Self::SeeGuard => "Обратитесь к охране",
        }
    }

    /// The line and the tone that go with `verdict`.
    #[must_use]
    pub const fn of(verdict: Verdict) -> (Self, Tone) {
        let Verdict::Deny(reason) = verdict else { return (Self::Granted, Tone::Welcome) };
        match reason {
            Denial::Stale | Denial::MalformedCard => (Self::ShowAgain, Tone::Refused),
            Denial::PortalClosed | Denial::DirectionClosed | Denial::WrongDirection => (Self::OtherWay, Tone::Refused),
            Denial::OutsideSchedule | Denial::CredentialNotYetValid | Denial::HolderNotYetValid => {
                (Self::NotNow, Tone::Refused)
            }
            Denial::UnknownCredential | Denial::NoAccess | Denial::CredentialExpired | Denial::HolderExpired => {
                (Self::Denied, Tone::Refused)
            }
            Denial::ShapeNotDeclared
            | Denial::NoSnapshot
            | Denial::ReaderUnknown
            | Denial::PlanMissing
            | Denial::TimeUnknown
            | Denial::AmbiguousCredential
            | Denial::CredentialInStock
            | Denial::CredentialBlockedForATime
            | Denial::CredentialBlocked
            | Denial::CredentialLost
            | Denial::CredentialReturned
            | Denial::CredentialDestroyed
            | Denial::HolderBlocked
            | Denial::HolderLeft
            | Denial::HolderDeleted
            | Denial::PermissionsStale => (Self::SeeGuard, Tone::Attention),
        }
    }
}

/// A text of more than [`TEXT_MAX`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are more than {TEXT_MAX}, which is all that a reader shows")]
pub struct TextTooLong {
    /// Its length, in bytes of UTF-8.
    pub bytes: usize,
}

/// The building's texts, one for each [`Line`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    lines: [Box<str>; Line::ALL.len()],
}

impl Default for Texts {
    fn default() -> Self {
        Self { lines: Line::ALL.map(|line| line.default_text().into()) }
    }
}

impl Texts {
    /// Replaces the text of `line`.
    ///
    /// # Errors
    /// [`TextTooLong`] for more than [`TEXT_MAX`] bytes; the text stays as it was.
    pub fn set(&mut self, line: Line, text: &str) -> Result<(), TextTooLong> {
        if text.len() > TEXT_MAX {
            return Err(TextTooLong { bytes: text.len() });
        }
        self.lines[line as usize] = text.into();
        Ok(())
    }

    /// The text of `line`, at most [`TEXT_MAX`] bytes.
    #[must_use]
    pub fn get(&self, line: Line) -> &str {
        &self.lines[line as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_fits_and_every_line_is_its_own() {
        let labels = ["granted", "denied", "not_now", "other_way", "show_again", "see_guard"];
        assert_eq!(Line::ALL.map(Line::label), labels, "a configuration names them so");
        let texts = Texts::default();
        for (place, line) in Line::ALL.into_iter().enumerate() {
            assert_eq!(place, line as usize);
            assert_eq!(texts.get(line), line.default_text());
            assert!(line.default_text().len() <= TEXT_MAX);
        }
    }

    #[test]
    fn a_text_too_long_leaves_the_one_before() {
        let mut texts = Texts::default();
        assert_eq!(texts.set(Line::Denied, &"x".repeat(TEXT_MAX + 1)), Err(TextTooLong { bytes: TEXT_MAX + 1 }));
        assert_eq!(texts.get(Line::Denied), Line::Denied.default_text());
        assert_eq!(texts.set(Line::Denied, &"x".repeat(TEXT_MAX)), Ok(()));
    }

    #[test]
    fn only_a_grant_sounds_welcome() {
        for reason in Denial::ALL {
            let (line, tone) = Line::of(Verdict::Deny(*reason));
            assert!(line != Line::Granted && tone != Tone::Welcome, "{}", reason.label());
        }
    }
}
