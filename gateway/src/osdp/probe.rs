//! Asking who is on a line: the only thing that is said to a device that nobody knows.

use std::io;
use std::time::Duration;

use kalitka_protocol::limits::OSDP_SENT_MAX;
use kalitka_protocol::osdp::command::code;
use kalitka_protocol::osdp::frame::{Header, emit};
use kalitka_protocol::osdp::reply::{Identity, Refusal};
use kalitka_protocol::osdp::{Address, Check, Deframer, Reply, Sequence};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_serial::SerialStream;

/// Asks the device at `address` who it is; `None` when it has not said so within `wait`. It ends whatever was going on with it.
///
/// # Errors
/// What the port says.
pub(crate) async fn who_is(
    stream: &mut SerialStream,
    address: Address,
    wait: Duration,
) -> io::Result<Option<Identity>> {
    for check in [Check::Crc, Check::Sum] {
        let header = Header { address, is_reply: false, sequence: Sequence::FIRST, check };
        let mut frame = [0; OSDP_SENT_MAX];
        let len = emit(header, None, code::IDENTITY, &[0], &mut frame).map_err(io::Error::other)?;
        stream.write_all(&frame[..len]).await?;
        match timeout(wait, said(stream, address)).await {
            Ok(Ok(Said::Identity(identity))) => return Ok(Some(identity)),
            Ok(Ok(Said::OtherCheck)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// What a device says to that.
enum Said {
    Identity(Identity),
    /// It does not know such a check.
    OtherCheck,
}

/// The next thing that the device at `address` says of itself, or of how it was asked.
async fn said(stream: &mut SerialStream, address: Address) -> io::Result<Said> {
    let (mut deframer, mut bytes) = (Deframer::new(), [0; 256]);
    loop {
        let len = stream.read(&mut bytes).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // No more than the deframer has room for.
        deframer.push(&bytes[..len]);
        while let Some(frame) = deframer.next() {
            if !frame.header.is_reply || frame.header.address != address {
                continue;
            }
            match Reply::parse(frame.code, frame.data) {
                Ok(Reply::Identity(identity)) => return Ok(Said::Identity(identity)),
                Ok(Reply::Nak(Refusal::Check)) => return Ok(Said::OtherCheck),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kalitka_protocol::osdp::reply::code as reply;

    use super::*;

    #[test]
    fn device_that_is_there_says_who_it_is_and_no_other_is_taken_for_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut ours, mut theirs) = SerialStream::pair().unwrap();
            let device = tokio::spawn(async move {
                let mut asked = [0; 9];
                for _ in 0..2 {
                    theirs.read_exact(&mut asked).await.unwrap();
                    // Noise, and the device at 0 whoever was asked.
                    let noise = hex::decode("5380ff").unwrap();
                    let reply = hex::decode("538014000445164268000C4C8FBCF4020A02C64C").unwrap();
                    theirs.write_all(&[noise, reply].concat()).await.unwrap();
                }
                theirs
            });
            let wait = Duration::from_millis(500);
            let found = who_is(&mut ours, Address::new(0).unwrap(), Duration::from_secs(20)).await.unwrap();
            assert_eq!(found.map(|identity| identity.serial), Some(0xf4bc_8f4c));
            assert_eq!(who_is(&mut ours, Address::new(1).unwrap(), wait).await.unwrap(), None);
            drop(device.await.unwrap());
        });
    }

    #[test]
    fn device_that_knows_sums_alone_is_asked_by_a_sum() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut ours, mut theirs) = SerialStream::pair().unwrap();
            let address = Address::new(0).unwrap();
            let device = tokio::spawn(async move {
                let (mut by_crc, mut by_sum) = ([0; 9], [0; 8]);
                theirs.read_exact(&mut by_crc).await.unwrap();
                let header = Header { address, is_reply: true, sequence: Sequence::FIRST, check: Check::Sum };
                let mut reply = [0; OSDP_SENT_MAX];
                let len = emit(header, None, reply::NAK, &[1], &mut reply).unwrap();
                theirs.write_all(&reply[..len]).await.unwrap();
                theirs.read_exact(&mut by_sum).await.unwrap();
                let identity = hex::decode("16426800 0C4C8FBC F4020A02".replace(' ', "")).unwrap();
                let len = emit(header, None, reply::IDENTITY, &identity, &mut reply).unwrap();
                theirs.write_all(&reply[..len]).await.unwrap();
                (theirs, by_sum)
            });
            let found = who_is(&mut ours, address, Duration::from_secs(20)).await.unwrap();
            assert_eq!(found.map(|identity| identity.vendor), Some([0x16, 0x42, 0x68]));
            assert_eq!(hex::encode(device.await.unwrap().1), "5300080000610044");
        });
    }
}
