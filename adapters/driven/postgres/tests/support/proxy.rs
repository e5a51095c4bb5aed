//! A proxy in front of the server that loses what it is told to lose.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_postgres::PostgresConfig;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the next statement that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Next {
    /// It passes.
    Passes = 0,
    /// The connection is cut before the server has seen it.
    IsLost = 1,
    /// The connection is cut when the server has answered it.
    HasNoReply = 2,
}

#[derive(Debug)]
struct Inner {
    server: SocketAddr,
    next: AtomicU8,
    /// What a statement must say to be that next one; nothing: any is.
    about: Mutex<Vec<u8>>,
    lost: AtomicU32,
    asked: AtomicU32,
    /// Raised to cut all connections.
    cut: watch::Sender<u32>,
}

/// In front of the server that tests share.
pub(crate) async fn proxied(schema: &super::Schema) -> (Proxy, PostgresConfig) {
    let options: PgConnectOptions = schema.url.parse().expect("a URL");
    let address = (options.get_host().to_owned(), options.get_port());
    let mut found = tokio::net::lookup_host(address).await.expect("an address");
    let proxy = Proxy::start(found.next().expect("an address")).await;
    let config = super::config(&super::at_port(&schema.url, proxy.port), &schema.name);
    (proxy, config)
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// A client asks in larger pieces than this; what is smaller is the end of a talk, or a trial.
const STATEMENT: usize = 32;

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Arc::new(Inner {
            server,
            next: AtomicU8::new(Next::Passes as u8),
            about: Mutex::default(),
            lost: AtomicU32::new(0),
            asked: AtomicU32::new(0),
            cut: watch::Sender::new(0),
        });
        let accepting = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&accepting).carry(client));
            }
        });
        Self { port, inner, task }
    }

    /// Decides what becomes of the next statement.
    pub(crate) fn next(&self, next: Next) {
        self.next_that_says("", next);
    }

    /// Decides what becomes of the next statement that has these words among its arguments; others pass meanwhile.
    pub(crate) fn next_that_says(&self, words: &str, next: Next) {
        let mut about = self.inner.about();
        words.as_bytes().clone_into(&mut about);
        self.inner.next.store(next as u8, Ordering::SeqCst);
    }

    /// How many statements were lost, or their replies.
    pub(crate) fn lost(&self) -> u32 {
        self.inner.lost.load(Ordering::SeqCst)
    }

    /// How often clients asked the server something.
    pub(crate) fn asked(&self) -> u32 {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Cuts all connections that there are.
    pub(crate) fn cut(&self) {
        self.inner.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Inner {
    fn about(&self) -> MutexGuard<'_, Vec<u8>> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_for(&self, statement: &[u8]) -> u8 {
        let about = self.about();
        let is_it = about.is_empty() || statement.windows(about.len()).any(|part| part == *about);
        if is_it {
            self.next.swap(Next::Passes as u8, Ordering::SeqCst)
        } else {
            Next::Passes as u8
        }
    }

    async fn carry(self: Arc<Self>, mut client: TcpStream) {
        let mut cut = self.cut.subscribe();
        let Ok(mut server) = TcpStream::connect(self.server).await else {
            return;
        };
        let _small_pieces_at_once = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut swallows = false;
        loop {
            tokio::select! {
                read = client.read(&mut asked) => {
                    let Some(piece) = piece(read, &asked) else { return };
                    if piece.len() > STATEMENT {
                        self.asked.fetch_add(1, Ordering::SeqCst);
                        let next = self.next_for(piece);
                        if next == Next::IsLost as u8 {
                            self.lost.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        swallows |= next == Next::HasNoReply as u8;
                    }
                    if server.write_all(piece).await.is_err() {
                        return;
                    }
                }
                read = server.read(&mut answered) => {
                    let Some(piece) = piece(read, &answered) else { return };
                    if swallows {
                        self.lost.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    if client.write_all(piece).await.is_err() {
                        return;
                    }
                }
                _ = cut.changed() => return,
            }
        }
    }
}

fn piece(read: std::io::Result<usize>, buffer: &[u8]) -> Option<&[u8]> {
    let length = read.ok().filter(|length| *length > 0)?;
    buffer.get(..length)
}
