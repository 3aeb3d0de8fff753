//! Instruction counts from the files that valgrind's callgrind leaves, one a part of a run.

/// Instructions of the part in `file`: what its line `summary:` says in the place that its line `events:` gives to `Ir`.
/// `None` for a file that is no whole part.
#[must_use]
pub fn instructions(file: &str) -> Option<u64> {
    let line = |name: &str| file.lines().find_map(|line| line.strip_prefix(name));
    let place = line("events:")?.split_whitespace().position(|event| event == "Ir")?;
    // callgrind leaves out zeros at the end of a line.
    let counts: Vec<&str> = line("summary:")?.split_whitespace().collect();
    counts.get(place).map_or(Some(0), |count| count.parse().ok())
}

/// Instructions of one run, from the counts of a loop of `runs` and of one of twice as many: what every loop costs once
/// cancels out. `None` when the longer loop took less, so that the difference says nothing.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn of_one_run(once: u64, twice: u64, runs: u64) -> Option<f64> {
    Some(twice.checked_sub(once)? as f64 / runs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = "\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 5260
cmd:  ./hot_path --count
part: 3

desc: Timerange: Basic block 64340 - 64510
desc: Trigger: --dump-after=hot_path::counting::counted

positions: line
events: Ir
summary: 1158

fn=(1082) std::rt::lang_start::{{closure}}
calls=0 162
206 582
totals: 1160
";

    #[test]
    fn instructions_stand_in_the_summary_where_the_events_say() {
        assert_eq!(instructions(PART), Some(1158));
        let more = PART.replace("events: Ir", "events: Dr Ir Dw").replace("summary: 1158", "summary: 7 1158 9");
        assert_eq!(instructions(&more), Some(1158));
        let zeros_left_out = PART.replace("events: Ir", "events: Dr Ir");
        assert_eq!(instructions(&zeros_left_out), Some(0));
    }

    #[test]
    fn what_is_no_whole_part_has_no_count() {
        for missing in ["events: Ir", "summary: 1158"] {
            assert_eq!(instructions(&PART.replace(missing, "")), None);
        }
        assert_eq!(instructions(&PART.replace("events: Ir", "events: Dr")), None);
        assert_eq!(instructions(&PART.replace("1158", "many")), None);
        assert_eq!(instructions(""), None);
    }

    #[test]
    fn what_every_loop_costs_once_cancels_out() {
        let (start, each) = (1_000, 9);
        assert_eq!(of_one_run(start + 64 * each, start + 128 * each, 64), Some(9.0));
        assert_eq!(of_one_run(0, 3, 2), Some(1.5));
        assert_eq!(of_one_run(5, 5, 64), Some(0.0));
        assert_eq!(of_one_run(5, 4, 64), None);
    }
}
