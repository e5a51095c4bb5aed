//! What a descriptor becomes: the form that is hashed, logged and run from.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking, helpers too")]

use std::time::Duration;

use seaworthy_core::descriptor::{
    Descriptor, Fallback, InvalidOverride, Materialised, ModelOverride, ModelSpec, Price, Support,
    UnknownName, codes,
};
use seaworthy_core::history::Window;
use seaworthy_core::tool::{ApprovalRule, Risk, SideEffect};
use serde_json::json;

const TEXT: &str = r#"
version: seaworthy.agent_graph.v1
metadata: { name: repo-report, version: "1.0.0" }
runtime: { entry_agent: reporter }
models:
  main: { provider: scripted, script: ./scripts/script.yaml }
  other: { provider: openai, model: gpt-5-mini }
tools:
  publish:
    description: Publish a finished report to the team's outbox.
    input_schema: { type: object, required: [title, path], additionalProperties: false,
                    properties: { title: { type: string }, path: { type: string } } }
    command: [./publish.sh]
    verify: [./publish.sh, --verify]
    risk: high
    timeout: 30s
  shell: { builtin: shell, side_effect: read_only, timeout: 5s }
  look: { builtin: shell, description: Look around., risk: destructive, approval: none }
agents:
  reporter:
    instructions: |
      Report on the files
      in the workspace.
    model: main
    tools: [list, shell, look, publish]
  idle:
    instructions: Wait.
    model: other
"#;

fn materialised(text: &str, script: &str) -> Materialised {
    Descriptor::parse(text, "agent.yaml")
        .unwrap()
        .materialise(|path| {
            assert_eq!(path, "scripts/script.yaml");
            Ok(script.to_owned())
        })
        .unwrap()
}

#[test]
fn everything_is_in_it() {
    let form = materialised(TEXT, "turns: []");
    assert_eq!(form.metadata.name, "repo-report");
    assert_eq!(form.runtime.max_turns, 16);
    let agent = form.entry().unwrap();
    assert_eq!(agent.name, "reporter");
    assert_eq!(
        agent.instructions,
        "Report on the files\nin the workspace.\n"
    );
    let spec = ModelSpec::Scripted {
        script: "turns: []".to_owned(),
        origin: "scripts/script.yaml".to_owned(),
    };
    assert_eq!(form.model(&agent.model), Ok(&spec.into()));
    assert_eq!(form.agent("idle").unwrap().tools, []);
}

#[test]
fn the_toolbox_has_the_settings_of_the_descriptor_and_the_defaults_of_the_rest() {
    let form = materialised(TEXT, "");
    let toolbox = form.toolbox(form.entry().unwrap()).unwrap();
    let names: Vec<_> = toolbox
        .definitions()
        .map(|tool| tool.name.as_str().to_owned())
        .collect();
    assert_eq!(names, ["list", "look", "publish", "shell"]);
    let of = |name: &str| toolbox.get(name).unwrap().definition().clone();

    let publish = of("publish");
    assert_eq!(publish.side_effect, SideEffect::NonIdempotent);
    assert_eq!(
        (publish.risk, publish.approval),
        (Risk::High, ApprovalRule::Required)
    );
    assert_eq!(publish.timeout, Duration::from_secs(30));
    assert!(publish.verifiable);
    assert_eq!(publish.input_schema["required"], json!(["title", "path"]));

    let shell = of("shell");
    assert_eq!(
        (shell.side_effect, shell.timeout),
        (SideEffect::ReadOnly, Duration::from_secs(5))
    );
    assert_eq!(
        (shell.risk, shell.approval),
        (Risk::Medium, ApprovalRule::None)
    );

    let look = of("look");
    assert_eq!(look.side_effect, SideEffect::NonIdempotent);
    assert_eq!(
        (look.risk, look.approval),
        (Risk::Destructive, ApprovalRule::None)
    );
    assert_eq!(look.description, "Look around.");
    assert_eq!(of("list").side_effect, SideEffect::ReadOnly);
}

#[test]
fn it_survives_the_log() {
    let form = materialised(TEXT, "turns: []");
    let text = serde_json::to_string(&form).unwrap();
    let read: Materialised = serde_json::from_str(&text).unwrap();
    assert_eq!(read, form);
    assert_eq!(read.digest(), form.digest());
}

#[test]
fn what_a_log_holds_is_read_strictly() {
    let mut value = serde_json::to_value(materialised(TEXT, "")).unwrap();
    assert_eq!(value["format"], "seaworthy.materialised.v1");
    value["format"] = json!("seaworthy.materialised.v2");
    assert!(serde_json::from_value::<Materialised>(value.clone()).is_err());
    value["format"] = json!("seaworthy.materialised.v1");
    value["surprise"] = json!(1);
    assert!(serde_json::from_value::<Materialised>(value).is_err());
}

#[test]
fn the_digest_covers_script_schema_instructions_and_models_but_not_layout() {
    let base = materialised(TEXT, "a").digest();
    assert_eq!(
        materialised(&format!("# note\n{TEXT}\n"), "a").digest(),
        base
    );
    assert_eq!(
        materialised(&TEXT.replace("timeout: 30s", "timeout: 30000ms"), "a").digest(),
        base
    );
    let others = [
        materialised(TEXT, "b"),
        materialised(
            &TEXT.replace("title: { type: string }", "title: { type: number }"),
            "a",
        ),
        materialised(&TEXT.replace("Wait.", "Wait!"), "a"),
        materialised(&TEXT.replace("timeout: 30s", "timeout: 31s"), "a"),
        materialised(&TEXT.replace("read_only", "idempotent"), "a"),
    ];
    for other in others {
        assert_ne!(other.digest(), base);
    }
    let openai = ModelSpec::OpenAi {
        model: "m".to_owned(),
    };
    assert_ne!(
        materialised(TEXT, "a")
            .with_model("main", openai)
            .unwrap()
            .digest(),
        base
    );
}

#[test]
fn the_digest_of_a_known_form_never_changes() {
    let digest = materialised(TEXT, "turns: []").digest().to_string();
    assert_eq!(
        digest,
        "sha256:4a10bef5cc6e699984469965fa5e9b2333efbb99c82c9eebb84d25e78b47a9f4"
    );
}

#[test]
fn a_script_that_cannot_be_read_or_is_too_large_is_reported_where_it_is_named() {
    let problem = |script: Result<String, String>| {
        let parsed = Descriptor::parse(TEXT, "agent.yaml").unwrap();
        let errors = parsed.materialise(|_path| script.clone()).unwrap_err();
        let error = errors.as_slice()[0].clone();
        (error.file, error.code, error.line, error.column)
    };
    let at = |code| ("agent.yaml".to_owned(), code, 6, 39);
    assert_eq!(
        problem(Err("no such file".to_owned())),
        at(codes::UNREADABLE_FILE)
    );
    assert_eq!(
        problem(Ok("x".repeat(1024 * 1024 + 1))),
        at(codes::TOO_LARGE)
    );
}

#[test]
fn an_override_names_alias_provider_and_model() {
    let parsed = ModelOverride::parse("main=openai:org/model:free=yes").unwrap();
    assert_eq!(parsed.alias, "main");
    assert_eq!(
        parsed.spec,
        ModelSpec::OpenAi {
            model: "org/model:free=yes".to_owned()
        }
    );
    for provider in [
        "openai",
        "openai-responses",
        "anthropic",
        "gemini",
        "ollama",
    ] {
        let parsed = ModelOverride::parse(&format!("main={provider}:m")).unwrap();
        assert_eq!(parsed.spec.provider(), provider);
        let written = serde_json::to_value(&parsed.spec).unwrap();
        assert_eq!(
            written,
            serde_json::json!({ "provider": provider, "model": "m" })
        );
    }
    for bad in [
        "",
        "main",
        "main=openai",
        "main=openai:",
        "=openai:m",
        "main=:m",
    ] {
        assert!(
            matches!(ModelOverride::parse(bad), Err(InvalidOverride::Form(_))),
            "{bad}"
        );
    }
    assert!(matches!(
        ModelOverride::parse("main=acme:m"),
        Err(InvalidOverride::UnknownProvider(_))
    ));
    assert_eq!(
        ModelOverride::parse("main=scripted:a.yaml"),
        Err(InvalidOverride::Script)
    );
}

#[test]
fn an_override_of_an_alias_that_is_not_there_is_refused() {
    let spec = ModelSpec::OpenAi {
        model: "m".to_owned(),
    };
    let refused = materialised(TEXT, "").with_model("mian", spec).unwrap_err();
    assert_eq!(
        refused,
        UnknownName::Model("mian".to_owned(), "main, other".to_owned())
    );
}

#[test]
fn a_script_never_reaches_debug_output() {
    let form = materialised(TEXT, "the secret answer");
    assert!(!format!("{form:?}").contains("the secret answer"));
}

#[test]
fn the_documented_example_is_a_descriptor() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/descriptor.md");
    let page = std::fs::read_to_string(path).unwrap();
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let form = Descriptor::parse(example, "agent.yaml")
        .unwrap()
        .materialise(|path| Ok(path.to_owned()))
        .unwrap();
    assert_eq!(
        form.toolbox(form.entry().unwrap()).unwrap().specs().len(),
        7
    );
}

/// [`TEXT`] with more about its second model.
fn with_settings() -> Materialised {
    let text = TEXT.replace(
        "  other: { provider: openai, model: gpt-5-mini }",
        "  other:
    provider: openai
    model: gpt-5-mini
    fallback: [main]
    limits: { concurrent: 2 }
    price: { input: 1.25, output: 10, cache_read: 0.125 }
    retry: { attempts: 7 }
    capabilities: { tool_use: true, vision_input: false }",
    );
    materialised(&text, "turns: []")
}

#[test]
fn what_goes_with_a_model_is_in_it_and_survives_the_log() {
    let form = with_settings();
    let settings = &form.model("other").unwrap().settings;
    let fallback = Fallback {
        after_first_chunk: false,
        models: vec!["main".to_owned()],
    };
    assert_eq!(settings.fallback, fallback);
    assert_eq!(settings.limits.as_ref().unwrap().concurrent, Some(2));
    assert_eq!(settings.retry.unwrap().attempts, 7);
    assert_eq!(
        settings.retry.unwrap().longest_delay,
        Duration::from_secs(20)
    );
    let price = Price {
        cache_read: Some(125_000),
        cache_write: None,
        currency: "USD".to_owned(),
        input: 1_250_000,
        output: 10_000_000,
    };
    assert_eq!(settings.price.as_ref(), Some(&price));

    let mut value = serde_json::to_value(&form).unwrap();
    let read: Materialised = serde_json::from_value(value.clone()).unwrap();
    assert_eq!((read.digest(), &read), (form.digest(), &form));
    // A setting that this version does not know is not silently left out.
    value["models"]["other"]["surprise"] = json!(1);
    assert!(serde_json::from_value::<Materialised>(value).is_err());
}

#[test]
fn a_model_without_settings_is_written_as_before_there_were_any() {
    let value = serde_json::to_value(materialised(TEXT, "")).unwrap();
    assert_eq!(
        value["models"]["other"],
        json!({ "provider": "openai", "model": "gpt-5-mini" })
    );
}

#[test]
fn not_to_know_what_a_model_can_do_is_not_to_be_unable() {
    use seaworthy_ports::model_provider::ModelCapabilities;
    let form = with_settings();
    let wire = ModelCapabilities::NONE
        .with_tool_use()
        .with_vision_input()
        .with_file_input();
    let supports = form.model("other").unwrap().settings.supports(wire);
    assert_eq!(supports["tool_use"], Support::Present);
    assert_eq!(
        supports["vision_input"],
        Support::Absent,
        "its author says so"
    );
    assert_eq!(supports["file_input"], Support::Unknown);
    assert_eq!(
        supports["audio_input"],
        Support::Absent,
        "there is no way to ask"
    );
    assert_eq!(supports.len(), ModelCapabilities::ALL.names().len());
}

#[test]
fn a_price_is_for_a_million_tokens_and_caches_have_their_own() {
    use seaworthy_ports::model_provider::Usage;
    let price = with_settings()
        .model("other")
        .unwrap()
        .settings
        .price
        .clone()
        .unwrap();
    let usage = |input, read, output| Usage {
        input_tokens: input,
        cache_read_tokens: read,
        output_tokens: output,
        ..Usage::default()
    };
    let micros = |usage| price.of(usage).map(|cost| cost.micros);
    assert_eq!(
        micros(usage(Some(1_000_000), None, Some(0))),
        Some(1_250_000)
    );
    assert_eq!(
        micros(usage(Some(1000), Some(800), Some(100))),
        Some(250 + 100 + 1000)
    );
    assert_eq!(micros(usage(Some(1), None, Some(0))), Some(2), "rounded up");
    assert_eq!(
        micros(usage(None, None, Some(5))),
        None,
        "nobody said what was used"
    );
    assert_eq!(
        micros(usage(Some(u64::MAX), None, Some(u64::MAX))),
        Some(u64::MAX)
    );
}

#[test]
fn an_agent_sees_all_and_is_never_summed_up_unless_its_descriptor_says_so() {
    let form = materialised(TEXT, "turns: []");
    let agent = form.entry().unwrap();
    assert_eq!((agent.history, &agent.compaction), (Window::All, &None));
    let text = TEXT.replace(
        "    tools: [list, shell",
        "    history: { newest: 3 }\n    compaction: { at_tokens: 90000, model: other }\n    tools: [list, shell",
    );
    let said = materialised(&text, "turns: []");
    let agent = said.entry().unwrap();
    assert_eq!(agent.history, Window::Newest(3));
    let compaction = agent.compaction.as_ref().unwrap();
    assert_eq!(
        (
            compaction.at_tokens,
            compaction.keep_turns,
            compaction.model.as_deref()
        ),
        (90_000, 4, Some("other"))
    );
    assert_ne!(said.digest(), form.digest());
    let read: Materialised = serde_json::from_str(&serde_json::to_string(&said).unwrap()).unwrap();
    assert_eq!(read, said);
}

#[test]
fn an_output_schema_in_a_file_is_taken_in_and_counts_like_one_that_is_written_here() {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    let plain = TEXT.replace(
        "{ provider: scripted, script: ./scripts/script.yaml }",
        "{ provider: openai, model: gpt-5-mini }",
    );
    let beside = |text: &str| {
        Descriptor::parse(
            &format!("{plain}    output_schema: ./answer.json\n"),
            "agent.yaml",
        )
        .unwrap()
        .materialise(|path| {
            assert_eq!(path, "answer.json");
            Ok(text.to_owned())
        })
    };
    let form = beside(&schema.to_string()).unwrap();
    assert_eq!(
        form.agent("idle").unwrap().output_schema,
        Some(schema.clone())
    );
    assert_eq!(form.agent("reporter").unwrap().output_schema, None);
    let inline = Descriptor::parse(
        &format!("{plain}    output_schema: {schema}\n"),
        "agent.yaml",
    )
    .unwrap()
    .materialise(|_path| Err("no files".to_owned()))
    .unwrap();
    assert_eq!(inline.digest(), form.digest());
    let without = Descriptor::parse(&plain, "agent.yaml")
        .unwrap()
        .materialise(|_path| Err("no files".to_owned()))
        .unwrap();
    assert_ne!(without.digest(), form.digest());
    let long = "x".repeat(70_000);
    for (text, code) in [
        ("{ type: object }", codes::INVALID_SCHEMA),
        ("[]", codes::INVALID_SCHEMA),
        (
            "{\"type\": \"object\", \"required\": 3}",
            codes::INVALID_SCHEMA,
        ),
        (
            "{\"type\": \"object\", \"$ref\": \"https://example.com/\"}",
            codes::REMOTE_REFERENCE,
        ),
        (long.as_str(), codes::TOO_LARGE),
    ] {
        let errors = beside(text).unwrap_err();
        let found: Vec<_> = errors.as_slice().iter().map(|error| error.code).collect();
        assert_eq!(found, [code], "{text:.40}");
    }
}
