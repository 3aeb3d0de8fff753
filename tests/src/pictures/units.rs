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

fn seconds(value: f64) -> String {
    let size = value.abs();
    let (factor, name) = match size {
        0.0 => (1.0, "s"),
        _ if size < 1e-6 => (1e9, "ns"),
        _ if size < 1e-3 => (1e6, "µs"),
        _ if size < 1.0 => (1e3, "ms"),
        _ if size < 60.0 => (1.0, "s"),
        _ if size < 3600.0 => (1.0 / 60.0, "mins"),
        _ if size < 86_400.0 => (1.0 / 3600.0, "hours"),
        _ if size < 604_800.0 => (1.0 / 86_400.0, "days"),
        _ if size < 31_536_000.0 => (1.0 / 604_800.0, "weeks"),
        _ => (1.0 / 31_536_000.0, "years"),
    };
    format!("{} {name}", trimmed(value * factor, 2))
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
    }
}
