//! What `run` is asked for about OSDP devices.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use clap::Args;
use kalitka_loadgen::limits::OSDP_BAUDS;
use kalitka_loadgen::osdp::{Bus, Setup};
use kalitka_loadgen::serial::{self, Noise};
use kalitka_protocol::ReaderId;
use kalitka_protocol::osdp::Address;

#[derive(Args)]
#[command(next_help_heading = "OSDP devices")]
pub(crate) struct OsdpArgs {
    /// Play an OSDP device as this reader, beside those of --keys: on a pty that the gateway finds as PATH, at ADDRESS (0 if none is
    /// given). May be repeated; the same PATH is one line. Enrol each with `kalitka-gateway osdp enrol` when the run has begun
    #[arg(long = "osdp", value_name = "READER=PATH[@ADDRESS]", value_parser = device)]
    devices: Vec<(u32, PathBuf, u8)>,
    /// Bits a second of every line with OSDP devices
    #[arg(long, default_value_t = 9600, value_name = "BAUD", value_parser = baud)]
    osdp_baud: u32,
}

fn device(text: &str) -> Result<(u32, PathBuf, u8), String> {
    let wrong = || "write it like 105=/run/bus-1 or 105=/run/bus-1@3, with an address from 0 to 126".to_owned();
    let (reader, place) = text.split_once('=').ok_or_else(wrong)?;
    let (path, address) = place.rsplit_once('@').unwrap_or((place, "0"));
    match (reader.parse(), address.parse()) {
        (Ok(reader @ 1..), Ok(address @ 0..=126)) if !path.is_empty() => Ok((reader, path.into(), address)),
        _ => Err(wrong()),
    }
}

fn baud(text: &str) -> Result<u32, String> {
    let baud = text.parse().ok().filter(|baud| OSDP_BAUDS.contains(baud));
    baud.ok_or_else(|| format!("give one of {OSDP_BAUDS:?}"))
}

impl OsdpArgs {
    /// Plugs the lines in.
    pub(crate) fn plug(&self, noise: Noise, seed: u64) -> io::Result<Vec<Bus>> {
        let mut lines = BTreeMap::<&PathBuf, Vec<(ReaderId, Address)>>::new();
        for (reader, path, address) in &self.devices {
            let address = Address::new(*address).ok_or(io::ErrorKind::InvalidInput)?;
            lines.entry(path).or_default().push((ReaderId(*reader), address));
        }
        let plug = |(place, (port, devices)): (u64, (&PathBuf, _))| {
            let line =
                serial::Setup { port: port.clone(), baud: self.osdp_baud, noise, seed: seed.wrapping_add(place) };
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", port.display()));
            Bus::plug(Setup { line, devices }).map_err(named)
        };
        (0..).step_by(256).zip(lines).map(plug).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_is_a_reader_at_an_address_of_a_line() {
        assert_eq!(device("105=/run/bus"), Ok((105, "/run/bus".into(), 0)));
        assert_eq!(device("105=/run/a@b/bus@126"), Ok((105, "/run/a@b/bus".into(), 126)));
        for wrong in ["", "105", "105=", "0=/run/bus", "x=/run/bus", "105=@3", "105=/run/bus@127", "105=/run/bus@x"] {
            assert!(device(wrong).is_err(), "{wrong}");
        }
        assert!(baud("38400") == Ok(38_400) && baud("4800").is_err());
    }
}
