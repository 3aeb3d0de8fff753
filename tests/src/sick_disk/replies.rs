//! How the kernel is told what became of an operation.

use std::time::Duration;

use fuser::{Errno, FileAttr, Generation, ReplyAttr, ReplyEmpty, ReplyEntry};

/// Nothing is remembered by the kernel: every look comes here.
pub(super) const TTL: Duration = Duration::ZERO;

pub(super) fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

pub(super) fn answer_entry(done: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match done {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

pub(super) fn answer_attributes(done: Result<FileAttr, Errno>, reply: ReplyAttr) {
    match done {
        Ok(attributes) => reply.attr(&TTL, &attributes),
        Err(error) => reply.error(error),
    }
}
