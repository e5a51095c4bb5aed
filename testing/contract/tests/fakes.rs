//! The contract suites on the doubles that claim to keep a contract.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod in_process;

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{clock as cl, entropy as en, mcp as mc, observer as ob};
use seaworthy_fakes::{FakeClock, FakeMcp, SeededEntropy, SilentObserver};
use seaworthy_ports::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::entropy::Entropy;
use seaworthy_ports::mcp::{Mcp, Transport};
use seaworthy_ports::observer::Observer;

struct Time(FakeClock);

#[async_trait]
impl cl::Harness for Time {
    async fn start() -> Self {
        Self(FakeClock::new())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.0.clone())
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

seaworthy_contract::clock_contract! { harness: Time }

struct Chance;

#[async_trait]
impl en::Harness for Chance {
    async fn start() -> Self {
        Self
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::new(SeededEntropy::new(7))
    }
}

seaworthy_contract::entropy_contract! {
    harness: Chance,
    not_checkable: {
        no_value_repeats_between_sources: "two sources of one seed are meant to be the same",
    }
}

struct Servers(FakeMcp);

#[async_trait]
impl mc::Harness for Servers {
    async fn start() -> Self {
        Self(in_process::adapter())
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(self.0.clone())
    }

    async fn server(&self, script: &mc::Script, journal: &mc::Journal) -> Option<Transport> {
        in_process::play(&self.0, script, journal)
    }
}

seaworthy_contract::mcp_contract! {
    harness: Servers,
    not_checkable: {
        a_process_that_ignores_its_end_is_killed: "its servers are no processes",
        a_dropped_close_kills_all_the_same: "its servers are no processes",
        a_process_that_a_server_started_goes_with_it: "its servers are no processes",
        a_confined_server_ends_with_its_sandbox_session: "its servers are no processes",
        a_killed_worker_leaves_no_confined_server: "its servers are no processes",
        a_server_that_complains_is_neither_stalled_nor_quoted: "its servers have no standard error",
    }
}

struct Silence;

#[async_trait]
impl ob::Harness for Silence {
    async fn start() -> Self {
        Self
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(SilentObserver)
    }
}

seaworthy_contract::observer_contract! {
    harness: Silence,
    not_checkable: {
        a_lost_backend_costs_facts_that_are_counted: "it has no backend",
        a_backend_that_is_held_up_holds_nobody_up: "it has no backend",
        the_facts_of_a_run_come_out_in_their_order: "nothing comes out of it",
        content_that_was_not_asked_for_is_not_passed_on: "nothing comes out of it",
        nothing_is_added_to_a_fact: "nothing comes out of it",
    }
}
