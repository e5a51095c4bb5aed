//! A server driven by hand: it says exactly the bytes a test gives it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_contract::http::listen;
pub(crate) use seaworthy_contract::http::{Act, head};
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{
    Message, ModelError, ModelEvent, ModelProvider as _, ModelProviderExt as _, ModelReply,
    ModelRequest,
};
use seaworthy_ports::{Latch, Secret};
use tokio::sync::mpsc;

/// A key that must never be seen.
pub(crate) const CANARY: &str = "sk-canary-0123456789";

/// The server: what it was asked, and when clients left.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
    pub(crate) left: mpsc::UnboundedReceiver<()>,
}

impl Server {
    /// Performs `acts` on every connection, then closes it.
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        let (asked, requests) = mpsc::unbounded_channel();
        let (leaves, left) = mpsc::unbounded_channel();
        let url = listen(move |_request| acts.clone(), asked, leaves).await;
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

pub(crate) fn request() -> ModelRequest {
    ModelRequest {
        model: "gpt-test".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(vec![Message::user("a prompt nobody may log")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(20),
        cancel: Latch::never(),
    }
}
