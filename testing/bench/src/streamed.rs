//! What the adapters add to an answer that streams in, against reading the same bytes with `reqwest` and taking the text out
//! of their JSON by hand.
//!
//! Both read on a thread of their own, whose computing time is taken; the server has another one.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use seaworthy::anthropic::{Anthropic, AnthropicConfig};
use seaworthy::gemini::{Gemini, GeminiConfig};
use seaworthy::ollama::{Ollama, OllamaConfig};
use seaworthy::openai::{Api, OpenAi, OpenAiConfig};
use seaworthy::ports::model_provider::{Message, ModelEvent, ModelProvider, ModelRequest};
use seaworthy::ports::{Latch, Secret};
use serde::Deserialize;

use crate::Failure;
use crate::report::{Goal, Raw, Report, Row, median, micros};

/// How many pieces of text an answer has.
const PIECES: usize = 4_000;
/// What a piece says.
const PIECE: &str = " seaworthy";
/// How long a server that sends piece by piece waits between two: the reader has taken the one before by then.
const PAUSE: Duration = Duration::from_micros(150);

/// The format of an answer.
#[derive(Clone, Copy, Debug)]
enum Format {
    Chat,
    Responses,
    Anthropic,
    Gemini,
    Ollama,
}

/// How a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// As fast as the connection takes it.
    AtOnce,
    /// A piece at a time.
    PieceByPiece,
}

pub(crate) fn measure(quick: bool, report: &mut Report) -> Result<(), Failure> {
    let formats = [
        (Format::Chat, "OpenAI Chat Completions"),
        (Format::Responses, "OpenAI Responses"),
        (Format::Anthropic, "Anthropic"),
        (Format::Gemini, "Gemini"),
        (Format::Ollama, "Ollama"),
    ];
    let paces = [
        (Pace::PieceByPiece, "one by one"),
        (Pace::AtOnce, "as fast as they come"),
    ];
    for (format, name) in formats {
        for (pace, how) in paces {
            let pieces = if quick { PIECES / 10 } else { PIECES };
            let server = Server::start(format.frames(pieces), pace)?;
            let (ours, raw) = compared(format, server.address, pieces, if quick { 3 } else { 9 })?;
            let what = format!("streamed answer of {name}, chunks {how}: computing time a chunk");
            let by_hand = Raw::of("reqwest and serde_json by hand", ours, raw);
            let row = Row::new(what, ours, "us").beside(by_hand);
            report.add(row.goal(Goal::RatioMost(1.5)));
        }
    }
    Ok(())
}

/// The medians of both, in microseconds a piece, taken in turns.
fn compared(
    format: Format,
    server: SocketAddr,
    pieces: usize,
    rounds: usize,
) -> Result<(f64, f64), Failure> {
    let provider = format.provider(server)?;
    // Which nothing here needs: all is plain.
    let _there_already = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build()?;
    let expected = PIECE.len() * pieces;
    let read = std::thread::spawn(move || -> Result<_, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let began = thread_cpu();
            let text = runtime.block_on(through(&*provider))?;
            let between = thread_cpu();
            let by_hand = runtime.block_on(format.by_hand(&client, server))?;
            let ended = thread_cpu();
            if text != expected || by_hand != expected {
                return Err(format!("{text} and {by_hand} bytes of {expected} were read").into());
            }
            // The first round connects.
            if round > 0 {
                ours.push(micros(between.saturating_sub(began)));
                raw.push(micros(ended.saturating_sub(between)));
            }
        }
        Ok((ours, raw))
    });
    let (ours, raw) = read.join().map_err(|_panic| "a reader broke")??;
    let pieces = f64::from(u32::try_from(pieces)?);
    let each = |times: Vec<f64>| median(times).ok_or("nothing was read");
    Ok((each(ours)? / pieces, each(raw)? / pieces))
}

/// How long this thread has computed.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reads an answer through an adapter; the length of its text.
async fn through(provider: &dyn ModelProvider) -> Result<usize, Failure> {
    let mut events = provider.stream(ModelRequest {
        model: "steady".to_owned(),
        instructions: Arc::from(""),
        messages: Arc::new(vec![Message::user("Go on.")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(20),
        cancel: Latch::never(),
    });
    let mut length = 0;
    while let Some(event) = events.next().await {
        if let ModelEvent::BlockDelta { delta, .. } = event? {
            length += delta.len();
        }
    }
    Ok(length)
}

/// What is read of a chunk by hand: what says the text, and nothing else.
mod by_hand {
    use super::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Chat {
        #[serde(default)]
        pub(super) choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    pub(super) struct Choice {
        pub(super) delta: Content,
    }
    #[derive(Deserialize)]
    pub(super) struct Content {
        #[serde(default)]
        pub(super) content: Option<String>,
    }
    #[derive(Deserialize)]
    pub(super) struct Responses {
        #[serde(rename = "type")]
        pub(super) kind: String,
        #[serde(default)]
        pub(super) delta: Option<String>,
    }
    #[derive(Deserialize)]
    pub(super) struct Anthropic {
        #[serde(default)]
        pub(super) delta: Option<Text>,
    }
    #[derive(Deserialize)]
    pub(super) struct Gemini {
        #[serde(default)]
        pub(super) candidates: Vec<Candidate>,
    }
    #[derive(Deserialize)]
    pub(super) struct Candidate {
        pub(super) content: Parts,
    }
    #[derive(Deserialize)]
    pub(super) struct Parts {
        #[serde(default)]
        pub(super) parts: Vec<Text>,
    }
    #[derive(Deserialize)]
    pub(super) struct Text {
        #[serde(default)]
        pub(super) text: Option<String>,
    }
    #[derive(Deserialize)]
    pub(super) struct Ollama {
        pub(super) message: Content,
    }
}

impl Format {
    fn provider(self, server: SocketAddr) -> Result<Box<dyn ModelProvider>, Failure> {
        let base = format!("http://{server}");
        let key = || Secret::new("none".to_owned());
        Ok(match self {
            Self::Chat => {
                let config = OpenAiConfig::new(None).with_api(Api::ChatCompletions);
                Box::new(OpenAi::connect(config.with_base_url(base))?)
            }
            Self::Responses => {
                let config = OpenAiConfig::new(None).with_api(Api::Responses);
                Box::new(OpenAi::connect(config.with_base_url(base))?)
            }
            Self::Anthropic => {
                let config = AnthropicConfig::new(key()).with_base_url(base);
                Box::new(Anthropic::connect(config)?)
            }
            Self::Gemini => {
                let config = GeminiConfig::new(key()).with_base_url(base);
                Box::new(Gemini::connect(config)?)
            }
            Self::Ollama => Box::new(Ollama::connect(OllamaConfig::new().with_base_url(base))?),
        })
    }

    /// Reads an answer without an adapter; the length of its text.
    async fn by_hand(self, client: &reqwest::Client, server: SocketAddr) -> Result<usize, Failure> {
        let asking = client.post(format!("http://{server}/")).body("{}");
        let mut response = asking.send().await?;
        let (mut left, mut all) = (Vec::new(), String::new());
        while let Some(bytes) = response.chunk().await? {
            left.extend_from_slice(&bytes);
            let mut taken = 0;
            while let Some(rest) = left.get(taken..)
                && let Some(end) = rest.iter().position(|byte| *byte == b'\n')
            {
                let line = rest.get(..end).unwrap_or_default();
                taken += end + 1;
                let json = match self {
                    Self::Ollama => Some(line),
                    _ => line.strip_prefix(b"data: "),
                };
                match json {
                    Some(json) if !json.is_empty() && json != b"[DONE]" => {
                        if let Some(text) = self.text(json)? {
                            all.push_str(&text);
                        }
                    }
                    _ => {}
                }
            }
            left.drain(..taken);
        }
        Ok(all.len())
    }

    /// The text that a chunk brings.
    fn text(self, json: &[u8]) -> Result<Option<String>, Failure> {
        Ok(match self {
            Self::Chat => {
                let chunk: by_hand::Chat = serde_json::from_slice(json)?;
                let choice = chunk.choices.into_iter().next();
                choice.and_then(|choice| choice.delta.content)
            }
            Self::Responses => {
                let event: by_hand::Responses = serde_json::from_slice(json)?;
                let is_text = event.kind == "response.output_text.delta";
                event.delta.filter(|_delta| is_text)
            }
            Self::Anthropic => {
                let event: by_hand::Anthropic = serde_json::from_slice(json)?;
                event.delta.and_then(|delta| delta.text)
            }
            Self::Gemini => {
                let chunk: by_hand::Gemini = serde_json::from_slice(json)?;
                let candidate = chunk.candidates.into_iter().next();
                let part = candidate.and_then(|it| it.content.parts.into_iter().next());
                part.and_then(|part| part.text)
            }
            Self::Ollama => {
                let chunk: by_hand::Ollama = serde_json::from_slice(json)?;
                chunk.message.content
            }
        })
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Ollama => "application/x-ndjson",
            _ => "text/event-stream",
        }
    }

    /// An answer with so many pieces of text, each as its provider writes it.
    fn frames(self, pieces: usize) -> Frames {
        let (first, piece, last) = match self {
            Self::Chat => (
                chat(r#"{"role":"assistant","content":""}"#, "null"),
                chat(&format!(r#"{{"content":"{PIECE}"}}"#), "null"),
                chat("{}", r#""stop""#) + "data: [DONE]\n\n",
            ),
            Self::Responses => (
                responses_start(),
                event(
                    "response.output_text.delta",
                    &format!(
                        r#""sequence_number":7,"item_id":"msg_0a1b2c","output_index":0,"content_index":0,"delta":"{PIECE}","logprobs":[]"#
                    ),
                ),
                responses_end(&PIECE.repeat(pieces)),
            ),
            Self::Anthropic => (
                event(
                    "message_start",
                    r#""message":{"id":"msg_0a1b2c","type":"message","role":"assistant","content":[],"model":"steady","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":1}}"#,
                ) + &event(
                    "content_block_start",
                    r#""index":0,"content_block":{"type":"text","text":""}"#,
                ),
                event(
                    "content_block_delta",
                    &format!(r#""index":0,"delta":{{"type":"text_delta","text":"{PIECE}"}}"#),
                ),
                event("content_block_stop", r#""index":0"#)
                    + &event(
                        "message_delta",
                        r#""delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4000}"#,
                    )
                    + "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            ),
            Self::Gemini => (
                String::new(),
                format!(
                    "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{PIECE}\"}}],\"role\":\"model\"}},\"index\":0}}],\
                     \"usageMetadata\":{{\"promptTokenCount\":9,\"totalTokenCount\":9,\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\
                     \"tokenCount\":9}}]}},\"modelVersion\":\"steady\",\"responseId\":\"0a1b2c\"}}\r\n\r\n"
                ),
                "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\
                 \"index\":0}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":4000,\"totalTokenCount\":4009},\
                 \"modelVersion\":\"steady\",\"responseId\":\"0a1b2c\"}\r\n\r\n"
                    .to_owned(),
            ),
            Self::Ollama => (
                String::new(),
                format!(
                    "{{\"model\":\"steady\",\"created_at\":\"2026-11-21T10:00:00.123456789Z\",\"message\":{{\"role\":\"assistant\",\
                     \"content\":\"{PIECE}\"}},\"done\":false}}\n"
                ),
                "{\"model\":\"steady\",\"created_at\":\"2026-11-21T10:00:00.123456789Z\",\"message\":{\"role\":\"assistant\",\
                 \"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":9,\"eval_count\":4000}\n"
                    .to_owned(),
            ),
        };
        Frames {
            media_type: self.media_type(),
            first,
            piece,
            pieces,
            last,
        }
    }
}

fn chat(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-0a1b2c\",\"object\":\"chat.completion.chunk\",\"created\":1795295644,\"model\":\"steady\",\
         \"service_tier\":\"default\",\"system_fingerprint\":\"fp_0a1b2c\",\"choices\":[{{\"index\":0,\"delta\":{delta},\
         \"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn event(name: &str, fields: &str) -> String {
    format!("event: {name}\ndata: {{\"type\":\"{name}\",{fields}}}\n\n")
}

fn responses_start() -> String {
    let response = r#""sequence_number":0,"response":{"id":"resp_0a1b2c","object":"response","created_at":1795295532,"model":"steady","status":"in_progress","output":[]}"#;
    let item = r#""sequence_number":1,"output_index":0,"item":{"type":"message","id":"msg_0a1b2c","status":"in_progress","role":"assistant","content":[]}"#;
    let part = r#""sequence_number":2,"item_id":"msg_0a1b2c","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[]}"#;
    event("response.created", response)
        + &event("response.output_item.added", item)
        + &event("response.content_part.added", part)
}

fn responses_end(text: &str) -> String {
    let item = format!(
        r#"{{"type":"message","id":"msg_0a1b2c","status":"completed","role":"assistant","content":[{{"type":"output_text","text":"{text}","annotations":[]}}]}}"#
    );
    let mut end = event(
        "response.output_text.done",
        &format!(
            r#""sequence_number":8,"item_id":"msg_0a1b2c","output_index":0,"content_index":0,"text":"{text}""#
        ),
    );
    end += &event(
        "response.output_item.done",
        &format!(r#""sequence_number":9,"output_index":0,"item":{item}"#),
    );
    end += &event(
        "response.completed",
        &format!(
            r#""sequence_number":10,"response":{{"id":"resp_0a1b2c","object":"response","created_at":1795295532,"model":"steady","status":"completed","output":[{item}],"usage":{{"input_tokens":9,"output_tokens":4000,"total_tokens":4009}}}}"#
        ),
    );
    end
}

/// What a server answers.
struct Frames {
    media_type: &'static str,
    first: String,
    piece: String,
    pieces: usize,
    last: String,
}

/// Answers every request with the same frames, until the benchmark ends.
struct Server {
    address: SocketAddr,
}

impl Server {
    fn start(frames: Frames, pace: Pace) -> Result<Self, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let frames = Arc::new(frames);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let frames = Arc::clone(&frames);
                // It ends with its connection.
                std::thread::spawn(move || frames.answer_all(&connection, pace));
            }
        });
        Ok(Self { address })
    }
}

impl Frames {
    fn answer_all(&self, connection: &TcpStream, pace: Pace) -> std::io::Result<()> {
        connection.set_nodelay(true)?;
        let mut requests = BufReader::new(connection);
        while asked(&mut requests)? {
            self.answer(connection, pace)?;
        }
        Ok(())
    }

    /// Each frame is a chunk of the body, as with the providers.
    fn answer(&self, mut connection: &TcpStream, pace: Pace) -> std::io::Result<()> {
        let mut head = String::new();
        let _infallible = write!(
            head,
            "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            self.media_type
        );
        if !self.first.is_empty() {
            head += &chunk(&self.first);
        }
        connection.write_all(head.as_bytes())?;
        let piece = Bytes::from(chunk(&self.piece));
        if pace == Pace::AtOnce {
            connection.write_all(&piece.repeat(self.pieces))?;
        } else {
            for _piece in 0..self.pieces {
                connection.write_all(&piece)?;
                std::thread::sleep(PAUSE);
            }
        }
        connection.write_all((chunk(&self.last) + "0\r\n\r\n").as_bytes())
    }
}

fn chunk(frame: &str) -> String {
    format!("{:x}\r\n{frame}\r\n", frame.len())
}

/// Reads a request, if one comes.
fn asked(requests: &mut BufReader<&TcpStream>) -> std::io::Result<bool> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    std::io::copy(&mut requests.take(length), &mut std::io::sink())?;
    Ok(true)
}
