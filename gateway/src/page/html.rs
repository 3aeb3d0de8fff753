//! The page as HTML. Whatever is not written here goes through [`Html::text`], which lets nothing become markup.

use std::fmt::Display;
use std::fmt::Write as _;

use super::matter::{Level, Matter};
use super::overview::{Line, Overview, Portal, Reader, Refusal, State};
use super::words::{Language, Words, told};
use super::{ICON, RELEASE, SCRIPT, STYLE};
use crate::limits::{FULL_PERCENT, PAGE_REASONS_MAX};

/// The whole page.
pub(super) fn page(overview: &Overview, language: Language) -> String {
    let words = language.words();
    let mut html = Html { text: String::with_capacity(32 * 1024), words };
    let (code, release) = (language.code(), RELEASE.as_str());
    html.raw(format_args!(
        "<!doctype html>\n<html lang=\"{code}\" data-release=\"{release}\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>"
    ));
    html.text(sign(overview.level));
    html.text(format_args!(" {}, {} {}", words.title, words.building, overview.building));
    html.raw(format_args!("</title><link rel=\"icon\" href=\"{ICON}\"><style>{STYLE}</style></head>\n<body>\n"));
    html.header(overview, language);
    html.lost();
    html.raw("<main>\n");
    html.verdict(overview);
    html.raw("<div class=\"parts\">\n");
    html.readers(overview);
    html.portals(overview);
    html.refusals(overview);
    html.snapshot(overview);
    html.outbox(overview);
    html.uplink(overview);
    html.raw("</div>\n</main>\n");
    html.footer(overview);
    html.raw(format_args!("<script>{SCRIPT}</script>\n</body>\n</html>\n"));
    html.text
}

/// A sign beside the words, for those who look from afar.
const fn sign(level: Level) -> &'static str {
    match level {
        Level::Well => "✓",
        Level::Look => "!",
        Level::Bad => "✗",
    }
}

/// The page as far as it is written.
struct Html {
    text: String,
    words: &'static Words,
}

impl Html {
    /// Markup that stands in this file.
    fn raw(&mut self, markup: impl Display) {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{markup}");
    }

    /// Anything else: nothing in it is markup.
    fn text(&mut self, text: impl Display) {
        for character in text.to_string().chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                // What no terminal shows, and what turns the direction of writing, is shown as what it is.
                _ if character.is_control()
                    || matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    self.raw(character.escape_unicode());
                }
                _ => self.text.push(character),
            }
        }
    }

    fn element(&mut self, tag: &'static str, text: impl Display) {
        self.raw(format_args!("<{tag}>"));
        self.text(text);
        self.raw(format_args!("</{tag}>"));
    }

    fn header(&mut self, overview: &Overview, language: Language) {
        let words = self.words;
        self.raw("<header>");
        self.element("p", format_args!("{}, {} {}", words.title, words.building, overview.building));
        self.raw(format_args!("<nav aria-label=\"{}\">", words.languages));
        for other in Language::ALL {
            let (code, current) = (other.code(), if other == language { " aria-current=\"true\"" } else { "" });
            self.raw(format_args!("<a href=\"?lang={code}\" lang=\"{code}\" hreflang=\"{code}\"{current}>"));
            self.text(other.own_name());
            self.raw("</a>");
        }
        self.raw("</nav></header>\n");
    }

    /// What the script shows when the gateway does not answer any more.
    fn lost(&mut self) {
        let words = self.words;
        let (what, todo) = words.lost;
        self.raw("<div id=\"lost\" role=\"alert\" hidden>");
        self.signed(Level::Bad);
        self.raw("<strong>");
        self.text(what);
        self.raw(" <time></time>.</strong>");
        self.element("p", todo);
        self.raw("</div>\n<noscript>");
        self.element("p", words.no_script);
        self.raw("</noscript>\n");
    }

    fn signed(&mut self, level: Level) {
        self.raw(format_args!("<p class=\"sign {}\">", level.label()));
        self.text(format_args!("{} {}", sign(level), self.words.level(level)));
        self.raw("</p>");
    }

    /// In large letters: whether doors answer, or what is wrong and what to do. Then what else there is.
    fn verdict(&mut self, overview: &Overview) {
        let words = self.words;
        self.raw(format_args!(
            "<section class=\"verdict {}\" role=\"status\" aria-live=\"polite\" aria-atomic=\"true\">",
            overview.level.label()
        ));
        self.signed(overview.level);
        let Some((worst, others)) = overview.matters.split_first() else {
            let (what, todo) = words.well;
            self.element("h1", what);
            self.element("p", todo);
            self.raw("</section>\n");
            return;
        };
        let (what, todo) = words.matter(*worst);
        match worst.level() {
            Level::Bad => self.element("h1", what),
            Level::Look | Level::Well => self.element("h1", format_args!("{} {what}", words.well.0)),
        }
        self.raw("<p>");
        self.remedy(*worst, todo);
        self.raw("</p>");
        if !others.is_empty() {
            self.element("p", words.also);
            self.raw("<ul>");
            for other in others {
                let (what, todo) = words.matter(*other);
                self.raw("<li>");
                self.text(what);
                self.raw(" ");
                self.remedy(*other, todo);
                self.raw("</li>");
            }
            self.raw("</ul>");
        }
        self.raw("</section>\n");
    }

    fn remedy(&mut self, matter: Matter, todo: &str) {
        self.text(todo);
        self.raw(" ");
        self.text(self.words.runbook);
        self.raw(" ");
        self.element("cite", told(self.words.sections, matter.runbook()));
        self.raw(".");
    }

    fn section(&mut self, id: &'static str, title: &'static str) {
        self.raw(format_args!("<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">"));
        self.text(title);
        self.raw("</h2>");
    }

    /// A table with these columns; those marked hold numbers.
    fn table(&mut self, labelled: &'static str, columns: &[(&'static str, bool)]) {
        self.raw(format_args!("<table aria-labelledby=\"{labelled}\"><thead><tr>"));
        for (column, is_number) in columns {
            self.raw(if *is_number { "<th scope=\"col\" class=\"number\">" } else { "<th scope=\"col\">" });
            self.text(column);
            self.raw("</th>");
        }
        self.raw("</tr></thead><tbody>\n");
    }

    fn row(&mut self, head: impl Display) {
        self.raw("<tr><th scope=\"row\" class=\"name\">");
        self.text(head);
        self.raw("</th>");
    }

    fn number(&mut self, number: impl Display) {
        self.raw("<td class=\"number\">");
        self.text(number);
        self.raw("</td>");
    }

    /// How long ago something was.
    fn time(&mut self, seconds: Option<u64>) {
        self.raw("<td class=\"number time\">");
        self.text(seconds.map_or_else(|| self.words.never.into(), |seconds| self.words.time(seconds)));
        self.raw("</td>");
    }

    fn more(&mut self, unlisted: usize) {
        if unlisted > 0 {
            self.raw("<p class=\"soft\">");
            self.text(format_args!("{} {unlisted}", self.words.more));
            self.raw("</p>");
        }
    }

    fn fact(&mut self, name: &'static str, value: impl Display) {
        self.element("dt", name);
        self.element("dd", value);
    }

    /// A part of a whole, in words and as a bar.
    fn share(&mut self, name: &'static str, percent: u8) {
        self.element("dt", name);
        self.raw("<dd>");
        self.text(format_args!("{percent} %"));
        self.raw(format_args!(
            " <meter min=\"0\" max=\"100\" high=\"{}\" optimum=\"0\" value=\"{percent}\" aria-hidden=\"true\"></meter></dd>",
            FULL_PERCENT
        ));
    }

    fn readers(&mut self, overview: &Overview) {
        let (words, readers) = (self.words, &overview.readers);
        self.section("readers", words.readers);
        self.element("p", format_args!("{}: {} / {}", words.readers_up, readers.up, readers.known));
        if !readers.listed.is_empty() {
            self.table(
                "readers",
                &[
                    (words.reader, false),
                    (words.portal, false),
                    (words.way, false),
                    (words.state, false),
                    (words.heard, true),
                ],
            );
            readers.listed.iter().for_each(|reader| self.reader(reader));
            self.raw("</tbody></table>");
        }
        self.more(readers.unlisted);
        self.lines(&overview.lines);
        self.raw("</section>\n");
    }

    fn reader(&mut self, reader: &Reader) {
        let words = self.words;
        self.raw(format_args!("<tr><th scope=\"row\">{}</th>", reader.reader));
        self.raw("<td class=\"name\">");
        self.text(reader.portal.as_deref().unwrap_or("—"));
        self.raw("</td>");
        self.element("td", reader.way.map_or("—", |way| words.by(way)));
        let level = match reader.state {
            State::Up => Level::Well,
            State::Refused | State::Away => Level::Bad,
            State::NoKey | State::NotInSnapshot => Level::Look,
        };
        self.raw(format_args!("<td><span class=\"sign {}\">", level.label()));
        self.text(format_args!("{} {}", sign(level), words.state(reader.state)));
        self.raw("</span></td>");
        self.time(reader.heard_seconds_ago);
        self.raw("</tr>\n");
    }

    fn lines(&mut self, lines: &[Line]) {
        let words = self.words;
        if lines.is_empty() {
            return;
        }
        self.raw("<h2 id=\"lines\">");
        self.text(words.lines);
        self.raw("</h2>");
        self.table("lines", &[(words.port, false), (words.state, false)]);
        for line in lines {
            self.row(&line.port);
            let (level, said) = match line {
                Line { is_up: false, .. } => (Level::Bad, words.gone),
                Line { is_unreadable: true, .. } => (Level::Look, words.unreadable),
                Line { .. } => (Level::Well, words.open),
            };
            self.raw(format_args!("<td><span class=\"sign {}\">", level.label()));
            self.text(format_args!("{} {said}", sign(level)));
            self.raw("</span></td></tr>\n");
        }
        self.raw("</tbody></table>");
    }

    fn portals(&mut self, overview: &Overview) {
        let (words, portals) = (self.words, &overview.portals);
        self.section("portals", words.portals);
        if portals.listed.is_empty() {
            self.element("p", words.none);
        } else {
            self.table("portals", &[(words.portal, false), (words.mode, false), (words.readers_up, true)]);
            portals.listed.iter().for_each(|portal| self.portal(portal));
            self.raw("</tbody></table>");
        }
        self.more(portals.unlisted);
        self.raw("</section>\n");
    }

    fn portal(&mut self, portal: &Portal) {
        let words = self.words;
        self.row(&portal.portal);
        let mode = portal.mode.map_or("—", |mode| told(words.modes, mode));
        if portal.is_ordered {
            self.element("td", format_args!("{mode}, {}", words.ordered));
        } else {
            self.element("td", mode);
        }
        self.number(format_args!("{} / {}", portal.readers_up, portal.readers));
        self.raw("</tr>\n");
    }

    fn refusals(&mut self, overview: &Overview) {
        let words = self.words;
        self.section("refusals", words.refusals);
        if overview.refusals.is_empty() {
            self.element("p", words.nobody_refused);
        } else {
            self.table(
                "refusals",
                &[(words.reason, false), (words.recent, true), (words.in_all, true), (words.newest, true)],
            );
            let (shown, others) = overview.refusals.split_at(overview.refusals.len().min(PAGE_REASONS_MAX));
            shown.iter().for_each(|refusal| self.refusal(refusal));
            self.raw("</tbody></table>");
            self.more(others.len());
        }
        self.raw("</section>\n");
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.raw("<tr><th scope=\"row\">");
        self.text(told(self.words.reasons, refusal.reason));
        self.raw(" <code>");
        self.text(refusal.reason);
        self.raw("</code></th>");
        self.number(refusal.last_15_minutes);
        self.number(refusal.since_start);
        self.time(Some(refusal.newest_seconds_ago));
        self.raw("</tr>\n");
    }

    fn snapshot(&mut self, overview: &Overview) {
        let (words, snapshot) = (self.words, &overview.snapshot);
        self.section("snapshot", words.snapshot);
        self.raw("<dl>");
        if snapshot.generation == 0 {
            self.fact(words.generation, words.none);
        } else {
            self.fact(words.generation, snapshot.generation);
            let age = snapshot.age_seconds.and_then(|age| u64::try_from(age).ok());
            self.fact(words.age, age.map_or_else(|| "—".into(), |age| words.ago(age)));
            self.fact(words.entries, snapshot.entries);
            self.fact(words.stale, self.yes_or_no(snapshot.is_stale));
        }
        if let Some((why, ago)) = snapshot.refused.as_deref().zip(snapshot.refused_seconds_ago) {
            self.fact(words.refused, format_args!("{}, {}", told(words.refused_why, why), words.ago(ago)));
        }
        self.fact(words.clock, told(words.clocks, overview.clock));
        self.raw("</dl></section>\n");
    }

    fn outbox(&mut self, overview: &Overview) {
        let (words, outbox) = (self.words, &overview.outbox);
        self.section("outbox", words.outbox);
        self.raw("<dl>");
        self.fact(words.kept, self.yes_or_no(outbox.is_taking));
        self.fact(words.waiting, outbox.waiting_events);
        if let Some(oldest) = outbox.oldest_seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            self.fact(words.oldest, words.ago(oldest));
        }
        self.share(words.bound, outbox.bound_percent);
        self.share(words.disk, outbox.disk_percent);
        self.raw("</dl></section>\n");
    }

    fn uplink(&mut self, overview: &Overview) {
        let (words, uplink) = (self.words, &overview.uplink);
        self.section("uplink", words.uplink);
        self.raw("<dl>");
        self.fact(words.state, told(words.uplinks, uplink.state));
        if uplink.state != "off" {
            self.fact(words.since, words.ago(uplink.since_seconds));
        }
        if let Some(us) = uplink.round_trip_us {
            let [.., ms] = words.units;
            self.fact(words.round_trip, format_args!("{}.{:02} {ms}", us / 1000, us % 1000 / 10));
        }
        if let Some(code) = uplink.code {
            self.fact(words.code, code);
        }
        self.raw("</dl></section>\n");
    }

    fn yes_or_no(&self, is_so: bool) -> &'static str {
        if is_so { self.words.yes } else { self.words.no }
    }

    fn footer(&mut self, overview: &Overview) {
        let words = self.words;
        self.raw("<footer>");
        self.element("p", format_args!("{} {}", words.version, overview.version));
        self.element("p", format_args!("{} {}", words.running, words.time(overview.running_seconds)));
        self.raw("<p>");
        self.text(words.for_programs);
        self.raw(" <a href=\"/status.json\">status.json</a> <a href=\"/metrics\">metrics</a></p></footer>\n");
    }
}
