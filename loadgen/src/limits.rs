//! Every limit of the load generator, in one place.

use std::time::Duration;

/// Fewest holders of an invented school: room for the two whose cards collide.
pub const HOLDERS_MIN: u32 = 50;
/// Most holders of an invented school.
pub const HOLDERS_MAX: u32 = 1_000_000;
/// Readers that one run plays.
pub const READERS_MAX: usize = 256;
/// Asks a second that an open-loop run may want.
pub const RATE_MAX: u32 = 500_000;
/// Junk datagrams a second that a flood may want.
pub const JUNK_RATE_MAX: u32 = 1_000_000;
/// Seconds of one run.
pub const DURATION_MAX: u32 = 7 * 24 * 3600;
/// Asks of one reader that wait for it or for their answer; one more is given up and counted.
pub const QUEUE_MAX: usize = 1024;
/// Wrong answers that are written out; more are only counted.
pub const WRONG_SHOWN: usize = 20;
/// Answers of one slice of a volley that the oracle judges; of more, every so many.
pub const JUDGED_MAX: u64 = 50_000;
/// Sockets of one volley.
pub const SOCKETS_MAX: usize = 64;
/// Datagrams outstanding in a closed loop of a volley, over all its sessions.
pub const WINDOW_MAX: usize = 8192;
/// Bytes of asks that a volley seals before the clock runs.
pub const STOCK_BYTES_MAX: usize = 64 << 20;
/// Bytes of answers that a volley keeps until the clock has stopped.
pub const CATCH_BYTES_MAX: usize = 128 << 20;
/// Datagrams in one train: what a kernel takes at the least.
pub const TRAIN_MAX: usize = 64;
/// Datagrams in one train of a flood; then another kind has its turn.
pub const FLOOD_TRAIN_MAX: usize = 8;
/// Bytes of one train.
pub const TRAIN_BYTES_MAX: usize = 65_000;
/// Bytes that a socket of a volley wants to be able to hold.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// Datagrams of each session that a flood sends again.
pub const REPLAYS_KEPT: usize = 64;
/// Reports of one run; readers that have made so many report no more.
pub const REPORTS_MAX: u64 = 20_000_000;
/// Bytes of a key file.
pub const KEYS_BYTES_MAX: u64 = 1 << 20;

/// How long the arm of a turnstile takes to turn, on the average.
pub const ROTATION: Duration = Duration::from_millis(700);
/// How long a turnstile waits for its arm at most, whatever it may.
pub const ROTATION_TIMEOUT: Duration = Duration::from_millis(1500);
/// People under way at one turnstile.
pub const MOVING_MAX: usize = 256;
/// Bits a second of a serial line.
pub const LINE_BAUD_MIN: u32 = 300;
/// See [`LINE_BAUD_MIN`].
pub const LINE_BAUD_MAX: u32 = 4_000_000;
/// Bytes of one crackle of a serial line.
pub const CRACKLE_MAX: usize = 48;
/// How far a serial line may be behind before it loses what is put on it: what a port's buffer holds at 115,200 baud.
pub const LINE_BACKLOG_MAX: Duration = Duration::from_millis(355);
/// Bits a second that OSDP lines may have.
pub const OSDP_BAUDS: [u32; 6] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400];
/// Cards that one OSDP device is shown.
pub const OSDP_CARDS_MAX: usize = 1_000_000;
/// How long an OSDP device thinks about a command.
pub const OSDP_TURNAROUND: Duration = Duration::from_millis(1);
/// An OSDP device that has heard nothing for so long is spoken to no more: its control panel is gone.
pub const OSDP_SILENCE: Duration = Duration::from_secs(1);
/// An answer can come so long after its card's holder has left: an ask and then an act wait two seconds at most.
pub const OSDP_LATE: Duration = Duration::from_secs(4);
/// A pass told to a control panel so shortly before it fell silent may not have been written down.
pub const OSDP_UNSURE: Duration = Duration::from_millis(1500);
/// The same of somebody who turned back: the control panel first waits for him, the hold-open time and a second.
pub const OSDP_TURNED_UNSURE: Duration = Duration::from_secs(12);
/// How long somebody who is let pass stands there before he turns back: longer than most take to go.
pub const OSDP_TURNING_BACK: Duration = Duration::from_millis(2500);
/// After its channel has been opened, nobody shows a card at an OSDP device for so long.
pub const OSDP_SETTLING: Duration = Duration::from_secs(1);
/// How long an arm that has turned is seen to.
pub const OSDP_ARM: Duration = Duration::from_millis(100);
/// How long somebody waits before an OSDP device until the next comes, at most.
pub const OSDP_PAUSE_MAX: Duration = Duration::from_millis(250);
/// How long OSDP devices may take to be enrolled and in service before a run begins.
pub const OSDP_WARM_UP_MAX: Duration = Duration::from_secs(60);
/// How long those who are at OSDP devices have to go when a run is over.
pub const OSDP_CLOSING: Duration = Duration::from_secs(10);
/// How often a serial line looks whether something is to be done to it.
pub const LINE_LOOK: Duration = Duration::from_millis(20);

/// An ask not answered so long after the card was shown never will be: its reader no longer acts on the answer.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(2);
/// An ask unanswered at the gateway's end may have been on its way if it is younger; both its resends have gone by then.
pub const IN_FLIGHT: Duration = Duration::from_millis(150);
/// How often a card is shown while a run only waits for something to happen.
pub const ENCORE_EVERY: Duration = Duration::from_millis(100);
/// The loop stops sleeping so long before something is due, and spins.
pub const SPIN: Duration = Duration::from_micros(60);
/// The loop looks about at least so often.
pub const TURN_MAX: Duration = Duration::from_millis(20);
/// Highest latency that the histograms tell apart.
pub const LATENCY_MAX: Duration = Duration::from_secs(10);
/// How long readers may take to get their sessions before a run begins.
pub const WARM_UP_MAX: Duration = Duration::from_secs(5);
/// How long a child process may take to be ready or to end.
pub const CHILD_PATIENCE: Duration = Duration::from_secs(15);
/// How long a run waits for receipts of its last reports.
pub const RECEIPTS_WITHIN: Duration = Duration::from_secs(30);
/// How long the hub may take to hold all that is receipted: a lost connection is noticed and made anew in that time.
pub const AT_HUB_WITHIN: Duration = Duration::from_secs(90);
/// How long to wait between two looks at a hub.
pub const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a command or snapshot may take from the hub to the gateway and its answer back.
pub const HAND_DOWN_WITHIN: Duration = Duration::from_secs(60);

/// Datagrams that an echo takes at a time: as many as a worker of the gateway.
pub const ECHO_BATCH_MAX: usize = 32;
/// Bytes of the kernel's receive buffer that an echo asks for.
pub const ECHO_RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// How often an idle echo looks whether it shall end.
pub const ECHO_WAKES_EVERY: Duration = Duration::from_millis(200);
/// When a volley hears nothing so long, what it has outstanding is lost.
pub const LOST_AFTER: Duration = Duration::from_millis(200);
/// How long a volley waits for the answer to an initiation.
pub const SHAKE_AGAIN_AFTER: Duration = Duration::from_millis(150);
/// How long a volley in a closed loop sleeps when little has come, so that answers gather: neither end is woken for each.
pub const NAP: Duration = Duration::from_micros(100);
/// Fewest datagrams outstanding at which a nap leaves the server work to do.
pub const NAP_WINDOW_MIN: usize = 128;

/// Records that may wait for the journal of a gateway that is compared: all of the longest slice.
pub const COMPARED_RING: u32 = 1 << 20;
/// Events that the store of a gateway that is compared may hold: all of a setting.
pub const COMPARED_EVENTS_MAX: u64 = 100_000_000;
/// Schools that are invented to find one with so many entries.
pub const SIZING_ROUNDS_MAX: usize = 5;
/// A server that has rested so long has done what it had to.
pub const SETTLED_AFTER: Duration = Duration::from_millis(40);
/// CPU time between two looks that is no rest.
pub const RESTLESS: Duration = Duration::from_micros(50);
/// How often it is looked whether a server rests.
pub const SETTLE_LOOK: Duration = Duration::from_millis(5);
/// Bytes of a gateway's metrics.
pub const METRICS_BYTES_MAX: u64 = 1 << 20;
/// How long a gateway may take to tell its metrics.
pub const METRICS_PATIENCE: Duration = Duration::from_secs(2);
/// How often a flood sends what is due.
pub const FLOOD_EVERY: Duration = Duration::from_micros(100);
/// Share of a slice that a server must be busy for; below that the generator was the limit.
pub const SATURATED_FROM: f64 = 0.9;
/// Datagrams outstanding when a server is to be always busy: four milliseconds of work, should the generator be kept waiting.
pub const COMPARED_WINDOW: u32 = 1024;
/// Datagrams a second of the open loop of a comparison.
pub const COMPARED_RATE: u32 = 20_000;
/// Junk a second of a comparison.
pub const COMPARED_JUNK: u32 = 200_000;
/// Honest asks a second beside it.
pub const COMPARED_HONEST: u32 = 500;
/// Longest slice of a volley's run.
pub const SLICE_MAX: Duration = Duration::from_secs(1);
/// Share of a core beyond which the generator may be the limit of a closed loop.
pub const GENERATOR_SHARE_MAX: f64 = 0.9;
/// Share of the latency beyond which the generator's lateness spoils it.
pub const LATENESS_SHARE_MAX: f64 = 0.25;
/// For how long readers ask before a flood begins, so that there is something to send again.
pub const CALM: Duration = Duration::from_secs(1);
/// Share of a flood that the kernel may drop before it is told.
pub const KERNEL_MAY_DROP: f64 = 0.01;
/// Milliseconds of a slice of a comparison.
pub const SLICE_MS_MIN: i64 = 10;
/// See [`SLICE_MS_MIN`].
pub const SLICE_MS_MAX: i64 = 2000;
/// Alternations of a comparison.
pub const ALTERNATIONS_MAX: i64 = 1000;
/// Entries of an index that can be asked for: those of the smallest school.
pub const ENTRIES_MIN: i64 = 100;
/// Entries of an index that can be asked for: those of the greatest school.
pub const ENTRIES_MAX: i64 = 4_000_000;
/// Nanoseconds that an echo can be told to burn: ten milliseconds.
pub const BURN_NS_MAX: u64 = 10_000_000;
/// Microseconds that an echo can be told to spin: a second.
pub const SPIN_US_MAX: u64 = 1_000_000;

/// Shares are told in millionths.
pub const MILLION: u32 = 1_000_000;
/// Clients that a relay knows at a time, unless told otherwise: as many as readers in a run, and some gateways.
pub const RELAY_CLIENTS: usize = 512;
/// Clients that a relay can be told to know; each takes a socket.
pub const RELAY_CLIENTS_MAX: usize = 16_384;
/// A relay forgets a client after so long a silence, unless told otherwise. Connections show that they live far oftener.
pub const RELAY_IDLE: Duration = Duration::from_secs(120);
/// How often a relay looks for clients to forget.
pub const RELAY_FORGETS_EVERY: Duration = Duration::from_millis(500);
/// How long an idle relay waits before it looks whether it shall end.
pub const RELAY_LOOK: Duration = Duration::from_millis(20);
/// Datagrams that a relay takes from one socket before it is another's turn.
pub const RELAY_BATCH: usize = 64;
/// Datagrams under way in one direction of a relay.
pub const RELAY_WAITING_MAX: usize = 1 << 18;
/// Their bytes.
pub const RELAY_WAITING_BYTES_MAX: usize = 64 << 20;
/// Bytes that wait for a line with a rate, unless told otherwise.
pub const RELAY_QUEUE_BYTES: u64 = 125_000;
/// Bytes that can be told to wait for a line.
pub const RELAY_QUEUE_BYTES_MAX: u64 = 1_000_000_000;
/// How long a datagram that is held back waits at most, unless told otherwise.
pub const RELAY_HELD: Duration = Duration::from_millis(20);
/// Longest time in an order to a relay.
pub const RELAY_TIME_MAX: Duration = Duration::from_secs(3600);
/// Bytes of an order to a relay, its end of line included.
pub const RELAY_ORDER_BYTES_MAX: usize = 256;
/// Bytes of the kernel's receive buffer that each socket of a relay asks for.
pub const RELAY_RECEIVE_BUFFER: usize = 4 << 20;
