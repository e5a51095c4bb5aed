//! The lists of a server: paged through, checked, and kept for as long as the connection lives and nothing has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use reqwest::header::HeaderMap;
use rmcp::model as wire;
use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{
    MAX_LISTED, MAX_MESSAGE_BYTES, McpPrompt, McpResource, McpResourceTemplate, McpTool,
    TaskSupport,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::answers;
use crate::connection::{Connection, Request};
use crate::error::Fault;
use crate::headers;
use crate::modern;
use crate::schema::Schema;
use crate::subscription::Change;
use crate::tasks::Execution;

/// The most bytes of one list, over all its pages.
const MOST_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// The most pages of one list: a page for each entry, and some that have none.
const MOST_PAGES: usize = MAX_LISTED + 100;

/// A list that is kept.
struct Kept<T: ?Sized> {
    /// The number of changes it had seen.
    seen: u64,
    /// How long it is good if nobody tells of changes; `None`: for as long as the connection.
    until: Option<Instant>,
    list: Arc<T>,
}

struct Slot<T: ?Sized>(Mutex<Option<Kept<T>>>);

impl<T: ?Sized> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

/// The lists of one connection.
#[derive(Default)]
pub(crate) struct Lists {
    tools: Slot<Tools>,
    /// Whether the server keeps calls as tasks.
    pub(crate) keeps_tasks: AtomicBool,
    resources: Slot<[McpResource]>,
    templates: Slot<[McpResourceTemplate]>,
    prompts: Slot<[McpPrompt]>,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lists")
    }
}

/// A server's tools, and what each of them takes and answers.
pub(crate) struct Tools {
    pub(crate) all: Arc<[McpTool]>,
    checks: BTreeMap<String, Check>,
}

/// The schemas of a tool, compiled when they are first needed.
#[derive(Default)]
pub(crate) struct Check {
    at: usize,
    input: OnceLock<Option<Schema>>,
    output: OnceLock<Option<Schema>>,
}

impl Tools {
    fn new(all: Vec<McpTool>) -> Result<Self, Fault> {
        let mut checks = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (at, tool) in all.iter().enumerate() {
            let check = Check {
                at,
                ..Check::default()
            };
            let is_new = checks.insert(tool.remote.clone(), check).is_none();
            if !is_new || !names.insert(&tool.name) {
                return Err(Fault::Malformed("the server offers two tools of one name"));
            }
        }
        Ok(Self {
            all: all.into(),
            checks,
        })
    }

    fn find(&self, remote: &str) -> Result<(&McpTool, &Check), Fault> {
        let found = self.checks.get(remote);
        found
            .and_then(|check| Some((self.all.get(check.at)?, check)))
            .ok_or(Fault::NotFound("the server lists no tool of this name"))
    }

    /// Whether calls of the tool become tasks.
    pub(crate) fn support(&self, remote: &str) -> Result<TaskSupport, Fault> {
        self.find(remote).map(|(tool, _check)| tool.task_support)
    }

    /// The headers that repeat arguments of a call.
    pub(crate) fn mirrored(&self, remote: &str, arguments: &Value) -> Result<HeaderMap, Fault> {
        let (tool, _check) = self.find(remote)?;
        headers::mirrored(&tool.input_schema, arguments)
    }

    /// Refuses arguments that the tool does not take.
    pub(crate) fn check_arguments(&self, remote: &str, arguments: &Value) -> Result<(), Fault> {
        let (tool, check) = self.find(remote)?;
        let schema = check
            .input
            .get_or_init(|| Schema::compile(&tool.input_schema));
        let Some(schema) = schema else {
            return Err(Fault::Malformed(
                "the schema of the tool's arguments is none, or points to something outside itself",
            ));
        };
        if !arguments.is_object() {
            return Err(Fault::InvalidArguments(
                "the arguments of a tool are an object",
            ));
        }
        if !schema.fits(arguments) {
            return Err(Fault::InvalidArguments(
                "the arguments do not fit the tool's schema",
            ));
        }
        Ok(())
    }

    /// Refuses data that the tool said it would not answer. A tool that failed may leave them out.
    pub(crate) fn check_data(&self, remote: &str, data: Option<&Value>) -> Result<(), Fault> {
        let (tool, check) = self.find(remote)?;
        let Some(promised) = &tool.output_schema else {
            return Ok(());
        };
        let schema = check.output.get_or_init(|| Schema::compile(promised));
        let Some(schema) = schema else {
            return Err(Fault::Malformed(
                "the schema of the tool's answers is none, or points to something outside itself",
            ));
        };
        match data {
            Some(data) if schema.fits(data) => Ok(()),
            _ => Err(Fault::Malformed(
                "the tool's answer does not fit its own schema",
            )),
        }
    }
}

/// A page of a list.
trait Page: DeserializeOwned {
    const METHOD: &'static str;
    type Entry;
    fn into_parts(self) -> (Vec<Self::Entry>, Option<String>);
}

macro_rules! pages {
    ($($page:ident $method:literal $entries:ident: $entry:ident;)*) => {
        $(
            impl Page for wire::$page {
                const METHOD: &'static str = $method;
                type Entry = wire::$entry;
                fn into_parts(self) -> (Vec<wire::$entry>, Option<String>) {
                    (self.$entries, self.next_cursor)
                }
            }
        )*
    };
}

pages! {
    ListResourcesResult "resources/list" resources: Resource;
    ListResourceTemplatesResult "resources/templates/list" resource_templates: ResourceTemplate;
    ListPromptsResult "prompts/list" prompts: Prompt;
}

/// A tool with what the protocol's newest types no longer say of it.
#[derive(Deserialize)]
struct Listed {
    #[serde(flatten)]
    tool: wire::Tool,
    #[serde(default)]
    execution: Option<Execution>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolsPage {
    tools: Vec<Listed>,
    #[serde(default)]
    next_cursor: Option<String>,
}

impl Page for ToolsPage {
    const METHOD: &'static str = "tools/list";
    type Entry = Listed;
    fn into_parts(self) -> (Vec<Listed>, Option<String>) {
        (self.tools, self.next_cursor)
    }
}

impl Connection {
    /// All entries of a list, in the server's order.
    async fn pages<P: Page>(
        &self,
        until: Instant,
    ) -> Result<(Vec<P::Entry>, Option<Instant>), Fault> {
        let mut all = Vec::new();
        let mut good_until: Option<Instant> = None;
        let mut cursor: Option<String> = None;
        let mut bytes = 0_usize;
        for _page in 0..MOST_PAGES {
            let request = Request {
                method: P::METHOD,
                until,
                progress: None,
                may_be_task: false,
                was_sent: &AtomicBool::new(false),
            };
            let params = match &cursor {
                Some(cursor) => json!({"cursor": cursor}),
                None => json!({}),
            };
            let page = self.request(request, |_id| params).await?;
            bytes = bytes.saturating_add(page.len());
            if self.is_stateless() {
                let page = Instant::now() + modern::good_for(&page);
                good_until = Some(good_until.map_or(page, |all| all.min(page)));
            }
            let (entries, next) = answers::read::<P>(&page)?.into_parts();
            all.extend(entries);
            if bytes > MOST_BYTES || all.len() > MAX_LISTED {
                return Err(Fault::TooLarge);
            }
            if next.is_none() {
                return Ok((all, good_until));
            }
            cursor = next;
        }
        Err(Fault::TooLarge)
    }

    /// A list as it is kept, or asked for anew. Only one asks at a time.
    async fn kept<P: Page, T: ?Sized>(
        &self,
        slot: &Slot<T>,
        changes: &Change,
        until: Instant,
        make: impl FnOnce(Vec<P::Entry>) -> Result<Arc<T>, Fault>,
    ) -> Result<Arc<T>, Fault> {
        let mut kept = tokio::time::timeout_at(until, slot.0.lock())
            .await
            .map_err(|_late| Fault::Timeout)?;
        // What changes while the list is read may or may not be in it, so it counts as not seen.
        let now = changes.times();
        if let Some(kept) = kept.as_ref()
            && kept.seen == now
            && (changes.is_told() || kept.until.is_none_or(|until| Instant::now() < until))
        {
            return Ok(Arc::clone(&kept.list));
        }
        *kept = None;
        let (entries, good_until) = self.pages::<P>(until).await?;
        let list = make(entries)?;
        *kept = Some(Kept {
            seen: now,
            until: good_until,
            list: Arc::clone(&list),
        });
        Ok(list)
    }

    pub(crate) async fn tools(
        &self,
        alias: &ServerAlias,
        until: Instant,
    ) -> Result<Arc<Tools>, Fault> {
        let changes = &self.inbox().changes.tools;
        let keeps_tasks = self.lists.keeps_tasks.load(Ordering::Acquire);
        let make = |tools: Vec<Listed>| {
            // A tool whose headers cannot be sent is left out, and the others are not.
            let has_headers = self.has_headers();
            let is_usable = |tool: &wire::Tool| {
                !has_headers || headers::are_usable(&Value::Object((*tool.input_schema).clone()))
            };
            let tools = tools
                .into_iter()
                .filter(|Listed { tool, .. }| is_usable(tool));
            let decides = self.is_stateless();
            let tools = tools.map(|Listed { tool, execution }| {
                let support = match execution {
                    _ if !keeps_tasks => TaskSupport::Forbidden,
                    _ if decides => TaskSupport::ServerDecides,
                    said => said.map(|said| said.support()).unwrap_or_default(),
                };
                answers::tool(alias, tool, support)
            });
            Tools::new(tools.collect::<Result<_, _>>()?).map(Arc::new)
        };
        self.kept::<ToolsPage, _>(&self.lists.tools, changes, until, make)
            .await
    }

    pub(crate) async fn resources(&self, until: Instant) -> Result<Arc<[McpResource]>, Fault> {
        let changes = &self.inbox().changes.resources;
        let make = |all: Vec<_>| Ok(all.into_iter().map(answers::resource).collect());
        self.kept::<wire::ListResourcesResult, _>(&self.lists.resources, changes, until, make)
            .await
    }

    pub(crate) async fn templates(
        &self,
        until: Instant,
    ) -> Result<Arc<[McpResourceTemplate]>, Fault> {
        let changes = &self.inbox().changes.resources;
        let make = |all: Vec<_>| Ok(all.into_iter().map(answers::template).collect());
        self.kept::<wire::ListResourceTemplatesResult, _>(
            &self.lists.templates,
            changes,
            until,
            make,
        )
        .await
    }

    pub(crate) async fn prompts(&self, until: Instant) -> Result<Arc<[McpPrompt]>, Fault> {
        let changes = &self.inbox().changes.prompts;
        let make = |all: Vec<_>| Ok(all.into_iter().map(answers::prompt).collect());
        self.kept::<wire::ListPromptsResult, _>(&self.lists.prompts, changes, until, make)
            .await
    }
}
