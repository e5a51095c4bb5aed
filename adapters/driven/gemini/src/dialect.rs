//! How the provider is spoken to.

use reqwest::header::HeaderName;
use seaworthy_http::client::{Connection, Settings};
use seaworthy_http::counting::Counting;
use seaworthy_http::directory::Listing;
use seaworthy_http::headers::Names;
use seaworthy_http::vectors::{Embedding, Scoring};
use seaworthy_http::{Caps, Complaint, Dialect, Form, Outgoing, Reader};
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::model_provider::{ModelCapabilities, ModelError, ModelRequest};
use serde_json::Value;

use crate::answer::Answer;
use crate::config::GeminiConfig;
use crate::error::{ADAPTER, complaint};
use crate::request::{body, named};

impl Dialect for GeminiConfig {
    fn settings(&self) -> Settings<'_> {
        Settings {
            about: AdapterInfo {
                id: ADAPTER,
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
            },
            form: Form::Events,
            names: Names::NONE,
            base_url: &self.base_url,
            key: Some(&self.api_key),
            key_header: (HeaderName::from_static("x-goog-api-key"), ""),
            headers: &[],
            connect_timeout: self.connect_timeout,
            caps: Caps::new(self.max_event_bytes, self.max_stream_bytes),
        }
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let capabilities = ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
            .with_forced_calls()
            .with_vision_input()
            .with_audio_input()
            .with_file_input();
        if signs_calls(model) {
            // The same generation is the first that keeps to a schema beside tools.
            capabilities.with_signed_calls().with_schema_with_tools()
        } else {
            capabilities
        }
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError> {
        let path = format!("{}:streamGenerateContent", named(&request.model));
        let segments: Vec<&str> = path.split('/').collect();
        let mut url = connection.url(&segments);
        url.query_pairs_mut().append_pair("alt", "sse");
        Ok(Outgoing {
            url,
            body: body(request, self)?,
        })
    }

    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint {
        complaint(body, status)
    }

    fn reader(&self, _request: &ModelRequest) -> Box<dyn Reader> {
        Box::new(Answer::default())
    }

    fn embedding(&self) -> Option<&dyn Embedding> {
        Some(self)
    }

    fn scoring(&self) -> Option<&dyn Scoring> {
        None
    }

    fn counting(&self) -> Option<&dyn Counting> {
        Some(self)
    }

    fn listing(&self) -> Option<&dyn Listing> {
        Some(self)
    }
}

/// Whether the model refuses a call without its signature, as all do from the third generation on.
pub(crate) fn signs_calls(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let is_old = ["gemini-1", "gemini-2"]
        .iter()
        .any(|old| name.starts_with(old));
    name.starts_with("gemini-") && !is_old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_sign_their_calls_from_the_third_generation_on() {
        for (model, signs) in [
            ("gemini-3-pro-preview", true),
            ("models/gemini-3-flash", true),
            ("gemini-flash-latest", true),
            ("gemini-2.5-flash", false),
            ("models/gemini-1.5-pro", false),
            ("tunedModels/mine", false),
            ("gemma-3-27b-it", false),
        ] {
            assert_eq!(signs_calls(model), signs, "{model}");
        }
    }
}
