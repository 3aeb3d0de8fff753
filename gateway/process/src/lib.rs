//! What the gateway and the hub need as processes of one machine, and what has nothing to do with what they do.
//!
//! The configuration, a command's failure with its exit status and what it prints, small files that are whole after any crash,
//! the state folder, logs, the listening end of the control socket, what the kernel says of the process, and the service
//! manager: what it hands over, and what it is told. Where a text names the program, its name is passed in.
#![forbid(unsafe_code)]

pub mod age;
pub mod control;
pub mod durable;
pub mod failure;
pub mod figures;
pub mod handed;
pub mod horizon;
pub mod logs;
pub mod notify;
pub mod output;
pub mod settings;
pub mod state;
