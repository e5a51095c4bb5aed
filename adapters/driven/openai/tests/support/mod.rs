//! A server driven by hand: it says exactly the bytes a test gives it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{
    Message, ModelError, ModelEvent, ModelProvider as _, ModelProviderExt as _, ModelReply,
    ModelRequest,
};
use seaworthy_ports::{Latch, Secret};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A key that must never be seen.
pub(crate) const CANARY: &str = "sk-canary-0123456789";

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

/// The server: what it was asked, and when clients left.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    pub(crate) left: mpsc::UnboundedReceiver<()>,
}

impl Server {
    /// Performs `acts` on every connection, then closes it.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, requests) = mpsc::unbounded_channel();
        let (leaves, left) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((connection, _peer)) = listener.accept().await {
                tokio::spawn(serve(
                    connection,
                    acts.clone(),
                    asked.clone(),
                    leaves.clone(),
                ));
            }
        });
        Self {
            url,
            requests,
            left,
        }
    }

    /// Answers every request with `status`, `headers` and `body`.
    pub(crate) async fn answering(status: u16, headers: &str, body: &str) -> Self {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
            body.len()
        );
        Self::start(vec![Act::Say(format!("{head}{body}").into_bytes())]).await
    }

    /// Streams `body` as events and closes the connection, without a length.
    pub(crate) async fn streaming(body: impl Into<Vec<u8>>) -> Self {
        Self::start(vec![Act::Say(head("")), Act::Say(body.into())]).await
    }

    pub(crate) fn model(&self) -> OpenAi {
        OpenAi::connect(self.config()).unwrap()
    }

    pub(crate) fn config(&self) -> OpenAiConfig {
        OpenAiConfig::new(Some(Secret::new(CANARY))).with_base_url(&self.url)
    }

    pub(crate) async fn reply(&self) -> Result<ModelReply, ModelError> {
        self.model().complete(request()).await
    }

    pub(crate) async fn error(&self) -> ModelError {
        self.reply().await.unwrap_err()
    }

    pub(crate) async fn events(&self) -> Vec<Result<ModelEvent, ModelError>> {
        self.model().stream(request()).collect().await
    }
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

pub(crate) fn request() -> ModelRequest {
    ModelRequest {
        model: "gpt-test".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(vec![Message::user("a prompt nobody may log")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        idle_timeout: Duration::from_secs(20),
        cancel: Latch::never(),
    }
}
