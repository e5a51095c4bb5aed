//! A TCP proxy whose connections are cut.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::chance::Chance;
use crate::failure::Failure;

/// How long a connection to the server may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// More connections than any fleet opens; those beyond are refused.
const MAX_CONNECTIONS: usize = 1_000;

/// Passes connections on to one server of this machine, from a port of its own.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    /// Both ends of each connection.
    open: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    number: AtomicU64,
    refuses: AtomicBool,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, [TcpStream; 2]>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proxy {
    /// Listens on the loopback interface, for the server at `port` there. It lives as long as this program.
    pub(super) fn start(port: u16) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("no proxy can be started: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let own = listener.local_addr().map_err(failed)?.port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            open: Mutex::default(),
            number: AtomicU64::new(0),
            refuses: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let _lives_as_long_as_the_program = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.refuses.load(Ordering::Acquire)
                    || accepting.open().len() >= MAX_CONNECTIONS
                {
                    continue;
                }
                let shared = Arc::clone(&accepting);
                let _ends_with_the_connection = thread::spawn(move || {
                    // A connection that cannot be passed on is closed.
                    let _failed = pass_on(&shared, client);
                });
            }
        });
        Ok(Self { port: own, shared })
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// Cuts each connection with this probability, in the middle of whatever it carries, and says how many.
    pub(super) fn cut(&self, chance: &mut Chance, percent: u64) -> u64 {
        let mut cut = 0;
        for ends in self.shared.open().values() {
            if chance.percent(percent) {
                for end in ends {
                    // Fails where it was closed already.
                    let _closed = end.shutdown(Shutdown::Both);
                }
                cut += 1;
            }
        }
        cut
    }

    /// From now on new connections are closed at once, or passed on again.
    pub(super) fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Release);
    }
}

fn pass_on(shared: &Shared, client: TcpStream) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&shared.server, CONNECTING)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let number = shared.number.fetch_add(1, Ordering::Relaxed);
    let ends = [client.try_clone()?, server.try_clone()?];
    shared.open().insert(number, ends);
    thread::scope(|scope| {
        for (mut from, mut to) in [(&client, &server), (&server, &client)] {
            scope.spawn(move || {
                // Either way is over when one is.
                let _cut = io::copy(&mut from, &mut to);
                let _closed = from.shutdown(Shutdown::Both);
                let _closed = to.shutdown(Shutdown::Both);
            });
        }
    });
    shared.open().remove(&number);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Answers each connection with what it gets.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || io::copy(&mut &stream, &mut &stream));
            }
        });
        port
    }

    fn connected(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap()
    }

    fn answered(mut stream: &TcpStream) -> bool {
        let mut answer = [0; 2];
        stream.write_all(b"hi").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"hi"
    }

    #[test]
    fn connections_are_passed_on_until_they_are_cut() {
        let proxy = Proxy::start(echo()).unwrap();
        let (one, two) = (connected(&proxy), connected(&proxy));
        assert!(answered(&one) && answered(&two));
        assert_eq!(proxy.cut(&mut Chance::new(1), 0), 0);
        assert!(answered(&one));
        assert_eq!(proxy.cut(&mut Chance::new(1), 100), 2);
        assert!(!answered(&one) && !answered(&two));
        assert!(answered(&connected(&proxy)));
    }

    #[test]
    fn while_it_refuses_nobody_gets_through() {
        let proxy = Proxy::start(echo()).unwrap();
        proxy.refuse(true);
        assert!(!answered(&connected(&proxy)));
        proxy.refuse(false);
        assert!(answered(&connected(&proxy)));
    }
}
