//! A fact as an event.

use seaworthy_ports::observer::{Fact, ModelCallEnd, Span};
use tracing::Level;

/// How loud it is.
pub(crate) const fn level(fact: &Fact) -> Level {
    match fact {
        Fact::RunStalled { .. } => Level::WARN,
        Fact::ModelCallEnded { .. }
        | Fact::ToolCallEnded { .. }
        | Fact::AttemptEnded { .. }
        | Fact::RunEnded { .. } => Level::INFO,
        _ => Level::DEBUG,
    }
}

/// An event at the level of its fact, with the ids of its span.
macro_rules! of_span {
    ($level:ident, $span:expr, $($fields:tt)*) => {{
        let span: &Span = $span;
        tracing::$level!(
            target: "seaworthy",
            trace_id = %span.context.trace(),
            span_id = %span.context.span(),
            parent_id = span.parent.map(tracing::field::display),
            $($fields)*
        );
    }};
}

/// Hands `fact` to the subscriber.
pub(crate) fn emit(fact: &Fact) {
    match fact {
        Fact::AttemptStarted {
            run,
            attempt,
            worker,
            span,
        } => of_span!(debug, span, %run, attempt, %worker, "attempt started"),
        Fact::AttemptEnded {
            run,
            attempt,
            worker,
            end,
            span,
            duration,
        } => {
            of_span!(info, span, %run, attempt, %worker, end = end.as_str(), ?duration, "attempt ended");
        }
        Fact::ModelCallStarted {
            run,
            attempt,
            provider,
            model,
            span,
        } => {
            of_span!(debug, span, %run, attempt, provider = &**provider, model = &**model, "model call started");
        }
        Fact::ModelCallEnded {
            run,
            attempt,
            provider,
            model,
            asked,
            usage,
            end,
            span,
            first_chunk,
            duration,
            ..
        } => {
            let (finish, error) = match end {
                ModelCallEnd::Finished(reason) => (Some(reason), None),
                ModelCallEnd::Failed(kind) => (None, Some(kind)),
            };
            of_span!(
                info, span, %run, attempt, provider = &**provider, model = &**model,
                max_tokens = asked.max_output_tokens, temperature = asked.parameters.temperature,
                top_p = asked.parameters.top_p, seed = asked.parameters.seed,
                stop = (!asked.parameters.stop.is_empty()).then(|| tracing::field::debug(&asked.parameters.stop)),
                finish = finish.map(tracing::field::debug), error = error.map(tracing::field::display),
                input_tokens = usage.input_tokens, output_tokens = usage.output_tokens,
                first_chunk = first_chunk.map(tracing::field::debug), ?duration, "model call ended"
            );
        }
        Fact::ToolCallStarted {
            run,
            attempt,
            call,
            tool,
            side_effect,
            execution,
            span,
        } => {
            of_span!(
                debug, span, %run, attempt, %call, %tool, side_effect, execution = execution.as_str(),
                "tool call started"
            );
        }
        Fact::ToolCallEnded {
            run,
            attempt,
            call,
            tool,
            side_effect,
            execution,
            served_by,
            outcome,
            error,
            span,
            duration,
            ..
        } => {
            of_span!(
                info, span, %run, attempt, %call, %tool, side_effect, execution = execution.as_str(),
                server = served_by.as_ref().map(|by| tracing::field::display(&by.server)),
                outcome = outcome.as_str(), error = error.as_deref(), ?duration, "tool call ended"
            );
        }
        Fact::ServerLogged {
            run,
            server,
            level,
            bytes,
            dropped,
        } => {
            tracing::debug!(
                target: "seaworthy", %run, %server, level = level.as_str(), bytes, dropped, "server logged"
            );
        }
        Fact::RecordsAppended {
            run,
            head,
            records,
            bytes,
            duration,
        } => {
            tracing::debug!(
                target: "seaworthy", %run, head = head.0, records, bytes, ?duration, "records appended"
            );
        }
        Fact::RunParked { run, reason } => {
            tracing::debug!(target: "seaworthy", %run, reason = reason.as_str(), "run parked");
        }
        Fact::RunStalled { run, message } => {
            tracing::warn!(target: "seaworthy", %run, "the run cannot go on for now: {message}");
        }
        Fact::RunEnded {
            run,
            agent,
            attempts,
            status,
            error,
            usage,
            model_calls,
            tool_calls,
            span,
            duration,
            ..
        } => {
            of_span!(
                info, span, %run, agent = &**agent, attempts, status = status.as_str(), error = error.as_deref(),
                input_tokens = usage.input_tokens, output_tokens = usage.output_tokens, model_calls,
                tool_calls, ?duration, "run ended"
            );
        }
        _ => {}
    }
}
