//! What a streamed chunk costs in computing time: the adapter beside reqwest and JSON parsed by hand, from the same bytes.
//! `cargo xtask bench --only small` runs it.
//!
//! The goal is one and a half times by hand. Only the client's thread is counted; the server has its own. By hand means:
//! lines that begin with `data:`, each parsed into a struct that holds nothing but the text. The adapter finds events by
//! the standard, bounds them, keeps usage and reasons, numbers blocks and gives typed events.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot run has failed, and prints what it measured"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};
use rustls::crypto::ring;
use seaworthy::openai::{Api, OpenAi, OpenAiConfig};
use seaworthy::ports::Latch;
use seaworthy::ports::model_provider::{Message, ModelEvent, ModelProvider as _, ModelRequest};
use serde::Deserialize;

const CHUNKS: usize = 20_000;
const ROUNDS: usize = 9;
const WORD: &str = " hello";

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    delta: Option<String>,
}

/// An interface, and how its text is found by hand.
struct Format {
    name: &'static str,
    api: Api,
    body: String,
    text: fn(&str) -> Option<String>,
}

fn main() {
    // Of TLS nothing is used, but the client by hand wants to know whose.
    ring::default_provider().install_default().ok();
    let chat = Format {
        name: "Chat Completions",
        api: Api::ChatCompletions,
        body: chat(),
        text: |data| {
            let chunk: Chunk = serde_json::from_str(data).ok()?;
            chunk.choices.into_iter().next()?.delta.content
        },
    };
    let responses = Format {
        name: "Responses",
        api: Api::Responses,
        body: responses(),
        text: |data| serde_json::from_str::<Event>(data).ok()?.delta,
    };
    println!("computing time of a streamed chunk, the least of {ROUNDS} rounds of {CHUNKS}");
    for format in [chat, responses] {
        let url = serve(&format.body);
        let (mut ours, mut hand) = (Duration::MAX, Duration::MAX);
        for _round in 0..ROUNDS {
            ours = ours.min(measured(|| by_adapter(&url, format.api)));
            hand = hand.min(measured(|| by_hand(&url, format.text)));
        }
        println!(
            "{:<17} adapter {:>6} ns, by hand {:>6} ns, ratio {:.2}",
            format.name,
            each(ours),
            each(hand),
            ours.as_secs_f64() / hand.as_secs_f64(),
        );
    }
}

fn each(whole: Duration) -> u128 {
    whole.as_nanos() / u128::try_from(CHUNKS).unwrap()
}

fn chat() -> String {
    let chunk = format!(
        "data: {{\"id\":\"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWx\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"gpt-5-mini-2025-08-07\",\"service_tier\":\"default\",\"system_fingerprint\":null,\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{WORD}\"}},\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"aB3dE\"}}\n\n"
    );
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    chunk.repeat(CHUNKS) + end
}

fn responses() -> String {
    let mut body = String::new();
    for number in 0..CHUNKS {
        body += &format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"item_id\":\"msg_68a1b2c3d4e5f60718293a4b5c6d7e8f\",\"output_index\":0,\"content_index\":0,\"delta\":\"{WORD}\",\"logprobs\":[],\"obfuscation\":\"aB3dE\"}}\n\n"
        );
    }
    body + "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{}}\n\n"
}

/// Says `body` to everybody, each event in a chunk of the transfer, as servers write them.
fn serve(body: &str) -> String {
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for event in body.split_inclusive("\n\n") {
        write!(answer, "{:x}\r\n{event}\r\n", event.len()).unwrap();
    }
    answer.extend_from_slice(b"0\r\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let _gone = answer_one(connection, &answer);
        }
    });
    url
}

fn answer_one(mut connection: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    // The request is short enough to come at once.
    let mut asked = [0; 8192];
    let _length = connection.read(&mut asked)?;
    connection.write_all(answer)
}

/// The computing time of this thread, on which everything of the client runs.
fn measured(client: impl AsyncFnOnce() -> usize) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            now.tv_sec.try_into().unwrap(),
            now.tv_nsec.try_into().unwrap(),
        )
    };
    let before = now();
    let letters = runtime.block_on(client());
    let spent = now() - before;
    assert_eq!(letters, CHUNKS * WORD.len(), "the whole answer was read");
    spent
}

async fn by_adapter(url: &str, api: Api) -> usize {
    let config = OpenAiConfig::new(None).with_base_url(url).with_api(api);
    let model = OpenAi::connect(config).unwrap();
    let mut events = model.stream(ModelRequest {
        model: "m".to_owned(),
        instructions: Arc::from(""),
        messages: Arc::new(vec![Message::user("go")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        idle_timeout: Duration::from_secs(60),
        cancel: Latch::never(),
    });
    let mut letters = 0;
    while let Some(event) = events.next().await {
        if let ModelEvent::BlockDelta { delta, .. } = event.unwrap() {
            letters += delta.len();
        }
    }
    letters
}

async fn by_hand(url: &str, text: fn(&str) -> Option<String>) -> usize {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut response = client.post(url).body("{}").send().await.unwrap();
    let (mut held, mut letters) = (Vec::new(), 0);
    while let Some(bytes) = response.chunk().await.unwrap() {
        held.extend_from_slice(&bytes);
        let mut taken = 0;
        while let Some(end) = held[taken..].iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&held[taken..taken + end]).unwrap();
            if let Some(said) = line.strip_prefix("data: ").and_then(text) {
                letters += said.len();
            }
            taken += end + 1;
        }
        held.drain(..taken);
    }
    letters
}
