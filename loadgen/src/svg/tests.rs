use super::*;
use crate::tally::histogram;

fn filled(values: impl Iterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = histogram();
    values.for_each(|value| histogram.saturating_record(value));
    histogram
}

/// The points of each line.
fn lines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let number = |text: &str| text.parse::<f64>().unwrap();
    let point = |point: &str| point.split_once(',').map(|(x, y)| (number(x), number(y))).unwrap();
    let points = svg.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    points.map(|points| points.split(' ').map(point).collect()).collect()
}

/// Fails unless every element that is opened is closed, in its order, and every attribute stands in quotes.
fn check_elements(svg: &str) {
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap_or_else(|| panic!("a tag that does not end: {tag}"));
        assert!(!text.contains(['>', '&']) || text.contains("&lt;") || text.contains("&amp;"), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn picture_is_well_formed_whatever_the_names_are() {
    let few = filled([1_000, 70_000_000].into_iter());
    let svg = picture("a < b & \"c\"", &[("one <two>", &few), ("none", &histogram())]);
    check_elements(&svg);
    assert!(svg.contains("a &lt; b &amp; &quot;c&quot;") && svg.contains("one &lt;two&gt;"), "{svg}");
    assert_eq!(lines(&svg).len(), 1, "an empty histogram has no line");
    check_elements(&picture("nothing", &[]));
}

#[test]
fn line_goes_right_and_up_and_stays_in_its_frame() {
    let many = filled((0..200_000).map(|n| 15_000 + n * n % 9_000_000));
    let svg = picture("t", &[("many", &many)]);
    let points = &lines(&svg)[0];
    assert_eq!(points.len(), POINTS as usize + 1);
    assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 >= b.1), "{points:?}");
    let is_inside = |&(x, y): &(f64, f64)| (LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y);
    assert!(points.iter().all(is_inside), "{points:?}");
    assert!(points[0].1 > points[240].1 + 50.0, "{points:?}");
}

#[test]
fn quantiles_stand_at_their_nines() {
    // 90 of 100 take 9 µs, nine take 90 µs, one takes 900 µs.
    let steps = [(90_000, 9_000), (9_000, 90_000), (1_000, 900_000)];
    let values = filled(steps.iter().flat_map(|&(count, value)| std::iter::repeat_n(value, count)));
    let frame = Frame::of(&[("steps", &values)]);
    assert_eq!((frame.nines, frame.low, frame.high), (5.0, 0.0, 3.0));
    let svg = picture("t", &[("steps", &values)]);
    let points = &lines(&svg)[0];
    for (nines, micros) in [(0.5, 9.0), (1.5, 90.0), (3.5, 900.0)] {
        let nearest = points.iter().find(|point| point.0 >= frame.x(nines) - 0.1).unwrap();
        assert!((nearest.1 - frame.y(micros)).abs() < 1.0, "{nines} nines: {nearest:?}, {}", frame.y(micros));
    }
    for label in [">0<", ">90<", ">99<", ">99.9<", ">99.99<", ">99.999<", ">10 µs<", ">100 µs<", ">1 ms<"] {
        assert!(svg.contains(label), "{label}: {svg}");
    }
}
