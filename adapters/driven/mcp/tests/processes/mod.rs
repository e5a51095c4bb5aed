//! The contract suite on servers that are processes, whichever way they begin.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{mcp as mc, process};
use seaworthy_mcp::{McpClient, McpConfig};
use seaworthy_ports::async_trait;
use seaworthy_ports::mcp::Mcp;

/// Long enough for a server that goes when it is asked to, on a busy machine; no scenario demands that one is.
const GRACE: Duration = Duration::from_millis(300);

/// Servers that begin without `initialize`, or with it.
pub(crate) struct Servers<const STATELESS: bool>;

#[async_trait]
impl<const STATELESS: bool> mc::Harness for Servers<STATELESS> {
    async fn start() -> Self {
        Self
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(McpClient::new(McpConfig::default().with_grace(GRACE)))
    }

    fn protocol(&self) -> &'static str {
        if STATELESS {
            mc::STATELESS_PROTOCOL
        } else {
            mc::NEWEST_PROTOCOL
        }
    }

    fn server_process(&self) -> Option<Command> {
        process::this_test("a_server_of_a_scenario", "")
    }
}

/// The suite, with what cannot be tried on processes, and the server of its scenarios.
macro_rules! suite {
    ($harness:ty) => {
        seaworthy_contract::mcp_contract! {
            harness: $harness,
            not_checkable: {
                an_expired_token_is_refreshed_once_and_the_call_made_once: "processes are shown no tokens",
                a_token_that_refreshing_does_not_help_is_an_authentication_error: "processes are shown no tokens",
                calls_at_once_get_new_tokens_once: "processes are shown no tokens",
                a_refresh_token_that_is_replaced_is_not_used_again: "processes are shown no tokens",
                tokens_that_another_process_got_are_taken: "processes are shown no tokens",
                new_tokens_are_used_when_they_are_kept: "processes are shown no tokens",
                a_grant_that_is_refused_is_not_tried_again: "processes are shown no tokens",
                a_client_gets_tokens_for_itself: "processes are shown no tokens",
                a_lost_session_is_begun_again_and_the_call_made_once: "processes have no sessions to lose",
                a_session_that_is_lost_again_is_unavailable: "processes have no sessions to lose",
                a_confined_server_ends_with_its_sandbox_session: "the sandbox has the list of its own (seaworthy-process)",
                a_killed_worker_leaves_no_confined_server: "the sandbox has the list of its own (seaworthy-process)",
            }
        }

        #[test]
        #[ignore = "scenarios start it in a process of its own"]
        fn a_server_of_a_scenario() -> seaworthy_contract::Outcome {
            seaworthy_contract::mcp::serve()
        }
    };
}
