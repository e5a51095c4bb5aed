//! Servers that do what no provider should. Whatever they do, a call ends, and ends as what it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, Message, ModelError, ModelProvider, ModelProviderExt as _, ModelReply,
    ModelRequest,
};
use seaworthy_ports::{Latch, Retry};

use super::dialect::{Dialect, FRAME, STREAM};
use super::{Act, Backend, chunked};

/// What no answer of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest silence where there will be none.
const LONG: Duration = Duration::from_secs(40);
const SHORT: Duration = Duration::from_millis(200);
/// How many connections are open at a time.
const WIDTH: usize = 16;

fn request(idle_timeout: Duration) -> ModelRequest {
    ModelRequest {
        model: "hostile".to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(vec![Message::user("hello")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout,
        cancel: Latch::never(),
    }
}

type Came = Result<ModelReply, ModelError>;

async fn called(provider: &dyn ModelProvider, idle_timeout: Duration) -> Came {
    let reply = tokio::time::timeout(PATIENCE, provider.complete(request(idle_timeout)));
    match reply.await {
        Ok(came) => came,
        Err(_late) => fail("a call did not end"),
    }
}

#[expect(clippy::panic, reason = "this is how a test fails")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}

/// What a call comes to whose connection sees these acts.
async fn came<D: Dialect>(acts: Vec<Act>) -> Came {
    came_within::<D>(acts, LONG).await
}

async fn came_within<D: Dialect>(acts: Vec<Act>, idle_timeout: Duration) -> Came {
    let backend = Backend::start().await;
    backend.perform(acts);
    let provider = D::provider(backend.url(), FRAME, STREAM);
    called(&*provider, idle_timeout).await
}

fn begin<D: Dialect>(headers: &str) -> Act {
    let content_type = D::content_type();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n{headers}\r\n"
    );
    Act::Say(head.into_bytes())
}

fn plain<D: Dialect>(body: impl Into<Vec<u8>>) -> Vec<Act> {
    vec![begin::<D>(""), Act::Say(body.into())]
}

async fn whole<D: Dialect>() -> ModelReply {
    match came::<D>(plain::<D>(D::whole())).await {
        Ok(reply) => reply,
        Err(error) => fail(&format!("the recorded answer is none: {error}")),
    }
}

fn kind(came: &Came) -> Option<Kind> {
    came.as_ref().err().map(ModelError::kind)
}

#[track_caller]
fn failed_as(came: &Came, expected: Kind, what: &str) {
    let seen = kind(came);
    assert_eq!(seen, Some(expected), "{what}: {came:?}");
}

/// The acts of each place of an answer, some at a time, each on a server of its own.
async fn everywhere<D: Dialect>(
    acts: impl Fn(&'static [u8], &'static [u8]) -> Vec<Act>,
    check: impl Fn(usize, Came),
) {
    let bytes = D::whole();
    let calls = (0..=bytes.len()).map(|at| {
        let (one, two) = bytes.split_at(at);
        let acts = acts(one, two);
        async move { (at, came::<D>(acts).await) }
    });
    let mut calls = stream::iter(calls).buffer_unordered(WIDTH);
    while let Some((at, came)) = calls.next().await {
        check(at, came);
    }
}

/// Where the bytes are split does not matter.
pub async fn an_answer_may_be_split_at_every_byte<D: Dialect>() {
    let expected = whole::<D>().await;
    let acts = |one: &[u8], two: &[u8]| {
        let mut body = chunked(one, usize::MAX);
        body.extend(chunked(two, usize::MAX));
        body.extend_from_slice(b"0\r\n\r\n");
        vec![begin::<D>("transfer-encoding: chunked\r\n"), Act::Say(body)]
    };
    everywhere::<D>(acts, |at, came| {
        let reply = came.ok();
        assert_eq!(reply.as_ref(), Some(&expected), "split at {at}");
    })
    .await;
    let mut body = chunked(D::whole(), 1);
    body.extend_from_slice(b"0\r\n\r\n");
    let single = vec![begin::<D>("transfer-encoding: chunked\r\n"), Act::Say(body)];
    assert_eq!(came::<D>(single).await.ok(), Some(expected), "byte by byte");
}

/// An answer that ends in good order before its time was interrupted; one that is whole but for a farewell is whole.
pub async fn an_answer_may_end_at_every_byte<D: Dialect>() {
    let expected = whole::<D>().await;
    let acts = |one: &[u8], _two: &[u8]| plain::<D>(one);
    everywhere::<D>(acts, |at, came| match came {
        Ok(reply) if reply.finish.reason == FinishReason::Interrupted => {
            assert!(at < D::whole().len(), "the whole answer was interrupted");
        }
        Ok(reply) => {
            assert_eq!(reply.message, expected.message, "ended at {at}");
            assert_eq!(reply.finish, expected.finish, "ended at {at}");
        }
        // The end of the bytes is in the middle of a letter.
        Err(error) => assert_eq!(error.kind(), Kind::Decode, "ended at {at}"),
    })
    .await;
}

/// A connection that breaks is an error, unless all was said.
pub async fn a_connection_may_break_at_every_byte<D: Dialect>() {
    let expected = whole::<D>().await;
    let length = D::whole().len() + 1;
    let acts = |one: &[u8], _two: &[u8]| {
        let length = format!("content-length: {length}\r\n");
        vec![begin::<D>(&length), Act::Say(one.to_vec())]
    };
    everywhere::<D>(acts, |at, came| match came {
        Ok(reply) => {
            assert_eq!(reply.message, expected.message, "broke at {at}");
            assert_eq!(reply.finish, expected.finish, "broke at {at}");
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Network, "broke at {at}");
            assert!(at < D::whole().len(), "the whole answer is an error");
        }
    })
    .await;
}

/// Every byte ends a silence.
pub async fn an_answer_that_drips_is_not_silent<D: Dialect>() {
    let expected = whole::<D>().await;
    let drip = Act::Drip(D::whole().to_vec(), Duration::from_micros(200));
    let came = came::<D>(vec![begin::<D>(""), drip]).await;
    assert_eq!(came.ok(), Some(expected));
}

/// The same bytes without their rest are a silence.
pub async fn a_drip_that_stops_is_silence<D: Dialect>() {
    let drip = Act::Drip(D::beginning().to_vec(), Duration::from_micros(10));
    let came = came_within::<D>(vec![begin::<D>(""), drip, Act::Wait], SHORT).await;
    failed_as(&came, Kind::Timeout, "a drip that stops");
    let came = came_within::<D>(vec![Act::Wait], SHORT).await;
    failed_as(&came, Kind::Timeout, "no answer");
    let half = Act::Say(b"HTTP/1.1 200 O".to_vec());
    let came = came_within::<D>(vec![half, Act::Wait], SHORT).await;
    failed_as(&came, Kind::Timeout, "half a status");
}

/// A frame has a cap, whatever comes after it.
pub async fn a_frame_beyond_the_cap_is_cut_off<D: Dialect>() {
    let huge = D::frame_with(&vec![b'x'; FRAME + 1]);
    let came = came::<D>(plain::<D>(huge)).await;
    failed_as(&came, Kind::Truncated, "a huge frame");
    let endless = Act::Repeat(vec![b'x'; 1 << 14]);
    let came = came_within::<D>(vec![begin::<D>(""), endless], LONG).await;
    failed_as(&came, Kind::Truncated, "a frame without end");
    let backend = Backend::start().await;
    backend.perform(plain::<D>(D::whole()));
    let small = D::provider(backend.url(), 16, STREAM);
    let came = called(&*small, LONG).await;
    failed_as(&came, Kind::Truncated, "a frame beyond a small cap");
}

/// An answer has a cap of its own, to the byte.
pub async fn an_answer_beyond_the_cap_is_cut_off<D: Dialect>() {
    let backend = Backend::start().await;
    backend.perform(plain::<D>(D::whole()));
    let length = D::whole().len();
    let fits = called(&*D::provider(backend.url(), FRAME, length), LONG).await;
    assert_eq!(kind(&fits), None);
    let exceeds = called(&*D::provider(backend.url(), FRAME, length - 1), LONG).await;
    failed_as(&exceeds, Kind::Truncated, "an answer one byte too long");
}

/// Nobody keeps headers for ever.
pub async fn headers_without_end_are_no_answer<D: Dialect>() {
    let begin = Act::Say(b"HTTP/1.1 200 OK\r\n".to_vec());
    let endless = Act::Repeat(b"x-header: something\r\n".repeat(100));
    let came = came::<D>(vec![begin, endless]).await;
    failed_as(&came, Kind::Network, "headers without end");
}

/// Known frames with wrong types in them.
pub async fn frames_of_wrong_types_are_malformed<D: Dialect>() {
    for frame in D::wrong_types() {
        let shown = String::from_utf8_lossy(&frame).into_owned();
        for before in [&b""[..], D::beginning()] {
            let body = [before, &frame, D::terminal()].concat();
            let came = came::<D>(plain::<D>(body)).await;
            failed_as(&came, Kind::Decode, &shown);
            let started = came.err().map(|error| error.response_started);
            assert_eq!(started, Some(!before.is_empty()), "{shown}");
        }
    }
}

/// A failure that is told after status 200.
pub async fn an_error_after_success_is_an_error<D: Dialect>() {
    for (frame, expected) in D::failures() {
        let shown = String::from_utf8_lossy(&frame).into_owned();
        for before in [&b""[..], D::beginning()] {
            let body = [before, &frame, D::terminal()].concat();
            let came = came::<D>(plain::<D>(body)).await;
            failed_as(&came, expected, &shown);
            let started = came.err().map(|error| error.response_started);
            assert_eq!(started, Some(!before.is_empty()), "{shown}");
        }
    }
}

/// What comes after the end is not part of the answer.
pub async fn a_second_terminal_frame_changes_nothing<D: Dialect>() {
    let expected = whole::<D>().await;
    let twice = [D::whole(), D::terminal(), D::terminal()].concat();
    let came = came::<D>(plain::<D>(twice)).await.ok();
    let seen = came.map(|reply| (reply.message, reply.finish, reply.usage));
    assert_eq!(
        seen,
        Some((expected.message, expected.finish, expected.usage))
    );
}

/// The forms in which servers ask for patience.
pub async fn every_form_of_a_delay_is_understood<D: Dialect>() {
    let moment = http_date(SystemTime::now() + Duration::from_secs(3_600));
    let hour = Duration::from_secs(3_000)..=Duration::from_secs(3_601);
    let exactly = |millis| {
        let delay = Duration::from_millis(millis);
        delay..=delay
    };
    for (headers, expected) in [
        (String::new(), None),
        ("retry-after: 7\r\n".to_owned(), Some(exactly(7_000))),
        ("retry-after: 0.5\r\n".to_owned(), Some(exactly(500))),
        ("Retry-After-Ms: 1500\r\n".to_owned(), Some(exactly(1_500))),
        (
            "retry-after-ms: 1500\r\nretry-after: 9\r\n".to_owned(),
            Some(exactly(1_500)),
        ),
        (format!("retry-after: {moment}\r\n"), Some(hour)),
        ("retry-after: soon\r\n".to_owned(), None),
        ("retry-after: -3\r\n".to_owned(), None),
        (
            "retry-after: 99999999999999999999\r\n".to_owned(),
            Some(exactly(24 * 3_600 * 1_000)),
        ),
    ] {
        let came = came::<D>(refusal(429, &headers, &D::limited())).await;
        failed_as(&came, Kind::RateLimited, &headers);
        let retry = came.err().map(|error| error.retry());
        let is_expected = match (&expected, retry) {
            (None, Some(Retry::Backoff)) => true,
            (Some(range), Some(Retry::After(delay))) => range.contains(&delay),
            _ => false,
        };
        assert!(is_expected, "{headers:?}: {retry:?}, not {expected:?}");
    }
    let never = "retry-after: 7\r\nx-should-retry: false\r\n";
    let came = came::<D>(refusal(429, never, &D::limited())).await;
    assert_eq!(came.err().map(|error| error.retry()), Some(Retry::No));
}

/// A reset, before the answer and within it.
pub async fn a_reset_is_a_broken_connection<D: Dialect>() {
    let came = came::<D>(vec![Act::Reset]).await;
    failed_as(&came, Kind::Network, "a reset before the answer");
    let length = format!("content-length: {STREAM}\r\n");
    let halfway = vec![
        begin::<D>(&length),
        Act::Say(D::beginning().to_vec()),
        Act::Reset,
    ];
    // Bytes may be lost with the reset, so whether anything was seen is open.
    let came = self::came::<D>(halfway).await;
    failed_as(&came, Kind::Network, "a reset within the answer");
}

/// The key and the prompt reach nobody else.
pub async fn a_redirect_is_not_followed<D: Dialect>() {
    let other = Backend::start().await;
    other.perform(plain::<D>(D::whole()));
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: {}/elsewhere\r\n", other.url());
        let came = came::<D>(refusal(status, &location, "")).await;
        failed_as(&came, Kind::NotFound, "a redirect");
    }
    assert_eq!(other.requests(), Vec::<String>::new());
}

/// Bytes that are not UTF-8.
pub async fn bytes_that_are_no_letters_are_malformed<D: Dialect>() {
    for bytes in [&b"\xFF"[..], b"\xC0\x80", b"\xED\xA0\x80", b"\xF0\x9F\xA6"] {
        let body = [D::beginning(), &D::frame_with(bytes)].concat();
        let came = came::<D>(plain::<D>(body)).await;
        failed_as(&came, Kind::Decode, &format!("{bytes:?}"));
    }
}

/// Pages for people, other protocols, broken documents.
pub async fn what_is_no_answer_is_none<D: Dialect>() {
    let page = "content-type: text/html\r\n";
    let came = came::<D>(refusal(200, page, "<html>Sign in</html>")).await;
    failed_as(&came, Kind::Decode, "a page");
    let json = "content-type: application/json\r\n";
    for document in ["{", "", "3", "\"x\"", "[3]"] {
        let came = self::came::<D>(refusal(200, json, document)).await;
        failed_as(&came, Kind::Decode, document);
    }
    let came = self::came::<D>(vec![Act::Say(b"SSH-2.0-OpenSSH_9\r\n".to_vec())]).await;
    failed_as(&came, Kind::Network, "another protocol");
    for body in ["", "<html>bad gateway</html>", "{\"error\":", "[]", "\0"] {
        let came = self::came::<D>(refusal(502, "", body)).await;
        failed_as(&came, Kind::Server, body);
    }
}

/// An error is an error when its status says so.
pub async fn an_error_body_without_end_is_not_waited_for<D: Dialect>() {
    let head = || Act::Say(b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\n\r\n".to_vec());
    let endless = Act::Repeat(vec![b'x'; 1 << 16]);
    let came = came::<D>(vec![head(), endless]).await;
    failed_as(&came, Kind::Server, "an error without end");
    let came = came_within::<D>(vec![head(), Act::Wait], SHORT).await;
    failed_as(&came, Kind::Server, "a silent error");
}

fn refusal(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    vec![Act::Say(answer.into_bytes())]
}

/// A moment as HTTP writes it.
fn http_date(moment: SystemTime) -> String {
    httpdate::fmt_http_date(moment)
}
