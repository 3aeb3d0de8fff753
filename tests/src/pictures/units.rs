//! Numbers as Grafana writes them, by the units that the dashboards use.

/// `value` in `unit`, short.
///
/// # Panics
/// For a unit that is not known here.
pub(super) fn written(value: f64, unit: &str) -> String {
    match unit {
        "none" => trimmed(value, 3),
        "short" => scaled(value, 1000.0, &["", " K", " Mil", " Bil"]),
        "ops" => format!("{} ops/s", scaled(value, 1000.0, &["", "k", "M", "G"])),
        "bytes" => scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]),
        "percentunit" => format!("{}%", trimmed(value * 100.0, 2)),
        "s" => seconds(value),
        "ppm" => format!("{} ppm", trimmed(value, 1)),
        other => panic!("no way is known here to write the unit {other}"),
    }
}

/// How large the unit is by which `value` is written: steps of an axis are round in it.
pub(super) fn unit_at(value: f64, unit: &str) -> f64 {
    match unit {
        "s" => of_seconds(value).0,
        "bytes" => 1024_f64.powf((value.max(1.0).ln() / 1024_f64.ln()).floor()),
        _ => 1.0,
    }
}

fn seconds(value: f64) -> String {
    let (size, name) = of_seconds(value);
    format!("{} {name}", trimmed(value / size, 2))
}

fn of_seconds(value: f64) -> (f64, &'static str) {
    match value.abs() {
        0.0 => (1.0, "s"),
        size if size < 1e-6 => (1e-9, "ns"),
        size if size < 1e-3 => (1e-6, "µs"),
        size if size < 1.0 => (1e-3, "ms"),
        size if size < 60.0 => (1.0, "s"),
        size if size < 3600.0 => (60.0, "mins"),
        size if size < 86_400.0 => (3600.0, "hours"),
        size if size < 604_800.0 => (86_400.0, "days"),
        size if size < 31_536_000.0 => (604_800.0, "weeks"),
        _ => (31_536_000.0, "years"),
    }
}

fn scaled(value: f64, step: f64, names: &[&str]) -> String {
    let mut value = value;
    let mut place = 0;
    while value.abs() >= step && place + 1 < names.len() {
        (value, place) = (value / step, place + 1);
    }
    format!("{}{}", trimmed(value, 2), names[place])
}

/// At most so many digits behind the point, and no zeros at their end.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_grafana_writes_them() {
        for (value, unit, text) in [
            (0.0, "none", "0"),
            (3.0, "none", "3"),
            (-0.0004, "none", "0"),
            (1234.0, "short", "1.23 K"),
            (0.375, "percentunit", "37.5%"),
            (0.000_012_5, "s", "12.5 µs"),
            (0.25, "s", "250 ms"),
            (90.0, "s", "1.5 mins"),
            (31_536_000.0, "s", "1 years"),
            (0.0, "s", "0 s"),
            (8_388_608.0, "bytes", "8 MiB"),
            (98.75, "ops", "98.75 ops/s"),
        ] {
            assert_eq!(written(value, unit), text);
        }
        assert_eq!([unit_at(3e6, "bytes"), unit_at(3e3, "short"), unit_at(90.0, "s")], [1_048_576.0, 1.0, 60.0]);
    }
}
