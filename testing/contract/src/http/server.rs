//! A server driven by hand: it performs acts on each connection.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server does with a connection after it has read the request.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends bytes.
    Say(Vec<u8>),
    /// Sends the same bytes again and again, as long as anybody listens.
    Repeat(Vec<u8>),
    /// Sends bytes one by one, with a pause before each.
    Drip(Vec<u8>, Duration),
    /// Waits until the client closes the connection.
    Wait,
    /// Breaks the connection, so that the client's side reports a reset.
    Reset,
}

/// Performs what `acts` says on every connection, then closes it; tells requests as they come, and who left early. The
/// address is what an endpoint's paths are appended to.
///
/// # Panics
///
/// When this machine has no free port.
#[expect(clippy::unwrap_used, reason = "a test without a server has failed")]
pub async fn listen(
    acts: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static,
    asked: mpsc::UnboundedSender<String>,
    left: mpsc::UnboundedSender<()>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let acts = Arc::new(acts);
    tokio::spawn(async move {
        while let Ok((connection, _peer)) = listener.accept().await {
            let acts = Arc::clone(&acts);
            tokio::spawn(serve(connection, acts, asked.clone(), left.clone()));
        }
    });
    url
}

/// The head of an event stream that ends with its connection.
pub fn head(headers: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n{headers}\r\n"
    )
    .into_bytes()
}

async fn serve(
    mut connection: TcpStream,
    acts: Arc<impl Fn(&str) -> Vec<Act>>,
    asked: mpsc::UnboundedSender<String>,
    left: mpsc::UnboundedSender<()>,
) {
    let request = read_request(&mut connection).await;
    let acts = acts(&request);
    asked.send(request).ok();
    for act in acts {
        let done = match act {
            Act::Say(bytes) => connection.write_all(&bytes).await,
            Act::Repeat(bytes) => loop {
                if let Err(error) = connection.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Act::Drip(bytes, pause) => drip(&mut connection, &bytes, pause).await,
            Act::Reset => {
                connection.set_zero_linger().ok();
                return;
            }
            Act::Wait => connection.read_u8().await.map(|_byte| ()),
        };
        if done.is_err() {
            left.send(()).ok();
            return;
        }
    }
    connection.shutdown().await.ok();
}

async fn drip(connection: &mut TcpStream, bytes: &[u8], pause: Duration) -> io::Result<()> {
    connection.set_nodelay(true)?;
    for byte in bytes {
        tokio::time::sleep(pause).await;
        connection.write_all(&[*byte]).await?;
    }
    Ok(())
}

async fn read_request(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        if connection.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|rest| rest.trim().parse::<usize>())
            })
            .and_then(Result::ok)
            .unwrap_or(0);
        if body.len() >= length {
            return text.into_owned();
        }
    }
}

/// `body` as chunks of the transfer, which reach a client as they are, however the network joins them. Without its end.
#[must_use]
pub fn chunked(body: &[u8], pieces: usize) -> Vec<u8> {
    let mut chunks = Vec::new();
    for piece in body.chunks(pieces.max(1)) {
        chunks.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunks.extend_from_slice(piece);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks
}

/// What a server does about a request.
type Acts = Arc<dyn Fn(&str) -> Vec<Act> + Send + Sync>;

fn body(request: &str) -> &str {
    let parts = request.split_once("\r\n\r\n");
    parts.map_or("", |(_head, body)| body)
}

/// A server whose acts can be changed, and which keeps what it was asked.
pub struct Backend {
    url: String,
    acts: Arc<Mutex<Acts>>,
    requests: Mutex<(mpsc::UnboundedReceiver<String>, Vec<String>)>,
    left: Mutex<(mpsc::UnboundedReceiver<()>, usize)>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Backend {
    /// A server that closes every connection.
    pub async fn start() -> Self {
        let nothing: Acts = Arc::new(|_request| Vec::new());
        let acts = Arc::new(Mutex::new(nothing));
        let (asked, requests) = mpsc::unbounded_channel();
        let (leaves, left) = mpsc::unbounded_channel();
        let now = Arc::clone(&acts);
        let url = listen(
            move |request| {
                let acts = Arc::clone(&locked(&now));
                acts(request)
            },
            asked,
            leaves,
        )
        .await;
        Self {
            url,
            acts,
            requests: Mutex::new((requests, Vec::new())),
            left: Mutex::new((left, 0)),
        }
    }

    /// What an adapter's paths are appended to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on performs `acts` on every connection, then closes it.
    pub fn perform(&self, acts: Vec<Act>) {
        self.respond(move |_body| acts.clone());
    }

    /// From now on performs on every connection what `acts` makes of the body of its request, then closes it.
    pub fn respond(&self, acts: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) {
        self.respond_to(move |request| acts(body(request)));
    }

    /// From now on performs on every connection what `acts` makes of its whole request, then closes it.
    pub fn respond_to(&self, acts: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) {
        *locked(&self.acts) = Arc::new(acts);
    }

    /// All requests so far, oldest first, with their heads.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let mut requests = locked(&self.requests);
        while let Ok(request) = requests.0.try_recv() {
            requests.1.push(request);
        }
        requests.1.clone()
    }

    /// The bodies of all requests so far, oldest first.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        let requests = self.requests();
        requests
            .iter()
            .map(|request| body(request).to_owned())
            .collect()
    }

    /// How many clients have left so far before the server was done with them.
    #[must_use]
    pub fn hang_ups(&self) -> usize {
        let mut left = locked(&self.left);
        while left.0.try_recv().is_ok() {
            left.1 = left.1.saturating_add(1);
        }
        left.1
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
