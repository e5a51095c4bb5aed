//! The contract cases of the whole harness, by number: what tests each, and what waits for a feature.

use std::collections::BTreeMap;

/// How a case stands.
enum Standing {
    /// These tests try it, but for the parts that wait for a feature.
    Tested {
        by: &'static [&'static str],
        waiting: &'static [Part],
    },
    /// None of it can be tried before there is this feature.
    Waiting { for_feature: &'static str },
}

/// A part of a case, and the feature it waits for.
struct Part {
    what: &'static str,
    for_feature: &'static str,
}

const fn part(what: &'static str, for_feature: &'static str) -> Part {
    Part { what, for_feature }
}

use Standing::{Tested, Waiting};

const CASES: &[(u32, Standing)] = &[
    (
        41,
        Tested {
            by: &[
                "the_undisturbed_run_does_everything_once",
                "a_crash_at_any_port_call_before_or_after_its_effect_changes_nothing",
                "a_crash_of_every_process_at_its_nth_call_ends_all_the_same_once_one_lives",
                "a_failing_store_or_model_at_any_call_changes_nothing",
                "a_worker_that_was_paused_anywhere_and_goes_on_after_a_takeover_does_nothing_more",
                "new_schedules_keep_every_promise",
            ],
            waiting: &[
                part("a timer in the run", "timers"),
                part("a child in the run", "child runs"),
                part("a workspace in the run", "versioned workspaces"),
            ],
        },
    ),
    (
        42,
        Tested {
            by: &["a_run_killed_anywhere_asks_its_provider_only_what_one_would_continue"],
            waiting: &[],
        },
    ),
    (
        43,
        Tested {
            by: &["of_parallel_calls_only_those_run_after_a_crash_that_had_not_finished"],
            waiting: &[],
        },
    ),
    (
        44,
        Tested {
            by: &["the_same_call_twice_on_purpose_happens_twice_and_repeated_after_a_crash_once"],
            waiting: &[],
        },
    ),
    (
        45,
        Tested {
            by: &[
                "an_approval_granted_while_other_calls_run_needs_no_parking",
                "only_the_first_answer_to_an_approval_counts_before_and_after_it_is_heard",
                "an_answer_for_other_arguments_grants_nothing",
                "an_agent_that_asks_again_after_a_denial_needs_another_approval",
            ],
            waiting: &[
                part("an approval that expires", "approvals with a time limit"),
                part("a denial by policy after a grant", "policies"),
            ],
        },
    ),
    (
        46,
        Tested {
            by: &[
                "a_run_cancelled_while_queued_never_begins",
                "a_run_cancelled_in_a_model_call_ends_within_a_second",
                "a_run_cancelled_in_a_tool_ends_within_a_second_and_ends_the_command",
                "a_cancelled_run_is_over_at_once_and_for_ever",
                "a_run_that_succeeded_cannot_be_cancelled",
            ],
            waiting: &[part("cancelled in a child", "child runs")],
        },
    ),
    (
        47,
        Waiting {
            for_feature: "budgets",
        },
    ),
    (
        48,
        Tested {
            by: &[
                "a_provider_that_asks_for_a_short_while_is_waited_for_in_the_turn",
                "a_provider_that_asks_for_half_a_minute_or_two_hours_is_left_alone_without_a_worker",
                "a_quota_that_is_gone_fails_the_run_at_once_and_reopening_asks_again",
                "an_answer_cut_off_after_its_first_chunk_is_not_asked_for_again_by_itself",
                "a_connection_cut_before_its_first_chunk_is_tried_again",
            ],
            waiting: &[],
        },
    ),
    (
        49,
        Tested {
            by: &[
                "the_same_start_twice_is_one_run_and_another_input_descriptor_or_session_is_refused",
            ],
            waiting: &[
                part("steps renamed, removed or reordered", "workflows of steps"),
                part("an override, recorded", "workflows of steps"),
            ],
        },
    ),
    (
        50,
        Waiting {
            for_feature: "waits with a time limit",
        },
    ),
    (
        51,
        Tested {
            by: &[
                "a_thousand_parallel_calls_each_happen_once",
                "the_last_turn_of_ten_thousand_records_costs_as_many_port_calls_as_the_first",
            ],
            waiting: &[],
        },
    ),
    (
        52,
        Tested {
            by: &["a_run_that_kills_every_worker_is_stopped_with_a_reason_and_may_be_reopened"],
            waiting: &[],
        },
    ),
    (
        53,
        Waiting {
            for_feature: "child runs",
        },
    ),
    (
        54,
        Waiting {
            for_feature: "forks",
        },
    ),
];

const SOURCES: &[&str] = &[
    include_str!("answers.rs"),
    include_str!("cancelling.rs"),
    include_str!("crash_matrix.rs"),
    include_str!("going_on.rs"),
    include_str!("long_runs.rs"),
    include_str!("providers.rs"),
    include_str!("random_schedules.rs"),
];

/// Whether `name` is a test of this crate, and not only a function.
fn is_test(name: &str) -> bool {
    SOURCES
        .iter()
        .any(|source| source.contains(&format!("#[test]\nfn {name}()")))
}

#[test]
fn every_case_is_tested_or_waits_for_a_feature_and_none_is_both() {
    let mut standings = BTreeMap::new();
    for (number, standing) in CASES {
        let again = standings.insert(*number, standing).is_some();
        assert!(!again, "case {number} is listed twice");
    }
    let numbers: Vec<u32> = standings.into_keys().collect();
    assert_eq!(numbers, Vec::from_iter(41..=54));
}

#[test]
fn every_test_that_a_case_names_exists() {
    for (number, standing) in CASES {
        match standing {
            Tested { by, waiting } => {
                assert!(!by.is_empty(), "case {number} is tested by nothing");
                for name in *by {
                    assert!(
                        is_test(name),
                        "case {number} names {name}, which is no test"
                    );
                }
                for Part { what, for_feature } in *waiting {
                    assert!(
                        !what.is_empty() && !for_feature.is_empty(),
                        "case {number} has a part that waits for nothing"
                    );
                }
            }
            Waiting { for_feature } => {
                assert!(!for_feature.is_empty(), "case {number} waits for nothing");
            }
        }
    }
}
