//! Asking at every address and speed which OSDP devices there are.

use std::path::Path;
use std::time::Duration;

use kalitka_process::output::print;
use kalitka_protocol::limits::OSDP_REPLY_DELAY;
use kalitka_protocol::osdp::{Address, Line};

use super::listen::{at, runtime};
use crate::failure::Failure;
use crate::osdp::probe::who_is;
use crate::serial::port::{self, Parity, Speed};

/// Bytes of the question and of its answer, and some to spare.
const EXCHANGE_BYTES: usize = 40;

/// Asks all addresses at one speed after the other and prints who answers; says whether anybody did. It ends at the first speed at
/// which somebody does.
///
/// # Errors
/// [`Failure::Environment`] when the port cannot be had, or goes.
pub(super) fn probe(path: &Path, bauds: &[u32]) -> Result<bool, Failure> {
    runtime()?.block_on(async {
        for &baud in bauds {
            let speed = Speed { baud, parity: Parity::None };
            let mut stream = port::open(path, speed).map_err(|error| at(path, &error))?;
            let wait: Duration = OSDP_REPLY_DELAY + Line { baud }.time(EXCHANGE_BYTES);
            let mut found = 0_u32;
            for address in (0..).map_while(Address::new) {
                let Some(of) = who_is(&mut stream, address, wait).await.map_err(|error| at(path, &error))? else {
                    continue;
                };
                found += 1;
                let ([a, b, c], [major, minor, build]) = (of.vendor, of.firmware);
                print(&format!(
                    "{speed}: address {}, vendor {a:02x}{b:02x}{c:02x}, model {}, serial number {:08x}, firmware {major}.{minor}.{build}\n",
                    address.number(),
                    of.model,
                    of.serial
                ))?;
            }
            if found > 0 {
                return Ok(true);
            }
            print(&format!("{speed}: nobody answers\n"))?;
        }
        Ok(false)
    })
}
