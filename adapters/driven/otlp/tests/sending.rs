//! What reaches a collector, and what does not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what is not there is a failed test"
)]

#[path = "support/facts.rs"]
mod facts;
mod support;

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::trace::v1::Span;
use seaworthy_otlp::{Content, OtlpConfig, OtlpError, OtlpObserver};
use seaworthy_ports::model_provider::{FinishReason, Message};
use seaworthy_ports::observer::{Fact, ModelCallEnd, ModelContent, Observer as _};
use seaworthy_ports::{Secret, SpanId, TraceContext};
use serde_json::Value;
use support::{Collector, PATIENCE, text, value};

fn told(config: &OtlpConfig, facts: &[Fact]) -> OtlpObserver {
    let observer = OtlpObserver::start(config).unwrap();
    facts.iter().for_each(|fact| observer.observe(fact));
    observer
}

fn spans(content: Content) -> (Collector, Vec<Span>) {
    let collector = Collector::start();
    let config = OtlpConfig::new(collector.url()).with_content(content);
    told(&config, &facts::of_a_run())
        .shutdown(PATIENCE)
        .unwrap();
    let spans = collector.spans();
    (collector, spans)
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no span {name}"))
}

#[test]
fn parts_lie_in_their_run_and_the_run_in_what_started_it() {
    let (_collector, spans) = spans(Content::None);
    let parent = TraceContext::parse(facts::PARENT, None).unwrap();
    let run = named(&spans, "invoke_agent starter");
    assert_eq!(run.parent_span_id, parent.span().to_bytes());
    assert_eq!(run.span_id, SpanId::of(b"whole").to_bytes());
    for span in &spans {
        assert_eq!(span.trace_id, parent.trace().to_bytes(), "{}", span.name);
        assert_eq!(span.trace_state, "vendor=1", "{}", span.name);
        if span.span_id != run.span_id {
            assert_eq!(span.parent_span_id, run.span_id, "{}", span.name);
        }
    }
}

#[test]
fn a_span_lasts_as_long_as_what_it_shows() {
    let (_collector, spans) = spans(Content::None);
    for (name, start, length) in [
        ("invoke_agent starter", 1_000, 3_000),
        ("chat moon-1", 1_000, 500),
        ("execute_tool publish", 1_600, 40),
    ] {
        let span = named(&spans, name);
        let milli = 1_000_000;
        assert_eq!(span.start_time_unix_nano, start * milli, "{name}");
        assert_eq!(span.end_time_unix_nano, (start + length) * milli, "{name}");
    }
}

#[test]
fn a_model_call_says_how_it_was_asked() {
    let (_collector, spans) = spans(Content::None);
    let call = named(&spans, "chat moon-1");
    let is = |key: &str| value(&call.attributes, key);
    assert_eq!(is("gen_ai.request.max_tokens"), Some(Told::IntValue(512)));
    assert_eq!(is("gen_ai.request.seed"), Some(Told::IntValue(7)));
    let temperature = is("gen_ai.request.temperature");
    assert_eq!(temperature, Some(Told::DoubleValue(0.25)));
    assert_eq!(is("gen_ai.request.top_p"), Some(Told::DoubleValue(0.5)));
    let Some(Told::ArrayValue(stops)) = is("gen_ai.request.stop_sequences") else {
        panic!("no texts that end the answer");
    };
    assert_eq!(stops.values.len(), 2);
    for (key, expected) in [
        ("gen_ai.output.type", "json"),
        ("seaworthy.request.reasoning", "high"),
        ("seaworthy.request.tool_choice", "required"),
    ] {
        assert_eq!(text(&call.attributes, key).as_deref(), Some(expected));
    }
}

#[test]
fn content_goes_where_it_is_wanted_and_nowhere_else() {
    for (content, on_spans, on_events) in [
        (Content::None, false, false),
        (Content::Spans, true, false),
        (Content::Events, false, true),
        (Content::Both, true, true),
    ] {
        let (collector, spans) = spans(content);
        let call = named(&spans, "chat moon-1");
        let output = text(&call.attributes, "gen_ai.output.messages");
        assert_eq!(output.is_some(), on_spans, "{content:?}");
        let tool = named(&spans, "execute_tool publish");
        let arguments = text(&tool.attributes, "gen_ai.tool.call.arguments");
        assert_eq!(arguments.is_some(), on_spans, "{content:?}");
        assert_eq!(
            collector.events().len(),
            usize::from(on_events),
            "{content:?}"
        );
        let is_anywhere = collector.text().contains(facts::CONTENT);
        assert_eq!(is_anywhere, on_spans || on_events, "{content:?}");
    }
}

#[test]
fn content_has_the_form_of_the_conventions() {
    let (collector, spans) = spans(Content::Both);
    let call = named(&spans, "chat moon-1");
    let json = |key: &str| -> Value {
        serde_json::from_str(&text(&call.attributes, key).unwrap()).unwrap()
    };
    let input = json("gen_ai.input.messages");
    let expected = serde_json::json!([
        { "role": "user", "parts": [{ "type": "text", "content": "Begin." }] },
        { "role": "assistant", "parts": [
            { "type": "reasoning", "content": "Hm." },
            { "type": "tool_call", "id": "c1", "name": "publish", "arguments": { "title": 1 } },
        ] },
        { "role": "tool", "parts": [
            { "type": "tool_call_response", "id": "c1", "response": "done" },
        ] },
    ]);
    assert_eq!(input, expected);
    let instructions = serde_json::json!([{ "type": "text", "content": "Publish." }]);
    assert_eq!(json("gen_ai.system_instructions"), instructions);
    let events = collector.events();
    let event = events.first().unwrap();
    assert_eq!(
        event.event_name,
        "gen_ai.client.inference.operation.details"
    );
    assert_eq!(event.span_id, call.span_id);
    let messages = value(&event.attributes, "gen_ai.output.messages");
    assert!(
        matches!(messages, Some(Told::ArrayValue(_))),
        "{messages:?}"
    );
}

#[test]
fn content_that_is_too_long_is_left_out_whole_and_said_to_be() {
    let collector = Collector::start();
    let config = OtlpConfig::new(collector.url()).with_content(Content::Spans);
    let content = ModelContent {
        input: vec![Message::user("x".repeat(300_000))].into(),
        ..facts::model_content()
    };
    let said = Fact::ModelCallContent {
        run: facts::run(),
        span: facts::part("model", 0),
        content,
    };
    let end = facts::model_call("model", 0, ModelCallEnd::Finished(FinishReason::Stop));
    told(&config, &[said, end]).shutdown(PATIENCE).unwrap();
    let spans = collector.spans();
    let call = named(&spans, "chat moon-1");
    assert_eq!(text(&call.attributes, "gen_ai.input.messages"), None);
    let omitted = text(&call.attributes, "seaworthy.content.omitted");
    assert_eq!(omitted.as_deref(), Some("gen_ai.input.messages"));
    assert!(text(&call.attributes, "gen_ai.output.messages").is_some());
}

#[test]
fn a_trace_that_nobody_wants_is_measured_and_not_sent() {
    let collector = Collector::start();
    let config = OtlpConfig::new(collector.url());
    let unsampled = facts::PARENT.replace("-01", "-00");
    let context = TraceContext::parse(&unsampled, None).unwrap();
    let mut end = facts::model_call("model", 0, ModelCallEnd::Finished(FinishReason::Stop));
    if let Fact::ModelCallEnded { span, .. } = &mut end {
        span.context = context.at(span.context.span());
    }
    told(&config, &[end]).shutdown(PATIENCE).unwrap();
    assert_eq!(collector.spans().len(), 0);
    let metrics = collector.metrics();
    assert!(
        metrics
            .iter()
            .any(|metric| metric.name == "gen_ai.client.inference.duration")
    );
}

#[test]
fn without_a_collector_the_end_says_so_and_comes_in_time() {
    let collector = Collector::start();
    collector.lose();
    let config = OtlpConfig::new(collector.url()).with_timeout(Duration::from_millis(200));
    let observer = told(&config, &facts::of_a_run());
    assert_eq!(observer.shutdown(PATIENCE), Err(OtlpError::Incomplete));
    assert!(observer.dropped() > 0);
    let before = observer.dropped();
    observer.observe(&facts::model_call(
        "late",
        0,
        ModelCallEnd::Finished(FinishReason::Stop),
    ));
    assert_eq!(observer.dropped(), before + 1);
}

#[test]
fn an_address_that_is_none_is_refused_without_being_quoted() {
    // Within a runtime, where a blocking drop would panic.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    for endpoint in [
        "",
        "collector:4318",
        "ftp://collector",
        "http://user:hunter2@collector",
    ] {
        let error = OtlpObserver::start(&OtlpConfig::new(endpoint)).unwrap_err();
        assert!(matches!(error, OtlpError::Configuration(_)), "{endpoint}");
        assert!(!error.to_string().contains("hunter2"));
    }
    let config = OtlpConfig::new("http://user:hunter2@collector")
        .with_header("x-key", Secret::new("hunter3"));
    assert!(!format!("{config:?}").contains("hunter"));
}
