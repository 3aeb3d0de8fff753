//! The reader's half of the protocol.
