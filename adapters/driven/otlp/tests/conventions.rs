//! Every span and metric, held against what the conventions for generative AI say of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what is not there is a failed test"
)]

#[path = "support/facts.rs"]
mod facts;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use seaworthy_otlp::{Content, Names, OtlpConfig, OtlpObserver};
use seaworthy_ports::observer::Observer as _;
use serde::Deserialize;
use support::{Collector, PATIENCE, text, type_of};

#[derive(Deserialize)]
struct Conventions {
    attributes: BTreeMap<String, String>,
    current: Current,
    renamed_since_v1_41: Renamed,
}

#[derive(Deserialize)]
struct Current {
    spans: BTreeMap<String, SpanModel>,
    metrics: BTreeMap<String, MetricModel>,
}

#[derive(Deserialize)]
struct SpanModel {
    name: String,
    kind: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct MetricModel {
    instrument: String,
    unit: String,
    attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Renamed {
    attributes: BTreeMap<String, String>,
    metrics: BTreeMap<String, String>,
}

fn conventions() -> Conventions {
    serde_json::from_str(include_str!("conventions.json")).unwrap()
}

/// What a collector got of a whole run.
fn sent(names: Names, content: Content) -> Collector {
    let collector = Collector::start();
    let config = OtlpConfig::new(collector.url())
        .with_names(names)
        .with_content(content);
    let observer = OtlpObserver::start(&config).unwrap();
    for fact in facts::of_a_run() {
        observer.observe(&fact);
    }
    observer.shutdown(PATIENCE).unwrap();
    assert_eq!(observer.dropped(), 0);
    collector
}

/// The names, types and levels of the attributes of one thing.
fn check_attributes(
    conventions: &Conventions,
    what: &str,
    model: &BTreeMap<String, String>,
    attributes: &[KeyValue],
    is_error: bool,
) {
    let mut seen = BTreeSet::new();
    for attribute in attributes {
        let key = attribute.key.as_str();
        assert!(seen.insert(key), "{what} has {key} twice");
        if key.starts_with("seaworthy.") {
            continue;
        }
        assert!(
            model.contains_key(key),
            "{what} has no {key} in the conventions"
        );
        let wanted = conventions.attributes[key].as_str();
        let is = type_of(attribute.value.as_ref().unwrap());
        // Where structure is not possible, the conventions allow JSON text.
        assert!(
            wanted == is || (wanted == "any" && is == "string"),
            "{key} of {what} is {is} and not {wanted}"
        );
    }
    for (key, level) in model {
        match level.as_str() {
            "required" => assert!(seen.contains(key.as_str()), "{what} lacks {key}"),
            "on_error" => assert_eq!(seen.contains(key.as_str()), is_error, "{key} of {what}"),
            _ => {}
        }
    }
}

fn check_span(conventions: &Conventions, span: &Span) -> Option<String> {
    let operation = text(&span.attributes, "gen_ai.operation.name")?;
    let model = &conventions.current.spans[&operation];
    let kind = match span.kind() {
        SpanKind::Client => "client",
        SpanKind::Internal => "internal",
        other => panic!("{} is {other:?}", span.name),
    };
    assert_eq!(kind, model.kind, "{}", span.name);
    let mut name = model.name.clone();
    for attribute in &span.attributes {
        if let Some(value) = text(&span.attributes, &attribute.key) {
            name = name.replace(&format!("{{{}}}", attribute.key), &value);
        }
    }
    assert_eq!(span.name, name);
    let status = span
        .status
        .as_ref()
        .map_or(StatusCode::Unset, |status| status.code());
    let is_error = status == StatusCode::Error;
    check_attributes(
        conventions,
        &span.name,
        &model.attributes,
        &span.attributes,
        is_error,
    );
    Some(operation)
}

#[test]
fn every_span_keeps_to_the_conventions() {
    let conventions = conventions();
    for content in [Content::None, Content::Both] {
        let spans = sent(Names::Current, content).spans();
        let mut seen = BTreeMap::new();
        for span in &spans {
            let operation = check_span(&conventions, span);
            *seen.entry(operation).or_insert(0) += 1;
        }
        let count = |operation: &str| seen[&Some(operation.to_owned())];
        assert_eq!(
            (count("chat"), count("execute_tool"), count("invoke_agent")),
            (5, 4, 1)
        );
        let of_servers: Vec<_> = spans
            .iter()
            .filter(|span| text(&span.attributes, "seaworthy.tool.server").is_some())
            .map(|span| {
                ["mcp.method.name", "network.transport"]
                    .map(|name| text(&span.attributes, name).unwrap())
            })
            .collect();
        assert_eq!(
            of_servers,
            [["tools/call", "pipe"], ["tools/call", "tcp"]].map(|two| two.map(String::from))
        );
        let of_others = spans.iter().filter(|span| {
            text(&span.attributes, "seaworthy.tool.server").is_none()
                && text(&span.attributes, "mcp.method.name").is_some()
        });
        assert_eq!(of_others.count(), 0);
        // What the conventions have no word for has none of theirs: the attempt and the verification.
        let own: Vec<_> = spans
            .iter()
            .filter(|span| text(&span.attributes, "gen_ai.operation.name").is_none())
            .collect();
        assert_eq!(own.len(), 2);
        for span in own {
            let theirs = span.attributes.iter().filter(|attribute| {
                !attribute.key.starts_with("seaworthy.") && attribute.key != "error.type"
            });
            assert_eq!(theirs.count(), 0, "{}", span.name);
        }
    }
}

/// The attributes of each point of a metric.
fn points(metric: &Metric) -> (&'static str, Vec<Vec<KeyValue>>) {
    match metric.data.as_ref().unwrap() {
        Data::Histogram(histogram) => {
            let points = histogram.data_points.iter();
            (
                "histogram",
                points.map(|point| point.attributes.clone()).collect(),
            )
        }
        Data::Sum(sum) => {
            assert!(sum.is_monotonic, "{}", metric.name);
            let points = sum.data_points.iter();
            (
                "counter",
                points.map(|point| point.attributes.clone()).collect(),
            )
        }
        other => panic!("{}: {other:?}", metric.name),
    }
}

#[test]
fn every_metric_keeps_to_the_conventions_and_none_is_missing() {
    let conventions = conventions();
    let metrics = sent(Names::Current, Content::None).metrics();
    let mut missing: BTreeSet<_> = conventions.current.metrics.keys().cloned().collect();
    for metric in &metrics {
        if metric.name.starts_with("seaworthy.") {
            continue;
        }
        missing.remove(&metric.name);
        let model = conventions.current.metrics.get(&metric.name);
        let model = model.unwrap_or_else(|| panic!("no {} in the conventions", metric.name));
        let (instrument, points) = points(metric);
        assert_eq!(instrument, model.instrument, "{}", metric.name);
        assert_eq!(metric.unit, model.unit, "{}", metric.name);
        for attributes in points {
            check_attributes(
                &conventions,
                &metric.name,
                &model.attributes,
                &attributes,
                false,
            );
        }
    }
    assert_eq!(missing, BTreeSet::new());
}

fn total(metrics: &[Metric], name: &str) -> i64 {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let Data::Sum(sum) = metric.data.as_ref().unwrap() else {
        panic!("{name} is no sum");
    };
    let values = sum
        .data_points
        .iter()
        .map(|point| match point.value.unwrap() {
            number_data_point::Value::AsInt(value) => value,
            number_data_point::Value::AsDouble(_) => panic!("{name} is no whole number"),
        });
    values.sum()
}

#[test]
fn tokens_are_counted_once_for_each_answer() {
    let metrics = sent(Names::Current, Content::None).metrics();
    // Three answers with usage; two failures with none.
    for (name, each) in [
        ("input_tokens", 100),
        ("output_tokens", 30),
        ("cache_read.input_tokens", 60),
        ("cache_write.input_tokens", 20),
        ("reasoning.output_tokens", 10),
    ] {
        let name = format!("gen_ai.client.inference.usage.{name}");
        assert_eq!(total(&metrics, &name), 3 * each, "{name}");
    }
}

#[test]
fn the_old_names_are_those_of_v1_41() {
    let renamed = conventions().renamed_since_v1_41;
    let collector = sent(Names::V1_41, Content::None);
    let (spans, metrics) = (collector.spans(), collector.metrics());
    let attributes: BTreeSet<&str> = spans
        .iter()
        .flat_map(|span| &span.attributes)
        .map(|attribute| attribute.key.as_str())
        .collect();
    for (new, old) in &renamed.attributes {
        assert!(attributes.contains(old.as_str()), "{old}");
        assert!(!attributes.contains(new.as_str()), "{new}");
    }
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    for (new, old) in &renamed.metrics {
        assert!(names.contains(old.as_str()), "{old}");
        assert!(!names.contains(new.as_str()), "{new}");
    }
}
