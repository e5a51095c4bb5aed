//! The process's environment, read once and nowhere else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use seaworthy::Secrets;
use seaworthy::mcp::TokenFolder;
use seaworthy::ports::mcp::OAuthTokenStore;
use seaworthy::ports::{Secret, TraceContext};

/// What commands of tools get of it: never a key.
const FOR_COMMANDS: [&str; 4] = ["PATH", "HOME", "LANG", "LC_ALL"];

/// What the environment says of traces and metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) endpoint: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) content: Option<String>,
    pub(crate) names: Option<String>,
    pub(crate) is_disabled: bool,
}

/// What this program takes from its environment.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) anthropic_api_key: Option<Secret>,
    pub(crate) anthropic_base_url: Option<String>,
    pub(crate) gemini_api_key: Option<Secret>,
    pub(crate) gemini_base_url: Option<String>,
    pub(crate) ollama_api_key: Option<Secret>,
    pub(crate) ollama_base_url: Option<String>,
    pub(crate) openai_api_key: Option<Secret>,
    pub(crate) openai_base_url: Option<String>,
    pub(crate) telemetry: Telemetry,
    /// The span that new runs are a part of.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) no_color: bool,
    pub(crate) log_filter: Option<String>,
    /// Who answers approvals here, for the record.
    pub(crate) user: String,
    /// Where runs are kept unless the command line says so.
    pub(crate) store: Option<String>,
    /// Where a database server's large data are kept unless the command line says so.
    pub(crate) data: Option<PathBuf>,
    /// Where programs keep what is this user's.
    pub(crate) data_home: Option<PathBuf>,
    /// What makes runs advance, where it is not the store.
    pub(crate) runtime: Option<String>,
    /// Whether the command line said it, so that every further command has to.
    pub(crate) is_runtime_typed: bool,
    /// For a Restate server that asks for it.
    pub(crate) restate_token: Option<Secret>,
    pub(crate) for_commands: BTreeMap<String, String>,
}

/// Credentials that a descriptor names are variables of the environment, looked up when they are needed.
#[derive(Clone, Debug)]
pub(crate) struct EnvironmentSecrets {
    /// Where tokens of authorisation servers are kept; `None`: this user has no home.
    tokens: Option<TokenFolder>,
}

impl Secrets for EnvironmentSecrets {
    fn find(&self, name: &str) -> Option<Secret> {
        let value = std::env::var(name).ok();
        value.filter(|value| !value.is_empty()).map(Secret::new)
    }

    fn tokens(&self, name: &str) -> Option<Arc<dyn OAuthTokenStore>> {
        let tokens = self.tokens.as_ref()?.tokens(name);
        Some(Arc::new(tokens))
    }
}

impl Environment {
    /// What is kept for descriptors that name it.
    pub(crate) fn secrets(&self) -> EnvironmentSecrets {
        EnvironmentSecrets {
            tokens: self.token_folder(),
        }
    }

    /// Where tokens of authorisation servers are kept.
    pub(crate) fn token_folder(&self) -> Option<TokenFolder> {
        let home = self.data_home.as_ref()?;
        Some(TokenFolder::new(home.join("seaworthy").join("mcp-tokens")))
    }

    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            anthropic_api_key: text("ANTHROPIC_API_KEY").map(Secret::new),
            anthropic_base_url: text("ANTHROPIC_BASE_URL"),
            gemini_api_key: text("GEMINI_API_KEY").map(Secret::new),
            gemini_base_url: text("GEMINI_BASE_URL"),
            ollama_api_key: text("OLLAMA_API_KEY").map(Secret::new),
            ollama_base_url: text("OLLAMA_BASE_URL"),
            openai_api_key: text("OPENAI_API_KEY").map(Secret::new),
            openai_base_url: text("OPENAI_BASE_URL"),
            telemetry: Telemetry {
                endpoint: text("OTEL_EXPORTER_OTLP_ENDPOINT"),
                service: text("OTEL_SERVICE_NAME"),
                content: text("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"),
                names: text("SEAWORTHY_OTEL_GENAI"),
                is_disabled: text("OTEL_SDK_DISABLED")
                    .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            },
            // One that cannot be read is none, as its standard wants it.
            trace: text("TRACEPARENT").and_then(|parent| {
                TraceContext::parse(&parent, text("TRACESTATE").as_deref()).ok()
            }),
            no_color: text("NO_COLOR").is_some() || text("TERM").as_deref() == Some("dumb"),
            log_filter: text("SEAWORTHY_LOG"),
            user: text("USER")
                .or_else(|| text("LOGNAME"))
                .unwrap_or_else(|| "cli".to_owned()),
            store: text("SEAWORTHY_STORE"),
            data: text("SEAWORTHY_DATA").map(PathBuf::from),
            data_home: text("XDG_DATA_HOME")
                .map(PathBuf::from)
                .filter(|folder| folder.is_absolute())
                .or_else(|| text("HOME").map(|home| PathBuf::from(home).join(".local/share"))),
            runtime: text("SEAWORTHY_RUNTIME"),
            is_runtime_typed: false,
            restate_token: text("RESTATE_AUTH_TOKEN").map(Secret::new),
            for_commands: FOR_COMMANDS
                .iter()
                .filter_map(|name| text(name).map(|value| ((*name).to_owned(), value)))
                .collect(),
        }
    }
}

/// The secret in a variable that was named on the command line; `None`: there is none.
pub(crate) fn secret(variable: &str) -> Option<Secret> {
    std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty())
        .map(Secret::new)
}
