//! Facts as measurements.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};
use seaworthy_ports::model_provider::Usage;
use seaworthy_ports::observer::{Execution, Fact};

use crate::attributes::{model_error, provider, text};
use crate::names::Names;
use crate::spans::{mcp_call, run_error, tool_error};

/// 0.01 to 81.92 in steps of two, as the conventions advise for calls.
const CALL_SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// 0.01 to 300, as the conventions advise for requests to MCP servers.
const REQUEST_SECONDS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
/// 0.1 to 409.6 in steps of two, as the conventions advise for invocations of agents.
const RUN_SECONDS: [f64; 13] = [
    0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6,
];
/// 1 to 67108864 in steps of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// 1 to 128 in steps of two.
const CALLS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// The instruments.
pub(crate) struct Metrics {
    names: Names,
    inference_duration: Histogram<f64>,
    first_chunk: Histogram<f64>,
    tokens: Tokens,
    tool_duration: Histogram<f64>,
    mcp_duration: Histogram<f64>,
    run_duration: Histogram<f64>,
    model_calls: Histogram<u64>,
    tool_calls: Histogram<u64>,
    append_duration: Histogram<f64>,
    records: Counter<u64>,
    parked: Counter<u64>,
    stalled: Counter<u64>,
}

enum Tokens {
    Current(Box<CurrentTokens>),
    /// One histogram with a type of token.
    Old(Histogram<u64>),
}

struct CurrentTokens {
    input: Counter<u64>,
    output: Counter<u64>,
    cache_read: Counter<u64>,
    cache_write: Counter<u64>,
    reasoning: Counter<u64>,
    each_input: Histogram<u64>,
    each_output: Histogram<u64>,
}

impl Tokens {
    fn new(meter: &Meter, names: Names) -> Self {
        let counter = |name: &'static str| meter.u64_counter(name).with_unit("{token}").build();
        let histogram = |name: &'static str| {
            let made = meter.u64_histogram(name).with_unit("{token}");
            made.with_boundaries(TOKENS.to_vec()).build()
        };
        match names {
            Names::Current => Self::Current(Box::new(CurrentTokens {
                input: counter("gen_ai.client.inference.usage.input_tokens"),
                output: counter("gen_ai.client.inference.usage.output_tokens"),
                cache_read: counter("gen_ai.client.inference.usage.cache_read.input_tokens"),
                cache_write: counter("gen_ai.client.inference.usage.cache_write.input_tokens"),
                reasoning: counter("gen_ai.client.inference.usage.reasoning.output_tokens"),
                each_input: histogram("gen_ai.client.inference.operation.input_tokens"),
                each_output: histogram("gen_ai.client.inference.operation.output_tokens"),
            })),
            Names::V1_41 => Self::Old(histogram("gen_ai.client.token.usage")),
        }
    }

    /// `error` is what went wrong, for those measurements that say so.
    fn record(&self, usage: &Usage, call: &[KeyValue], error: Option<&KeyValue>) {
        match self {
            Self::Current(tokens) => {
                // No provider here tells the modalities apart.
                let mut modal = call.to_vec();
                modal.push(KeyValue::new("gen_ai.token.modality", "unknown"));
                for (counter, count) in [
                    (&tokens.input, usage.input_tokens),
                    (&tokens.output, usage.output_tokens),
                    (&tokens.cache_read, usage.cache_read_tokens),
                    (&tokens.cache_write, usage.cache_write_tokens),
                    (&tokens.reasoning, usage.reasoning_tokens),
                ] {
                    counter.add(count.unwrap_or(0), &modal);
                }
                let each: Vec<KeyValue> = call.iter().chain(error).cloned().collect();
                tokens
                    .each_input
                    .record(usage.input_tokens.unwrap_or(0), &each);
                tokens
                    .each_output
                    .record(usage.output_tokens.unwrap_or(0), &each);
            }
            Self::Old(histogram) => {
                for (sort, count) in [
                    ("input", usage.input_tokens),
                    ("output", usage.output_tokens),
                ] {
                    let Some(count) = count else { continue };
                    let mut typed = call.to_vec();
                    typed.push(KeyValue::new("gen_ai.token.type", sort));
                    histogram.record(count, &typed);
                }
            }
        }
    }
}

impl Metrics {
    pub(crate) fn new(meter: &Meter, names: Names) -> Self {
        let seconds = |name: &'static str, bounds: &[f64]| {
            let made = meter.f64_histogram(name).with_unit("s");
            made.with_boundaries(bounds.to_vec()).build()
        };
        let calls = |name: &'static str, unit: &'static str| {
            let made = meter.u64_histogram(name).with_unit(unit);
            made.with_boundaries(CALLS.to_vec()).build()
        };
        let counter = |name: &'static str, unit: &'static str| {
            meter.u64_counter(name).with_unit(unit).build()
        };
        Self {
            names,
            inference_duration: seconds(names.inference_duration(), &CALL_SECONDS),
            first_chunk: seconds(names.time_to_first_chunk(), &CALL_SECONDS),
            tokens: Tokens::new(meter, names),
            tool_duration: seconds("gen_ai.execute_tool.duration", &CALL_SECONDS),
            mcp_duration: seconds("mcp.client.operation.duration", &REQUEST_SECONDS),
            run_duration: seconds("gen_ai.invoke_agent.duration", &RUN_SECONDS),
            model_calls: calls("gen_ai.invoke_agent.inference_calls", "{inference_call}"),
            tool_calls: calls("gen_ai.invoke_agent.tool_calls", "{tool_call}"),
            append_duration: seconds("seaworthy.log.append.duration", &CALL_SECONDS),
            records: counter("seaworthy.log.records", "{record}"),
            parked: counter("seaworthy.run.parked", "{run}"),
            stalled: counter("seaworthy.run.stalled", "{run}"),
        }
    }

    /// Measures what `fact` says.
    pub(crate) fn record(&self, fact: &Fact) {
        match fact {
            Fact::ModelCallEnded { .. } => self.model_call(fact),
            Fact::ToolCallEnded {
                tool,
                execution: Execution::First | Execution::Again,
                served_by,
                outcome,
                error,
                duration,
                ..
            } => {
                let mut attributes = vec![
                    text("gen_ai.tool.name", tool.as_str()),
                    text("gen_ai.tool.type", "function"),
                ];
                let error = tool_error(*outcome, error.as_deref());
                attributes.extend(error.map(|error| text("error.type", &error)));
                self.tool_duration
                    .record(duration.as_secs_f64(), &attributes);
                if let Some(by) = served_by {
                    // That it is a function is said of tools, not of requests.
                    attributes.retain(|attribute| attribute.key.as_str() != "gen_ai.tool.type");
                    attributes.push(text("gen_ai.operation.name", "execute_tool"));
                    attributes.extend(mcp_call(by.link));
                    self.mcp_duration
                        .record(duration.as_secs_f64(), &attributes);
                }
            }
            Fact::RunEnded {
                agent,
                status,
                error,
                model_calls,
                tool_calls,
                duration,
                ..
            } => {
                let agent = text("gen_ai.agent.name", agent);
                let only = std::slice::from_ref(&agent);
                self.model_calls.record((*model_calls).into(), only);
                self.tool_calls.record((*tool_calls).into(), only);
                let error = run_error(*status, error.as_deref());
                let error = error.map(|error| text("error.type", &error));
                let attributes: Vec<KeyValue> = std::iter::once(agent).chain(error).collect();
                self.run_duration
                    .record(duration.as_secs_f64(), &attributes);
            }
            Fact::RecordsAppended {
                records, duration, ..
            } => {
                self.records.add((*records).into(), &[]);
                self.append_duration.record(duration.as_secs_f64(), &[]);
            }
            Fact::RunParked { reason, .. } => {
                let reason = text("seaworthy.park.reason", reason.as_str());
                self.parked.add(1, &[reason]);
            }
            Fact::RunStalled { .. } => self.stalled.add(1, &[]),
            _ => {}
        }
    }

    fn model_call(&self, fact: &Fact) {
        let Fact::ModelCallEnded {
            provider: adapter,
            model,
            answered_by,
            usage,
            end,
            first_chunk,
            duration,
            ..
        } = fact
        else {
            return;
        };
        let mut call = vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.provider.name", provider(adapter)),
            text("gen_ai.request.model", model),
        ];
        if let Some(model) = answered_by {
            call.push(text("gen_ai.response.model", model));
        }
        let error = model_error(*end).map(|error| text("error.type", error));
        self.tokens.record(usage, &call, error.as_ref());
        if let Some(first) = first_chunk {
            self.first_chunk.record(first.as_secs_f64(), &call);
        }
        call.extend(error);
        self.inference_duration
            .record(duration.as_secs_f64(), &call);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Metrics({:?})", self.names)
    }
}
