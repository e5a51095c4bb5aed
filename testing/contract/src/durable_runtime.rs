//! The suite of [`DurableRuntime`].
//!
//! Time is moved by the harness; everything else is waited for by looking at what the runtime says. Whether something
//! does *not* happen is told by a *probe*: a run that is submitted afterwards and has been served.

mod delivery;
mod endings;
mod journal;
mod leases;
mod limits;
mod paused;
mod processes;
mod signals;
mod stage;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_ports::Timestamp;
use seaworthy_ports::durable_runtime::DurableRuntime;

use crate::Adapter;

pub use delivery::*;
pub use endings::*;
pub use leases::*;
pub use limits::*;
pub use processes::*;
pub use signals::*;

/// Makes a runtime for a scenario, and lets its time pass. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An empty runtime.
    async fn start() -> Self;

    /// The runtime. Workers of a scenario serve from it.
    fn runtime(&self) -> Arc<dyn DurableRuntime>;

    /// The time on the runtime's clock.
    fn now(&self) -> Timestamp;

    /// Lets exactly `by` pass on the runtime's clock where it can be moved; else waits for at least that long.
    async fn advance(&self, by: Duration);

    /// How long leases of the suite's workers live. A harness that has to wait for time makes them short.
    fn lease(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Another handle on the same runtime that shares no notifications with the first, as another process would have.
    /// `None`: there is no such thing.
    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        None
    }

    /// Drops all that the process knows without closing anything in order, and opens the same runtime again. `None`:
    /// nothing would survive.
    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        None
    }

    /// Holds up all that the runtime writes, as the lock of another process or a pool without a free connection would,
    /// until what it returns is dropped. `None`: nothing holds it up.
    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        None
    }

    /// A handle of a worker whose own clock is off: fast, or slow. `None`: workers have no clock of their own.
    async fn handle_with_clock_off(
        &self,
        by: Duration,
        fast: bool,
    ) -> Option<Arc<dyn DurableRuntime>> {
        let _no_clock = (by, fast);
        None
    }

    /// A handle on the same runtime that goes by this machine's time, as [other processes](Self::another_process) do.
    /// `None`: other processes cannot reach it.
    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        None
    }

    /// A process that calls [`work`] on the same runtime. `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let runtime = harness.runtime();
    Adapter::new(runtime.info()).declaring(runtime.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __durable_runtime_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "DR-1" submitting_fifty_times_at_once_makes_one_run
            "DR-1" a_run_is_not_delivered_before_its_due_time
            "DR-2" sixteen_workers_have_one_live_turn_of_a_run
            "DR-2" two_runs_of_a_session_are_never_live_together
            "DR-2" a_worker_takes_runs_of_its_scope_alone
            "DR-3" a_turn_of_ten_lease_times_keeps_its_lease
            "DR-3" a_claim_that_had_to_wait_gets_a_full_lease
            "DR-4" a_worker_that_died_is_replaced_within_lease_and_poll
            "DR-4" a_hundred_leased_runs_are_delivered_again_after_reopening
            "DR-4" the_session_of_a_paused_worker_is_free_when_its_lease_is_over
            "DR-4" a_worker_that_cannot_renew_sees_that_its_lease_is_gone
            "DR-4" a_worker_paused_past_its_lease_sees_it_and_changes_nothing
            "DR-5" signals_are_delivered_in_order_until_they_are_consumed
            "DR-5" a_signal_is_accepted_once_even_after_it_was_consumed
            "DR-5" a_signal_during_a_turn_comes_by_mail_or_with_the_next_delivery
            "DR-5" no_signal_is_stranded_by_a_turn_that_parks
            "DR-5" a_signal_that_a_turn_saw_and_left_does_not_wake_it_again
            "DR-5" a_signal_of_exactly_the_limit_is_taken_and_a_larger_one_is_not
            "DR-5" an_accepted_signal_survives_reopening
            "DR-6" a_signal_to_nobody_is_refused_and_leaves_nothing
            "DR-7" a_parked_run_wakes_at_its_time_and_not_before
            "DR-7" a_signal_wakes_a_parked_run
            "DR-7" overdue_wakes_happen_once_each_after_a_downtime
            "DR-7" a_wake_and_a_signal_at_once_make_one_turn
            "DR-8" a_run_that_is_done_is_never_delivered_again
            "DR-8" a_run_that_comes_again_does_not_come_before_its_time
            "DR-9" a_turn_that_panics_comes_again_later_and_stops_nobody
            "DR-10" stopping_starts_no_turn_ends_live_ones_and_frees_their_leases
            "DR-11" work_given_through_another_handle_is_found_at_the_next_poll
            "DR-12" clocks_of_workers_that_are_off_change_nothing
            "DR-13" a_thousand_runs_over_sixteen_workers_are_each_delivered_once
            "DR-13" the_oldest_due_run_comes_first
            "DR-14" a_killed_process_is_replaced_by_another
            "DR-14" a_process_stopped_past_its_lease_sees_it_and_changes_nothing
            "DR-14" processes_killed_and_stopped_at_random_serve_every_run
            "DR-15" a_forgotten_run_leaves_nothing_and_may_be_submitted_again
            "DR-15" a_turn_of_a_forgotten_run_changes_nothing_in_its_next_life
            "DR-16" a_finished_run_that_is_resubmitted_is_due_and_remembers_its_signals
            "DR-16" resubmitting_changes_nothing_of_a_run_that_is_not_finished
            "DR-17" a_queue_has_no_more_live_turns_than_its_limit
            "DR-17" a_full_queue_holds_up_no_other
            "DR-17" every_scope_keeps_to_the_limit
            "DR-17" a_limit_can_be_lowered_raised_and_lifted
            "DR-17" a_paused_worker_fills_no_queue_when_its_lease_is_over
            "DR-17" a_limit_survives_reopening
            "DR-17" only_so_many_queues_may_have_a_limit
        ] }
    };
}

crate::__durable_runtime_scenarios! { __runner durable_runtime }

/// Makes one test of each scenario of the `DurableRuntime` suite. With `profile: one_thread` (or another of
/// [`profile`](crate::profile)) they are in a module of that name and run as it says. With
/// `each: [#[…]]` every test has these attributes: `cfg_attr(not(has_server), ignore = "…")` is how tests without their
/// server are ignored.
#[macro_export]
macro_rules! durable_runtime_contract {
    (harness: $harness:ty, profile: $profile:ident $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::durable_runtime_contract! {
            harness: $harness, each: [], profile: $profile $(, not_checkable: $excluded)?
        }
    };
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::durable_runtime_contract! { harness: $harness, each: [] $(, not_checkable: $excluded)? }
    };
    (harness: $harness:ty, each: $each:tt, profile: $profile:ident $(, not_checkable: $excluded:tt)? $(,)?) => {
        mod $profile {
            use super::*;

            $crate::__durable_runtime_scenarios! {
                __tests @on $profile $each ($) durable_runtime, $harness, $($excluded)?
            }
        }
    };
    (harness: $harness:ty, each: $each:tt $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__durable_runtime_scenarios! { __tests @on two_threads $each ($) durable_runtime, $harness, $($excluded)? }
    };
}
