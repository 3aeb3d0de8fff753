//! What may stand behind the `?` of a feed's address.

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// Order number: the feed begins behind it.
    pub(super) after: u64,
    /// Only this building's events.
    pub(super) building: Option<u32>,
    /// Whether to go on with what comes.
    pub(super) follow: bool,
}

impl Query {
    /// Of the complete feed: `after`, `building`, `follow`.
    ///
    /// # Errors
    /// What is wrong, for whoever asks.
    pub(super) fn complete(text: &str) -> Result<Self, &'static str> {
        Self::parse(text, true)
    }

    /// Of the live feed: `building`.
    ///
    /// # Errors
    /// As for the complete feed.
    pub(super) fn live(text: &str) -> Result<Self, &'static str> {
        Self::parse(text, false)
    }

    fn parse(text: &str, complete: bool) -> Result<Self, &'static str> {
        let (mut after, mut building, mut follow) = (None, None, None);
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = match name {
                "after" if complete => {
                    let number = number(value).ok_or("after: give an order number, 0 for the beginning")?;
                    after.replace(number).is_some()
                }
                "building" => {
                    let number =
                        number(value).and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
                    building.replace(number.ok_or("building: give a building's number, from 1")?).is_some()
                }
                "follow" if complete => {
                    let follows = match value {
                        "true" => true,
                        "false" => false,
                        _ => return Err("follow: give `true` or `false`"),
                    };
                    follow.replace(follows).is_some()
                }
                _ if complete => return Err("the complete feed knows `after`, `building` and `follow`"),
                _ => return Err("the live feed knows `building`"),
            };
            if again {
                return Err("a parameter is given twice");
            }
        }
        Ok(Self { after: after.unwrap_or(0), building, follow: follow.unwrap_or(false) })
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_strict() {
        let complete = |text| Query::complete(text).ok();
        assert_eq!(complete(""), Some(Query::default()));
        let all = Query { after: 7, building: Some(3), follow: true };
        assert_eq!(complete("after=7&building=3&follow=true"), Some(all));
        assert_eq!(complete("follow=false&after=18446744073709551615").map(|query| query.after), Some(u64::MAX));
        for wrong in [
            "after",
            "after=",
            "after=-1",
            "after=+1",
            "after=18446744073709551616",
            "after=1&after=2",
            "building=0",
            "building=4294967296",
            "follow=yes",
            "from=1",
            "after=1;building=2",
        ] {
            assert_eq!(complete(wrong), None, "{wrong}");
        }
        assert_eq!(Query::live("building=3").map(|query| query.building), Ok(Some(3)));
        assert!(Query::live("after=3").is_err() && Query::live("follow=true").is_err());
    }
}
