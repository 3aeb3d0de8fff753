//! The connection of a gateway to its hub: events up, snapshots and commands down, and the enrolment before all that.
//!
//! [`run`] keeps one QUIC connection (SPEC 15) alive for the life of the process. It owns no event: it asks the journal for
//! everything through a [`Port`], sends what it is given and says what the hub acknowledged. [`enrol`] makes a box known to
//! its hub and pins the keys that it will trust; [`Identity`] is what then stands in the state folder.
//!
//! The only clock is passed in, and nothing here decides about a door: a hub that is away, slow or hostile costs events a
//! delay and nothing else.
#![forbid(unsafe_code)]

mod backoff;
mod certificate;
mod command;
mod congestion;
mod connection;
mod end;
mod enrolment;
mod identity;
mod key;
mod limits;
mod live;
mod pem;
mod port;
mod rate;
mod reach;
mod record;
mod renewal;
mod run;
mod snapshot;
mod tally;
mod tls;
mod waiting;
mod window;
mod wire;

pub use congestion::Congestion;
pub use enrolment::{EnrolError, Enrolling, enrol};
pub use identity::{Identity, IdentityError};
pub use port::{Busy, HeadSeen, Leg, Port, Request, Run, State};
pub use reach::{Reached, reach};
pub use run::{Broken, Options, run};
pub use tally::{CLOSE_CODES, RENEWAL_OUTCOMES, Tally};
