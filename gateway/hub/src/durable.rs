//! Small files of the state folder.

pub(crate) use kalitka_process::durable::{read_if_there, replace};

/// What to do about a file of the state folder that cannot be read.
pub(crate) const READ_REMEDY: &str = "let it be a regular file that belongs to the hub's user, or restore it";
