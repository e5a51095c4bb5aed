//! A proxy in front of the server that counts how often it is asked.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::Failure;

/// Carries connections without a certificate until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// The server's URL through the proxy.
    pub(crate) url: String,
    asked: Arc<Asked>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of the server at `url`.
    pub(crate) async fn start(url: &str) -> Result<Self, Failure> {
        let unusable = "the server's URL cannot be used";
        let options = PgConnectOptions::from_str(url).map_err(|_words_of_the_url| unusable)?;
        let address = (options.get_host().to_owned(), options.get_port());
        let server = tokio::net::lookup_host(address)
            .await?
            .next()
            .ok_or("the server has no address")?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<Asked>::default();
        let task = tokio::spawn(accept(listener, server, Arc::clone(&asked)));
        Ok(Self {
            url: at_port(url, port).ok_or(unusable)?,
            asked,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// How often a client has waited for the server.
    pub(crate) fn trips(&self) -> u64 {
        self.asked.trips.load(Ordering::Relaxed)
    }

    /// How many statements the server was told to execute. Trying whether a connection still answers is none.
    pub(crate) fn queries(&self) -> u64 {
        self.asked.queries.load(Ordering::Relaxed)
    }
}

/// What clients have asked.
#[derive(Debug, Default)]
struct Asked {
    trips: AtomicU64,
    queries: AtomicU64,
}

impl Asked {
    /// Counts a message of this type.
    fn count(&self, kind: u8) {
        // A simple query, and the end of a group of messages, are answered before anything else is said.
        if matches!(kind, b'Q' | b'S') {
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(kind, b'Q' | b'E') {
            self.queries.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The same user, password and database at a port of this machine, in plain words, which can be counted.
fn at_port(url: &str, port: u16) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (place, settings) = rest.split_once('?').unwrap_or((rest, ""));
    let (server, database) = place.split_once('/').unwrap_or((place, ""));
    let user = server
        .rsplit_once('@')
        .map(|(user, _server)| format!("{user}@"))
        .unwrap_or_default();
    let settings: String = settings
        .split('&')
        .filter(|setting| !setting.is_empty() && !setting.starts_with("sslmode="))
        .map(|setting| format!("&{setting}"))
        .collect();
    Some(format!(
        "{scheme}://{user}127.0.0.1:{port}/{database}?sslmode=disable{settings}"
    ))
}

async fn accept(listener: TcpListener, server: SocketAddr, asked: Arc<Asked>) {
    while let Ok((client, _address)) = listener.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            // Whoever is cut off says so.
            let _ended = carry(client, server, &asked).await;
        });
    }
}

async fn carry(client: TcpStream, server: SocketAddr, asked: &Asked) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut messages = Messages::default();
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = from_client.read(&mut piece).await?;
            let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
                return to_server.shutdown().await;
            };
            messages.take(piece, asked);
            to_server.write_all(piece).await?;
        }
    };
    let answering = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(asking, answering)?;
    Ok(())
}

/// Where in a client's messages the last piece ended.
#[derive(Debug, Default)]
struct Messages {
    /// The first message has no type.
    has_begun: bool,
    header: Vec<u8>,
    /// What is left of a message whose header is known.
    left: usize,
}

impl Messages {
    /// Counts the messages that begin in this piece.
    fn take(&mut self, mut piece: &[u8], asked: &Asked) {
        while let Some((&byte, rest)) = piece.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(piece.len());
                self.left -= skipped;
                piece = piece.get(skipped..).unwrap_or_default();
                continue;
            }
            self.header.push(byte);
            piece = rest;
            let (kind, length) = match (self.has_begun, self.header.as_slice()) {
                (true, [kind, length @ ..]) => (Some(*kind), length),
                (_, length) => (None, length),
            };
            let Ok(length) = <[u8; 4]>::try_from(length) else {
                continue;
            };
            // The length counts itself.
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            self.left = length.saturating_sub(4);
            self.has_begun = true;
            self.header.clear();
            if let Some(kind) = kind {
                asked.count(kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind], length.as_slice(), body].concat()
    }

    #[test]
    fn questions_are_counted_however_their_bytes_arrive() {
        let mut talk = message(b'x', b"user\0me\0\0").split_off(1);
        // What looks like a question within a message is none.
        talk.extend(message(b'P', b"SSSSSQQQQQ"));
        talk.extend(message(b'B', b""));
        talk.extend(message(b'E', b"1234"));
        talk.extend(message(b'S', b""));
        talk.extend(message(b'Q', b"SELECT 1"));
        // A trial of the connection.
        talk.extend(message(b'S', b""));
        talk.extend(message(b'X', b""));
        for size in 1..talk.len() {
            let (mut messages, asked) = (Messages::default(), Asked::default());
            for piece in talk.chunks(size) {
                messages.take(piece, &asked);
            }
            assert_eq!(asked.trips.into_inner(), 3, "in pieces of {size}");
            assert_eq!(asked.queries.into_inner(), 2, "in pieces of {size}");
        }
    }

    #[test]
    fn a_url_leads_to_the_proxy_and_keeps_the_rest() {
        assert_eq!(
            at_port("postgres://me:word@db.example:5432/app", 7).as_deref(),
            Some("postgres://me:word@127.0.0.1:7/app?sslmode=disable")
        );
        assert_eq!(
            at_port("postgres://db/app?sslmode=require&options[a]=b", 7).as_deref(),
            Some("postgres://127.0.0.1:7/app?sslmode=disable&options[a]=b")
        );
        assert_eq!(at_port("nothing", 7), None);
    }
}
