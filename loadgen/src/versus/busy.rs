//! Servers that are always busy: how many answers, and what each costs.

use std::io;
use std::time::Duration;

use super::figures::{Spread, burn_equal, spread};
use super::server::{Server, Serving};
use super::shot::{Shot, either_not_busy, keep_score, left_out_by_echo};
use super::stage::{School, Stage, Workers};
use super::table::{Bound, Report, Result, Row, Unit};
use super::{finish, peer, progress};
use crate::volley::{Options, Peer, Volley};

/// Sockets of this program.
const SOCKETS: usize = 8;
/// Asks in a datagram that are many.
const MANY: [usize; 2] = [8, 16];

/// What is expected of a size.
pub(super) struct Expected {
    /// Nanoseconds that the echoes burn, ascending; the first burns nothing.
    pub(super) burns: [u64; 5],
    pub(super) must_ns: f64,
    pub(super) goal_ns: f64,
    /// Whether the line `RESULT` tells of it.
    pub(super) is_told: bool,
}

/// One gateway, and echoes that burn.
struct Alternation {
    /// Before and after half of the echoes, so that a machine that changes its pace does so for all.
    gateway: [Shot; 2],
    /// In the order of their burns.
    echoes: Vec<Shot>,
}

impl Alternation {
    fn gateway(&self, of: fn(&Shot) -> f64) -> f64 {
        f64::midpoint(of(&self.gateway[0]), of(&self.gateway[1]))
    }

    fn over_echo(&self, of: fn(&Shot) -> f64) -> f64 {
        self.gateway(of) - of(&self.echoes[0])
    }

    fn ratio(&self) -> f64 {
        self.echoes[0].time_ns() / self.gateway(Shot::time_ns)
    }

    /// The burn is what it really cost its echo in this alternation. `None` when this machine changed its pace so much that
    /// a longer burn took less time.
    fn burn_equal(&self) -> Option<f64> {
        let burnt_ns = |shot: &Shot| (shot.worker_us() - self.echoes[0].worker_us()) * 1e3;
        let echoes: Vec<_> = self.echoes.iter().map(|shot| (burnt_ns(shot), shot.time_ns())).collect();
        burn_equal(self.gateway(Shot::time_ns), &echoes)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
const fn ns(burn: u64) -> f64 {
    burn as f64
}

pub(super) fn volley<'a>(server: &dyn Server, peer: Peer<'a>, asks_per_datagram: usize) -> io::Result<Volley<'a>> {
    Volley::open(server.address(), peer, Options { sockets: SOCKETS, asks_per_datagram, trains: true, seed: 4 })
}

/// A slice that is not counted: sessions carry their first datagram, caches fill.
fn warm_up(stage: &Stage<'_>, volley: &mut Volley<'_>) -> io::Result<()> {
    volley.saturate(stage.options.window, stage.options.slice / 4).map(drop)
}

fn shoot(stage: &Stage<'_>, server: &mut dyn Server, volley: &mut Volley<'_>) -> io::Result<Shot> {
    stage.check()?;
    Shot::of(server, volley, |volley| volley.saturate(stage.options.window, stage.options.slice))
}

/// One sealed ask in each datagram, against echoes.
pub(super) fn one_ask(
    stage: &mut Stage<'_>,
    school: &School,
    expected: &Expected,
    report: &mut Report,
) -> io::Result<()> {
    let mut gateway = stage.gateway(school, Workers::ONE)?;
    let mut echoes = expected
        .burns
        .iter()
        .map(|&burn| stage.echo(Duration::from_nanos(burn), &[]))
        .collect::<io::Result<Vec<_>>>()?;
    let keys = gateway.keys.clone();
    let mut asking = volley(&gateway, peer(&keys, school), 1)?;
    let mut calling = echoes
        .iter()
        .map(|echo| volley(echo, Peer::Echo { sessions: Stage::SESSIONS }, 1))
        .collect::<io::Result<Vec<_>>>()?;
    warm_up(stage, &mut asking)?;
    calling.iter_mut().try_for_each(|volley| warm_up(stage, volley))?;
    let mut alternations = Vec::new();
    for number in 0..stage.options.alternations {
        progress(&format!("saturate, {} entries", school.entries), number, stage);
        let half = echoes.len() / 2 + 1;
        let mut echoed = Vec::new();
        let mut echo = |stage: &Stage<'_>, which: std::ops::Range<usize>| -> io::Result<()> {
            for (echo, volley) in echoes[which.clone()].iter_mut().zip(&mut calling[which]) {
                echoed.push(shoot(stage, echo, volley)?);
            }
            Ok(())
        };
        let before = shoot(stage, &mut gateway, &mut asking)?;
        echo(stage, 0..half)?;
        let after = shoot(stage, &mut gateway, &mut asking)?;
        echo(stage, half..expected.burns.len())?;
        let gateway = [before, after];
        gateway.iter().for_each(|shot| keep_score(&mut report.result, shot));
        alternations.push(Alternation { gateway, echoes: echoed });
    }
    finish(&gateway, &mut report.result)?;
    tell(&alternations, school, expected, report);
    Ok(())
}

fn tell(alternations: &[Alternation], school: &School, expected: &Expected, report: &mut Report) {
    let burns: Vec<f64> = alternations.iter().filter_map(Alternation::burn_equal).collect();
    let burn = Spread::of(&burns);
    let untold = Some(alternations.len() - burns.len()).filter(|&untold| untold > 0);
    let untold = untold.map(|untold| format!("{untold} of {} alternations told none", alternations.len()));
    let ratio = spread(alternations, Alternation::ratio);
    let worker = spread(alternations, |alternation| alternation.over_echo(Shot::worker_us));
    let process = spread(alternations, |alternation| alternation.over_echo(Shot::process_us));
    let busy = either_not_busy(
        alternations.iter().flat_map(|alternation| &alternation.gateway),
        alternations.iter().map(|alternation| &alternation.echoes[0]),
    );
    let short = left_out_by_echo(alternations.iter().flat_map(|alternation| &alternation.echoes));
    let most = ns(expected.burns[expected.burns.len() - 1]);
    let beyond = beyond(burn, most);
    let entries = school.entries;
    let what = |what: &str| format!("{what}, {entries} entries");
    let (must, goal) = (Bound::AtMost(expected.must_ns), Some(Bound::AtMost(expected.goal_ns)));
    let rows = &mut report.rows;
    rows.push(
        Row::bound(&what("as slow as an echo that burns"), Unit::Nanos, must, goal, burn)
            .remark(busy)
            .remark(short)
            .remark(beyond)
            .remark(untold),
    );
    rows.push(Row::told(&what("answers a second over the echo's"), Unit::Times, ratio).remark(rates(alternations)));
    let over = |what, must, goal, spread| {
        Row::bound(what, Unit::Micros, Bound::AtMost(must), Some(Bound::AtMost(goal)), spread)
    };
    if expected.is_told {
        rows.push(over("CPU of the worker's thread over the echo's, an answer", 0.9, 0.65, worker));
        rows.push(over("CPU of the whole process over the echo's, journal committed, an answer", 2.2, 1.6, process));
        rows.push(Row::told(
            "CPU that a burn of 900 ns costs an echo, an answer",
            Unit::Micros,
            burn_cost(alternations, expected),
        ));
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        let (burn_ns_equal, worker_cpu_over_echo_us) = (median(burn), median(worker));
        let process_cpu_over_echo_us = median(process);
        report.result =
            Result { ratio, burn_ns_equal, worker_cpu_over_echo_us, process_cpu_over_echo_us, ..report.result };
    } else {
        rows.push(Row::told(&what("CPU of the worker's thread over the echo's, an answer"), Unit::Micros, worker));
        rows.push(Row::told(&what("CPU of the whole process over the echo's, an answer"), Unit::Micros, process));
    }
}

/// What there is to say of a burn that lies outside those that were measured, 0 to `most`.
fn beyond(burn: Option<Spread>, most: f64) -> Option<String> {
    let is_within = |burn: Spread| (0.0..=most).contains(&burn.median);
    burn.filter(|&burn| !is_within(burn)).map(|_| format!("extrapolated from burns of 0 to {most:.0} ns"))
}

/// What was seen of both in numbers that only this machine knows.
fn rates(alternations: &[Alternation]) -> Option<String> {
    let echo = |of: fn(&Shot) -> f64| spread(alternations, |alternation| of(&alternation.echoes[0]));
    let gateway = |of: fn(&Shot) -> f64| spread(alternations, |alternation| alternation.gateway(of));
    let rate = |shot: &Shot| shot.slice.answers_per_second();
    let busy = |shot: &Shot| shot.share() * 100.0;
    let others = |shot: &Shot| shot.share_of_others() * 100.0;
    Some(format!(
        "{:.0}/s (busy {:.0} %, kept waiting {:.0} %) over {:.0}/s ({:.0} %, {:.0} %); an echo takes {:.2} µs of CPU",
        gateway(rate)?.median,
        gateway(busy)?.median,
        gateway(others)?.median,
        echo(rate)?.median,
        echo(busy)?.median,
        echo(others)?.median,
        echo(Shot::worker_us)?.median
    ))
}

/// What the echo's burn of 900 ns really costs it, to see that a burn is what it says.
fn burn_cost(alternations: &[Alternation], expected: &Expected) -> Option<Spread> {
    let place = expected.burns.iter().position(|&burn| burn == 900)?;
    spread(alternations, |alternation| alternation.echoes[place].worker_us() - alternation.echoes[0].worker_us())
}

/// Several asks in each datagram, over the echo's datagrams of one ask.
pub(super) fn many_asks(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let mut echo = stage.echo(Duration::ZERO, &[])?;
    let mut gateways = MANY.iter().map(|_| stage.gateway(school, Workers::ONE)).collect::<io::Result<Vec<_>>>()?;
    let keys: Vec<_> = gateways.iter().map(|gateway| gateway.keys.clone()).collect();
    let mut calling = volley(&echo, Peer::Echo { sessions: Stage::SESSIONS }, 1)?;
    let both = gateways.iter().zip(&keys).zip(MANY);
    let asking = both.map(|((gateway, keys), asks)| volley(gateway, peer(keys, school), asks));
    let mut asking = asking.collect::<io::Result<Vec<_>>>()?;
    warm_up(stage, &mut calling)?;
    asking.iter_mut().try_for_each(|volley| warm_up(stage, volley))?;
    let mut alternations: Vec<(Shot, Vec<Shot>)> = Vec::new();
    for number in 0..stage.options.alternations {
        progress("several asks a datagram", number, stage);
        let echoed = shoot(stage, &mut echo, &mut calling)?;
        let mut answered = Vec::new();
        for (gateway, volley) in gateways.iter_mut().zip(&mut asking) {
            answered.push(shoot(stage, gateway, volley)?);
        }
        answered.iter().for_each(|shot| keep_score(&mut report.result, shot));
        alternations.push((echoed, answered));
    }
    gateways.iter().try_for_each(|gateway| finish(gateway, &mut report.result))?;
    for (place, asks) in MANY.into_iter().enumerate() {
        let ratio = spread(&alternations, |(echo, gateways)| echo.time_ns() / gateways[place].time_ns());
        let what = format!("asks answered with {asks} a datagram over the echo's datagrams");
        let busy = either_not_busy(
            alternations.iter().map(|(_, gateways)| &gateways[place]),
            alternations.iter().map(|(echo, _)| echo),
        );
        let row = Row::bound(&what, Unit::Times, Bound::AtLeast(3.0), Some(Bound::AtLeast(4.0)), ratio);
        let short = left_out_by_echo(alternations.iter().map(|(echo, _)| echo));
        report.rows.push(row.remark(busy).remark(short));
    }
    Ok(())
}

/// Two workers over one: what an answer costs.
pub(super) fn two_workers(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let two = Workers { count: 2, ..Workers::ONE };
    let mut gateways = [stage.gateway(school, Workers::ONE)?, stage.gateway(school, two)?];
    let keys = gateways.each_ref().map(|gateway: &Serving| gateway.keys.clone());
    let asking = gateways.iter().zip(&keys).map(|(gateway, keys)| volley(gateway, peer(keys, school), 1));
    let mut asking = asking.collect::<io::Result<Vec<_>>>()?;
    asking.iter_mut().try_for_each(|volley| warm_up(stage, volley))?;
    let mut alternations: Vec<Vec<Shot>> = Vec::new();
    for number in 0..stage.options.alternations {
        progress("two workers", number, stage);
        let mut shots = Vec::new();
        for (gateway, volley) in gateways.iter_mut().zip(&mut asking) {
            shots.push(shoot(stage, gateway, volley)?);
        }
        shots.iter().for_each(|shot| keep_score(&mut report.result, shot));
        alternations.push(shots);
    }
    gateways.iter().try_for_each(|gateway| finish(gateway, &mut report.result))?;
    let ratio = spread(&alternations, |shots| shots[1].worker_us() / shots[0].worker_us());
    let rates = spread(&alternations, |shots| shots[0].time_ns() / shots[1].time_ns());
    let rates = rates.map(|rates| format!("{:.2} times the answers a second", rates.median));
    let row = Row::bound(
        "CPU an answer with two workers over one",
        Unit::Times,
        Bound::AtMost(1.2),
        Some(Bound::AtMost(1.1)),
        ratio,
    );
    report.rows.push(row.remark(rates));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burn_outside_of_the_measured_ones_is_told_to_be_extrapolated_on_either_side() {
        let told = |burn| beyond(Some(Spread::exactly(burn)), 1200.0);
        assert_eq!([0.0, 650.0, 1200.0].map(told), [None, None, None]);
        for burn in [-100.0, 1201.0] {
            assert_eq!(told(burn).as_deref(), Some("extrapolated from burns of 0 to 1200 ns"));
        }
        assert_eq!(beyond(None, 1200.0), None);
    }
}
