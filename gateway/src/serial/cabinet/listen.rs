//! Listening on a port that nobody else has.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use kalitka_process::output::print;
use tokio::io::AsyncReadExt;
use tokio::signal::ctrl_c;
use tokio::time::sleep;
use tokio_serial::SerialStream;

use super::tongues::{self, Said, Tongue};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::limits::LINE_READ_BYTES;
use crate::serial::port::{self, Parity, Speed};

/// Speeds that a probe tries, the likeliest first.
pub(super) const BAUDS: [u32; 8] = [115_200, 9600, 38_400, 57_600, 19_200, 230_400, 460_800, 921_600];

/// What was heard at one speed.
#[derive(Debug, Default)]
struct Heard {
    bytes: u64,
    /// What was whole, by tongue: how often, and the first of it.
    whole: BTreeMap<&'static str, (u64, String)>,
    /// What was spoilt, by tongue and reason.
    spoilt: BTreeMap<(&'static str, &'static str), u64>,
}

impl Heard {
    /// Lets all `tongues` hear `bytes`; tells `tell` of each thing.
    fn take(&mut self, tongues: &mut [Box<dyn Tongue>], bytes: &[u8], tell: &mut dyn FnMut(&'static str, &Said)) {
        self.bytes += bytes.len() as u64;
        for tongue in tongues {
            let name = tongue.name();
            tongue.hear(bytes, &mut |said| {
                tell(name, &said);
                match said {
                    Said::Whole(words) => self.whole.entry(name).or_insert((0, words)).0 += 1,
                    Said::Spoilt(reason) => *self.spoilt.entry((name, reason)).or_default() += 1,
                }
            });
        }
    }

    fn is_understood(&self) -> bool {
        !self.whole.is_empty()
    }

    fn text(&self) -> String {
        match (self.bytes, self.is_understood()) {
            (0, _) => "silence".into(),
            (bytes, false) => format!("{bytes} bytes, nothing understood"),
            (bytes, true) => {
                let whole =
                    self.whole.iter().map(|(name, (count, first))| format!("{count} frames of {name}: {first}"));
                let spoilt: u64 = self.spoilt.values().sum();
                format!("{}; {spoilt} spoilt, {bytes} bytes", whole.collect::<Vec<_>>().join("; "))
            }
        }
    }
}

/// Listens at one speed after the other and prints what is heard; says whether anything was understood. It ends at the first
/// speed at which something is.
///
/// # Errors
/// [`Failure::Environment`] when the port cannot be had, or goes.
pub(super) fn probe(path: &Path, bauds: &[u32], each: Duration) -> Result<bool, Failure> {
    runtime()?.block_on(async {
        for &baud in bauds {
            let speed = Speed { baud, parity: Parity::None };
            let mut stream = port::open(path, speed).map_err(|error| at(path, &error))?;
            let (mut heard, mut tongues) = (Heard::default(), tongues::all());
            listen(path, &mut stream, Some(each), &mut |bytes| {
                heard.take(&mut tongues, bytes, &mut |_, _| {});
                Ok(())
            })
            .await?;
            print(&format!("{speed}: {}\n", heard.text()))?;
            if heard.is_understood() {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// Prints what passes as it passes, and at the end what it came to.
///
/// # Errors
/// [`Failure::Environment`] when the port cannot be had, or goes.
pub(super) fn monitor(path: &Path, speed: Speed, until: Option<Duration>) -> Result<(), Failure> {
    let clock = Clock::start();
    runtime()?.block_on(async {
        let mut stream = port::open(path, speed).map_err(|error| at(path, &error))?;
        let (mut heard, mut tongues) = (Heard::default(), tongues::all());
        let ended = listen(path, &mut stream, until, &mut |bytes| {
            let (at, mut lines) = (clock.monotonic().as_secs_f64(), String::new());
            heard.take(&mut tongues, bytes, &mut |name, said| {
                lines += &match said {
                    Said::Whole(words) => format!("{at:>10.3} s  {name}  {words}\n"),
                    Said::Spoilt(reason) => format!("{at:>10.3} s  {name}  spoilt: {reason}\n"),
                };
            });
            print(&lines)
        })
        .await;
        let counts = heard.whole.iter().map(|(name, (count, _))| format!("{count} frames of {name}, "));
        let spoilt = heard.spoilt.iter().map(|((_, reason), count)| format!("{count} spoilt by {reason}, "));
        print(&format!("{}{} bytes at {speed}\n", counts.chain(spoilt).collect::<String>(), heard.bytes))?;
        ended
    })
}

/// Hands to `take` what comes, until `time` is over or ctrl-C is pressed.
async fn listen(
    path: &Path,
    stream: &mut SerialStream,
    time: Option<Duration>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let over = async {
        match time {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let mut bytes = [0; LINE_READ_BYTES];
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            _ = ctrl_c() => return Ok(()),
            read = stream.read(&mut bytes) => match read {
                Ok(0) => return Err(at(path, &"it has been pulled out")),
                Ok(len) => take(&bytes[..len])?,
                Err(error) => return Err(at(path, &error)),
            },
        }
    }
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error: io::Error| Failure::Environment(format!("cannot listen: {error}")))
}

pub(super) fn at(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Environment(format!("{}: {error}", path.display()))
}
