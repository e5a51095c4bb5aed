//! The process's environment, read once and nowhere else.

use std::collections::BTreeMap;

use seaworthy::ports::Secret;

/// What commands of tools get of it: never a key.
const FOR_COMMANDS: [&str; 4] = ["PATH", "HOME", "LANG", "LC_ALL"];

/// What this program takes from its environment.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) openai_api_key: Option<Secret>,
    pub(crate) openai_base_url: Option<String>,
    pub(crate) no_color: bool,
    pub(crate) log_filter: Option<String>,
    /// Who answers approvals here, for the record.
    pub(crate) user: String,
    pub(crate) for_commands: BTreeMap<String, String>,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            openai_api_key: text("OPENAI_API_KEY").map(Secret::new),
            openai_base_url: text("OPENAI_BASE_URL"),
            no_color: text("NO_COLOR").is_some() || text("TERM").as_deref() == Some("dumb"),
            log_filter: text("SEAWORTHY_LOG"),
            user: text("USER")
                .or_else(|| text("LOGNAME"))
                .unwrap_or_else(|| "cli".to_owned()),
            for_commands: FOR_COMMANDS
                .iter()
                .filter_map(|name| text(name).map(|value| ((*name).to_owned(), value)))
                .collect(),
        }
    }
}
