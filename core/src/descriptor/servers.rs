//! The section `mcp_servers`, and the tools of these servers that agents list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{Beginning, McpLogLevel};

use super::aliases::optional;
use super::error::{Reporter, codes};
use super::fields::{Fields, boolean, duration, sequence, shown, text};
use super::sections::{APPROVALS, Declared, RISKS, SIDE_EFFECTS, argv};
use super::server::{
    Asking, EnvValue, Floor, ServerAuth, ServerSpec, ServerTools, ServerTransport,
};
use super::servers_oauth;
use super::servers_roots;
use super::suggest::{advice, listed};
use super::task::TASK_TIMEOUT;
use super::yaml::{Content, Node};
use crate::tool::{Risk, SideEffect};

/// The servers that were declared.
pub(super) type Servers = Declared<ServerAlias, ServerSpec>;

/// What tools are held for that nobody has said anything of.
const FLOOR: Floor = Floor {
    side_effect: SideEffect::NonIdempotent,
    risk: Risk::High,
    approval: None,
    timeout: Duration::from_secs(60),
    task: false,
    task_timeout: TASK_TIMEOUT,
};
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The most servers of a descriptor.
const MAX_SERVERS: usize = 32;
/// The most bytes of a tool's name.
const MAX_TOOL_NAME: usize = 128;
/// The most bytes of an address.
pub(super) const MAX_URL: usize = 2048;

const ASKINGS: [(&str, Asking); 2] = [("refuse", Asking::Refuse), ("ask", Asking::Ask)];

const LOG_LEVELS: [(&str, McpLogLevel); 8] = {
    use McpLogLevel::{Alert, Critical, Debug, Emergency, Error, Info, Notice, Warning};
    [
        ("debug", Debug),
        ("info", Info),
        ("notice", Notice),
        ("warning", Warning),
        ("error", Error),
        ("critical", Critical),
        ("alert", Alert),
        ("emergency", Emergency),
    ]
};

const PROTOCOLS: [(&str, Beginning); 2] = [
    ("auto", Beginning::Automatic),
    ("2026-07-28", Beginning::Stateless),
];

/// What goes with a server however it is reached.
const COMMON: [&str; 14] = [
    "allow",
    "deny",
    "side_effect",
    "risk",
    "approval",
    "timeout",
    "task",
    "task_timeout",
    "tools",
    "elicitation",
    "sampling",
    "log",
    "protocol",
    "connect_timeout",
];

pub(super) fn servers(node: &Node, reporter: &mut Reporter<'_>) -> Option<Servers> {
    let fields = Fields::open(node, "mcp_servers", reporter)?;
    let mut servers = Servers::default();
    for (key, node) in fields.entries() {
        servers.names.push(key.text.clone());
        let alias = match ServerAlias::new(&key.text) {
            Ok(alias) => Some(alias),
            Err(_invalid) => {
                let message = format!(
                    "`mcp_servers`: `{}` is no alias; use lower-case letters and digits, a letter first, in parts joined \
                     by single _, at most 24",
                    shown(&key.text)
                );
                reporter.report(key.at, codes::INVALID_NAME, message);
                None
            }
        };
        let server = server(node, &fields.path(&key.text), reporter);
        if let (Some(alias), Some(server)) = (alias, server) {
            servers.parsed.insert(alias, server);
        }
    }
    if servers.names.len() > MAX_SERVERS {
        let message = format!("`mcp_servers` has more than {MAX_SERVERS} entries");
        reporter.report(fields.at(), codes::TOO_LARGE, message);
    }
    Some(servers)
}

fn server(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<ServerSpec> {
    let fields = Fields::open(node, path, reporter)?;
    let is_stdio = match (fields.get("command"), fields.get("url")) {
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (Some(_), Some(url)) => {
            let message = format!(
                "`{path}` has both `command` and `url`; a server is either a process or at an address"
            );
            reporter.report(url.at, codes::INVALID_VALUE, message);
            return None;
        }
        (None, None) => {
            let message = format!(
                "`{path}` needs the key `command`, such as `command: [./server, --flag]`, or `url`, such as `url: \
                 https://example.com/mcp`"
            );
            reporter.report(fields.at(), codes::MISSING_KEY, message);
            return None;
        }
    };
    let own: &[&str] = if is_stdio {
        &["command", "env", "sandbox", "roots"]
    } else if servers_roots::are_refused(&fields, path, reporter) {
        return None;
    } else {
        &["url", "headers", "auth"]
    };
    let known: Vec<&str> = own.iter().chain(&COMMON).copied().collect();
    let fields = Fields::known(node, path, &known, reporter)?;
    let transport = if is_stdio {
        stdio(&fields, reporter)
    } else {
        http(&fields, reporter)
    };
    let floor = floor(&fields, FLOOR, reporter);
    let allow = optional(&fields, "allow", reporter, names);
    let deny = optional(&fields, "deny", reporter, names);
    let connect_timeout = optional(&fields, "connect_timeout", reporter, duration);
    let tools = optional(&fields, "tools", reporter, |node, path, reporter| {
        tools(node, path, floor.unwrap_or(FLOOR), reporter)
    });
    let elicitation = fields.word("elicitation", &ASKINGS, reporter);
    let sampling = fields.word("sampling", &ASKINGS, reporter);
    let log = fields.word("log", &LOG_LEVELS, reporter);
    let protocol = fields.word("protocol", &PROTOCOLS, reporter);
    Some(ServerSpec {
        transport: transport?,
        allow: allow?,
        deny: deny?.unwrap_or_default(),
        floor: floor?,
        tools: tools?.unwrap_or_default(),
        elicitation: elicitation.unwrap_or(Some(Asking::Refuse))?,
        sampling: sampling.unwrap_or(Some(Asking::Refuse))?,
        log: match log {
            Some(level) => Some(level?),
            None => None,
        },
        protocol: protocol.unwrap_or(Some(Beginning::Automatic))?,
        connect_timeout: connect_timeout?.unwrap_or(CONNECT_TIMEOUT),
    })
}

fn stdio(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<ServerTransport> {
    let command = fields
        .required("command", "command: [./server, --flag]", reporter)
        .and_then(|node| argv(node, &fields.path("command"), reporter));
    let env = optional(fields, "env", reporter, environment);
    let sandbox = optional(fields, "sandbox", reporter, boolean);
    let roots = optional(fields, "roots", reporter, servers_roots::roots);
    Some(ServerTransport::Stdio {
        command: command?,
        env: env?.unwrap_or_default(),
        sandbox: sandbox?.unwrap_or(false),
        roots: roots?.unwrap_or_default(),
    })
}

fn environment(
    node: &Node,
    path: &str,
    reporter: &mut Reporter<'_>,
) -> Option<BTreeMap<String, EnvValue>> {
    let fields = Fields::open(node, path, reporter)?;
    let mut env = BTreeMap::new();
    let mut complete = true;
    for (key, node) in fields.entries() {
        let name = &key.text;
        if !is_variable(name) {
            let message = format!(
                "`{path}`: `{}` is no name of an environment variable; use letters, digits and _, no digit first",
                shown(name)
            );
            reporter.report(key.at, codes::INVALID_NAME, message);
            complete = false;
            continue;
        }
        let path = fields.path(name);
        let value = match &node.content {
            Content::Mapping(_) => {
                let value = Fields::known(node, path.as_str(), &["secret"], reporter);
                value
                    .and_then(|value| secret(&value, reporter))
                    .map(EnvValue::Secret)
            }
            Content::Text(value) if looks_secret(name) && !value.is_empty() => {
                let message = format!(
                    "`{path}` looks like a credential, which a descriptor must not hold because every run keeps it; write \
                     `{name}: {{ secret: {name} }}` to take it from the environment of whoever runs the agent"
                );
                reporter.report(node.at, codes::INVALID_VALUE, message);
                None
            }
            Content::Text(value) if value.contains('\0') => {
                let message = format!("`{path}` has a zero byte, which no variable can have");
                reporter.report(node.at, codes::INVALID_VALUE, message);
                None
            }
            // A variable may be empty.
            Content::Text(value) => Some(EnvValue::Text(value.clone())),
            _ => text(node, &path, reporter).map(|value| EnvValue::Text(value.to_owned())),
        };
        match value {
            Some(value) => {
                env.insert(name.clone(), value);
            }
            None => complete = false,
        }
    }
    complete.then_some(env)
}

/// The name of a secret, at the key `secret`.
fn secret(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    secret_at(fields, "secret", reporter)
}

/// The name of a secret, at `key`.
pub(super) fn secret_at(
    fields: &Fields<'_>,
    key: &str,
    reporter: &mut Reporter<'_>,
) -> Option<String> {
    let example = format!("{key}: EXAMPLE_TOKEN");
    let (name, at) = fields.required_text(key, &example, reporter)?;
    if is_variable(name) {
        return Some(name.to_owned());
    }
    // What was written may be the credential itself, so it is not quoted.
    let message = format!(
        "`{}` must be the name of an environment variable that holds the credential, such as `EXAMPLE_TOKEN`, never the \
         credential itself",
        fields.path(key)
    );
    reporter.report(at, codes::INVALID_NAME, message);
    None
}

fn is_variable(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a variable of that name holds what nobody should write down.
fn looks_secret(name: &str) -> bool {
    let last = name.rsplit('_').next().unwrap_or_default();
    ["TOKEN", "KEY", "SECRET", "PASSWORD"]
        .iter()
        .any(|word| last.eq_ignore_ascii_case(word))
}

fn http(fields: &Fields<'_>, reporter: &mut Reporter<'_>) -> Option<ServerTransport> {
    let url = fields
        .required_text("url", "url: https://example.com/mcp", reporter)
        .and_then(|(url, at)| {
            let after = url
                .strip_prefix("https://")
                .or_else(|| url.strip_prefix("http://"));
            let authority = after.and_then(|after| after.split(['/', '?']).next());
            let is_url = authority.is_some_and(|authority| {
                !authority.is_empty()
                    && !authority.contains('@')
                    && url.len() <= MAX_URL
                    && !url.contains(|letter: char| {
                        letter == '#' || letter.is_whitespace() || letter.is_control()
                    })
            });
            if is_url {
                return Some(url.to_owned());
            }
            // It may hold a password, so it is not quoted.
            let message = format!(
                "`{}` must be an address such as `https://example.com/mcp`, without a user, a password or a fragment; say \
                 with `auth` who calls",
                fields.path("url")
            );
            reporter.report(at, codes::INVALID_VALUE, message);
            None
        });
    let headers = optional(fields, "headers", reporter, headers);
    let auth = optional(fields, "auth", reporter, auth);
    Some(ServerTransport::Http {
        url: url?,
        headers: headers?.unwrap_or_default(),
        auth: auth?,
    })
}

fn headers(
    node: &Node,
    path: &str,
    reporter: &mut Reporter<'_>,
) -> Option<BTreeMap<String, String>> {
    let fields = Fields::open(node, path, reporter)?;
    let mut headers = BTreeMap::new();
    let mut complete = true;
    for (key, node) in fields.entries() {
        let name = key.text.to_ascii_lowercase();
        let is_credential = matches!(
            name.as_str(),
            "authorization" | "proxy-authorization" | "cookie"
        ) || looks_secret(&name.replace('-', "_"));
        let value = text(node, &fields.path(&key.text), reporter);
        if !is_header(&name) {
            let message = format!("`{path}`: `{}` is no name of a header", shown(&name));
            reporter.report(key.at, codes::INVALID_NAME, message);
            complete = false;
        } else if is_credential {
            let message = format!(
                "`{}` carries a credential, which a descriptor must not hold because every run keeps it; say with `auth` \
                 who calls, such as `auth: {{ type: api_key, header: {name}, secret: EXAMPLE_KEY }}`",
                fields.path(&key.text)
            );
            reporter.report(key.at, codes::INVALID_VALUE, message);
            complete = false;
        } else if let Some(value) = value {
            headers.insert(name, value.to_owned());
        } else {
            complete = false;
        }
    }
    complete.then_some(headers)
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[derive(Clone, Copy)]
enum AuthType {
    Bearer,
    ApiKey,
    Basic,
    OAuth,
}

fn auth(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<ServerAuth> {
    const TYPES: [(&str, AuthType); 4] = [
        ("bearer", AuthType::Bearer),
        ("api_key", AuthType::ApiKey),
        ("basic", AuthType::Basic),
        ("oauth", AuthType::OAuth),
    ];
    let fields = Fields::open(node, path, reporter)?;
    fields.required("type", "type: bearer", reporter)?;
    let auth = fields.word("type", &TYPES, reporter)??;
    let known: &[&str] = match auth {
        AuthType::Bearer => &["type", "secret"],
        AuthType::ApiKey => &["type", "secret", "header"],
        AuthType::Basic => &["type", "secret", "user"],
        AuthType::OAuth => &servers_oauth::KEYS,
    };
    let fields = Fields::known(node, path, known, reporter)?;
    if let AuthType::OAuth = auth {
        return servers_oauth::oauth(&fields, reporter).map(ServerAuth::OAuth);
    }
    let secret = secret(&fields, reporter);
    Some(match auth {
        // It may do without a secret.
        AuthType::OAuth => return None,
        AuthType::Bearer => ServerAuth::Bearer { secret: secret? },
        AuthType::ApiKey => {
            let (header, at) = fields.required_text("header", "header: x-api-key", reporter)?;
            if !is_header(header) {
                let message = format!(
                    "`{}`: `{}` is no name of a header",
                    fields.path("header"),
                    shown(header)
                );
                reporter.report(at, codes::INVALID_NAME, message);
                return None;
            }
            ServerAuth::ApiKey {
                header: header.to_owned(),
                secret: secret?,
            }
        }
        AuthType::Basic => {
            let (user, _at) = fields.required_text("user", "user: me", reporter)?;
            ServerAuth::Basic {
                user: user.to_owned(),
                secret: secret?,
            }
        }
    })
}

/// How tools are treated at least, on top of what is held of them otherwise.
fn floor(fields: &Fields<'_>, defaults: Floor, reporter: &mut Reporter<'_>) -> Option<Floor> {
    let side_effect = fields.word("side_effect", &SIDE_EFFECTS, reporter);
    let risk = fields.word("risk", &RISKS, reporter);
    let approval = fields.word("approval", &APPROVALS, reporter);
    let timeout = optional(fields, "timeout", reporter, duration);
    let task = optional(fields, "task", reporter, boolean);
    let task_timeout = optional(fields, "task_timeout", reporter, duration);
    Some(Floor {
        side_effect: side_effect.unwrap_or(Some(defaults.side_effect))?,
        risk: risk.unwrap_or(Some(defaults.risk))?,
        approval: match approval {
            Some(rule) => Some(rule?),
            None => None,
        },
        timeout: timeout?.unwrap_or(defaults.timeout),
        task: task?.unwrap_or(defaults.task),
        task_timeout: task_timeout?.unwrap_or(defaults.task_timeout),
    })
}

fn tools(
    node: &Node,
    path: &str,
    defaults: Floor,
    reporter: &mut Reporter<'_>,
) -> Option<BTreeMap<String, Floor>> {
    let fields = Fields::open(node, path, reporter)?;
    let mut tools = BTreeMap::new();
    let mut complete = true;
    for (key, node) in fields.entries() {
        let is_name = is_tool_name(&key.text);
        if !is_name {
            let message = format!("`{path}`: `{}` is no name of a tool", shown(&key.text));
            reporter.report(key.at, codes::INVALID_NAME, message);
        }
        let known = [
            "side_effect",
            "risk",
            "approval",
            "timeout",
            "task",
            "task_timeout",
        ];
        let own = Fields::known(node, fields.path(&key.text), &known, reporter)
            .and_then(|fields| floor(&fields, defaults, reporter));
        match own {
            Some(own) if is_name => {
                tools.insert(key.text.clone(), own);
            }
            _ => complete = false,
        }
    }
    complete.then_some(tools)
}

/// Names of tools, as the server has them.
fn names(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for node in sequence(node, path, "[read_file]", reporter)? {
        let name = text(node, path, reporter)?;
        if !is_tool_name(name) {
            let message = format!("`{path}`: `{}` is no name of a tool", shown(name));
            reporter.report(node.at, codes::INVALID_NAME, message);
            return None;
        }
        if !names.insert(name.to_owned()) {
            let message = format!("`{path}` lists {} twice", listed(&[name]));
            reporter.report(node.at, codes::DUPLICATE_NAME, message);
        }
    }
    Some(names)
}

/// What a server may call a tool is its own matter, within reason.
fn is_tool_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_TOOL_NAME && !name.contains(char::is_control)
}

/// `alias.tool` or `alias.*` in an agent's list.
pub(super) fn pick(
    (alias, tool): (&str, &str),
    node: &Node,
    path: &str,
    servers: Option<&Servers>,
    reporter: &mut Reporter<'_>,
) -> Option<ServerTools> {
    // What is wrong with the section was reported there.
    let servers = servers?;
    if !servers.has(alias) {
        let message = format!(
            "`{path}`: there is no server `{}` in `mcp_servers`; {}",
            shown(alias),
            advice(alias, servers.names())
        );
        reporter.report(node.at, codes::UNKNOWN_NAME, message);
        return None;
    }
    let alias = ServerAlias::new(alias).ok()?;
    let server = servers.parsed.get(&alias)?;
    if tool == "*" {
        return Some(ServerTools {
            server: alias,
            tool: None,
        });
    }
    if !is_tool_name(tool) {
        let message = format!(
            "`{path}`: `{}` is no name of a tool of {alias}; write `{alias}.NAME`, or `{alias}.*` for all",
            shown(tool)
        );
        reporter.report(node.at, codes::INVALID_NAME, message);
        return None;
    }
    if !server.allows(tool) {
        let key = if server.deny.contains(tool) {
            "is in its `deny`"
        } else {
            "is not in its `allow`"
        };
        let message = format!(
            "`{path}`: no agent may have `{alias}.{}`, because it {key}",
            shown(tool)
        );
        reporter.report(node.at, codes::INVALID_VALUE, message);
        return None;
    }
    Some(ServerTools {
        server: alias,
        tool: Some(tool.to_owned()),
    })
}
