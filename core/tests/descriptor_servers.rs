//! The section `mcp_servers`: what it becomes, and what is wrong with it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests fail by panicking, helpers too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_core::descriptor::{
    Descriptor, DescriptorErrors, EnvValue, Materialised, ServerAuth, ServerGrant, ServerOAuth,
    ServerProof, ServerTransport, TASK_TIMEOUT, codes,
};
use seaworthy_core::servers::{Place, server};
use seaworthy_core::stack::Secrets;
use seaworthy_core::tool::{ApprovalRule, Risk, SideEffect};
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{Beginning, Hints, McpLogLevel, McpRoot, OAuthTokenStore};

const TEXT: &str = r#"
version: seaworthy.agent_graph.v1
metadata: { name: helper }
runtime: { entry_agent: helper }
models:
  main: { provider: openai, model: gpt-5-mini }
mcp_servers:
  files:
    command: [./server, "", .]
    sandbox: true
    env: { MODE: plain, EMPTY: "", API_TOKEN: { secret: FILES_TOKEN } }
    risk: medium
    timeout: 5s
    tools:
      read.all: { side_effect: read_only, risk: low }
      drop: { approval: required, timeout: 1m }
  tickets:
    url: https://tickets.example/mcp?v=1
    headers: { X-Team: blue }
    auth: { type: api_key, header: x-api-key, secret: TICKETS_KEY }
    allow: [search, comment]
    deny: [comment]
    connect_timeout: 2s
agents:
  helper:
    instructions: Help.
    model: main
    tools: [list, "files.*", files.read.all, tickets.search]
    parameters: { tool_choice: { tool: tickets__search } }
"#;

fn parsed(text: &str) -> Result<Materialised, DescriptorErrors> {
    Descriptor::parse(text, "agent.yaml")?.materialise(|_path| Err("no files".to_owned()))
}

/// The one problem of [`TEXT`] with `from` replaced by `to`.
fn broken(from: &str, to: &str) -> (&'static str, String) {
    assert_eq!(TEXT.matches(from).count(), 1, "{from:?}");
    let errors = parsed(&TEXT.replace(from, to)).unwrap_err();
    let [error] = errors.as_slice() else {
        panic!("{errors}");
    };
    (error.code, error.message.clone())
}

#[test]
fn everything_is_in_it() {
    let form = parsed(TEXT).unwrap();
    let files = &form.mcp_servers["files"];
    let ServerTransport::Stdio { command, env, .. } = &files.transport else {
        panic!("it is a process");
    };
    assert_eq!(command, &["./server", "", "."]);
    assert_eq!(env["API_TOKEN"], EnvValue::Secret("FILES_TOKEN".to_owned()));
    assert_eq!(env["EMPTY"], EnvValue::Text(String::new()));
    assert!(files.is_sandboxed() && !form.mcp_servers["tickets"].is_sandboxed());
    assert_eq!(files.secrets().collect::<Vec<_>>(), ["FILES_TOKEN"]);
    let tickets = &form.mcp_servers["tickets"];
    let ServerTransport::Http { headers, auth, .. } = &tickets.transport else {
        panic!("it is at an address");
    };
    assert_eq!(headers["x-team"], "blue");
    assert!(matches!(auth, Some(ServerAuth::ApiKey { secret, .. }) if secret == "TICKETS_KEY"));
    assert!(tickets.allows("search") && !tickets.allows("comment") && !tickets.allows("delete"));
    assert_eq!(tickets.connect_timeout, Duration::from_secs(2));
    let agent = form.entry().unwrap();
    let picks: Vec<(&str, Option<&str>)> = agent
        .server_tools
        .iter()
        .map(|pick| (pick.server.as_str(), pick.tool.as_deref()))
        .collect();
    assert_eq!(
        picks,
        [
            ("files", None),
            ("files", Some("read.all")),
            ("tickets", Some("search"))
        ]
    );
    assert_eq!(agent.tools.len(), 1);
}

#[test]
fn a_tool_is_treated_as_it_is_written_then_as_its_server_then_most_carefully() {
    let form = parsed(TEXT).unwrap();
    let of = |server: &str, tool: &str| form.mcp_servers[server].settings(tool, Hints::default());
    let read = of("files", "read.all");
    assert_eq!(
        (read.side_effect, read.risk),
        (SideEffect::ReadOnly, Risk::Low)
    );
    assert_eq!(read.timeout, Duration::from_secs(5));
    let drop = of("files", "drop");
    assert_eq!(drop.approval, ApprovalRule::Required);
    assert_eq!(
        (drop.risk, drop.timeout),
        (Risk::Medium, Duration::from_secs(60))
    );
    let unsaid = of("tickets", "search");
    assert_eq!(unsaid.side_effect, SideEffect::NonIdempotent);
    assert_eq!(
        (unsaid.risk, unsaid.approval),
        (Risk::High, ApprovalRule::Required)
    );
}

#[test]
fn it_reads_as_it_was_written_to_a_log() {
    let form = parsed(TEXT).unwrap();
    let value = serde_json::to_value(&form).unwrap();
    let again: Materialised = serde_json::from_value(value).unwrap();
    assert_eq!(again, form);
    assert_eq!(again.digest(), form.digest());
}

#[test]
fn a_descriptor_without_servers_has_the_digest_that_it_always_had() {
    let (before, rest) = TEXT.split_once("mcp_servers:").unwrap();
    let (_, after) = rest.split_once("agents:").unwrap();
    let text = format!("{before}agents:{after}")
        .replace(r#", "files.*", files.read.all, tickets.search"#, "")
        .replace(
            "    parameters: { tool_choice: { tool: tickets__search } }\n",
            "",
        );
    let value = serde_json::to_value(parsed(&text).unwrap()).unwrap();
    assert!(value.get("mcp_servers").is_none());
    assert!(value["agents"]["helper"].get("server_tools").is_none());
}

#[test]
fn every_mistake_is_named() {
    let cases = [
        ("  files:\n", "  Files:\n", codes::INVALID_NAME),
        (
            "./server, \"\", .]",
            "./server, \"\", .]\n    url: https://a.example",
            codes::INVALID_VALUE,
        ),
        (
            "    url: https://tickets.example/mcp?v=1\n",
            "",
            codes::MISSING_KEY,
        ),
        (
            "    headers: { X-Team: blue }",
            "    header: { X-Team: blue }",
            codes::UNKNOWN_KEY,
        ),
        (
            "https://tickets.example/mcp?v=1",
            "ftp://tickets.example",
            codes::INVALID_VALUE,
        ),
        ("type: api_key", "type: api-key", codes::INVALID_VALUE),
        ("risk: medium", "risk: some", codes::INVALID_VALUE),
        ("timeout: 5s", "timeout: 5", codes::INVALID_DURATION),
        (
            "deny: [comment]",
            "deny: [comment, comment]",
            codes::DUPLICATE_NAME,
        ),
        ("tickets.search]", "tickets.comment]", codes::INVALID_VALUE),
        ("files.read.all, ", "filse.read, ", codes::UNKNOWN_NAME),
        ("files.read.all, ", "\"files.*\", ", codes::DUPLICATE_NAME),
        (
            "tool: tickets__search",
            "tool: tickets__serch",
            codes::UNKNOWN_NAME,
        ),
        (
            "mcp_servers:\n",
            "tools:\n  files__x: { builtin: list }\nmcp_servers:\n",
            codes::RESERVED_NAME,
        ),
    ];
    for (from, to, code) in cases {
        // An alias that is none is reported where agents use it, too, or not at all.
        let errors = parsed(&TEXT.replacen(from, to, 1)).unwrap_err();
        let first = &errors.as_slice()[0];
        assert_eq!(first.code, code, "{to}: {errors}");
    }
}

#[test]
fn a_credential_is_neither_taken_nor_quoted() {
    let canary = "sk-canary-1";
    let cases = [
        ("MODE: plain", format!("OPENAI_API_KEY: {canary}")),
        ("secret: FILES_TOKEN", format!("secret: {canary}")),
        ("secret: TICKETS_KEY", format!("secret: {canary}")),
        ("X-Team: blue", format!("Authorization: {canary}")),
        ("X-Team: blue", format!("X-Api-Key: {canary}")),
        (
            "https://tickets.example/mcp?v=1",
            format!("https://me:{canary}@tickets.example"),
        ),
    ];
    for (from, to) in cases {
        let (code, message) = broken(from, &to);
        assert!(
            [codes::INVALID_VALUE, codes::INVALID_NAME].contains(&code),
            "{to}: {code}"
        );
        assert!(!message.contains(canary), "{message}");
    }
}

#[test]
fn calls_become_tasks_only_where_somebody_says_so_and_nothing_is_written_otherwise() {
    let plain = parsed(TEXT).unwrap();
    let rule = plain.mcp_servers["files"].task_rule("drop");
    assert_eq!((rule.is_wanted, rule.timeout), (false, TASK_TIMEOUT));
    let written = serde_json::to_string(&plain).unwrap();
    assert!(!written.contains("task"), "{written}");

    let of_tool = "drop: { approval: required, timeout: 1m, task: true, task_timeout: 2h }";
    let text = TEXT.replace("drop: { approval: required, timeout: 1m }", of_tool);
    let some = parsed(&text).unwrap();
    let rule = some.mcp_servers["files"].task_rule("drop");
    assert!(rule.is_wanted);
    assert_eq!(rule.timeout, Duration::from_secs(2 * 60 * 60));
    assert!(!some.mcp_servers["files"].task_rule("other").is_wanted);
    let written = serde_json::to_value(&some).unwrap();
    assert_eq!(
        serde_json::from_value::<Materialised>(written).unwrap(),
        some
    );

    let of_server = parsed(&TEXT.replace("    connect_timeout: 2s", "    task: true")).unwrap();
    assert!(
        of_server.mcp_servers["tickets"]
            .task_rule("search")
            .is_wanted
    );
}

const KEY_AUTH: &str = "auth: { type: api_key, header: x-api-key, secret: TICKETS_KEY }";

/// How tokens for the server at the address are got, where its `auth` is written so.
fn oauth(auth: &str) -> Result<ServerOAuth, DescriptorErrors> {
    let form = parsed(&TEXT.replace(KEY_AUTH, &format!("auth: {auth}")))?;
    let read: Materialised = serde_json::from_str(&serde_json::to_string(&form).unwrap()).unwrap();
    assert_eq!(read, form);
    match &form.mcp_servers.get("tickets").unwrap().transport {
        ServerTransport::Http {
            auth: Some(ServerAuth::OAuth(oauth)),
            ..
        } => Ok(oauth.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_got_as_it_is_written() {
    let plain = oauth("{ type: oauth }").unwrap();
    assert_eq!(plain.grant, ServerGrant::AuthorizationCode);
    let rest = (&plain.client, &plain.proof, &plain.issuer, &plain.scopes);
    assert_eq!(rest, (&None, &None, &None, &Vec::new()));
    let whole = oauth(
        "{ type: oauth, grant: client_credentials, client: me, private_key: KEY, issuer: 'https://id.example/a', \
         scopes: [read, 'a:b/c'] }",
    );
    let whole = whole.unwrap();
    assert_eq!(whole.grant, ServerGrant::ClientCredentials);
    assert_eq!(whole.proof, Some(ServerProof::PrivateKey("KEY".to_owned())));
    assert_eq!(whole.issuer.as_deref(), Some("https://id.example/a"));
    assert_eq!(whole.scopes, ["read", "a:b/c"]);
    // Tokens of another server, client or grant are others.
    let with_client = oauth("{ type: oauth, client: me }").unwrap();
    let names = [
        plain.tokens_name("https://a.example"),
        plain.tokens_name("https://b.example"),
        with_client.tokens_name("https://a.example"),
        whole.tokens_name("https://a.example"),
    ];
    assert_eq!(BTreeSet::from(names).len(), 4);
    for issuer in [
        "http://127.0.0.1:9",
        "http://localhost:9/a",
        "http://[::1]:9",
    ] {
        assert!(oauth(&format!("{{ type: oauth, issuer: '{issuer}' }}")).is_ok());
    }
}

#[test]
fn a_way_to_tokens_that_cannot_be_meant_is_refused() {
    let long = format!("{{ type: oauth, scopes: [{}] }}", "x".repeat(257));
    let many = format!("{{ type: oauth, scopes: [{}] }}", "x, ".repeat(65));
    for (auth, words) in [
        ("{ type: oauth, grant: password }", "client_credentials"),
        ("{ type: oauth, header: x }", "header"),
        ("{ type: oauth, token: canary }", "token"),
        ("{ type: oauth, client: [me] }", "client"),
        (
            "{ type: oauth, client: me, secret: S }",
            "needs `client` and `issuer`",
        ),
        (
            "{ type: oauth, secret: S, issuer: 'https://id.example' }",
            "needs `client` and `issuer`",
        ),
        (
            "{ type: oauth, client: me, secret: S, private_key: K, issuer: 'https://id.example' }",
            "both `secret` and `private_key`",
        ),
        (
            "{ type: oauth, grant: client_credentials }",
            "client_credentials` needs `client`",
        ),
        (
            "{ type: oauth, grant: client_credentials, client: me }",
            "client_credentials` needs `client`",
        ),
        (
            "{ type: oauth, client: me, secret: 'no name', issuer: 'https://id.example' }",
            "secret",
        ),
        ("{ type: oauth, issuer: id.example }", "https://login"),
        (
            "{ type: oauth, issuer: 'http://id.example' }",
            "https://login",
        ),
        (
            "{ type: oauth, issuer: 'http://127.0.0.1.id.example' }",
            "https://login",
        ),
        (
            "{ type: oauth, issuer: 'https://a@id.example' }",
            "https://login",
        ),
        (
            "{ type: oauth, issuer: 'https://id.example?a' }",
            "https://login",
        ),
        (
            "{ type: oauth, issuer: 'https://id.example#a' }",
            "https://login",
        ),
        ("{ type: oauth, scopes: read }", "scopes"),
        ("{ type: oauth, scopes: ['a b'] }", "no scope"),
        ("{ type: oauth, scopes: [''] }", "must not be empty"),
        ("{ type: oauth, scopes: ['a\"'] }", "no scope"),
        (long.as_str(), "no scope"),
        (many.as_str(), "one too many"),
    ] {
        let errors = oauth(auth).unwrap_err();
        let said = errors.to_string();
        assert!(said.contains(words), "{auth}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn a_server_is_told_its_folders_and_speaks_only_where_somebody_says_so() {
    let plain = parsed(TEXT).unwrap();
    let written = serde_json::to_string(&plain).unwrap();
    assert!(!written.contains("roots") && !written.contains("\"log\""));
    let with = |keys: &str| {
        parsed(&TEXT.replace(
            "    sandbox: true",
            &format!("    sandbox: true\n    {keys}"),
        ))
    };
    let some = with("roots: [., ./docs/a]\n    log: warning").unwrap();
    let files = &some.mcp_servers["files"];
    assert_eq!(files.log, Some(McpLogLevel::Warning));
    let ServerTransport::Stdio { roots, .. } = &files.transport else {
        panic!("it is a process");
    };
    assert_eq!(roots, &[".", "./docs/a"]);
    let written = serde_json::to_value(&some).unwrap();
    let again: Materialised = serde_json::from_value(written).unwrap();
    assert_eq!(again, some);

    let code = |keys: &str| with(keys).unwrap_err().as_slice()[0].code;
    for outside in [
        "..",
        "a/../..",
        "/etc",
        "\"\"",
        "\"a\\\\b\"",
        "\"a\\nb\"",
        &"x".repeat(513),
    ] {
        assert!(
            [codes::INVALID_VALUE, codes::WRONG_TYPE, codes::EMPTY]
                .contains(&code(&format!("roots: [{outside}]"))),
            "{outside}"
        );
    }
    assert_eq!(code("roots: [a, a]"), codes::DUPLICATE_NAME);
    let many: Vec<String> = (0..33).map(|number| format!("f{number}")).collect();
    let many = format!("roots: [{}]", many.join(", "));
    assert_eq!(code(&many), codes::TOO_LARGE);
    assert_eq!(code("log: loud"), codes::INVALID_VALUE);
}

#[test]
fn a_server_at_an_address_is_told_no_folders_and_the_author_why() {
    let (code, message) = broken(
        "    headers: { X-Team: blue }",
        "    headers: { X-Team: blue }\n    roots: [.]",
    );
    assert_eq!(code, codes::INVALID_VALUE);
    assert!(message.contains("another machine"), "{message}");
}

#[test]
fn the_folders_of_a_server_lie_in_the_workspace() {
    #[derive(Debug)]
    struct Anything;
    impl Secrets for Anything {
        fn find(&self, _name: &str) -> Option<Secret> {
            Some(Secret::new("secret"))
        }
        fn tokens(&self, _name: &str) -> Option<Arc<dyn OAuthTokenStore>> {
            None
        }
    }
    let form = parsed(&TEXT.replace("    sandbox: true", "    roots: [., ./docs//a b/.]")).unwrap();
    let place = Place {
        workspace: "/srv/work".into(),
        base_dir: "/srv/agent".into(),
        environment: BTreeMap::new(),
        sandbox: None,
    };
    let of = |alias: &str| {
        let (alias, spec) = form.mcp_servers.get_key_value(alias).unwrap();
        server(alias, spec, &place, &Anything).unwrap().roots
    };
    let root = |uri: &str, name: &str| McpRoot {
        uri: uri.to_owned(),
        name: Some(name.to_owned()),
    };
    let expected = [
        root("file:///srv/work", "workspace"),
        root("file:///srv/work/docs/a%20b", "docs/a b"),
    ];
    assert_eq!(of("files"), expected);
    assert_eq!(of("tickets"), []);
}

#[test]
fn a_server_may_be_wanted_at_the_protocol_version_without_initialize() {
    let beginning = |text: &str| {
        let parsed = parsed(text).unwrap();
        let tickets = parsed
            .mcp_servers
            .iter()
            .find(|(alias, _server)| alias.as_str() == "tickets");
        tickets.unwrap().1.protocol
    };
    assert_eq!(beginning(TEXT), Beginning::Automatic);
    let wanted = |version: &str| {
        TEXT.replace(
            "    connect_timeout: 2s",
            &format!("    protocol: {version}"),
        )
    };
    assert_eq!(beginning(&wanted("auto")), Beginning::Automatic);
    assert_eq!(beginning(&wanted("2026-07-28")), Beginning::Stateless);
    let (code, message) = broken("    connect_timeout: 2s", "    protocol: 2025-11-25");
    assert_eq!(code, codes::INVALID_VALUE);
    assert!(message.contains("protocol"), "{message}");
    // What was written before there was a choice reads as it did.
    let usual = parsed(TEXT).unwrap();
    let written = serde_json::to_string(&usual.mcp_servers).unwrap();
    assert!(!written.contains("\"protocol\""), "{written}");
}
