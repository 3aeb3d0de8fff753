use std::sync::Arc;
use std::thread;

use super::*;

/// An echo in a thread of this process, until this is dropped.
struct Running {
    to: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<io::Result<u64>>>,
}

impl Running {
    fn start(spin: Duration, discards: bool) -> Self {
        let listen = SocketAddrV4::new([127, 0, 0, 1].into(), 0);
        let options = Options { listen, burn: Duration::from_micros(1), spin, discards, core: None };
        let socket = open(listen).unwrap();
        let (to, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut echo = Echo::new(&socket, Pace::calibrate().burn(options.burn), &options);
            echo.serve(&stopped).map(|()| echo.seen)
        });
        Self { to, stop, thread: Some(thread) }
    }

    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

fn sender() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

#[test]
fn every_datagram_comes_back_as_it_was_to_whoever_sent_it() {
    for spin in [Duration::ZERO, Duration::from_micros(50)] {
        let echo = Running::start(spin, false);
        let senders = [sender(), sender()];
        for round in 0..20_usize {
            // More than one batch, of different lengths, from two addresses by turns.
            let datagram = |place: usize| vec![u8::try_from(place).unwrap(); (place * 37 + round) % 1200 + 1];
            for place in 0..40 {
                senders[place % 2].send_to(&datagram(place), echo.to).unwrap();
            }
            for place in 0..40 {
                let mut buffer = [0; DATAGRAM_MAX];
                let (len, from) = senders[place % 2].recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..len], from), (&datagram(place)[..], echo.to));
            }
        }
        echo.end();
    }
}

#[test]
fn what_is_discarded_is_looked_at_and_not_answered() {
    let echo = Running::start(Duration::ZERO, true);
    let sender = sender();
    for byte in 1..=40 {
        sender.send_to(&[byte, 99], echo.to).unwrap();
    }
    sender.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(sender.recv(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(echo.end(), (1..=40).sum::<u64>());
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let error = stay_on(CpuSet::MAX_CPU).unwrap_err();
    assert!(error.to_string().contains(&CpuSet::MAX_CPU.to_string()), "{error}");
    thread::spawn(|| stay_on(0).unwrap()).join().unwrap();
}
