//! Nobody's call is lost, at whatever moment it comes.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::*;

/// Longer than a test may take: whoever sleeps so long was not woken.
const FOR_EVER: Duration = Duration::from_secs(600);
const BOUND: Duration = Duration::from_secs(20);
const CALLS: u64 = 50_000;

/// One thread rests when nothing has been handed in, and says what it has seen; the other hands in at random moments.
fn calls(rest_of: fn(&Rest, &dyn Fn() -> bool), wake: fn(&Rest)) {
    let (rest, handed_in, seen) = (Arc::<Rest>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let sleeper = thread::spawn({
        let (rest, handed_in, seen) = (Arc::clone(&rest), Arc::clone(&handed_in), Arc::clone(&seen));
        move || {
            let (mut last, mut random) = (0, fastrand::Rng::with_seed(7));
            while last < CALLS {
                rest_of(&rest, &|| handed_in.load(Ordering::Relaxed) != last);
                last = handed_in.load(Ordering::Relaxed);
                seen.store(last, Ordering::Relaxed);
                dawdle(&mut random);
            }
        }
    });
    let mut random = fastrand::Rng::with_seed(5);
    for call in 1..=CALLS {
        dawdle(&mut random);
        handed_in.store(call, Ordering::Relaxed);
        wake(&rest);
        await_call(&seen, call);
    }
    sleeper.join().unwrap();
}

/// For some hundred nanoseconds, so that each meets the other at any of its steps.
fn dawdle(random: &mut fastrand::Rng) {
    (0..random.u32(0..600)).for_each(|step| {
        std::hint::black_box(step);
    });
}

fn await_call(seen: &AtomicU64, call: u64) {
    let since = Instant::now();
    while since.elapsed() < BOUND {
        for _ in 0..1000 {
            if seen.load(Ordering::Relaxed) == call {
                return;
            }
        }
        thread::yield_now();
    }
    panic!("call {call} was not heard");
}

#[test]
fn sleeper_hears_whatever_is_handed_in_before_the_call() {
    calls(|rest, is_work| rest.sleep(FOR_EVER, is_work), Rest::wake_from_sleep);
}

#[test]
fn nap_ends_with_a_knock_and_not_with_a_workers_call() {
    calls(|rest, is_work| rest.nap(FOR_EVER, is_work), Rest::wake_from_nap);
    let rest = Rest::default();
    rest.state.store(NAPPING, Ordering::SeqCst);
    rest.wake_from_sleep();
    assert_eq!(rest.state.load(Ordering::SeqCst), NAPPING);
    rest.wake_from_nap();
    assert_eq!(rest.state.load(Ordering::SeqCst), AWAKE);
}
