//! One panel: what it asks Prometheus for, and what becomes of that.

use serde_json::{Map, Value};

use super::canvas::{CARD, Canvas, INK, Place, SOFT, Style};
use super::chart::{self, Look};
use super::units::written;
use crate::prometheus::Prometheus;

/// The time that a picture shows, in seconds since 1970, and between two points of it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its beginning.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// Between two points.
    pub step: f64,
}

impl Span {
    /// Round moments in it, each with what a clock (UTC) shows then.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let length = self.to - self.from;
        let step = [10.0, 15.0, 20.0, 30.0, 60.0, 300.0].into_iter().find(|step| length / step <= 5.0).unwrap_or(900.0);
        let first = (self.from / step).ceil() * step;
        let times = std::iter::successors(Some(first), |time| Some(time + step)).take_while(|time| *time <= self.to);
        times.map(|time| (time, clock(time))).collect()
    }
}

fn clock(time: f64) -> String {
    let seconds = time.rem_euclid(86_400.0);
    format!("{:02}:{:02}:{:02}", (seconds / 3600.0).floor(), (seconds / 60.0).floor() % 60.0, seconds % 60.0)
}

/// One line of a panel.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Time and value.
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws `panel` in `place`.
pub(super) fn draw(
    canvas: &mut Canvas,
    place: Place,
    panel: &Value,
    prometheus: &Prometheus,
    span: Span,
    chosen: &impl Fn(&str) -> String,
) {
    let title = panel["title"].as_str().unwrap();
    let kind = panel["type"].as_str().unwrap();
    if kind == "row" {
        canvas.text(
            Place::new(place.x + 4.0, place.y, place.width, place.height),
            title,
            Style::plain(14.0, INK).bold(),
        );
        return;
    }
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = defaults["unit"].as_str().unwrap_or("none");
    let targets = panel["targets"].as_array().unwrap();
    let asked = |target: &Value| chosen(target["expr"].as_str().unwrap());
    let head = Place::new(place.x + 8.0, place.y + 4.0, place.width - 16.0, 20.0);
    let body = Place::new(place.x + 8.0, place.y + 26.0, place.width - 16.0, place.height - 32.0);
    match kind {
        "stat" => {
            let value = number(&prometheus.query(&asked(&targets[0]))[0]["value"][1]);
            let (text, colour) = told(value, unit, defaults);
            canvas.rectangle(place, colour, 3.0);
            canvas.text(head, title, Style::plain(12.5, "#fff").bold());
            canvas.text(body, &text, Style::plain(26.0, "#fff").bold().to("middle"));
        }
        "table" => {
            canvas.rectangle(place, CARD, 3.0);
            canvas.text(head, title, Style::plain(12.5, INK).bold());
            let rows: Vec<Value> = targets.iter().flat_map(|target| prometheus.query(&asked(target))).collect();
            table(canvas, body, &rows, unit, panel);
        }
        "timeseries" => {
            canvas.rectangle(place, CARD, 3.0);
            canvas.text(head, title, Style::plain(12.5, INK).bold());
            let range =
                |target: &Value| series(&prometheus.query_range(&asked(target), span.from, span.to, span.step), target);
            let mut series: Vec<Series> = targets.iter().flat_map(range).collect();
            // The greatest first: they are the ones to be named when there is no room for all.
            let peak = |of: &Series| of.points.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
            series.sort_by(|a, b| peak(b).total_cmp(&peak(a)));
            let custom = &defaults["custom"];
            let look = Look {
                fill_percent: custom["fillOpacity"].as_f64().unwrap_or(0.0),
                is_stacked: custom["stacking"]["mode"] == "normal",
            };
            chart::draw(canvas, body, &series, unit, look, span);
        }
        other => panic!("no way is known here to draw a panel of type {other}: {title}"),
    }
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// The lines of one answer.
fn series(found: &[Value], target: &Value) -> Vec<Series> {
    let format = target["legendFormat"].as_str().unwrap_or("");
    let of = |found: &Value| {
        let points = found["values"].as_array().unwrap().iter();
        let points = points.map(|point| (point[0].as_f64().unwrap(), number(&point[1])));
        let points = points.filter(|(_, value)| value.is_finite()).collect();
        Series { name: named(format, found["metric"].as_object().unwrap()), points }
    };
    found.iter().map(of).collect()
}

/// What the legend calls a series.
fn named(format: &str, labels: &Map<String, Value>) -> String {
    let mut name = format.to_owned();
    for (label, value) in labels {
        name = name.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap());
    }
    if name.contains("{{") || name.is_empty() { "all".into() } else { name }
}

/// What a stat says of `value`, and by which colour.
fn told(value: f64, unit: &str, defaults: &Value) -> (String, &'static str) {
    let mapped = &defaults["mappings"][0]["options"][written(value, "none")];
    let steps = defaults["thresholds"]["steps"].as_array().unwrap();
    let step = steps.iter().rfind(|step| step["value"].as_f64().is_none_or(|from| value >= from)).unwrap();
    let colour = mapped["color"].as_str().or(step["color"].as_str()).unwrap();
    (mapped["text"].as_str().map_or_else(|| written(value, unit), str::to_owned), shade(colour))
}

fn shade(colour: &str) -> &'static str {
    match colour {
        "green" => "#2f7d3a",
        "orange" => "#b35c00",
        "red" => "#b3242f",
        other => panic!("no colour is known here for {other}"),
    }
}

/// A table of labels and values, the greatest first.
fn table(canvas: &mut Canvas, place: Place, found: &[Value], unit: &str, panel: &Value) {
    const LINE: f64 = 20.0;
    let options = &panel["transformations"][0]["options"];
    let is_shown = |name: &str| options["excludeByName"][name] != true;
    let renamed = |name: &str| options["renameByName"][name].as_str().unwrap_or(name).to_owned();
    let labels: std::collections::BTreeSet<&str> =
        found.iter().flat_map(|row| row["metric"].as_object().unwrap().keys()).map(String::as_str).collect();
    let labels: Vec<&str> = labels.into_iter().filter(|label| is_shown(label)).collect();
    let mut rows: Vec<&Value> = found.iter().collect();
    rows.sort_by(|a, b| number(&b["value"][1]).total_cmp(&number(&a["value"][1])));
    let heads = labels.iter().copied().chain(["Value"]).map(renamed).collect();
    let cells = |row: &&Value| {
        let label = |label: &&str| row["metric"][label].as_str().unwrap_or("").to_owned();
        labels.iter().map(label).chain([written(number(&row["value"][1]), unit)]).collect()
    };
    let mut lines: Vec<Vec<String>> = vec![heads];
    lines.extend(rows.iter().map(cells));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few lines")]
    let room = (place.height / LINE) as usize;
    let width = place.width / lines[0].len() as f64;
    let is_cut = lines.len() > room;
    let shown = if is_cut { room - 1 } else { lines.len() };
    let mut y = place.y;
    for (number, line) in lines.iter().take(shown).enumerate() {
        let style = if number == 0 { Style::plain(11.0, "#6ea6ff").bold() } else { Style::plain(11.5, INK) };
        for (column, cell) in (0_u32..).zip(line) {
            canvas.text(Place::new(place.x + f64::from(column) * width, y, width - 6.0, LINE), cell, style);
        }
        y += LINE;
        canvas.rule((place.x, y), (place.right(), y));
    }
    if is_cut {
        let more = format!("and {} more", lines.len() - shown);
        canvas.text(Place::new(place.x, y, place.width, LINE), &more, Style::plain(11.0, SOFT));
    }
}
