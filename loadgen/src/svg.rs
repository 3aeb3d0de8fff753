//! A picture of quantiles: latency over the share of asks that were answered faster, as HDR plots draw it.
//!
//! The horizontal axis goes by nines: from one gridline to the next nine tenths of the rest are answered. The vertical one
//! is logarithmic, in microseconds. Written by hand, without style sheets or scripts; lines and letters are of a middle
//! grey, so that it can be read on a light and on a dark ground.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// A line of the picture: its name, and nanoseconds.
pub type Series<'a> = (&'a str, &'a Histogram<u64>);

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 66.0;
/// Points of a line.
const POINTS: u32 = 240;
/// Most nines on the horizontal axis.
const NINES_MAX: u32 = 6;
/// Colours that can be told apart on either ground, by those who see red and green alike too.
const COLOURS: [&str; 6] = ["#3b82c4", "#e08a2c", "#2a9d78", "#b65fae", "#8a7a2e", "#c8504f"];
const GREY: &str = "#808890";

/// The axes' ends.
struct Frame {
    /// Nines at the right end.
    nines: f64,
    /// Decades of microseconds at the lower and upper end.
    low: f64,
    high: f64,
}

impl Frame {
    fn of(series: &[Series<'_>]) -> Self {
        let most = series.iter().map(|(_, histogram)| histogram.len()).max().unwrap_or(0).max(10);
        let nines = (f64::from(u32::try_from(most).unwrap_or(u32::MAX)).log10().ceil()).clamp(1.0, NINES_MAX.into());
        let filled = || series.iter().filter(|(_, histogram)| !histogram.is_empty());
        let least = filled().map(|(_, histogram)| micros(histogram.min())).fold(f64::MAX, f64::min);
        let greatest = filled().map(|(_, histogram)| micros(histogram.max())).fold(0.0, f64::max);
        let low = if least == f64::MAX { 0.0 } else { least.log10().floor() };
        Self { nines, low, high: greatest.max(1.0).log10().ceil().max(low + 1.0) }
    }

    /// Where `nines` nines are.
    fn x(&self, nines: f64) -> f64 {
        LEFT + nines / self.nines * (WIDTH - LEFT - RIGHT)
    }

    /// Where so many microseconds are.
    fn y(&self, micros: f64) -> f64 {
        let share = (micros.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The picture of `series` under `title`, an SVG document.
#[must_use]
pub fn picture(title: &str, series: &[Series<'_>]) -> String {
    let frame = Frame::of(series);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{GREY}\">\n\
         <title>{title}</title>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"600\">{title}</text>\n",
        title = escaped(title),
    );
    grid(&mut svg, &frame);
    for (place, (name, histogram)) in series.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        key(&mut svg, place, name, colour);
        line(&mut svg, &frame, histogram, colour);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Gridlines with what they stand for, and what the axes are.
fn grid(svg: &mut String, frame: &Frame) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let _ = writeln!(svg, "<g stroke=\"{GREY}\" stroke-opacity=\"0.3\">");
    let decades = || std::iter::successors(Some(frame.low), |low| Some(low + 1.0)).take_while(|low| *low <= frame.high);
    let nines = || (0..=NINES_MAX).map(f64::from).filter(|nines| *nines <= frame.nines);
    for decade in decades() {
        let y = frame.y(10f64.powf(decade));
        let _ = writeln!(svg, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>");
    }
    for count in nines() {
        let x = frame.x(count);
        let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>");
    }
    svg.push_str("</g>\n");
    for decade in decades() {
        let y = frame.y(10f64.powf(decade)) + 4.0;
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>", LEFT - 8.0, duration(decade));
    }
    for count in nines() {
        let (x, y) = (frame.x(count), bottom + 18.0);
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>", percentile(count));
    }
    let (x, y, middle) = (f64::midpoint(LEFT, right), HEIGHT - 18.0, f64::midpoint(TOP, bottom));
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">answered within, % of asks</text>");
    let turn = format!("transform=\"rotate(-90 20 {middle:.1})\"");
    let _ = writeln!(svg, "<text x=\"20\" y=\"{middle:.1}\" text-anchor=\"middle\" {turn}>latency</text>");
}

/// The entry of a line in the key above the picture.
fn key(svg: &mut String, place: usize, name: &str, colour: &str) {
    let x = LEFT + f64::from(u32::try_from(place).unwrap_or(u32::MAX)) * 150.0;
    let _ = writeln!(
        svg,
        "<line x1=\"{x}\" y1=\"44\" x2=\"{}\" y2=\"44\" stroke=\"{colour}\" stroke-width=\"3\"/>\
         <text x=\"{}\" y=\"48\">{}</text>",
        x + 18.0,
        x + 24.0,
        escaped(name)
    );
}

/// The quantiles of `histogram`, up to the last that it can tell from the highest value.
fn line(svg: &mut String, frame: &Frame, histogram: &Histogram<u64>, colour: &str) {
    if histogram.is_empty() {
        return;
    }
    let mut points = String::new();
    for point in 0..=POINTS {
        let nines = frame.nines * f64::from(point) / f64::from(POINTS);
        let value = histogram.value_at_quantile(1.0 - 10f64.powf(-nines));
        let _ = write!(points, "{:.1},{:.1} ", frame.x(nines), frame.y(micros(value)));
    }
    let _ = writeln!(
        svg,
        "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\" points=\"{}\"/>",
        points.trim_end()
    );
}

/// Microseconds; what is less than a tenth of one is drawn as that.
#[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
fn micros(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1000.0).max(0.1)
}

/// So many decades of microseconds, in words.
fn duration(decade: f64) -> String {
    let (value, unit) = match decade {
        decade if decade < 0.0 => (10f64.powf(decade + 3.0), "ns"),
        decade if decade < 3.0 => (10f64.powf(decade), "µs"),
        decade if decade < 6.0 => (10f64.powf(decade - 3.0), "ms"),
        _ => (10f64.powf(decade - 6.0), "s"),
    };
    format!("{value:.0} {unit}")
}

/// The percentile of so many nines: 0, 90, 99, 99.9 and so on.
fn percentile(nines: f64) -> String {
    match nines {
        nines if nines < 0.5 => "0".into(),
        nines if nines < 1.5 => "90".into(),
        nines if nines < 2.5 => "99".into(),
        // Fewer than ten of them.
        nines => format!(
            "99.{}",
            (3..=NINES_MAX).filter(|count| f64::from(*count) <= nines + 0.5).map(|_| '9').collect::<String>()
        ),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
