//! A hub and a journal to test the uplink against, in this process.
#![allow(dead_code)]

pub(crate) mod hub;
pub(crate) mod journal;
pub(crate) mod pki;
pub(crate) mod rig;

/// Runs `future` on a runtime of its own, and fails when it takes longer than a minute.
pub(crate) fn within_a_minute(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(std::time::Duration::from_secs(60), future).await.expect("the test takes too long");
    });
}
