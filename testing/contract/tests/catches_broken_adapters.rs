//! The test of the tests: adapters with one bug each, and the clause that the suite must find broken.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what cannot be built is a failed test"
)]

mod broken;
mod in_process;

use broken::deaths::{self, InFolder};
use broken::logs::Broken as OnMemory;
#[cfg(target_os = "linux")]
use broken::sandboxes;
use broken::{blobs, checkpoints, clocks, logs, models, observers, runs, servers, sources};
use seaworthy_contract::{Outcome, Verdict, Violation};

/// How many scenarios of a broken adapter are under way at a time: several where they mostly wait, one where they measure
/// time or block their thread.
fn at_once(suite: &str) -> usize {
    match suite {
        "durable_runtime" | "model_provider" | "state_store" => 4,
        _ => 1,
    }
}

/// One test for each bug: the clauses that fail must be exactly these.
macro_rules! breaks {
    ($suite:ident, $module:ident; $($(#[$note:meta])* $name:ident: $bug:ident => [$($clause:literal),*];)*) => {
        mod $suite {
            use super::*;

            $(
                $(#[$note])*
                #[test]
                fn $name() {
                    seaworthy_contract::suite::set_patience(broken::PATIENCE);
                    broken::choose($module::$bug);
                    let run = seaworthy_contract::$suite::run_at_once::<$module::Broken>;
                    let report = seaworthy_contract::suite::block_on(run(at_once(stringify!($suite))));
                    let expected: &[&str] = &[$($clause),*];
                    assert_eq!(report.broken_clauses(), expected, "{report}");
                }
            )*
        }
    };
}

breaks! { state_store, logs;
    a_store_without_a_bug_breaks_nothing: NONE => [];
    a_torn_append: TORN_APPEND => ["SS-1"];
    a_refused_append_that_writes_its_first_body: WRITES_BEFORE_CHECK => ["SS-2"];
    a_conflict_with_a_stale_head: STALE_CONFLICT => ["SS-2"];
    a_head_check_apart_from_the_write: UNLOCKED_CHECK => ["SS-3"];
    forgotten_append_ids: FORGETS_IDS => ["SS-4"];
    append_ids_without_their_content: FORGETS_CONTENT => ["SS-4"];
    a_lost_seal: LOST_SEAL => ["SS-5"];
    bodies_as_text: BODIES_AS_TEXT => ["SS-6"];
    reading_from_instead_of_after: READS_FROM => ["SS-6"];
    labels_that_add_up: LABELS_ADD_UP => ["SS-7"];
    pages_by_offset: PAGES_BY_OFFSET => ["SS-7"];
    one_label_out_of_many: ONE_LABEL => ["SS-7"];
    a_failure_that_takes_its_neighbour_along: FAILS_TOGETHER => ["SS-8"];
    a_deleted_log_that_comes_back: NO_TOMBSTONE => ["SS-10"];
    documents_that_outlive_their_log: KEEPS_DOCUMENTS => ["SS-10"];
    a_limit_that_is_not_kept: NO_LIMIT => ["SS-11"];
    a_damaged_log_that_is_empty: DAMAGE_IS_SHORTER => ["SS-12"];
    damage_that_spreads_to_other_logs: DAMAGE_SPREADS => ["SS-12"];
    a_lost_writer: LOST_WRITER => ["SS-13"];
    documents_without_versions: ANY_VERSION => ["SS-13"];
    a_handle_that_reads_from_its_cache: STALE_HANDLE => ["SS-14"];
    a_watch_that_is_not_declared: SECRET_WATCH => ["SS-15"];
    a_lock_that_an_append_keeps_while_it_waits: STALLS_ALL => ["SS-8"];
    /// Only with appends of the same handle under way.
    a_head_of_before_they_began: HEAD_OF_BEFORE => ["SS-14"];
    a_conflict_with_a_head_of_the_past: CONFLICT_OF_BEFORE => ["SS-2"];
    a_read_of_before_they_began: READ_OF_BEFORE => ["SS-6", "SS-14"];
    an_append_id_that_is_kept_in_a_second_step: ID_IN_A_SECOND_STEP => ["SS-16"];
    a_part_of_an_append_where_there_was_no_room_for_all: PART_WITHOUT_ROOM => ["SS-1"];
    a_torn_write_that_takes_the_one_before_along: LOSES_THE_NEWEST => ["SS-9"];
    a_log_that_ends_where_its_file_does: ENDS_EARLIER => ["SS-12"];
    a_version_that_nobody_looks_at: NO_VERSION => ["SS-12"];
    a_lost_reply_that_is_called_a_failure: LOST_REPLY_IS_A_FAILURE => ["SS-16"];
    a_lost_reply_that_cannot_be_resolved: LOST_REPLY_IS_FORGOTTEN => ["SS-16"];
}

breaks! { durable_runtime, runs;
    a_runtime_without_a_bug_breaks_nothing: NONE => [];
    a_submission_that_starts_over: SUBMITS_TWICE => ["DR-1"];
    a_session_that_holds_nobody_back: NO_SESSIONS => ["DR-2"];
    a_scope_that_is_ignored: NO_SCOPE => ["DR-2"];
    a_lease_of_the_callers_choice: SHORT_LEASE => ["DR-3"];
    a_lease_that_counts_from_the_question: COUNTS_FROM_ASKING => ["DR-3"];
    a_lease_that_never_ends: ENDLESS_LEASE => ["DR-4"];
    a_turn_that_is_not_told_of_its_lost_lease: SILENT_REVOCATION => ["DR-4"];
    signals_that_are_consumed_by_being_seen: CONSUMES_ALL => ["DR-5"];
    a_mailbox_in_reverse: REVERSED_SIGNALS => ["DR-5"];
    a_signal_dropped_at_park: DROPS_AT_PARK => ["DR-5"];
    a_finished_run_that_takes_signals: FINISHED_ACCEPTS => ["DR-6"];
    a_wake_before_its_time: WAKES_EARLY => ["DR-7"];
    again_at_once: AGAIN_AT_ONCE => ["DR-8"];
    a_panic_that_parks: PANIC_PARKS => ["DR-9"];
    a_stop_that_waits_for_ever: NEVER_DRAINS => ["DR-10"];
    a_worker_that_waits_to_be_told: NEVER_ASKS => ["DR-11"];
    a_worker_that_tells_the_runtime_the_time: CLOCK_OF_THE_WORKER => ["DR-12"];
    due_times_that_order_nothing: NO_ORDER => ["DR-13"];
    a_run_that_is_not_forgotten: FORGETS_NOTHING => ["DR-15"];
    a_run_that_is_never_due_again: NO_RESUBMIT => ["DR-16"];
    a_limit_that_limits_nothing: LIMITS_NOTHING => ["DR-17"];
    a_full_queue_that_holds_up_another: ONE_LINE => ["DR-17"];
    a_limit_that_cannot_be_changed: KEEPS_THE_FIRST_LIMIT => ["DR-17"];
    limits_without_end: ENDLESS_LIMITS => ["DR-17"];
    limits_that_are_kept_undeclared: SECRET_LIMITS => ["DR-17"];
    a_scope_that_knows_no_limits: A_SCOPE_LIFTS_LIMITS => ["DR-17"];
}

breaks! { blob_store, blobs;
    a_store_without_a_bug_breaks_nothing: NONE => [];
    a_blob_that_is_not_verified: UNVERIFIED => ["BL-1"];
    a_put_that_shows_before_its_end: VISIBLE_EARLY => ["BL-2"];
    a_failed_source_that_ends_the_blob: CUTS_AT_FAILURE => ["BL-2"];
    a_blob_that_is_read_whole: ONE_PART => ["BL-3"];
    an_absent_blob_that_is_empty: ABSENT_IS_EMPTY => ["BL-4"];
    a_page_that_repeats_its_last_digest: REPEATS => ["BL-4"];
}

breaks! { checkpoint_store, checkpoints;
    a_store_without_a_bug_breaks_nothing: NONE => [];
    a_checkpoint_that_is_overwritten: OVERWRITES => ["CK-1"];
    the_latest_without_a_bound: NO_BOUND => ["CK-2"];
    sizes_that_are_made_up: NO_SIZES => ["CK-1", "CK-2"];
    a_deletion_of_every_kind: DELETES_ALL_KINDS => ["CK-3"];
    runs_whose_case_is_folded: FOLDS_CASE => ["CK-4"];
}

breaks! { model_provider, models;
    a_provider_without_a_bug_breaks_nothing: NONE => [];
    a_second_finish: TWO_FINISHES => ["MP-1"];
    an_answer_cut_short_that_stops: STOPS_WHEN_CUT => ["MP-1"];
    an_error_that_ends_nothing: GOES_ON => ["MP-1"];
    a_finish_without_the_backends_words: NO_RAW_REASON => ["MP-2"];
    a_new_reason_that_stops: NEW_IS_STOP => ["MP-2"];
    usage_that_is_zero_where_it_is_missing: MISSING_IS_ZERO => ["MP-2"];
    input_without_what_was_cached: UNCACHED_INPUT => ["MP-2"];
    fragments_that_go_to_the_newest_call: NEWEST_CALL => ["MP-3"];
    letters_that_are_split_and_lost: LOSSY_PIECES => ["MP-3"];
    a_call_whose_arguments_are_null: NULL_ARGUMENTS => ["MP-3"];
    arguments_that_nobody_reads: ANY_ARGUMENTS => ["MP-3"];
    blocks_that_end_before_their_text: ENDS_EARLY => ["MP-3"];
    items_sent_to_everybody: SENDS_ALL_ITEMS => ["MP-4"];
    items_out_of_their_place: ITEMS_AT_THE_END => ["MP-4"];
    a_quota_that_is_a_rate: QUOTA_IS_RATE => ["MP-5"];
    an_error_without_its_code: NO_CODE => ["MP-5"];
    a_response_that_never_started: NEVER_STARTED => ["MP-5"];
    an_error_without_its_request: NO_REQUEST_ID => ["MP-5"];
    dates_that_are_not_read: SECONDS_ALONE => ["MP-6"];
    failures_skipped_as_unknown: SKIPS_FAILURES => ["MP-6"];
    limits_that_are_kept_secret: NO_LIMITS => ["MP-6"];
    a_silence_without_an_end: WAITS_FOR_EVER => ["MP-7"];
    a_timeout_of_the_whole_answer: TOTAL_TIMEOUT => ["MP-7"];
    a_cap_on_text_alone: COUNTS_TEXT_ALONE => ["MP-7"];
    damaged_events_skipped_as_unknown: SKIPS_MALFORMED => ["MP-7"];
    unknown_events_that_are_damage: UNKNOWN_IS_ERROR => ["MP-7"];
    an_answer_that_need_not_fit: ANY_ANSWER => ["MP-8"];
    schemas_that_are_kept_undeclared: SECRET_SCHEMA => ["MP-8"];
    a_caller_that_is_not_heard: IGNORES_CANCEL => ["MP-9"];
    a_connection_that_stays_open: KEEPS_CONNECTION => ["MP-9"];
    a_call_that_is_repeated: REPEATS => ["MP-9"];
    a_key_in_debug: SHOWS_KEY => ["MP-10"];
    an_error_that_quotes: QUOTES => ["MP-10"];
    a_history_that_is_not_checked: ANY_HISTORY => ["MP-11"];
    vectors_in_the_order_they_come: VECTORS_AS_THEY_COME => ["MP-12"];
    vectors_of_the_first_call_alone: FIRST_VECTORS => ["MP-12"];
    vectors_that_nobody_counts: ANY_VECTORS => ["MP-12"];
    vectors_of_any_length: ANY_LENGTH => ["MP-12"];
    vectors_that_are_kept_undeclared: SECRET_VECTORS => ["MP-12"];
    texts_in_an_error: QUOTES_TEXTS => ["MP-12", "MP-13"];
    scores_in_the_order_they_come: SCORES_AS_THEY_COME => ["MP-13"];
    scores_that_nobody_counts: ANY_SCORES => ["MP-13"];
    scores_that_cannot_be_cancelled: DEAF_TO_SCORES => ["MP-13"];
    tools_that_are_not_counted: COUNTS_MESSAGES_ALONE => ["MP-14"];
    a_count_that_is_called_a_guess: COUNTS_ARE_GUESSES => ["MP-14"];
    parameters_that_are_dropped: DROPS_PARAMETERS => ["MP-15"];
    parameters_that_are_not_checked: ANY_PARAMETERS => ["MP-15"];
    a_parameter_that_is_refused_when_it_is_sent: REFUSES_AFTERWARDS => ["MP-15"];
    a_call_that_is_never_forced: FORCES_NOTHING => ["MP-15"];
    a_call_of_any_tool_in_place_of_one: FORCES_ANY => ["MP-15"];
    a_call_that_is_refused_although_it_is_declared: REFUSES_TO_FORCE => ["MP-15"];
    a_call_that_is_forced_undeclared: FORCES_SECRETLY => ["MP-15"];
    models_of_the_first_page_alone: FIRST_PAGE_ALONE => ["MP-16"];
    pages_as_long_as_all_models: LONG_PAGES => ["MP-16"];
    pages_of_any_limit: ANY_LIMIT => ["MP-16"];
    an_unknown_context_of_nothing: UNKNOWN_IS_NOTHING => ["MP-16"];
    unknown_capabilities_that_are_missing: UNKNOWN_IS_MISSING => ["MP-16"];
    a_model_that_nobody_has: FINDS_ANY_MODEL => ["MP-16"];
    a_directory_that_cannot_be_cancelled: DEAF_DIRECTORY => ["MP-16"];
    media_that_are_dropped: DROPS_MEDIA => ["MP-17"];
    media_before_the_text_of_their_result: MEDIA_FIRST => ["MP-17"];
    media_that_only_the_user_may_show: REFUSES_MEDIA => ["MP-17"];
}

#[cfg(target_os = "linux")]
breaks! { sandbox, sandboxes;
    a_sandbox_without_a_bug_breaks_nothing: NONE => [];
    a_sandbox_with_limits_breaks_nothing: LIMITED => [];
    a_sandbox_that_confines_and_says_so_breaks_nothing: CONFINED => [];
    a_policy_that_is_taken_and_forgotten: ACCEPTS_ANY => ["SB-1"];
    a_limit_that_is_taken_and_forgotten: FORGETS_LIMITS => ["SB-1"];
    missing_means_that_are_the_callers_fault: REJECTS_WHAT_IS_MISSING => ["SB-1"];
    signals_that_pass_for_codes: SIGNALS_AS_CODES => ["SB-2"];
    empty_arguments_that_get_lost: LOSES_EMPTY_ARGUMENTS => ["SB-2"];
    an_output_that_is_cut_in_silence: CUTS_IN_SILENCE => ["SB-2"];
    a_folder_that_is_ignored: IGNORES_FOLDER => ["SB-2"];
    a_cancellation_that_is_ignored: IGNORES_CANCELLATION => ["SB-3"];
    a_timeout_that_is_ignored: IGNORES_TIMEOUT => ["SB-3"];
    a_kill_that_spares_a_descendant: SPARES_DESCENDANTS => ["SB-3"];
    a_time_limit_that_is_not_declared: HIDES_TIME => ["SB-3"];
    an_environment_with_the_hosts_variables: INHERITS => ["SB-4"];
    a_path_that_nobody_asked_for: ADDS_PATH => ["SB-4"];
    links_that_are_followed_out: FOLLOWS_LINKS => ["SB-5"];
    a_check_apart_from_the_use: CHECKS_THEN_USES => ["SB-5"];
    an_absolute_path_that_becomes_a_relative_one: TAMES_PATHS => ["SB-5"];
    a_listing_in_any_order: UNSORTED => ["SB-5"];
    a_fork_that_outlives_its_call: LEAVES_FORKS => ["SB-5"];
    a_confinement_that_does_not_hold: BOASTS_OF_READS => ["SB-5"];
    a_network_that_is_open_all_the_same: BOASTS_OF_NETWORK => ["SB-5"];
    a_confinement_that_is_not_declared: HIDES_CONFINEMENT => ["SB-5"];
    output_that_is_shown_at_the_end: SHOWS_LATE => ["SB-6"];
    errors_that_are_not_shown: SHOWS_NO_ERRORS => ["SB-6"];
    a_command_that_outlives_its_process: ORPHANS => ["SB-7", "SB-8"];
    a_death_with_the_opener_that_is_not_declared: HIDES_DEATH => ["SB-7"];
    attempts_that_are_all_the_same: ONE_ATTEMPT => ["SB-8"];
    a_fence_around_commands_alone: FENCES_NO_WRITES => ["SB-8"];
    a_takeover_that_does_not_wait: TAKES_OVER_EARLY => ["SB-8"];
    a_fence_around_all_runs: ONE_RUN => ["SB-8"];
    a_fence_that_is_not_declared: HIDES_FENCING => ["SB-8"];
}

breaks! { mcp, servers;
    an_adapter_without_a_bug_breaks_nothing: NONE => [];
    a_first_page_that_is_taken_for_the_list: FIRST_PAGE => ["MC-1"];
    a_list_that_is_asked_for_every_time: ASKS_AGAIN => ["MC-1"];
    a_list_that_never_changes: STALE_LIST => ["MC-1"];
    a_failed_tool_that_is_an_error: FAILED_IS_ERROR => ["MC-1"];
    a_death_that_had_no_effect: CERTAIN_DEATH => ["MC-2", "MC-13"];
    a_call_that_is_made_again: CALLS_TWICE => ["MC-2", "MC-13"];
    a_server_that_stays_dead: STAYS_DEAD => ["MC-2", "MC-13"];
    a_token_that_is_never_refreshed: REFRESHES_NOTHING => ["MC-2", "MC-9"];
    a_timeout_that_never_strikes: NO_TIMEOUT => ["MC-3", "MC-5"];
    a_cancellation_that_nobody_hears: DEAF_TO_CANCEL => ["MC-3"];
    progress_that_nobody_sees: NO_PROGRESS => ["MC-3"];
    metadata_that_are_lost: NO_METADATA => ["MC-3"];
    a_close_that_closes_nothing: CLOSES_NOTHING => ["MC-3"];
    names_without_a_mark: OWN_NAMES => ["MC-4"];
    twins_that_nobody_tells_apart: FIRST_OF_TWINS => ["MC-4"];
    a_destructive_tool_made_harmless: HARMLESS => ["MC-4"];
    arguments_of_any_shape: ANY_ARGUMENTS => ["MC-4"];
    a_schema_that_is_taken_for_none: FORGIVES_SCHEMAS => ["MC-4"];
    a_host_that_is_never_asked: NO_HOST => ["MC-5", "MC-8", "MC-13"];
    a_host_that_is_asked_what_it_does_not_take: TAKES_ALL => ["MC-5", "MC-13"];
    sampling_that_is_not_declared: SECRET_SAMPLING => ["MC-5"];
    a_session_that_dies_of_a_large_answer: DIES_OF_SIZE => ["MC-6"];
    a_session_that_dies_of_a_huge_answer: DIES_OF_HUGE => ["MC-6"];
    an_endless_list_that_is_cut: CUTS_LISTS => ["MC-6"];
    an_error_that_quotes_the_arguments: QUOTES => ["MC-7"];
    a_password_in_an_address: SHOWS_ADDRESS => ["MC-7"];
    a_password_that_follows_a_redirect: FOLLOWS_REDIRECTS => ["MC-7"];
    tasks_that_are_not_declared: SECRET_TASKS => ["MC-8", "MC-13"];
    tasks_of_one_session: LOSES_TASKS => ["MC-8"];
    an_answer_that_is_thrown_away: WANTS_TASKS_ALONE => ["MC-8"];
    tasks_of_a_server_that_keeps_none: BELIEVES_TOOLS => ["MC-8"];
    tools_that_never_say_of_tasks: HIDES_SUPPORT => ["MC-8", "MC-13"];
    a_task_of_any_tool: ANY_TASK => ["MC-8"];
    a_call_that_becomes_a_task_in_secret: WAITS_FOR_TASKS => ["MC-8", "MC-13"];
    a_lost_task_that_is_worked_on: BELIEVES_IN_LOST => ["MC-8"];
    an_answer_about_anybodys_task: ANYBODYS_TASK => ["MC-8"];
    a_status_that_is_guessed: GUESSES_STATUS => ["MC-8"];
    a_name_that_is_made_up: MAKES_UP_NAMES => ["MC-8"];
    a_task_that_passes_for_an_answer: TASK_AS_ANSWER => ["MC-8"];
    an_end_that_no_server_hears_of: ENDS_NOTHING => ["MC-8"];
    a_failed_task_that_did_well: FAILED_IS_FINE => ["MC-8"];
    a_question_that_is_work: ASKING_IS_WORK => ["MC-8", "MC-13"];
    data_of_a_task_of_any_shape: ANY_TASK_DATA => ["MC-8"];
    a_message_without_a_bound: LONG_MESSAGES => ["MC-8"];
    a_question_without_the_name_of_its_task: NAMELESS_QUESTIONS => ["MC-8"];
    a_refusal_in_the_name_of_the_user: REFUSES_FOR_THE_USER => ["MC-8"];
    a_task_that_ends_with_the_listening: ENDS_WHAT_IT_LEAVES => ["MC-8", "MC-13"];
    an_unknown_task_that_is_listened_to: HEARS_NOBODY => ["MC-8"];
    a_refresh_for_every_call: EVERYBODY_REFRESHES => ["MC-9"];
    a_refresh_token_that_is_used_twice: KEEPS_OLD_REFRESH => ["MC-9"];
    tokens_that_are_never_read_again: KNOWS_NO_OTHERS => ["MC-9"];
    tokens_that_are_used_before_they_are_kept: KEEPS_LATER => ["MC-9"];
    a_grant_that_is_asked_for_again: TRIES_AGAIN => ["MC-2", "MC-9"];
    metadata_that_are_believed: BELIEVES_METADATA => ["MC-9"];
    a_client_without_tokens_of_its_own: NOT_FOR_ITSELF => ["MC-9"];
    a_completion_of_a_server_that_has_none: COMPLETES_NOTHING => ["MC-10"];
    arguments_that_were_given_and_forgotten: FORGETS_GIVEN => ["MC-10"];
    a_hundred_values_that_are_all: HUNDRED_IS_ALL => ["MC-10"];
    a_completion_of_any_shape: ANY_COMPLETION => ["MC-10"];
    a_completion_that_is_waited_for_for_ever: COMPLETES_FOR_EVER => ["MC-10"];
    folders_that_no_server_hears_of: NO_ROOTS => ["MC-11"];
    folders_that_nobody_gave: INVENTS_ROOTS => ["MC-5", "MC-11"];
    folders_of_any_kind: ANY_ROOT => ["MC-11"];
    log_messages_of_nobody: NO_LOGGER => ["MC-12"];
    log_messages_that_nobody_wanted: LOUD => ["MC-12"];
    log_messages_that_nobody_hears: QUIET => ["MC-12"];
    a_cut_that_nobody_is_told_of: CUTS_IN_SECRET => ["MC-12"];
    dropped_log_messages_that_nobody_counts: DROPS_IN_SECRET => ["MC-12"];
    a_server_that_is_left_for_its_silence: WAITS_FOR_LEVEL => ["MC-12"];
    log_messages_without_a_bound: LOGS_TOO_MUCH => ["MC-12"];
    log_messages_that_a_server_must_have: NEEDS_LOGS => ["MC-12"];
    a_server_that_must_begin_with_initialize: KNOWS_NO_STATELESS => ["MC-13"];
    a_host_that_is_asked_once: ANSWERS_ONCE => ["MC-13"];
    a_half_of_a_call_that_had_no_effect: CERTAIN_HALF => ["MC-13"];
    questions_without_an_end_that_are_an_answer: FORGIVES_QUESTIONS => ["MC-13"];
    calls_that_are_not_left_to_the_server: DECIDES_ITSELF => ["MC-13"];
    questions_without_their_names: KEYLESS_QUESTIONS => ["MC-13"];
    a_refusal_that_was_heard: HEARS_REFUSALS => ["MC-13"];
}

breaks! { clock, clocks;
    a_clock_without_a_bug_breaks_nothing: NONE => [];
    a_clock_that_goes_back: GOES_BACK => ["CL-1"];
    a_clock_that_is_slow: SLOW_TIME => ["CL-1"];
    a_sleep_that_ends_early: WAKES_EARLY => ["CL-2"];
    a_sleep_that_waits_for_the_past: WAITS_FOR_THE_PAST => ["CL-2"];
    a_clock_for_one_sleeper: ONE_SLEEPER => ["CL-3"];
}

breaks! { entropy, sources;
    a_source_without_a_bug_breaks_nothing: NONE => [];
    a_value_that_comes_again: REPEATS_ONE => ["EN-1"];
    a_seed_that_every_source_has: ALWAYS_THE_SAME_SEED => ["EN-1"];
    a_bit_that_is_always_set: STUCK_BIT => ["EN-2"];
    a_byte_that_comes_more_often: FAVOURS_A_BYTE => ["EN-2"];
}

breaks! { observer, observers;
    an_observer_without_a_bug_breaks_nothing: NONE => [];
    a_panic_when_the_backend_is_gone: PANICS_WHEN_LOST => ["OB-1"];
    dropped_facts_that_nobody_counts: COUNTS_NOTHING => ["OB-1"];
    a_panic_at_a_duration: CANNOT_TELL_A_LONG_TIME => ["OB-1"];
    an_observer_that_waits_for_its_backend: WAITS => ["OB-2"];
    a_queue_without_a_bound: NO_BOUND => ["OB-2"];
    a_millisecond_for_each_fact: SLEEPS => ["OB-2"];
    an_observer_that_needs_a_runtime: NEEDS_A_RUNTIME => ["OB-3"];
    the_newest_fact_first: NEWEST_FIRST => ["OB-3"];
    the_environment_with_each_fact: ADDS_ENVIRONMENT => ["OB-4"];
    a_key_in_the_debug_output: SHOWS_ITS_KEY => ["OB-4"];
    content_that_nobody_asked_for_passed_on: PASSES_CONTENT_ON => ["OB-4"];
    content_told_to_everybody: TELLS_ALL => ["OB-4"];
    an_application_that_goes_by_its_observer: FEEDS_BACK => ["OB-5"];
    an_end_that_is_not_told: FORGETS_AN_END => ["OB-6"];
    a_call_that_ends_after_its_attempt: ENDS_TOO_LATE => ["OB-6"];
    one_span_for_two_pieces_of_work: TELLS_AGAIN => ["OB-7"];
    a_first_execution_that_was_not_the_first: REPLAYS => ["OB-7"];
    a_trace_for_each_attempt: A_TRACE_FOR_EACH_ATTEMPT => ["OB-8"];
    parts_of_nothing: NO_PARENT => ["OB-8"];
}

/// One test for each bug that one scenario finds, with other processes or by chance: the clause, and what the scenario
/// expected and did not see. No clause: the scenario belongs to several.
macro_rules! finds {
    ($suite:ident, $module:ident; $($name:ident: $harness:ident($bug:path) in $scenario:ident => $($clause:literal)? [$($expected:literal),*];)*) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $name() {
                    use seaworthy_contract::$suite::{Harness, SCENARIOS, $scenario};

                    let clauses: &[&str] = &[$($clause)?];
                    let of_scenario: Vec<&str> = SCENARIOS
                        .iter()
                        .filter(|(_clause, scenario)| *scenario == stringify!($scenario))
                        .map(|(clause, _scenario)| *clause)
                        .collect();
                    assert_eq!(clauses, of_scenario, "the clause of the scenario");

                    seaworthy_contract::suite::set_patience(broken::PATIENCE);
                    broken::choose($bug);
                    let verdict = seaworthy_contract::suite::block_on(async {
                        let harness = <$harness as Harness>::start().await;
                        seaworthy_contract::suite::judge("", stringify!($scenario), $scenario(harness)).await
                    });
                    let expected: &[&str] = &[$($expected),*];
                    match &verdict {
                        Verdict::Passed { .. } if expected.is_empty() => {}
                        Verdict::Failed(Violation { expected: missed, .. }) => {
                            assert!(expected.iter().any(|expected| missed.contains(expected)), "{verdict:?}");
                        }
                        _ => panic!("{verdict:?}"),
                    }
                }
            )*
        }
    };
}

finds! { state_store, logs_of_processes;
    appends_in_two_steps: InFolder(logs::TORN_BY_DEATH) in a_killed_process_leaves_no_part_of_an_append => "SS-1" ["whole appends", "success"];
    appends_that_are_elsewhere: InFolder(broken::ELSEWHERE) in a_killed_process_loses_nothing_it_was_acknowledged => "SS-9" ["which was acknowledged"];
    logs_that_survive_undeclared: InFolder(broken::MODEST) in a_killed_process_loses_nothing_it_was_acknowledged => "SS-9" ["durability declared"];
    a_writer_of_documents_that_is_made_up: InFolder(logs::LOST_WRITER) in a_killed_process_leaves_a_document_whole_with_its_writer => "SS-13" ["the writer and the value"];
    a_store_that_each_makes_for_itself: InFolder(broken::ELSEWHERE) in processes_that_make_a_store_at_once_share_it => "SS-14" ["a good end"];
    a_store_that_all_make_at_once: InFolder(broken::NO_BUG) in processes_that_make_a_store_at_once_share_it => "SS-14" [];
}

finds! { checkpoint_store, checkpoints_of_processes;
    checkpoints_that_are_elsewhere: InFolder(broken::ELSEWHERE) in a_killed_process_loses_no_checkpoint_it_was_acknowledged => "CK-4" ["that were acknowledged"];
}

finds! { blob_store, blobs_of_processes;
    a_put_that_shows_before_its_end: InFolder(blobs::VISIBLE_EARLY) in a_killed_put_leaves_nothing_visible => "BL-2" ["[]"];
    blobs_that_are_elsewhere: InFolder(broken::ELSEWHERE) in a_killed_process_leaves_whole_blobs_and_all_it_was_acknowledged => "BL-2" ["every blob that was acknowledged"];
    blobs_that_survive_undeclared: InFolder(broken::MODEST) in a_killed_process_leaves_whole_blobs_and_all_it_was_acknowledged => "BL-2" ["durability declared"];
}

finds! { durable_runtime, runs_of_processes;
    runs_that_are_elsewhere: InFolder(broken::ELSEWHERE) in a_killed_process_is_replaced_by_another => "DR-14" ["that it comes about"];
    workers_of_several_processes_undeclared: InFolder(broken::MODEST) in a_killed_process_is_replaced_by_another => "DR-14" ["distributed declared"];
    a_zombie_that_is_not_told: InFolder(runs::SILENT_REVOCATION) in a_process_stopped_past_its_lease_sees_it_and_changes_nothing => "DR-14" ["that it comes about"];
    leases_that_are_forgotten_with_their_runs: InFolder(broken::ELSEWHERE) in a_hundred_leased_runs_are_delivered_again_after_reopening => "DR-4" ["an end"];
    limits_that_are_elsewhere: InFolder(broken::ELSEWHERE) in a_limit_survives_reopening => "DR-17" ["2"];
}

finds! { state_store, by_chance;
    nothing_where_nothing_is_wrong: OnMemory(logs::NONE) in random_operations_agree_with_a_model => [];
    forgotten_append_ids: OnMemory(logs::FORGETS_IDS) in random_operations_agree_with_a_model => ["Ok(Appended", "Err(Rejected)"];
    a_lost_seal: OnMemory(logs::LOST_SEAL) in random_operations_agree_with_a_model => ["Err(Sealed)"];
    one_label_out_of_many: OnMemory(logs::ONE_LABEL) in random_operations_agree_with_a_model => ["["];
    documents_without_versions: OnMemory(logs::ANY_VERSION) in random_operations_agree_with_a_model => ["Err(Conflict"];
    documents_that_outlive_their_log: OnMemory(logs::KEEPS_DOCUMENTS) in random_operations_agree_with_a_model => ["None", "[]", "Err(Gone)"];
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_logs() -> Outcome {
    seaworthy_contract::state_store::work(deaths::logs_of_process)
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_makes_logs() -> Outcome {
    seaworthy_contract::state_store::work(deaths::logs_that_are_made)
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_checkpoints() -> Outcome {
    seaworthy_contract::checkpoint_store::work(deaths::checkpoints_of_process)
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_blobs() -> Outcome {
    seaworthy_contract::blob_store::work(deaths::blobs_of_process)
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_runs() -> Outcome {
    seaworthy_contract::durable_runtime::work(deaths::runs_of_process)
}

#[test]
fn a_model_provider_of_whose_backend_nothing_is_known_passes_nothing() {
    use seaworthy_contract::model_provider::{SCENARIOS, run};

    let report = seaworthy_contract::suite::block_on(run::<models::Mute>());
    let nothing_seen = seaworthy_contract::Counts {
        not_checkable: SCENARIOS.len(),
        ..seaworthy_contract::Counts::default()
    };
    assert_eq!(report.counts(), nothing_seen, "{report}");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_with_sandboxes() -> Outcome {
    seaworthy_contract::sandbox::work(sandboxes::of_process)
}

/// What this program is started for as the supervisor of a command; a test only because a test program has no `main`.
#[cfg(target_os = "linux")]
#[test]
fn __seaworthy_supervise() {
    sandboxes::supervise_if_asked();
}

/// A scenario that is added or taken away is an edit here, so that none gets lost.
#[test]
fn the_lists_are_as_long_as_they_are_known_to_be() {
    assert_eq!(seaworthy_contract::state_store::SCENARIOS.len(), 65);
    assert_eq!(seaworthy_contract::durable_runtime::SCENARIOS.len(), 46);
    assert_eq!(seaworthy_contract::blob_store::SCENARIOS.len(), 12);
    assert_eq!(seaworthy_contract::checkpoint_store::SCENARIOS.len(), 11);
    assert_eq!(seaworthy_contract::model_provider::SCENARIOS.len(), 79);
    assert_eq!(seaworthy_contract::clock::SCENARIOS.len(), 6);
    assert_eq!(seaworthy_contract::entropy::SCENARIOS.len(), 4);
    assert_eq!(seaworthy_contract::sandbox::SCENARIOS.len(), 44);
    assert_eq!(seaworthy_contract::mcp::SCENARIOS.len(), 114);
    assert_eq!(seaworthy_contract::observer::SCENARIOS.len(), 14);
}
