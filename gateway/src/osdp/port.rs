//! Opening a line's port: raw, ours alone.

use std::path::Path;

use tokio_serial::{ClearBuffer, DataBits, ErrorKind, FlowControl, Parity, SerialPort, SerialStream, StopBits};

/// Opens the port at `path`, for this process alone. Bytes that came before are gone.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn open(path: &Path, baud: u32) -> Result<SerialStream, String> {
    let builder = tokio_serial::new(path.to_string_lossy(), baud)
        .data_bits(DataBits::Eight)
        .parity(Parity::None)
        .stop_bits(StopBits::One)
        .flow_control(FlowControl::None);
    let mut port = SerialStream::open(&builder).map_err(|error| match error.kind {
        ErrorKind::NoDevice => format!("another process has it ({error}); stop that, or give this line another port"),
        _ => format!("{error}; plug the adapter in, and let the gateway's user belong to the port's group"),
    })?;
    // Not every port has modem lines, and those that have none say so in many ways.
    let _ = port.write_request_to_send(true);
    let _ = port.clear(ClearBuffer::All);
    Ok(port)
}
