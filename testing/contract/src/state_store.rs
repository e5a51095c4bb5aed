//! The suite of [`StateStore`].

mod appends;
mod deletion;
mod documents;
mod faults;
mod handles;
mod histories;
mod labels;
mod leaning;
mod linear;
mod model;
mod processes;
mod reading;
mod stalls;
mod versions;

use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Head, Labels, Record, Seq, StateStore, StateStoreError,
};
use seaworthy_ports::{AppendId, LogId, LogKind, LogName};

use crate::Adapter;
use crate::outcome::{Halt, id, ok};

pub use appends::*;
pub use deletion::*;
pub use documents::*;
pub use handles::*;
pub use histories::*;
pub use labels::*;
pub use model::*;
pub use processes::*;
pub use reading::*;
pub use stalls::*;
pub use versions::*;

/// What opening a store comes to.
pub type Opened = Result<Arc<dyn StateStore>, StateStoreError>;

/// Makes a store for a scenario, and does to it what no caller can. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An empty store.
    async fn start() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn StateStore>;

    /// Drops all that the process knows without closing anything in order, and opens the same store again. `None`:
    /// nothing would survive.
    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        None
    }

    /// Another handle on the same store, as another process would have. `None`: there is no such thing.
    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        None
    }

    /// A process that calls [`work`] on the same store. `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }

    /// A process that calls [`work`] in a place where there is no store yet, the same at each call, and makes it. `None`:
    /// nothing has to be made, or other processes cannot.
    fn makers(&self) -> Option<Command> {
        None
    }

    /// A handle on the same store for which some hundred kilobytes have room, and four mebibytes have not; for the other
    /// handles they have. `None`: its room has no limit that can be set.
    async fn without_room(&self) -> Option<Arc<dyn StateStore>> {
        None
    }

    /// Marks what is stored as made by a newer version, and opens it. `None`: nothing says which version made it.
    async fn open_as_if_newer(&self) -> Option<Opened> {
        None
    }

    /// Drops all that the process knows, leaves behind what a process leaves that is killed in the middle of a write, after
    /// all that was acknowledged, and opens the store. `None`: it cannot be reached.
    async fn reopen_after_a_torn_write(&self) -> Option<Opened> {
        None
    }

    /// Drops all that the process knows, cuts the end off what is stored and was acknowledged, and opens the store. `None`:
    /// it cannot be reached.
    async fn reopen_after_losing_the_end(&self) -> Option<Opened> {
        None
    }

    /// Damages what is stored of `log`. `false`: it cannot be reached.
    async fn corrupt(&self, log: &LogId) -> bool {
        let _unreachable = log;
        false
    }

    /// Makes the next append take effect and lose its reply. `false`: there is no reply to lose; then the suite loses it.
    async fn lose_next_reply(&self) -> bool {
        false
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let store = harness.store();
    Adapter::new(store.info()).declaring(store.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __state_store_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "SS-1" an_append_writes_its_bodies_labels_and_seal
            "SS-1" sequences_are_contiguous_from_one
            "SS-1" an_append_of_no_bodies_is_rejected
            "SS-1" a_killed_process_leaves_no_part_of_an_append
            "SS-1" an_append_without_room_writes_nothing_and_works_again_when_there_is
            "SS-2" an_append_with_a_head_to_an_absent_log_conflicts
            "SS-2" an_append_to_a_present_log_that_expects_none_conflicts
            "SS-2" an_append_that_expects_another_head_conflicts_and_writes_nothing
            "SS-2" conflicts_among_many_clients_tell_a_head_of_their_moment
            "SS-3" of_thirty_two_appends_at_one_head_exactly_one_succeeds
            "SS-3" of_thirty_two_appends_that_create_a_log_exactly_one_succeeds
            "SS-3" an_append_that_stalls_while_another_takes_over_has_no_effect
            "SS-3" appends_of_many_clients_have_one_order
            "SS-4" repeating_the_newest_append_returns_the_first_outcome
            "SS-4" an_id_with_other_content_is_rejected
            "SS-4" thirty_two_copies_of_one_append_write_once
            "SS-4" an_append_repeated_after_reopening_returns_the_first_outcome
            "SS-5" a_sealed_log_refuses_every_append
            "SS-4" repeating_the_append_that_sealed_returns_its_outcome
            "SS-6" an_absent_log_reads_as_empty
            "SS-6" bodies_come_back_bit_for_bit
            "SS-6" reading_starts_strictly_after_the_given_sequence
            "SS-6" a_long_log_is_read_without_gap_or_repeat
            "SS-6" a_read_during_appends_sees_all_that_was_acknowledged_before_it
            "SS-6" what_many_clients_read_has_an_order
            "SS-7" labels_are_replaced_with_each_append
            "SS-7" labels_and_head_are_seen_together
            "SS-7" labels_have_a_limit_and_may_reach_it
            "SS-7" a_list_filters_by_kind_and_every_label
            "SS-7" a_list_is_in_the_order_of_creation
            "SS-7" pages_are_stable_while_logs_are_created
            "SS-8" thirty_two_logs_grow_at_once_and_each_is_whole
            "SS-8" appends_that_fail_do_not_fail_those_beside_them
            "SS-8" appends_that_conflict_fail_alone_among_logs_that_grow
            "SS-8" an_append_without_room_fails_alone
            "SS-8" a_stalled_append_delays_nobody_on_another_log
            "SS-8" names_that_differ_in_case_alone_are_different_logs
            "SS-8" odd_names_are_refused_or_come_back_as_they_are
            "SS-9" an_acknowledged_append_survives_reopening
            "SS-9" a_killed_process_loses_nothing_it_was_acknowledged
            "SS-9" a_torn_write_costs_nothing_that_was_acknowledged
            "SS-10" deletion_removes_records_labels_and_documents
            "SS-10" a_deleted_log_refuses_appends_and_documents_for_ever
            "SS-10" deleting_twice_and_deleting_what_is_absent_are_fine
            "SS-10" deletion_touches_no_other_scope
            "SS-11" an_append_of_exactly_the_limit_is_taken_and_a_larger_one_is_not
            "SS-12" a_damaged_log_is_corrupt_and_others_stay_usable
            "SS-12" a_store_that_lost_its_end_says_so_and_is_never_shorter
            "SS-12" a_store_of_a_newer_version_is_refused
            "SS-13" a_document_is_written_over_what_is_expected_alone
            "SS-13" versions_rise_by_one_and_begin_again_after_removal
            "SS-13" a_document_comes_back_with_its_writer_bit_for_bit
            "SS-13" thirty_two_writers_count_by_compare_and_swap
            "SS-13" documents_are_listed_by_path_in_pages
            "SS-13" documents_of_different_scopes_and_paths_are_apart
            "SS-13" odd_paths_are_refused_or_come_back_as_they_are
            "SS-13" a_killed_process_leaves_a_document_whole_with_its_writer
            "SS-14" each_handle_sees_what_the_other_was_acknowledged
            "SS-14" each_handle_appends_by_what_the_other_did
            "SS-14" what_clients_of_two_handles_see_has_an_order
            "SS-14" processes_that_make_a_store_at_once_share_it
            "SS-15" watching_is_there_where_it_is_declared_and_returns_in_time
            "SS-16" a_lost_reply_is_resolved_by_repeating_the_append
            "SS-16" an_append_that_was_given_up_is_resolved_by_repeating_it
            "SS-16" clients_that_repeat_after_faults_write_every_record_once
        ] }
    };
}

crate::__state_store_scenarios! { __runner state_store }

/// Makes one test of each scenario of the `StateStore` suite. With `profile: one_thread` (or another of
/// [`profile`](crate::profile)) they are in a module of that name and run as it says. With
/// `each: [#[…]]` every test has these attributes: `cfg_attr(not(has_server), ignore = "…")` is how tests without their
/// server are ignored.
#[macro_export]
macro_rules! state_store_contract {
    (harness: $harness:ty, profile: $profile:ident $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::state_store_contract! {
            harness: $harness, each: [], profile: $profile $(, not_checkable: $excluded)?
        }
    };
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::state_store_contract! { harness: $harness, each: [] $(, not_checkable: $excluded)? }
    };
    (harness: $harness:ty, each: $each:tt, profile: $profile:ident $(, not_checkable: $excluded:tt)? $(,)?) => {
        mod $profile {
            use super::*;

            $crate::__state_store_scenarios! {
                __tests @on $profile $each ($) state_store, $harness, $($excluded)?
            }
        }
    };
    (harness: $harness:ty, each: $each:tt $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__state_store_scenarios! { __tests @on two_threads $each ($) state_store, $harness, $($excluded)? }

        mod state_store_model {
            use super::*;

            $crate::__with! { $each
                fn random_operations_agree_with_a_model() {
                    $crate::__judged!(state_store, $harness, "SS-1 to SS-13", random_operations_agree_with_a_model, demand);
                }
            }
        }
    };
}

pub(crate) fn log_of(kind: &str, name: &str) -> Result<LogId, Halt> {
    Ok(LogId::new(id(LogKind::new(kind))?, id(LogName::new(name))?))
}

pub(crate) fn log(name: &str) -> Result<LogId, Halt> {
    log_of("run", name)
}

/// The append after `head` (0: the one that creates the log), with an id made of log and head, so that it is no other's.
pub(crate) fn append(log: &LogId, head: u64, bodies: &[&str]) -> Result<Append, Halt> {
    Ok(Append {
        log: log.clone(),
        id: id(AppendId::new(format!("{}.{}.{head}", log.kind, log.name)))?,
        expected: if head == 0 {
            Expected::Absent
        } else {
            Expected::Head(Seq(head))
        },
        bodies: bodies
            .iter()
            .map(|body| Bytes::copy_from_slice(body.as_bytes()))
            .collect(),
        labels: Labels::new(),
        seal: false,
    })
}

/// The same append under another id.
pub(crate) fn by_another(append: &Append, writer: impl std::fmt::Display) -> Result<Append, Halt> {
    Ok(Append {
        id: id(AppendId::new(format!("{}.{writer}", append.id)))?,
        ..append.clone()
    })
}

pub(crate) fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub(crate) async fn written(store: &dyn StateStore, append: Append) -> Result<Appended, Halt> {
    ok("appended to the head", store.append(append).await)
}

/// The records after `after`, in the order in which they come.
pub(crate) async fn stream(
    store: &dyn StateStore,
    log: &LogId,
    after: u64,
) -> Result<Vec<Record>, Halt> {
    ok(
        "read a log",
        store.read(log, Seq(after)).try_collect().await,
    )
}

/// The records after `after`, by their sequences: how they come is for SS-6 to say.
pub(crate) async fn records(
    store: &dyn StateStore,
    log: &LogId,
    after: u64,
) -> Result<Vec<Record>, Halt> {
    let mut records = stream(store, log, after).await?;
    records.sort_by_key(|record| record.seq);
    Ok(records)
}

pub(crate) async fn texts(store: &dyn StateStore, log: &LogId) -> Result<Vec<String>, Halt> {
    let records = records(store, log, 0).await?;
    Ok(records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.body).into_owned())
        .collect())
}

pub(crate) async fn head(store: &dyn StateStore, log: &LogId) -> Result<Option<Head>, Halt> {
    ok("asked for the head", store.head(log).await)
}
