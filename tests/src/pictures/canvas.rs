//! What an SVG is drawn on: rectangles, lines and texts that are cut to the room they have.

use std::fmt::Write as _;

/// Dark ground, as Grafana has it when nobody chooses; readable on any page.
pub(super) const GROUND: &str = "#111217";
pub(super) const CARD: &str = "#1a1c22";
pub(super) const RULE: &str = "#2f333b";
pub(super) const INK: &str = "#d8d9da";
pub(super) const SOFT: &str = "#9a9da3";
/// Width of a letter, of its height: a little more than the mean of common fonts, so that what is cut was long.
const LETTER: f64 = 0.54;

/// A rectangle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Place {
    pub(super) const fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x, y, width, height }
    }

    pub(super) fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub(super) fn right(&self) -> f64 {
        self.x + self.width
    }
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) size: f64,
    pub(super) colour: &'static str,
    pub(super) is_bold: bool,
    /// `start`, `middle` or `end`.
    pub(super) anchor: &'static str,
}

impl Style {
    pub(super) const fn plain(size: f64, colour: &'static str) -> Self {
        Self { size, colour, is_bold: false, anchor: "start" }
    }

    pub(super) const fn heading() -> Self {
        Self { size: 18.0, colour: INK, is_bold: true, anchor: "start" }
    }

    pub(super) const fn note() -> Self {
        Self { size: 12.0, colour: SOFT, is_bold: false, anchor: "end" }
    }

    pub(super) const fn to(self, anchor: &'static str) -> Self {
        Self { anchor, ..self }
    }

    pub(super) const fn bold(self) -> Self {
        Self { is_bold: true, ..self }
    }
}

/// The picture as far as it is drawn.
pub(super) struct Canvas(String);

impl Canvas {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut canvas = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"Inter, 'Liberation Sans', Arial, Helvetica, sans-serif\">\n"
        ));
        canvas.rectangle(Place::new(0.0, 0.0, width, height), GROUND, 0.0);
        canvas
    }

    pub(super) fn finish(mut self) -> String {
        self.0 += "</svg>\n";
        self.0
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").unwrap();
    }

    pub(super) fn rectangle(&mut self, place: Place, colour: &str, round: f64) {
        let Place { x, y, width, height } = place;
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\" fill=\"{colour}\"/>"
        ));
    }

    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(format_args!("<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{RULE}\"/>"));
    }

    /// A line through `points`, which are left out where the line goes straight on.
    pub(super) fn line(&mut self, points: &[(f64, f64)], colour: &str) {
        let path = path_of(points);
        self.put(format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>"));
    }

    /// The area between `points` and `base` below them.
    pub(super) fn area(&mut self, points: &[(f64, f64)], base: &[(f64, f64)], colour: &str, percent: f64) {
        let back: Vec<(f64, f64)> = base.iter().rev().copied().collect();
        let path = path_of(&[points, &back].concat());
        let opacity = percent / 100.0;
        self.put(format_args!("<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"));
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), colour: &str) {
        self.put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"{colour}\"/>"));
    }

    /// A text in the middle of `place`'s height, cut to its width.
    pub(super) fn text(&mut self, place: Place, text: &str, style: Style) {
        let Style { size, colour, is_bold, anchor } = style;
        let x = match anchor {
            "start" => place.x,
            "middle" => place.x + place.width / 2.0,
            _ => place.right(),
        };
        let y = place.y + place.height / 2.0 + size * 0.35;
        let weight = if is_bold { " font-weight=\"600\"" } else { "" };
        let text = escaped(&cut(text, place.width, size));
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{colour}\" text-anchor=\"{anchor}\"{weight}>{text}</text>"
        ));
    }
}

/// About how wide `text` is.
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap()) * size * LETTER
}

fn cut(text: &str, width: f64, size: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_owned();
    }
    let mut kept = text.to_owned();
    while !kept.is_empty() && width_of(&kept, size) + size > width {
        kept.pop();
    }
    kept + "…"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn path_of(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (place, (x, y)) in points.iter().enumerate() {
        let is_straight = place > 0
            && place + 1 < points.len()
            && (points[place - 1].1 - y).abs() < 0.05
            && (points[place + 1].1 - y).abs() < 0.05
            && points[place - 1].0 < *x
            && *x < points[place + 1].0;
        if !is_straight {
            write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" }).unwrap();
        }
    }
    path
}
