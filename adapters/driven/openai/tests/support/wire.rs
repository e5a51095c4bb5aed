//! What of a server by hand knows no adapter: it performs acts on each connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What the server does with a connection after it has read the request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends bytes.
    Say(Vec<u8>),
    /// Sends the same bytes again and again, as long as anybody listens.
    Repeat(Vec<u8>),
    /// Waits until the client closes the connection.
    Wait,
}

/// Performs what `acts` says on every connection, then closes it; tells requests as they come, and who left early. The
/// address is what an endpoint's paths are appended to.
pub(crate) async fn listen(
    acts: impl Fn() -> Vec<Act> + Send + 'static,
    asked: mpsc::UnboundedSender<String>,
    left: mpsc::UnboundedSender<()>,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((connection, _peer)) = listener.accept().await {
            tokio::spawn(serve(connection, acts(), asked.clone(), left.clone()));
        }
    });
    url
}

/// The head of an event stream that ends with its connection.
pub(crate) fn head(headers: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n{headers}\r\n"
    )
    .into_bytes()
}

async fn serve(
    mut connection: TcpStream,
    acts: Vec<Act>,
    asked: mpsc::UnboundedSender<String>,
    left: mpsc::UnboundedSender<()>,
) {
    let request = read_request(&mut connection).await;
    asked.send(request).ok();
    for act in acts {
        let done = match act {
            Act::Say(bytes) => connection.write_all(&bytes).await,
            Act::Repeat(bytes) => loop {
                if let Err(error) = connection.write_all(&bytes).await {
                    break Err(error);
                }
            },
            Act::Wait => connection.read_u8().await.map(|_byte| ()),
        };
        if done.is_err() {
            left.send(()).ok();
            return;
        }
    }
    connection.shutdown().await.ok();
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
