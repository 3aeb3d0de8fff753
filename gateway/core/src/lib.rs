//! gateway/core
