//! Every mistake in a descriptor is reported where it is.

use proptest::prelude::*;
use seaworthy_core::descriptor::{Descriptor, codes};

/// A descriptor without a mistake; tests break one line of it.
const GOOD: &str = "\
version: seaworthy.agent_graph.v1
metadata: { name: repo-report, version: \"1.0.0\" }
runtime: { entry_agent: reporter, max_turns: 12 }
models:
  main: { provider: openai, model: gpt-5-mini }
tools:
  publish:
    description: Publish a report.
    input_schema: { type: object, properties: { title: { type: string } } }
    command: [./publish.sh]
    verify: [./publish.sh, --verify]
    side_effect: non_idempotent
    risk: high
    approval: required
    timeout: 30s
agents:
  reporter:
    instructions: Report on the files.
    model: main
    tools: [list, publish]
";

/// Code, line and column of each problem.
fn problems(text: &str) -> Vec<(&'static str, u64, u64)> {
    match Descriptor::parse(text, "agent.yaml") {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .as_slice()
            .iter()
            .map(|error| (error.code, error.line, error.column))
            .collect(),
    }
}

/// [`GOOD`] with `from` replaced by `to`.
fn broken(from: &str, to: &str) -> Vec<(&'static str, u64, u64)> {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?}");
    problems(&GOOD.replace(from, to))
}

#[test]
fn the_unbroken_descriptor_has_no_problem() {
    assert_eq!(problems(GOOD), []);
}

#[test]
fn an_unknown_key_is_reported_at_the_key() {
    assert_eq!(
        broken("max_turns: 12", "max_turn: 12"),
        [(codes::UNKNOWN_KEY, 3, 35)]
    );
    assert_eq!(
        broken("    risk: high", "    riks: high"),
        [(codes::UNKNOWN_KEY, 13, 5)]
    );
    assert_eq!(
        broken("agents:\n", "colour: red\nagents:\n"),
        [(codes::UNKNOWN_KEY, 16, 1)]
    );
}

#[test]
fn a_misspelled_key_gets_a_suggestion() {
    let errors = Descriptor::parse(&GOOD.replace("max_turns", "max_turn"), "a.yaml").unwrap_err();
    assert!(
        errors.as_slice()[0]
            .message
            .contains("did you mean `max_turns`")
    );
    assert!(errors.to_string().starts_with("a.yaml:3:35: "));
}

#[test]
fn a_wrong_type_is_reported_at_the_value() {
    assert_eq!(
        broken("max_turns: 12", "max_turns: many"),
        [(codes::WRONG_TYPE, 3, 46)]
    );
    assert_eq!(
        broken("max_turns: 12", "max_turns: 1.5"),
        [(codes::WRONG_TYPE, 3, 46)]
    );
    assert_eq!(broken("\"1.0.0\"", "1.0"), [(codes::WRONG_TYPE, 2, 41)]);
    assert_eq!(
        broken("[./publish.sh]\n", "./publish.sh\n"),
        [(codes::WRONG_TYPE, 10, 14)]
    );
    assert_eq!(
        broken("[list, publish]", "list"),
        [(codes::WRONG_TYPE, 20, 12)]
    );
    assert_eq!(
        broken("[list, publish]", "[list, 7]"),
        [(codes::WRONG_TYPE, 20, 19)]
    );
}

#[test]
fn a_section_that_is_no_mapping_is_reported_at_its_value() {
    assert_eq!(problems("just text"), [(codes::WRONG_TYPE, 1, 1)]);
    assert_eq!(problems("- a\n- b\n"), [(codes::WRONG_TYPE, 1, 1)]);
    let found = broken(
        "runtime: { entry_agent: reporter, max_turns: 12 }",
        "runtime: reporter",
    );
    assert_eq!(found, [(codes::WRONG_TYPE, 3, 10)]);
}

#[test]
fn a_missing_key_is_reported_at_its_mapping() {
    assert_eq!(
        broken("version: seaworthy.agent_graph.v1\n", ""),
        [(codes::MISSING_KEY, 1, 1)]
    );
    assert_eq!(
        broken("entry_agent: reporter, ", ""),
        [(codes::MISSING_KEY, 3, 10)]
    );
    assert_eq!(
        broken("    description: Publish a report.\n", ""),
        [(codes::MISSING_KEY, 8, 5)]
    );
    assert_eq!(
        broken("    model: main\n", ""),
        [(codes::MISSING_KEY, 18, 5)]
    );
    assert_eq!(
        broken(", model: gpt-5-mini", ""),
        [(codes::MISSING_KEY, 5, 9)]
    );
}

#[test]
fn a_dangling_name_is_reported_where_it_is_used() {
    assert_eq!(
        broken("entry_agent: reporter", "entry_agent: writer"),
        [(codes::UNKNOWN_NAME, 3, 25)]
    );
    assert_eq!(
        broken("model: main", "model: mian"),
        [(codes::UNKNOWN_NAME, 19, 12)]
    );
    assert_eq!(
        broken("[list, publish]", "[list, publsh]"),
        [(codes::UNKNOWN_NAME, 20, 19)]
    );
}

#[test]
fn a_mistake_in_a_declaration_is_not_reported_again_where_it_is_used() {
    assert_eq!(
        broken("timeout: 30s", "timeout: soon"),
        [(codes::INVALID_DURATION, 15, 14)]
    );
    assert_eq!(
        broken("provider: openai", "provider: opnai"),
        [(codes::INVALID_VALUE, 5, 21)]
    );
}

#[test]
fn a_tool_listed_twice_is_reported_at_the_second() {
    assert_eq!(
        broken("[list, publish]", "[list, list]"),
        [(codes::DUPLICATE_NAME, 20, 19)]
    );
}

#[test]
fn a_repeated_key_is_reported_at_the_second_at_any_depth() {
    assert_eq!(
        broken("agents:\n", "models: {}\nagents:\n"),
        [(codes::DUPLICATE_KEY, 16, 1)]
    );
    let found = broken("{ type: string }", "{ type: string, type: string }");
    assert_eq!(found, [(codes::DUPLICATE_KEY, 9, 72)]);
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    let found = broken("title: { type: string }", "1: { type: string }");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0, found[0].1), (codes::YAML, 9));
}

#[test]
fn names_have_rules() {
    assert_eq!(
        broken("  publish:\n", "  Publish:\n")[0],
        (codes::INVALID_NAME, 7, 3)
    );
    assert_eq!(
        broken("name: repo-report", "name: ../report"),
        [(codes::INVALID_NAME, 2, 19)]
    );
    assert_eq!(
        broken("  reporter:\n", "  my reporter:\n")[1],
        (codes::INVALID_NAME, 17, 3)
    );
}

#[test]
fn a_tool_cannot_take_the_name_of_a_built_in() {
    assert_eq!(
        broken("  publish:\n", "  shell:\n")[0],
        (codes::RESERVED_NAME, 7, 3)
    );
    let found = problems(&GOOD.replace(
        "tools:\n  publish:",
        "tools:\n  read: { builtin: shell }\n  publish:",
    ));
    assert_eq!(found, [(codes::RESERVED_NAME, 7, 3)]);
}

#[test]
fn an_override_of_a_built_in_takes_settings_only() {
    let with = |entry: &str| {
        problems(&GOOD.replace(
            "tools:\n  publish:",
            &format!("tools:\n  look: {entry}\n  publish:"),
        ))
    };
    assert_eq!(with("{ builtin: shell, side_effect: read_only }"), []);
    assert_eq!(with("{ builtin: shel }"), [(codes::INVALID_VALUE, 7, 20)]);
    assert_eq!(
        with("{ builtin: shell, command: [a] }"),
        [(codes::UNKNOWN_KEY, 7, 27)]
    );
}

#[test]
fn words_are_checked() {
    assert_eq!(
        broken("side_effect: non_idempotent", "side_effect: sometimes"),
        [(codes::INVALID_VALUE, 12, 18)]
    );
    assert_eq!(
        broken("risk: high", "risk: hihg"),
        [(codes::INVALID_VALUE, 13, 11)]
    );
    assert_eq!(
        broken("approval: required", "approval: yes"),
        [(codes::INVALID_VALUE, 14, 15)]
    );
}

#[test]
fn durations_need_a_unit_and_a_sensible_size() {
    assert_eq!(
        broken("timeout: 30s", "timeout: 30"),
        [(codes::INVALID_DURATION, 15, 14)]
    );
    assert_eq!(
        broken("timeout: 30s", "timeout: 1.5s"),
        [(codes::INVALID_DURATION, 15, 14)]
    );
    assert_eq!(
        broken("timeout: 30s", "timeout: 99999999999999999999h"),
        [(codes::INVALID_DURATION, 15, 14)]
    );
    assert_eq!(
        broken("timeout: 30s", "timeout: 0s"),
        [(codes::OUT_OF_RANGE, 15, 14)]
    );
    assert_eq!(
        broken("timeout: 30s", "timeout: 25h"),
        [(codes::OUT_OF_RANGE, 15, 14)]
    );
    for good in ["500ms", "2m", "24h"] {
        assert_eq!(broken("timeout: 30s", &format!("timeout: {good}")), []);
    }
}

#[test]
fn max_turns_is_from_one_to_sixty_four() {
    for bad in ["0", "65", "-1", "99999999999"] {
        let found = broken("max_turns: 12", &format!("max_turns: {bad}"));
        assert_eq!(found, [(codes::OUT_OF_RANGE, 3, 46)], "{bad}");
    }
    assert_eq!(broken("max_turns: 12", "max_turns: 64"), []);
}

#[test]
fn another_version_is_refused() {
    let found = broken("agent_graph.v1", "agent_graph.v2");
    assert_eq!(found, [(codes::UNSUPPORTED_VERSION, 1, 10)]);
}

#[test]
fn commands_name_a_program() {
    assert_eq!(
        broken("command: [./publish.sh]", "command: []"),
        [(codes::INVALID_VALUE, 10, 14)]
    );
    assert_eq!(
        broken("command: [./publish.sh]", "command: [\"\"]"),
        [(codes::INVALID_VALUE, 10, 15)]
    );
    assert_eq!(
        broken("[./publish.sh, --verify]", "[]"),
        [(codes::INVALID_VALUE, 11, 13)]
    );
    assert_eq!(
        broken("[./publish.sh, --verify]", "[a, 5]"),
        [(codes::WRONG_TYPE, 11, 17)]
    );
}

#[test]
fn a_bad_schema_is_reported_inside_the_schema() {
    assert_eq!(
        broken("title: { type: string }", "title: { type: text }"),
        [(codes::INVALID_SCHEMA, 9, 64)]
    );
    assert_eq!(
        broken("{ type: object,", "{ type: array,"),
        [(codes::INVALID_SCHEMA, 9, 27)]
    );
    assert_eq!(
        broken("{ type: object,", "{"),
        [(codes::INVALID_SCHEMA, 9, 19)]
    );
    assert_eq!(
        broken("{ type: string }", "{ type: string, pattern: \"(\" }")[0].0,
        codes::INVALID_SCHEMA
    );
    assert_eq!(
        broken("{ type: string }", "{ maximum: 9007199254740993 }"),
        [(codes::OUT_OF_RANGE, 9, 67)]
    );
}

#[test]
fn a_schema_elsewhere_is_refused_and_never_fetched() {
    for target in [
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "other.json#/a",
    ] {
        let found = broken("{ type: string }", &format!("{{ $ref: \"{target}\" }}"));
        assert_eq!(found, [(codes::REMOTE_REFERENCE, 9, 64)], "{target}");
    }
    assert_eq!(
        broken("{ type: string }", "{ $ref: \"#/$defs/missing\" }")[0].0,
        codes::INVALID_SCHEMA
    );
    let unknown = broken(
        "{ type: object,",
        "{ $schema: \"https://example.com/dialect\", type: object,",
    );
    assert_eq!(unknown[0].0, codes::INVALID_SCHEMA);
}

/// [`GOOD`] whose agent has this output schema; it is written from line 21, column 20 on.
fn with_output(schema: &str) -> Vec<(&'static str, u64, u64)> {
    problems(&format!("{GOOD}    output_schema: {schema}\n"))
}

#[test]
fn an_output_schema_is_checked_like_one_of_arguments_and_where_it_is() {
    assert_eq!(with_output("{ type: object }"), []);
    assert_eq!(with_output("answer.json"), []);
    assert_eq!(with_output("3"), [(codes::WRONG_TYPE, 21, 20)]);
    assert_eq!(
        with_output("{ type: array }"),
        [(codes::INVALID_SCHEMA, 21, 28)]
    );
    assert_eq!(
        with_output("{ type: object, properties: { a: { type: text } } }"),
        [(codes::INVALID_SCHEMA, 21, 61)]
    );
    assert_eq!(
        with_output("{ type: object, $ref: \"other.json\" }"),
        [(codes::REMOTE_REFERENCE, 21, 42)]
    );
    for outside in ["../answer.json", "/answer.json"] {
        assert_eq!(with_output(outside), [(codes::PATH_OUTSIDE, 21, 20)]);
    }
}

#[test]
fn an_output_schema_that_is_huge_or_deep_or_runs_in_circles_is_refused() {
    let long = "x".repeat(70_000);
    assert_eq!(
        with_output(&format!("{{ type: object, description: {long} }}")),
        [(codes::TOO_LARGE, 21, 20)]
    );
    let deep = format!(
        "{{ type: object, {}a: 1{} }}",
        "not: { ".repeat(34),
        " }".repeat(34)
    );
    assert_eq!(with_output(&deep)[0].0, codes::TOO_LARGE);
    for circle in [
        "{ type: object, $ref: \"#\" }",
        "{ type: object, allOf: [{ $ref: \"#\" }] }",
        "{ type: object, properties: { a: { $ref: \"#/$defs/b\" } },
           $defs: { b: { anyOf: [{ $ref: \"#/$defs/c\" }] }, c: { $ref: \"#/$defs/b\" } } }",
    ] {
        assert_eq!(with_output(circle)[0].0, codes::INVALID_SCHEMA, "{circle}");
    }
    let tree = "{ type: object, properties: { left: { $ref: \"#\" }, right: { $ref: \"#\" } } }";
    assert_eq!(with_output(tree), []);
}

#[test]
fn the_tool_of_answers_is_free_where_an_agent_answers_by_a_schema() {
    let named = GOOD
        .replace("  publish:", "  final_answer:")
        .replace("publish]", "final_answer]");
    assert_eq!(problems(&named), []);
    assert_eq!(
        problems(&format!("{named}    output_schema: {{ type: object }}\n")),
        [(codes::RESERVED_NAME, 20, 19)]
    );
}

#[test]
fn a_script_stays_in_the_folder_of_the_descriptor() {
    let with = |path: &str| {
        broken(
            "{ provider: openai, model: gpt-5-mini }",
            &format!("{{ provider: scripted, script: {path} }}"),
        )
    };
    for bad in [
        "../s.yaml",
        "/s.yaml",
        "a/../../s.yaml",
        "'C:/s.yaml'",
        "'a\\b'",
        ".",
    ] {
        assert_eq!(with(bad), [(codes::PATH_OUTSIDE, 5, 39)], "{bad}");
    }
    assert_eq!(with("./scripts/s.yaml"), []);
}

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_text() {
    let text = GOOD
        .replace("max_turns: 12", "max_turns: 0")
        .replace("risk: high", "risk: hi")
        .replace("model: main", "model: other")
        .replace("timeout: 30s", "timeout: 3");
    assert_eq!(
        problems(&text),
        [
            (codes::OUT_OF_RANGE, 3, 46),
            (codes::INVALID_VALUE, 13, 11),
            (codes::INVALID_DURATION, 15, 14),
            (codes::UNKNOWN_NAME, 19, 12),
        ]
    );
}

#[test]
fn broken_yaml_is_reported_at_its_line() {
    let found = broken(
        "runtime: { entry_agent: reporter, max_turns: 12 }",
        "runtime: { entry_agent: reporter",
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, codes::YAML);
    assert!((3..=4).contains(&found[0].1), "{found:?}");
    assert_eq!(problems("a: b: c\n")[0].0, codes::YAML);
    assert_eq!(problems("a: \"open\n")[0].0, codes::YAML);
    assert_eq!(problems("a:\n\tb: c\n")[0].0, codes::YAML);
}

#[test]
fn an_empty_text_and_a_second_document_are_refused() {
    for empty in ["", "\n\n", "# only a comment\n", "---\n"] {
        assert_eq!(problems(empty), [(codes::EMPTY, 1, 1)], "{empty:?}");
    }
    let two = format!("{GOOD}---\n{GOOD}");
    let found = problems(&two);
    assert_eq!((found.len(), found[0].0, found[0].1), (1, codes::YAML, 21));
}

#[test]
fn anchors_aliases_merge_keys_and_tags_are_refused() {
    assert_eq!(broken("  main: {", "  main: &main {")[0].0, codes::ALIAS);
    assert_eq!(broken("model: main", "model: *main")[0].0, codes::ALIAS);
    assert_eq!(
        broken("agents:\n", "agents:\n  <<: { a: b }\n"),
        [(codes::ALIAS, 17, 3)]
    );
    assert_eq!(broken("model: main", "model: !env main")[0].0, codes::YAML);
}

#[test]
fn bombs_and_large_files_are_refused_quickly() {
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n";
    assert_eq!(problems(bomb)[0].0, codes::ALIAS);
    // The scanner's own limit on brackets is hit before the budget's on depth.
    assert_eq!(
        problems(&format!("a: {}", "[".repeat(100_000)))[0].0,
        codes::YAML
    );
    let deep: String = (0..60)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert_eq!(problems(&deep)[0].0, codes::TOO_LARGE);
    assert_eq!(
        problems(&format!("a: [{}]", "1,".repeat(100_000)))[0].0,
        codes::TOO_LARGE
    );
    assert_eq!(
        problems(&"# a\n".repeat(300_000)),
        [(codes::TOO_LARGE, 1, 1)]
    );
}

#[test]
fn at_most_a_hundred_problems_are_reported() {
    let keys: String = (0..500).map(|number| format!("k{number}: 1\n")).collect();
    assert_eq!(problems(&keys).len(), 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_the_parser(text in "[a-z:{}\\[\\]\"'#&*!|>%@`,? \n\t\u{e9}\u{1F600}-]{0,80}") {
        let _ = Descriptor::parse(&text, "agent.yaml");
    }

    #[test]
    fn no_damage_to_a_descriptor_panics_the_parser(start in 0..GOOD.len(), length in 0usize..40, with in ".{0,6}") {
        let end = (start + length).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..start], &GOOD[end..]);
        if let Err(errors) = Descriptor::parse(&text, "agent.yaml") {
            // YAML ends a line at a carriage return, too.
            let lines = text.replace('\r', "\n").lines().count() as u64 + 1;
            for error in errors.as_slice() {
                prop_assert!((1..=lines).contains(&error.line) && error.column >= 1, "{error}");
            }
        }
    }
}

/// [`GOOD`] with more keys at its model, and another model.
fn with_model(keys: &str) -> String {
    GOOD.replace(
        "  main: { provider: openai, model: gpt-5-mini }",
        &format!(
            "  main: {{ provider: openai, model: gpt-5-mini, {keys} }}\n  other: {{ provider: ollama, model: small }}"
        ),
    )
}

#[test]
fn what_goes_with_a_model_is_read() {
    for keys in [
        "fallback: [other]",
        "fallback: { models: [other], after_first_chunk: true }",
        "limits: { concurrent: 4, requests_per_minute: 60, tokens_per_minute: 100000, group: mine }",
        "max_output_tokens: 4096",
        "parameters: { temperature: 0.2, top_p: 1, seed: 7, stop: [END, \"\\n\"], reasoning: low, cache: long }",
        "parameters: { tool_choice: required, parallel_tool_calls: false }",
        "parameters: {}",
        "price: { input: 0.25, output: 2, cache_read: 0.025, cache_write: 0.3, currency: EUR }",
        "retry: { attempts: 5, elapsed: 2m, longest_delay: 30s, too_long: fail, after_first_chunk: true }",
        "capabilities: { tool_use: true, vision_input: false }",
        "tools: by_schema",
        "tools: native",
    ] {
        assert_eq!(problems(&with_model(keys)), [], "{keys}");
    }
}

#[test]
fn what_goes_with_a_model_and_is_wrong_is_reported_where_it_is() {
    for (keys, code) in [
        ("fallback: [others]", codes::UNKNOWN_NAME),
        ("fallback: [main]", codes::INVALID_VALUE),
        ("fallback: [other, other]", codes::INVALID_VALUE),
        ("fallback: other", codes::WRONG_TYPE),
        ("fallback: { after_first_chunk: true }", codes::MISSING_KEY),
        (
            "fallback: { models: [other], after_first_chunk: 1 }",
            codes::WRONG_TYPE,
        ),
        ("limits: { concurrent: 0 }", codes::OUT_OF_RANGE),
        (
            "limits: { requests_per_minute: 60001 }",
            codes::OUT_OF_RANGE,
        ),
        ("limits: { requests: 1 }", codes::UNKNOWN_KEY),
        ("max_output_tokens: 0.5", codes::WRONG_TYPE),
        ("price: { input: 1 }", codes::MISSING_KEY),
        ("price: { input: -1, output: 1 }", codes::OUT_OF_RANGE),
        ("price: { input: free, output: 1 }", codes::WRONG_TYPE),
        (
            "price: { input: 1, output: 1, currency: euro }",
            codes::INVALID_VALUE,
        ),
        ("retry: { attempts: 0 }", codes::OUT_OF_RANGE),
        ("retry: { elapsed: 60 }", codes::INVALID_DURATION),
        ("retry: { too_long: wait }", codes::INVALID_VALUE),
        ("capabilities: { telepathy: true }", codes::UNKNOWN_KEY),
        ("capabilities: { tool_use: maybe }", codes::WRONG_TYPE),
        ("temperature: 1", codes::UNKNOWN_KEY),
        ("tools: by_schemes", codes::INVALID_VALUE),
        ("tools: [read]", codes::WRONG_TYPE),
        ("parameters: { temperature: 2.5 }", codes::OUT_OF_RANGE),
        ("parameters: { temperature: warm }", codes::WRONG_TYPE),
        ("parameters: { top_p: -0.1 }", codes::OUT_OF_RANGE),
        ("parameters: { seed: 2147483648 }", codes::OUT_OF_RANGE),
        ("parameters: { seed: 1.5 }", codes::WRONG_TYPE),
        ("parameters: { stop: END }", codes::WRONG_TYPE),
        ("parameters: { stop: [\"\"] }", codes::OUT_OF_RANGE),
        ("parameters: { reasoning: hard }", codes::INVALID_VALUE),
        ("parameters: { cache: day }", codes::INVALID_VALUE),
        ("parameters: { tool_choice: maybe }", codes::INVALID_VALUE),
        (
            "parameters: { tool_choice: { tool: read } }",
            codes::INVALID_VALUE,
        ),
        ("parameters: { top_k: 5 }", codes::UNKNOWN_KEY),
    ] {
        let problems = problems(&with_model(keys));
        assert_eq!(problems.len(), 1, "{keys}: {problems:?}");
        assert_eq!((problems[0].0, problems[0].1), (code, 5), "{keys}");
    }
}

#[test]
fn every_mistake_of_a_model_is_reported_at_once() {
    let keys = "price: { input: -1, output: -1 }, limits: { concurrent: 0 }, fallback: 7";
    assert_eq!(problems(&with_model(keys)).len(), 4);
}

/// [`GOOD`] with another line at the end of its agent.
fn with_agent_line(line: &str) -> String {
    format!("{GOOD}    {line}\n")
}

#[test]
fn settings_of_the_context_are_taken() {
    for line in [
        "history: all",
        "history: none",
        "history: { newest: 3 }",
        "history: { newest_messages: 20 }",
        "compaction: { at_tokens: 1000 }",
        "compaction: { at_tokens: 100000, keep_turns: 64, model: main }",
    ] {
        assert_eq!(problems(&with_agent_line(line)), [], "{line}");
    }
}

#[test]
fn wrong_settings_of_the_context_are_reported_where_they_are() {
    for (line, code, column) in [
        ("history: some", codes::INVALID_VALUE, 14),
        ("history: 3", codes::WRONG_TYPE, 14),
        ("history: {}", codes::INVALID_VALUE, 14),
        ("history: { newest: 0 }", codes::OUT_OF_RANGE, 24),
        (
            "history: { newest: 1, newest_messages: 2 }",
            codes::INVALID_VALUE,
            14,
        ),
        ("history: { oldest: 1, newest: 1 }", codes::UNKNOWN_KEY, 16),
        ("compaction: {}", codes::MISSING_KEY, 17),
        ("compaction: { at_tokens: 999 }", codes::OUT_OF_RANGE, 30),
        ("compaction: { at_tokens: many }", codes::WRONG_TYPE, 30),
        (
            "compaction: { at_tokens: 1000, keep_turns: 0 }",
            codes::OUT_OF_RANGE,
            48,
        ),
        (
            "compaction: { at_tokens: 1000, model: mian }",
            codes::UNKNOWN_NAME,
            43,
        ),
        (
            "compaction: { at_tokens: 1000, keep: 1 }",
            codes::UNKNOWN_KEY,
            36,
        ),
    ] {
        assert_eq!(
            problems(&with_agent_line(line)),
            [(code, 21, column)],
            "{line}"
        );
    }
}
