//! The server side of the protocol's public conformance suite on `mcp serve`. docs/mcp-conformance.md lists the scenarios.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use seaworthy_servers::conformance::{self, Expected, Side};
use serde_json::Value;

use crate::support::{Place, agent, finish, script, signal};

/// A server over HTTP.
pub(crate) struct Listening {
    child: Child,
    pub(crate) url: String,
}

impl Listening {
    pub(crate) fn start(place: &Place, agents: &[&str]) -> Self {
        let args = [&["mcp", "serve"], agents, &["--http", "0", "--json"]].concat();
        let mut child = place.start(&args);
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let url = listening["url"].as_str().unwrap().to_owned();
        Self { child, url }
    }

    pub(crate) fn stop(self) {
        signal(&self.child, "TERM");
        let stopped = finish(self.child);
        assert_eq!(stopped.code, 0, "{stopped:?}");
    }
}

/// One test for each scenario.
macro_rules! scenarios {
    ($($test:ident: $scenario:literal => $expected:ident;)*) => {
        const SCENARIOS: &[(&str, Expected)] = &[$(($scenario, Expected::$expected)),*];

        $(
            #[test]
            #[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
            fn $test() {
                tried($scenario, Expected::$expected);
            }
        )*
    };
}

scenarios! {
    server_initialize: "server-initialize" => Passes;
    logging_set_level: "logging-set-level" => NotApplicable;
    ping: "ping" => Passes;
    completion_complete: "completion-complete" => Passes;
    tools_list: "tools-list" => Passes;
    tools_call_simple_text: "tools-call-simple-text" => NotApplicable;
    tools_call_image: "tools-call-image" => NotApplicable;
    tools_call_audio: "tools-call-audio" => NotApplicable;
    tools_call_embedded_resource: "tools-call-embedded-resource" => NotApplicable;
    tools_call_mixed_content: "tools-call-mixed-content" => NotApplicable;
    tools_call_with_logging: "tools-call-with-logging" => NotApplicable;
    tools_call_error: "tools-call-error" => Passes;
    tools_call_with_progress: "tools-call-with-progress" => NotApplicable;
    tools_call_sampling: "tools-call-sampling" => NotApplicable;
    tools_call_elicitation: "tools-call-elicitation" => NotApplicable;
    json_schema_2020_12: "json-schema-2020-12" => NotApplicable;
    elicitation_sep1034_defaults: "elicitation-sep1034-defaults" => NotApplicable;
    server_sse_polling: "server-sse-polling" => NothingToCheck;
    server_sse_multiple_streams: "server-sse-multiple-streams" => NothingToCheck;
    elicitation_sep1330_enums: "elicitation-sep1330-enums" => NotApplicable;
    resources_list: "resources-list" => Passes;
    resources_read_text: "resources-read-text" => NotApplicable;
    resources_read_binary: "resources-read-binary" => NotApplicable;
    resources_templates_read: "resources-templates-read" => NotApplicable;
    resources_subscribe: "resources-subscribe" => NotApplicable;
    resources_unsubscribe: "resources-unsubscribe" => NotApplicable;
    prompts_list: "prompts-list" => Passes;
    prompts_get_simple: "prompts-get-simple" => NotApplicable;
    prompts_get_with_args: "prompts-get-with-args" => NotApplicable;
    prompts_get_embedded_resource: "prompts-get-embedded-resource" => NotApplicable;
    prompts_get_with_image: "prompts-get-with-image" => NotApplicable;
    dns_rebinding_protection: "dns-rebinding-protection" => Passes;
}

#[test]
#[cfg_attr(not(has_mcp_tools), ignore = "SEAWORTHY_TEST_MCP_TOOLS names no tools")]
fn every_server_scenario_of_the_suite_is_tried_and_on_the_page() {
    conformance::check(Side::Server, SCENARIOS);
}

/// Serves two agents, one of them called like the tool that scenarios want to fail: called without an input, it does.
fn tried(scenario: &str, expected: Expected) {
    let place = Place::with_script(&script(&["note"]));
    place.write("failing.yaml", &agent("test_error_handling", 1));
    // Lists with something in them say more than empty ones.
    let done = place.run(&["run", "agent.yaml", "--run-id", "r1"]);
    assert_eq!(done.code, 0, "{done:?}");
    let server = Listening::start(&place, &["agent.yaml", "failing.yaml"]);
    let tried = conformance::server(scenario, &server.url);
    server.stop();
    tried.must_be(expected);
}
