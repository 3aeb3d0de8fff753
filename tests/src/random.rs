//! Seeds and sizes of random tests, from the environment.

/// Whether the long form of the tests is wanted (`KALITKA_SOAK=1`).
#[must_use]
pub fn is_soak() -> bool {
    std::env::var("KALITKA_SOAK").is_ok_and(|value| value != "0" && !value.is_empty())
}

/// The number in the environment variable `name`, or what stands for it in ordinary runs and in soak.
#[must_use]
pub fn number_from_environment(name: &str, ordinary: u64, soak: u64) -> u64 {
    let default = if is_soak() { soak } else { ordinary };
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// The seed of this run: `KALITKA_SEED`, or always the same. Printed, so that a failure can be repeated.
#[must_use]
pub fn seed() -> u64 {
    let seed = number_from_environment("KALITKA_SEED", 20_261_122, 20_261_123);
    println!("KALITKA_SEED={seed}");
    seed
}
