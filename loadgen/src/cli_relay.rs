//! The command line of `relay`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use kalitka_loadgen::limits::{RELAY_CLIENTS, RELAY_CLIENTS_MAX, RELAY_IDLE, RELAY_LOOK};
use kalitka_loadgen::output::{note, say};
use kalitka_loadgen::relay::{self, Deed, Line, ORDERS, Order, Relay, Setup, Totals};

#[derive(Args)]
#[command(after_help = help())]
pub(crate) struct RelayArgs {
    /// Where clients find it; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The server
    #[arg(long, value_name = "ADDRESS")]
    to: SocketAddr,
    /// An order to begin with; several are obeyed in turn
    #[arg(long = "order", value_name = "ORDER")]
    orders: Vec<Order>,
    /// Of all that is left to chance; without it one is drawn
    #[arg(long)]
    seed: Option<u64>,
    /// Clients that are known at a time, each with a socket of its own towards the server
    #[arg(long, default_value_t = RELAY_CLIENTS as u64, value_name = "N",
        value_parser = value_parser!(u64).range(1..=RELAY_CLIENTS_MAX as u64))]
    clients: u64,
    /// Seconds of silence after which a client is forgotten
    #[arg(long, default_value_t = RELAY_IDLE.as_secs(), value_name = "SECONDS",
        value_parser = value_parser!(u64).range(1..=86_400))]
    idle: u64,
    /// Take orders at this Unix socket too, from its owner only
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Seconds between two lines of counts; 0 for none
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = value_parser!(u64).range(..=86_400))]
    every: u64,
    /// End after so many seconds, and not only by a signal
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..))]
    duration: Option<u64>,
}

fn help() -> String {
    format!(
        "Orders, one a line on standard input or at the --control socket, each answered by a line `ok` or `error: …`:\n\
         {ORDERS}\n\n\
         Example, a school's bad line that is cut for two seconds of every minute:\n  \
         kalitka-loadgen relay --listen 127.0.0.1:4702 --to 127.0.0.1:4701 --order 'like poor' --order 'cuts 58s 2s'"
    )
}

/// Relays until `stop` or the end of its time.
pub(crate) fn serve(args: &RelayArgs, stop: &AtomicBool) -> io::Result<bool> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut setup = Setup::new(args.to, Line::PERFECT, seed);
    setup.listen = args.listen;
    setup.clients_max = usize::try_from(args.clients).unwrap_or(RELAY_CLIENTS);
    setup.idle = Duration::from_secs(args.idle);
    let relay = Arc::new(Relay::set_up(setup).map_err(|error| at(&error, &args.listen))?);
    let orders = args.orders.iter().filter(|order| order.deed != Deed::Show);
    orders.for_each(|&order| drop(relay.obey(order)));
    if let Some(path) = &args.control {
        relay::serve_control(Arc::clone(&relay), path).map_err(|error| at(&error, &path.display()))?;
    }
    take_orders(&relay)?;
    say(&format!("listening {} seed {seed}", relay.address()));
    watch(&relay, args, stop)?;
    say(&format!("seed {seed}: {}", relay.totals()));
    Ok(true)
}

fn at(error: &io::Error, place: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{place}: {error}"))
}

/// Obeys standard input, in a thread that ends with it or with the process.
fn take_orders(relay: &Arc<Relay>) -> io::Result<()> {
    let relay = Arc::clone(relay);
    let obey = move || {
        if let Err(error) = relay::obey_lines(&relay, io::stdin(), io::stdout()) {
            note(&format!("kalitka-loadgen: standard input: {error}; no more orders are taken from it"));
        }
    };
    std::thread::Builder::new().name("relay-orders".into()).spawn(obey).map(drop)
}

/// Waits for the end, and says now and then what became of the datagrams.
fn watch(relay: &Relay, args: &RelayArgs, stop: &AtomicBool) -> io::Result<()> {
    let (started, every) = (Instant::now(), Duration::from_secs(args.every));
    let (mut said_at, mut said) = (started, Totals::default());
    while !stop.load(Ordering::Relaxed) {
        if args.duration.is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds)) {
            return Ok(());
        }
        if let Some(error) = relay.fault() {
            return Err(at(&error, &"the relay has ended"));
        }
        std::thread::sleep(RELAY_LOOK);
        if !every.is_zero() && said_at.elapsed() >= every {
            let totals = relay.totals();
            if totals != said {
                note(&format!("  {:5.1} s  {totals}", started.elapsed().as_secs_f64()));
            }
            (said_at, said) = (Instant::now(), totals);
        }
    }
    Ok(())
}
