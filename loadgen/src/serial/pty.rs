//! A pty that stands for a serial port: the device's end is ours, the port's end has a name of our choice.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// The device's end. Dropped, the port hangs up, and its name is gone.
#[derive(Debug)]
pub(crate) struct Pty {
    pub(crate) device: OwnedFd,
    port: PathBuf,
}

impl Pty {
    /// Plugs it in under the name `port`, a link that is made anew.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn plug(port: &Path) -> io::Result<Self> {
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&device)?;
        unlockpt(&device)?;
        // Before anybody opens the port, nothing is to be echoed to the device.
        let mut termios = tcgetattr(&device)?;
        termios.make_raw();
        tcsetattr(&device, OptionalActions::Now, &termios)?;
        rustix::io::ioctl_fionbio(&device, true)?;
        let name = ptsname(&device, Vec::new())?;
        match fs::remove_file(port) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => symlink(Path::new(&*name.to_string_lossy()), port)?,
        }
        Ok(Self { device, port: port.to_owned() })
    }

    /// The speed that whoever has the port open has set; a pty moves bytes at any.
    pub(crate) fn baud(&self) -> Option<u32> {
        tcgetattr(&self.device).ok().map(|termios| termios.output_speed())
    }

    /// Takes what was written to the port, if there is anything. `None` when nobody has it open.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.device, bytes) {
            Ok(len) => Ok(Some(len)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Some(0)),
            Err(Errno::IO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts `bytes` where the port reads; what finds no room, or nobody who reads, is lost as on a wire.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match rustix::io::write(&self.device, bytes) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::IO) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.port);
    }
}
