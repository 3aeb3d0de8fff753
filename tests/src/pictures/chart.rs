//! A time series panel: lines over a time axis and a value axis, and a legend below.

use super::canvas::{Canvas, INK, Place, SOFT, Style, width_of};
use super::panel::{Series, Span};
use super::units::{unit_at, written};

/// Grafana's colours in their order.
const COLOURS: [&str; 12] = [
    "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffcb7d", "#ff7383", "#96d98d",
    "#c0d8ff", "#ca95e5",
];
const SMALL: f64 = 10.5;
const LEGEND_LINE: f64 = 15.0;
const LEGEND_LINES_MAX: usize = 3;

/// How the lines are drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) fill_percent: f64,
    pub(super) is_stacked: bool,
}

/// Draws `series` in `place` below the panel's title.
pub(super) fn draw(canvas: &mut Canvas, place: Place, series: &[Series], unit: &str, look: Look, span: Span) {
    let drawn = if look.is_stacked { stacked(series) } else { series.iter().map(|of| of.points.clone()).collect() };
    let values = || drawn.iter().flatten().map(|(_, value)| *value);
    let (lowest, highest) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let size = unit_at(highest.max(-lowest), unit);
    let ticks: Vec<f64> = ticks(lowest / size, highest / size).into_iter().map(|tick| tick * size).collect();
    let labels: Vec<String> = ticks.iter().map(|tick| written(*tick, unit)).collect();
    let room = labels.iter().map(|label| width_of(label, SMALL)).fold(20.0, f64::max);
    let entries = entries(series, place.width);
    let legend = entries.len() as f64 * LEGEND_LINE;
    let plot = Place::new(place.x + room + 6.0, place.y + 4.0, place.width - room - 14.0, place.height - legend - 26.0);
    let (bottom, top) = (ticks[0], ticks[ticks.len() - 1]);
    let y = |value: f64| plot.bottom() - (value - bottom) / (top - bottom) * plot.height;
    let x = |time: f64| plot.x + (time - span.from) / (span.to - span.from) * plot.width;
    for (tick, label) in ticks.iter().zip(&labels) {
        canvas.rule((plot.x, y(*tick)), (plot.right(), y(*tick)));
        let at = Place::new(place.x, y(*tick) - 6.0, room + 1.0, 12.0);
        canvas.text(at, label, Style::plain(SMALL, SOFT).to("end"));
    }
    for (time, label) in span.ticks() {
        canvas.rule((x(time), plot.y), (x(time), plot.bottom()));
        canvas.text(
            Place::new(x(time) - 40.0, plot.bottom() + 3.0, 80.0, 12.0),
            &label,
            Style::plain(SMALL, SOFT).to("middle"),
        );
    }
    let on_it = |points: &[(f64, f64)]| points.iter().map(|(time, value)| (x(*time), y(*value))).collect::<Vec<_>>();
    for (number, points) in drawn.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        if look.fill_percent > 0.0 {
            let floor = points.iter().map(|(time, _)| (*time, 0.0)).collect();
            let base = if look.is_stacked && number > 0 { drawn[number - 1].clone() } else { floor };
            canvas.area(&on_it(points), &on_it(&base), colour, look.fill_percent);
        }
        for run in runs(points, span.step) {
            match on_it(run)[..] {
                [only] => canvas.dot(only, colour),
                ref line => canvas.line(line, colour),
            }
        }
    }
    let below = Place::new(place.x, plot.bottom() + 20.0, place.width, legend);
    write_legend(canvas, below, &entries);
}

/// Each upon the ones before, at the times of the first.
fn stacked(series: &[Series]) -> Vec<Vec<(f64, f64)>> {
    let mut sums: Vec<Vec<(f64, f64)>> = Vec::new();
    for of in series {
        let below = sums.last();
        let under = |time: f64| {
            let found = below.and_then(|points| points.iter().find(|(at, _)| (at - time).abs() < 1e-6));
            found.map_or(0.0, |(_, value)| *value)
        };
        sums.push(of.points.iter().map(|(time, value)| (*time, under(*time) + value)).collect());
    }
    sums
}

/// The parts of `points` in which none is missing.
fn runs(points: &[(f64, f64)], step: f64) -> impl Iterator<Item = &[(f64, f64)]> {
    points.chunk_by(move |before, after| after.0 - before.0 < step * 1.5)
}

/// Round values from below `low` to above `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let high = if high > low { high } else { low + 1.0 };
    let rough = (high - low) / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|of| of * power).find(|step| *step >= rough).unwrap_or(power * 10.0);
    let (first, last) = ((low / step).floor(), (high / step - 1e-9).ceil());
    std::iter::successors(Some(first), |number| Some(number + 1.0))
        .take_while(|number| *number <= last)
        .map(|number| number * step)
        .collect()
}

/// The legend's lines: names with their colours, as many as there is room for.
fn entries(series: &[Series], width: f64) -> Vec<Vec<(String, &'static str)>> {
    let mut lines: Vec<Vec<(String, &'static str)>> = vec![Vec::new()];
    let mut used = 0.0;
    for (number, of) in series.iter().enumerate() {
        let (name, colour) = (of.name.clone(), COLOURS[number % COLOURS.len()]);
        let need = entry_width(&name);
        if used + need > width && !lines[lines.len() - 1].is_empty() {
            if lines.len() == LEGEND_LINES_MAX {
                let left = series.len() - number;
                // The last one gives way to the count of those that are not named.
                let last = lines.len() - 1;
                lines[last].pop();
                lines[last].push((format!("and {} more", left + 1), SOFT));
                return lines;
            }
            lines.push(Vec::new());
            used = 0.0;
        }
        used += need;
        let last = lines.len() - 1;
        lines[last].push((name, colour));
    }
    lines
}

fn entry_width(name: &str) -> f64 {
    width_of(name, SMALL) + 26.0
}

fn write_legend(canvas: &mut Canvas, place: Place, lines: &[Vec<(String, &'static str)>]) {
    let mut y = place.y;
    for line in lines {
        let mut x = place.x + 2.0;
        for (name, colour) in line {
            canvas.rectangle(Place::new(x, y + 5.5, 12.0, 3.0), colour, 1.0);
            let width = (place.right() - x - 16.0).max(0.0);
            canvas.text(Place::new(x + 16.0, y, width, 14.0), name, Style::plain(SMALL, INK));
            x += entry_width(name);
        }
        y += LEGEND_LINE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_what_is_drawn() {
        assert_eq!(ticks(0.0, 98.0), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(ticks(0.0, 0.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(ticks(-3.0, 7.0), [-5.0, -2.5, 0.0, 2.5, 5.0, 7.5]);
    }

    #[test]
    fn missing_points_part_a_line_and_stacks_stand_on_each_other() {
        let points = [(1.0, 5.0), (2.0, 5.0), (4.0, 1.0)];
        assert_eq!(runs(&points, 1.0).map(<[_]>::len).collect::<Vec<_>>(), [2, 1]);
        let of = |points: &[(f64, f64)]| Series { name: String::new(), points: points.to_vec() };
        let sums = stacked(&[of(&points), of(&[(1.0, 1.0), (3.0, 1.0)])]);
        assert_eq!(sums[1], [(1.0, 6.0), (3.0, 1.0)]);
    }

    #[test]
    fn legend_says_how_many_it_does_not_name() {
        let series: Vec<Series> =
            (0..40).map(|number| Series { name: format!("series {number}"), points: Vec::new() }).collect();
        let lines = entries(&series, 380.0);
        let named = lines.iter().flatten().count() - 1;
        assert_eq!((lines.len(), &lines[2][lines[2].len() - 1].0), (3, &format!("and {} more", 40 - named)));
        assert_eq!(entries(&series[..3], 380.0).concat().len(), 3);
    }
}
