//! The client side of the protocol's public conformance suite: each scenario is a server that watches what the adapter
//! does. docs/mcp-conformance.md lists them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_mcp::{McpClient, McpConfig, TokenFolder};
use seaworthy_ports::mcp::{
    Authorization, Beginning, Elicitation, Elicited, Endpoint, Mcp as _, McpCall, McpError,
    McpHost, McpServer, OAuth, OAuthGrant, OAuthPerson, OAuthProof, Sampled, Sampling, Transport,
};
use seaworthy_ports::{Latch, Secret, ServerAlias, async_trait};
use seaworthy_servers::conformance::{self, Expected, Side};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The suite itself ends a client after thirty seconds.
const LONG: Duration = Duration::from_secs(25);

/// The protocol version that begins without `initialize`.
const STATELESS: &str = "2026-07-28";

/// What a client is called that describes itself in a document. The suite takes this one for it.
const DOCUMENT: &str = "https://conformance-test.local/client-metadata.json";

/// One test for each scenario.
macro_rules! scenarios {
    ($($test:ident: $scenario:literal => $expected:ident;)*) => {
        const SCENARIOS: &[(&str, Expected)] = &[$(($scenario, Expected::$expected)),*];

        $(
            #[test]
            #[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
            fn $test() {
                conformance::client($scenario, &client()).must_be(Expected::$expected);
            }
        )*
    };
}

scenarios! {
    initialize: "initialize" => Passes;
    tools_call: "tools_call" => Passes;
    elicitation_sep1034_client_defaults: "elicitation-sep1034-client-defaults" => Passes;
    sse_retry: "sse-retry" => Passes;
    auth_metadata_default: "auth/metadata-default" => Passes;
    auth_metadata_var1: "auth/metadata-var1" => Passes;
    auth_metadata_var2: "auth/metadata-var2" => Passes;
    auth_metadata_var3: "auth/metadata-var3" => Passes;
    auth_basic_cimd: "auth/basic-cimd" => Passes;
    auth_scope_from_www_authenticate: "auth/scope-from-www-authenticate" => Passes;
    auth_scope_from_scopes_supported: "auth/scope-from-scopes-supported" => Passes;
    auth_scope_omitted_when_undefined: "auth/scope-omitted-when-undefined" => Passes;
    auth_scope_step_up: "auth/scope-step-up" => Passes;
    auth_scope_retry_limit: "auth/scope-retry-limit" => Passes;
    auth_token_endpoint_auth_basic: "auth/token-endpoint-auth-basic" => Passes;
    auth_token_endpoint_auth_post: "auth/token-endpoint-auth-post" => Passes;
    auth_token_endpoint_auth_none: "auth/token-endpoint-auth-none" => Passes;
    auth_pre_registration: "auth/pre-registration" => Passes;
    auth_2025_03_26_oauth_metadata_backcompat: "auth/2025-03-26-oauth-metadata-backcompat" => Passes;
    auth_2025_03_26_oauth_endpoint_fallback: "auth/2025-03-26-oauth-endpoint-fallback" => NotApplicable;
    auth_resource_mismatch: "auth/resource-mismatch" => Passes;
    auth_offline_access_scope: "auth/offline-access-scope" => Passes;
    auth_offline_access_not_supported: "auth/offline-access-not-supported" => Passes;
    auth_client_credentials_jwt: "auth/client-credentials-jwt" => Passes;
    auth_client_credentials_basic: "auth/client-credentials-basic" => Passes;
    auth_cross_app_access_complete_flow: "auth/cross-app-access-complete-flow" => NotApplicable;
}

#[test]
#[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
fn every_client_scenario_of_the_suite_is_tried_and_on_the_page() {
    conformance::check(Side::Client, SCENARIOS);
}

/// The same for the protocol version 2026-07-28, on which no release of the suite says anything yet.
macro_rules! at_the_next_version {
    ($($test:ident: $scenario:literal => $expected:ident;)*) => {
        $(
            #[test]
            #[cfg_attr(not(has_mcp_next), ignore = "SEAWORTHY_TEST_MCP_NEXT names no tools")]
            fn $test() {
                let tried = conformance::client_at("2026-07-28", $scenario, &client());
                tried.must_be(Expected::$expected);
            }
        )*
    };
}

at_the_next_version! {
    next_tools_call: "tools_call" => Passes;
    next_request_metadata: "request-metadata" => Passes;
    next_client_request_state: "sep-2322-client-request-state" => Passes;
    next_http_standard_headers: "http-standard-headers" => Passes;
    // One of its two calls has arguments that do not fit the schema of the tool, and so are not sent.
    next_http_custom_headers: "http-custom-headers" => NotApplicable;
    next_http_invalid_tool_headers: "http-invalid-tool-headers" => Passes;
    next_json_schema_ref_no_deref: "json-schema-ref-no-deref" => Passes;
}

/// The command that is this program as the suite's client. The suite has a shell run it, with an address behind it.
fn client() -> String {
    let this = std::env::current_exe().unwrap();
    let this = this.to_str().unwrap().replace('\'', r"'\''");
    format!("'{this}' --exact --ignored --nocapture a_client_of_a_scenario")
}

#[tokio::test]
#[ignore = "the suite starts it in a process of its own"]
async fn a_client_of_a_scenario() {
    let Ok(scenario) = std::env::var("MCP_CONFORMANCE_SCENARIO") else {
        return;
    };
    let url = std::env::args().next_back().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let session = McpClient::new(McpConfig::default())
        .connect(McpServer {
            alias: ServerAlias::new("suite").unwrap(),
            transport: Transport::StreamableHttp(Endpoint {
                url,
                authorization: authorization(&scenario, folder.path()),
                headers: BTreeMap::new(),
            }),
            connect_timeout: LONG,
            request_timeout: LONG,
            host: Some(Arc::new(Agrees)),
            roots: Vec::new(),
            log: None,
            beginning: beginning(),
        })
        .await
        .unwrap();
    let tools = session.tools().await.unwrap();
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context: Value = serde_json::from_str(&context).unwrap_or_default();
    let wanted = context.get("toolCalls").and_then(Value::as_array);
    let calls: Vec<(String, Value)> = match wanted {
        Some(wanted) => wanted
            .iter()
            .map(|call| {
                (
                    text(call, "name"),
                    call.get("arguments").cloned().unwrap_or_default(),
                )
            })
            .collect(),
        // Servers that have tools and say nothing more want each called.
        None => tools
            .iter()
            .map(|tool| (tool.remote.clone(), arguments(&tool.input_schema)))
            .collect(),
    };
    for (tool, arguments) in calls {
        let call = McpCall {
            tool,
            arguments,
            meta: BTreeMap::new(),
            timeout: LONG,
            cancel: Latch::never(),
            on_progress: None,
        };
        let made = session.call(call).await;
        // Some scenarios of this version have tools that are not to be called, or not like this.
        if beginning() != Beginning::Stateless {
            made.unwrap();
        }
    }
    if session.server().protocol == STATELESS {
        for resource in session.resources().await.unwrap().iter() {
            session.read_resource(&resource.uri).await.unwrap();
        }
        for prompt in session.prompts().await.unwrap().iter() {
            session.prompt(&prompt.name, BTreeMap::new()).await.unwrap();
        }
    }
    session.close().await.unwrap();
}

fn text(value: &Value, name: &str) -> String {
    let text = value.get(name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// How the suite wants a connection to begin.
fn beginning() -> Beginning {
    match std::env::var("MCP_CONFORMANCE_PROTOCOL_VERSION") {
        Ok(version) if version == STATELESS => Beginning::Stateless,
        _ => Beginning::Automatic,
    }
}

/// Who calls. The suite tells what a client has to know beforehand in `MCP_CONFORMANCE_CONTEXT`.
fn authorization(scenario: &str, folder: &Path) -> Authorization {
    if !scenario.starts_with("auth/") {
        return Authorization::None;
    }
    let context = std::env::var("MCP_CONFORMANCE_CONTEXT").unwrap_or_default();
    let context: Value = serde_json::from_str(&context).unwrap_or_default();
    let told = |key: &str| context.get(key)?.as_str().map(str::to_owned);
    let proof = match (told("client_secret"), told("private_key_pem")) {
        (Some(secret), _) => OAuthProof::Secret(Secret::new(secret)),
        (None, Some(key)) => OAuthProof::PrivateKey(Secret::new(key)),
        (None, None) => OAuthProof::None,
    };
    let grant = if scenario.contains("client-credentials") {
        OAuthGrant::ClientCredentials
    } else {
        OAuthGrant::AuthorizationCode
    };
    Authorization::OAuth(OAuth {
        client_id: told("client_id").or_else(|| Some(DOCUMENT.to_owned())),
        proof,
        issuer: None,
        scopes: Vec::new(),
        grant,
        tokens: Arc::new(TokenFolder::new(folder).tokens(scenario)),
        person: Some(Arc::new(Agrees)),
    })
}

/// Arguments that fit the schemas of the suite: a number for each property that is no text.
fn arguments(schema: &Value) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let given = properties.into_iter().flatten().map(|(name, schema)| {
        let value = match schema.get("type").and_then(Value::as_str) {
            Some("string") => json!("2"),
            _ => json!(2),
        };
        (name.clone(), value)
    });
    given.collect()
}

/// Accepts each form as it stands, and lets every client in.
#[derive(Debug)]
struct Agrees;

#[async_trait]
impl McpHost for Agrees {
    async fn elicit(&self, question: Elicitation) -> Elicited {
        let properties = question.schema.get("properties");
        let properties = properties.and_then(Value::as_object).into_iter().flatten();
        let defaults: Map<String, Value> = properties
            .filter_map(|(name, schema)| Some((name.clone(), schema.get("default")?.clone())))
            .collect();
        Elicited::Accepted(defaults.into())
    }

    async fn sample(&self, _question: Sampling) -> Sampled {
        Sampled::Refused
    }
}

#[async_trait]
impl OAuthPerson for Agrees {
    fn redirect(&self) -> String {
        "http://127.0.0.1:8099/callback".to_owned()
    }

    /// Opens the address as a browser would, which is sent back at once.
    async fn ask(&self, address: &str) -> Result<Secret, McpError> {
        let rest = address.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap();
        let mut server = TcpStream::connect(host).await.unwrap();
        let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        server.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        server.read_to_string(&mut answer).await.unwrap();
        let sent_back = answer.lines().find_map(|line| {
            let (name, location) = line.split_once(": ")?;
            let (_callback, query) = location.split_once('?')?;
            name.eq_ignore_ascii_case("location")
                .then(|| Secret::new(query))
        });
        Ok(sent_back.unwrap())
    }
}
