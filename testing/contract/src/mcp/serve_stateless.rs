//! What a server does that begins without `initialize`: every request says who sends it, and stands alone.

use std::io::Write;

use serde_json::{Map, Value, json};

use super::script::{STATELESS_PROTOCOL, Seen};
use super::serve::{INVALID_PARAMS, METHOD_NOT_FOUND, Server, Stop};
use super::serve_extension::TASKS;

/// Where the protocol keeps what it says itself within `_meta`.
pub(super) const NAMESPACE: &str = "io.modelcontextprotocol/";
const UNSUPPORTED_VERSION: i64 = -32_022;

impl<W: Write> Server<W> {
    pub(super) fn is_stateless(&self) -> bool {
        self.script.protocol.as_deref() == Some(STATELESS_PROTOCOL)
    }

    /// Answers what servers of other versions do not know, and refuses what they do and this one does not. Whether that was
    /// all.
    pub(super) fn stands_alone(
        &mut self,
        method: &str,
        id: &Value,
        params: &Value,
    ) -> Result<bool, Stop> {
        let said = |name: &str| params.get("_meta")?.get(format!("{NAMESPACE}{name}"));
        if method == "initialize"
            || said("protocolVersion").is_some_and(|said| said != STATELESS_PROTOCOL)
        {
            self.send(json!({"id": id, "error": {
                "code": UNSUPPORTED_VERSION,
                "message": "begin without it",
                "data": {"supported": [STATELESS_PROTOCOL]},
            }}))?;
            return Ok(true);
        }
        let Some(takes) = said("clientCapabilities").filter(|_| said("protocolVersion").is_some())
        else {
            self.refuse(id, INVALID_PARAMS, "it does not say who sends it")?;
            return Ok(true);
        };
        self.may_ask = ["elicitation", "sampling", "roots"].map(|kind| takes.get(kind).is_some());
        // Requests stand alone, so the level goes with each that may have the server say something.
        if method == "tools/call"
            && let Some(level) = said("logLevel").and_then(Value::as_str)
        {
            self.note(&Seen::LogLevel(level.to_owned()))?;
        }
        match method {
            "server/discover" => {
                let result = self.discovered();
                self.answer(id, result)?;
            }
            "subscriptions/listen" => self.listens(id, params)?,
            "ping" | "tasks/result" => {
                self.refuse(id, METHOD_NOT_FOUND, "there is no such method")?;
            }
            "tasks/get" | "tasks/update" | "tasks/cancel" => {
                self.about_kept(method, id, params)?;
            }
            "tools/call" => {
                let name = params.get("name").and_then(Value::as_str);
                return self.goes_on(id, name.unwrap_or_default(), params);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn discovered(&self) -> Value {
        let mut result = self.initialized(STATELESS_PROTOCOL);
        if let Some(said) = result.as_object_mut() {
            said.remove("protocolVersion");
            let who = said.remove("serverInfo").unwrap_or_default();
            said.insert(
                "_meta".to_owned(),
                json!({format!("{NAMESPACE}serverInfo"): who}),
            );
            said.insert("supportedVersions".to_owned(), json!([STATELESS_PROTOCOL]));
            if let Some(capabilities) = said.get_mut("capabilities").and_then(Value::as_object_mut)
                && capabilities.remove("tasks").is_some()
            {
                capabilities.insert("extensions".to_owned(), json!({TASKS: {}}));
            }
        }
        result
    }

    /// Says what it will tell, and leaves the request open.
    fn listens(&mut self, id: &Value, params: &Value) -> Result<(), Stop> {
        let wanted = params.pointer("/notifications/toolsListChanged");
        let told: Map<String, Value> = wanted
            .map(|wanted| ("toolsListChanged".to_owned(), wanted.clone()))
            .into_iter()
            .collect();
        self.listeners.push(id.clone());
        self.send(json!({
            "method": "notifications/subscriptions/acknowledged",
            "params": {"_meta": about(id), "notifications": told},
        }))
    }

    /// Tells everybody who listens that the tools have changed.
    pub(super) fn tell_of_tools(&mut self) -> Result<(), Stop> {
        const METHOD: &str = "notifications/tools/list_changed";
        if !self.is_stateless() {
            return self.send(json!({"method": METHOD}));
        }
        for id in self.listeners.clone() {
            self.send(json!({"method": METHOD, "params": {"_meta": about(&id)}}))?;
        }
        Ok(())
    }
}

fn about(subscription: &Value) -> Value {
    json!({format!("{NAMESPACE}subscriptionId"): subscription})
}

/// A result as this version writes it. Its lists are good for no time: whoever listens is told of changes.
pub(super) fn whole(mut result: Value) -> Value {
    if let Some(result) = result.as_object_mut() {
        let kind = result.entry("resultType").or_insert("complete".into());
        if kind == "complete" {
            // That of a task is another.
            result.entry("ttlMs").or_insert(0.into());
            result.insert("cacheScope".to_owned(), "private".into());
        }
    }
    result
}
