//! Junk: what refusing it costs, and whether anybody honest suffers.

use std::io;
use std::time::Duration;

use super::busy::volley;
use super::figures::{Spread, spread};
use super::server::Server;
use super::shot::Shot;
use super::stage::{School, Stage, Workers};
use super::table::{Bound, Report, Row, Unit};
use super::{finish, peer, progress};
use crate::arrivals::Profile;
use crate::fleet::Fleet;
use crate::limits::{CALM, COMPARED_HONEST, COMPARED_JUNK, KERNEL_MAY_DROP, RECEIPTS_WITHIN};
use crate::output::note;
use crate::play::{Plan, Second, play, warm_up};
use crate::roster::DEMO_SEED;
use crate::run::boot_counter;
use crate::siege::{Siege, falls_short};
use crate::tally::Tally;
use crate::volley::{Junk, Peer, Volley};

/// Slices that a flood with honest readers beside it lasts.
const FLOOD_SLICES: u32 = 10;

/// Each kind of junk, against an echo that looks at the first byte and discards.
pub(super) fn each_kind(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let mut gateway = stage.gateway(school, Workers::ONE)?;
    let mut echo = stage.echo(Duration::ZERO, &["--discard"])?;
    let keys = gateway.keys.clone();
    let mut asking = volley(&gateway, peer(&keys, school), 1)?;
    let mut calling = volley(&echo, Peer::Echo { sessions: Stage::SESSIONS }, 1)?;
    let slice = stage.options.slice / 2;
    let mut pairs: Vec<Vec<[Shot; 2]>> = Junk::ALL.iter().map(|_| Vec::new()).collect();
    let flood = |volley: &mut Volley<'_>, kind: Junk| volley.flood(&[kind], COMPARED_JUNK, slice);
    let (mut reasons, mut before) = (Vec::new(), gateway.metrics()?);
    for kind in Junk::ALL {
        // Not counted. The echo answers nothing, so here the wait for that is over, too.
        flood(&mut asking, kind)?;
        flood(&mut calling, kind)?;
        let after = gateway.metrics()?;
        reasons.push(after.dropped_for(&before));
        before = after;
    }
    for number in 0..stage.options.alternations {
        progress("each kind of junk", number, stage);
        for (kind, pairs) in Junk::ALL.into_iter().zip(&mut pairs) {
            stage.check()?;
            let gateway = Shot::of(&mut gateway, &mut asking, |volley| flood(volley, kind))?;
            pairs.push([gateway, Shot::of(&mut echo, &mut calling, |volley| flood(volley, kind))?]);
        }
    }
    let after = gateway.metrics()?;
    finish(&gateway, &mut report.result)?;
    let sent: u64 = pairs.iter().flatten().map(|[gateway, _]| gateway.slice.datagrams).sum();
    let came = after.sum("kalitka_udp_datagrams_total") - before.sum("kalitka_udp_datagrams_total");
    let lost = left_out(sent, came);
    for ((kind, pairs), reason) in Junk::ALL.into_iter().zip(&pairs).zip(reasons) {
        let over = spread(pairs, |[gateway, echo]| gateway.worker_us_each_sent() - echo.worker_us_each_sent());
        let what = format!("worker's CPU over a discarding echo's, a datagram of junk, {}", kind.label());
        let cpu =
            [0, 1].map(|place| spread(pairs, |pair| pair[place].worker_us_each_sent()).map_or(0.0, |us| us.median));
        let reason = reason.unwrap_or_else(|| "NOTHING".into());
        // What was refused for another reason is another kind: of this one nothing is known.
        let over = over.filter(|_| reasons_of(kind).contains(&&*reason));
        let seen = format!("{:.2} µs over {:.2} µs; dropped for {reason}", cpu[0], cpu[1]);
        let answered: u64 = pairs.iter().map(|[gateway, _]| gateway.slice.received).sum();
        let answered = (answered > 0).then(|| format!("{answered} were ANSWERED"));
        let row = Row::bound(&what, Unit::Micros, Bound::AtMost(0.5), Some(Bound::AtMost(0.35)), over);
        report.rows.push(row.remark(Some(seen)).remark(lost.clone()).remark(answered));
    }
    Ok(())
}

/// For what a gateway drops junk of `kind`, by its metric's label; of several lots, most of it.
const fn reasons_of(kind: Junk) -> &'static [&'static str] {
    match kind {
        Junk::UnknownSession => &["unknown_session"],
        Junk::WrongLength => &["malformed"],
        Junk::WrongTag => &["forged"],
        Junk::Replayed => &["replayed"],
        Junk::ForgedInitiation => &["handshake_forged"],
        Junk::RepeatedInitiation => &["handshake_stamp_repeated"],
        Junk::WrongVersion | Junk::Random => &["version", "unknown_type"],
    }
}

/// What there is to say when not all junk came to the gateway's worker.
fn left_out(sent: u64, came: f64) -> Option<String> {
    let sent = f64::from(u32::try_from(sent).unwrap_or(u32::MAX));
    let share = 1.0 - came / sent;
    (share > KERNEL_MAY_DROP).then(|| format!("the kernel dropped {:.1} % of all kinds", share * 100.0))
}

/// A flood of every kind, made from what honest readers say, and whether those are answered nevertheless.
pub(super) fn flood(stage: &mut Stage<'_>, school: &School, report: &mut Report) -> io::Result<()> {
    let gateway = stage.gateway(school, Workers::ONE)?;
    progress("flood", 0, stage);
    let duration = CALM + stage.options.slice * FLOOD_SLICES;
    let (profile, rate, seed, receipts_within) = (Profile::Steady, COMPARED_HONEST, DEMO_SEED, RECEIPTS_WITHIN);
    let plan = Plan { profile, rate, duration, seed, receipts_within };
    // Above the stamps of every reader before, which count by the clock's seconds, too.
    let mut fleet = Fleet::open(gateway.address(), &gateway.keys, boot_counter().saturating_add(1), true)?;
    let mut tally = Tally::new(school.judges_anew()?);
    let clock = warm_up(&mut fleet, stage.stop)?;
    let mut siege = Siege::new(gateway.address(), Junk::ALL.to_vec(), COMPARED_JUNK, duration, DEMO_SEED);
    play((&mut fleet, clock), &mut tally, &mut siege, plan, &mut |_: &Second<'_>| Ok(()), stage.stop)?;
    let junk = siege.end()?;
    let dropped = gateway.metrics()?.sum("kalitka_udp_kernel_dropped_total");
    finish(&gateway, &mut report.result)?;
    report.result.wrong += tally.wrong;
    report.result.lost += tally.unanswered.total();
    tally.wrong_shown.iter().for_each(|wrong| note(&format!("WRONG {wrong}")));
    let late = tally.unanswered_after_one_resend();
    let what = format!("honest asks unanswered after one resend, in a flood of {COMPARED_JUNK} junk a second");
    let seen = format!(
        "of {}; {:.0} junk a second; the kernel dropped {dropped:.0} datagrams",
        tally.asked.total(),
        junk.sent_per_second()
    );
    let short = too_little(junk.sent_per_second());
    let late = Spread::exactly(f64::from(u32::try_from(late).unwrap_or(u32::MAX)));
    report
        .rows
        .push(Row::bound(&what, Unit::Count, Bound::AtMost(0.0), None, Some(late)).remark(Some(seen)).remark(short));
    Ok(())
}

/// What there is to say of a flood that was less than it was to be.
fn too_little(per_second: f64) -> Option<String> {
    falls_short(per_second, COMPARED_JUNK).then(|| "THE GENERATOR IS SHORT".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_that_is_no_flood_is_told_of() {
        let wanted = f64::from(COMPARED_JUNK);
        assert_eq!(too_little(wanted * 0.995), None);
        assert!(too_little(wanted * 0.9).is_some());
    }
}
