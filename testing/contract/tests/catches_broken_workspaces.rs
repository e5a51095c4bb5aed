//! The test of the suite of workspaces: stores with one bug each, and the clause that the suite must find broken.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be built is a failed test"
)]

mod workspaces;

use seaworthy_contract::workspace_store::{SCENARIOS, run_at_once};
use seaworthy_contract::{Outcome, Verdict, Violation, suite};
use workspaces::{Broken, OfProcesses, PATIENCE};

/// So many scenarios take turns while they wait for the clock of the file system.
const AT_ONCE: usize = 8;

fn broken_by(bug: u8, expected: &[&str]) {
    suite::set_patience(PATIENCE);
    workspaces::make(bug);
    let report = suite::block_on(run_at_once::<Broken>(AT_ONCE));
    assert_eq!(report.broken_clauses(), expected, "{report}");
}

/// One test for each bug: the clauses that fail must be exactly these.
macro_rules! breaks {
    ($($name:ident: $bug:ident => [$($clause:literal),*];)*) => {
        $(
            #[test]
            fn $name() {
                broken_by(workspaces::$bug, &[$($clause),*]);
            }
        )*
    };
}

breaks! {
    a_store_without_a_bug_breaks_nothing: NONE => [];
    a_start_that_asks_for_no_identity: ANY_IDENTITY => ["WS-1"];
    a_start_that_starts_over: STARTS_OVER => ["WS-1"];
    a_torn_snapshot: TORN => ["WS-2"];
    a_record_with_the_time_of_the_question: NEW_TIMES => ["WS-2"];
    content_that_is_stored_once_for_each_file: STORES_AGAIN => ["WS-2", "WS-8"];
    files_that_are_told_apart_by_size_and_time: TRUSTS_TIME => ["WS-2"];
    a_paused_workspace_that_takes_snapshots: TAKES_PAUSED => ["WS-2"];
    a_record_before_its_blobs: RECORDS_FIRST => ["WS-2"];
    blobs_that_are_lent_to_tools: HARD_LINKS => ["WS-2"];
    a_manifest_without_modes: MODELESS_MANIFEST => ["WS-2", "WS-3"];
    forgotten_empty_directories: NO_EMPTY_DIRECTORIES => ["WS-3"];
    forgotten_modes: FORGETS_MODES => ["WS-3"];
    snapshots_of_anybody: ANY_SNAPSHOT => ["WS-3"];
    a_retention_that_never_ends: NEVER_EXPIRES => ["WS-3"];
    a_blob_that_is_not_verified: UNVERIFIED => ["WS-3"];
    a_snapshot_that_follows_links: FOLLOWS_LINKS => ["WS-4"];
    links_that_are_judged_by_their_words: LEXICAL_LINKS => ["WS-4"];
    a_directory_that_is_cleared_through_links: CLEARS_THROUGH_LINKS => ["WS-4"];
    names_whose_case_is_folded: FOLDS_NAMES => ["WS-4"];
    ids_whose_case_is_folded: FOLDS_IDS => ["WS-4"];
    a_pipe_that_is_read: READS_PIPES => ["WS-4"];
    a_quota_that_is_looked_at_afterwards: LATE_QUOTA => ["WS-5"];
    a_refused_snapshot_that_counts: COUNTS_REFUSED => ["WS-5"];
    a_source_of_any_size: ANY_SOURCE_SIZE => ["WS-5"];
    a_cleanup_of_pinned_snapshots: CLEANS_PINNED => ["WS-6"];
    a_cleanup_of_what_others_share: CLEANS_SHARED => ["WS-6"];
    a_cleanup_of_an_active_workspace: CLEANS_ACTIVE => ["WS-6"];
    a_cleanup_that_is_forgotten_half_way: FORGETS_PENDING => ["WS-6"];
    a_sweep_of_young_snapshots: SWEEPS_YOUNG => ["WS-6"];
    a_sweep_of_what_others_share: SWEEPS_SHARED => ["WS-7"];
    a_sweep_between_blobs_and_record: UNLOCKED_RECORD => ["WS-5", "WS-7"];
    unchanged_files_that_are_read_again: READS_AGAIN => ["WS-8"];
    unchanged_files_that_are_read_in_secret: HIDES_WORK => ["WS-8"];
    a_policy_that_is_weakened: WEAKENS => ["WS-9"];
    an_encryption_that_is_none: SHOWS_SECRETS => ["WS-9"];
    snapshots_that_survive_undeclared: MODEST => ["WS-10"];
}

fn judged(verdict: &Verdict, expected: &[&str]) {
    match verdict {
        Verdict::Passed { .. } if expected.is_empty() => {}
        Verdict::Failed(Violation {
            expected: missed, ..
        }) => {
            assert!(
                expected.iter().any(|expected| missed.contains(expected)),
                "{verdict:?}"
            );
        }
        _ => panic!("{verdict:?}"),
    }
}

/// Whether the swap comes between the check and the use is luck, so it may be missed a few times.
#[test]
fn a_check_apart_from_the_use() {
    use seaworthy_contract::workspace_store::{
        Harness, a_directory_swapped_for_a_link_leads_nowhere as scenario,
    };

    const ROUNDS: usize = 10;
    suite::set_patience(PATIENCE);
    workspaces::make(workspaces::CHECKS_THEN_USES);
    let verdicts = (0..ROUNDS).map(|_round| {
        suite::block_on(async {
            let harness = Broken::start().await;
            suite::judge("WS-4", "a_directory_swapped_for_a_link", scenario(harness)).await
        })
    });
    let found = verdicts
        .into_iter()
        .any(|verdict| matches!(verdict, Verdict::Failed(_)));
    assert!(found, "missed {ROUNDS} times");
}

/// One test for each bug that one scenario finds, with other processes or by chance: its clause, and what it misses.
macro_rules! finds {
    ($($name:ident: $harness:ident<$bug:ident> in $scenario:ident => $clause:literal [$($missed:literal),*];)*) => {
        mod of_processes {
            use super::*;

            $(
                #[test]
                fn $name() {
                    use seaworthy_contract::workspace_store::{Harness, $scenario};

                    assert!(SCENARIOS.contains(&($clause, stringify!($scenario))));
                    suite::set_patience(PATIENCE);
                    workspaces::make(workspaces::$bug);
                    let verdict = suite::block_on(async {
                        let harness = <$harness as Harness>::start().await;
                        suite::judge($clause, stringify!($scenario), $scenario(harness)).await
                    });
                    judged(&verdict, &[$($missed),*]);
                }
            )*
        }
    };
}

finds! {
    nothing_where_no_snapshot_is_lost: OfProcesses<NONE> in a_killed_process_loses_no_snapshot_it_was_acknowledged => "WS-10" [];
    nothing_where_no_reference_dangles: OfProcesses<NONE> in a_killed_process_leaves_orphans_and_no_dangling_reference => "WS-7" [];
    nothing_where_no_file_is_lost: OfProcesses<NONE> in the_files_of_an_active_workspace_survive_the_death_of_a_process => "WS-10" [];
    nothing_where_a_cleanup_is_finished: OfProcesses<NONE> in a_cleanup_that_is_killed_half_way_finishes_next_time => "WS-6" [];
    snapshots_that_are_elsewhere: OfProcesses<ELSEWHERE> in a_killed_process_loses_no_snapshot_it_was_acknowledged => "WS-10" ["all that was acknowledged"];
    snapshots_that_survive_undeclared: OfProcesses<MODEST> in a_killed_process_loses_no_snapshot_it_was_acknowledged => "WS-10" ["durability declared"];
    files_that_are_elsewhere: OfProcesses<ELSEWHERE> in the_files_of_an_active_workspace_survive_the_death_of_a_process => "WS-10" ["all that was acknowledged"];
    a_record_before_its_blobs: OfProcesses<RECORDS_FIRST> in a_killed_process_leaves_orphans_and_no_dangling_reference => "WS-7" ["all of it or MissingSnapshot"];
    a_cleanup_that_is_forgotten_half_way: OfProcesses<FORGETS_PENDING> in a_cleanup_that_is_killed_half_way_finishes_next_time => "WS-6" ["Cleaned"];
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_workspaces() -> Outcome {
    seaworthy_contract::workspace_store::work(workspaces::of_process)
}

/// A scenario that is added or taken away is an edit here, so that none gets lost.
#[test]
fn the_list_is_as_long_as_it_is_known_to_be() {
    assert_eq!(SCENARIOS.len(), 57);
}
