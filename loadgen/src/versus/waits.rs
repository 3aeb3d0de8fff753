//! How long an answer is waited for: one outstanding, and at a fixed rate.

use std::io;
use std::time::Duration;

use super::busy::volley;
use super::figures::{Spread, spread};
use super::server::Server;
use super::shot::{Shot, keep_score};
use super::stage::{School, Stage, Workers};
use super::table::{Bound, Report, Row, Unit};
use super::{finish, peer, progress};
use crate::limits::COMPARED_RATE;
use crate::volley::{Peer, Slice, Volley, Waiting};

/// How long a server that spins does so, in microseconds.
const SPIN_US: u64 = 50;

/// A gateway's shot and an echo's.
type Pair = [Shot; 2];

/// Alternates `play` between a gateway whose worker is as `workers` says, and an echo that waits as it does.
fn alternate(
    stage: &mut Stage<'_>,
    (school, what, workers): (&School, &str, Workers),
    report: &mut Report,
    play: impl Fn(&mut Volley<'_>) -> io::Result<Slice>,
) -> io::Result<Vec<Pair>> {
    let mut gateway = stage.gateway(school, workers)?;
    let mut echo = stage.echo(Duration::ZERO, &["--spin-us", &workers.spin.as_micros().to_string()])?;
    let keys = gateway.keys.clone();
    let mut asking = volley(&gateway, peer(&keys, school), 1)?;
    let mut calling = volley(&echo, Peer::Echo { sessions: Stage::SESSIONS }, 1)?;
    for volley in [&mut asking, &mut calling] {
        volley.one_by_one(Waiting::Block, stage.options.slice / 4)?;
    }
    let shoot = |stage: &Stage<'_>, server: &mut dyn Server, volley: &mut Volley<'_>| {
        stage.check()?;
        Shot::of(server, volley, |volley| play(volley))
    };
    let mut pairs = Vec::new();
    for number in 0..stage.options.alternations {
        progress(what, number, stage);
        let pair = [shoot(stage, &mut gateway, &mut asking)?, shoot(stage, &mut echo, &mut calling)?];
        keep_score(&mut report.result, &pair[0]);
        pairs.push(pair);
    }
    finish(&gateway, &mut report.result)?;
    Ok(pairs)
}

fn ratio(pairs: &[Pair], quantile: f64) -> Option<Spread> {
    spread(pairs, |[gateway, echo]| gateway.latency_us(quantile) / echo.latency_us(quantile))
}

fn medians(pairs: &[Pair], quantile: f64) -> Option<String> {
    let [gateway, echo] = [0, 1].map(|place| spread(pairs, |pair| pair[place].latency_us(quantile)));
    Some(format!("{:.1} µs over {:.1} µs", gateway?.median, echo?.median))
}

/// One datagram outstanding: its round trip over the echo's.
pub(super) fn round_trip(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let slice = stage.options.slice;
    for waiting in [Waiting::Block, Waiting::Spin] {
        let (both, spin) = match waiting {
            Waiting::Block => ("both block", Duration::ZERO),
            Waiting::Spin => ("both spin", Duration::from_micros(SPIN_US)),
        };
        let workers = Workers { spin, ..Workers::ONE };
        let what = format!("median round trip, one outstanding, over the echo's, {both}");
        let pairs = alternate(stage, (school, &what, workers), report, |volley| volley.one_by_one(waiting, slice))?;
        let ratio = ratio(&pairs, 0.5);
        if waiting == Waiting::Block {
            report.result.rtt_ratio = ratio.map(|ratio| ratio.median);
        }
        let row = Row::bound(&what, Unit::Times, Bound::AtMost(1.15), Some(Bound::AtMost(1.1)), ratio);
        report.rows.push(row.remark(medians(&pairs, 0.5)));
    }
    Ok(())
}

/// A fixed rate, answers or not: the best burst's quantiles over those of the echo's best.
pub(super) fn open_loop(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let burst = stage.options.slice * 2;
    let what = format!("{COMPARED_RATE} a second");
    let play = |volley: &mut Volley<'_>| volley.rate(COMPARED_RATE, Waiting::Spin, burst);
    // The generator spins on the other core, and would be late for each commit on it.
    let workers = Workers { journal_beside: true, ..Workers::ONE };
    let pairs = alternate(stage, (school, &what, workers), report, play)?;
    for (name, quantile) in [("p99", 0.99), ("p99.9", 0.999)] {
        let [gateway, echo] = [0, 1].map(|place| spread(&pairs, |pair| pair[place].latency_us(quantile)));
        let best = gateway.zip(echo).map(|(gateway, echo)| gateway.least / echo.least);
        let measured = ratio(&pairs, quantile).zip(best).map(|(ratio, best)| Spread { median: best, ..ratio });
        let what = format!("{what}, {name} of the best burst over that of the echo's best");
        let seen = gateway.zip(echo).map(|(gateway, echo)| {
            format!(
                "{:.1} µs over {:.1} µs, medians {:.1} and {:.1}; range of the ratios within alternations",
                gateway.least, echo.least, gateway.median, echo.median
            )
        });
        let row = if quantile < 0.999 {
            report.result.p99_ratio = best;
            Row::bound(&what, Unit::Times, Bound::AtMost(1.5), Some(Bound::AtMost(1.25)), measured)
        } else {
            Row::told(&what, Unit::Times, measured)
        };
        report.rows.push(row.remark(seen).remark(late(&pairs)));
    }
    Ok(())
}

/// What there is to say when the generator itself kept the rate badly.
fn late(pairs: &[Pair]) -> Option<String> {
    let late = spread(pairs, |[gateway, _]| {
        let late = gateway.slice.lateness.value_at_quantile(0.99);
        f64::from(u32::try_from(late).unwrap_or(u32::MAX)) / 1e3
    })?;
    Some(format!("the generator's own lateness, p99: {:.1} µs", late.median))
}
