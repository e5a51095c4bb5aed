//! The lists of a server: paged through, and kept for as long as the connection lives and nothing has changed.

use std::sync::Arc;

use seaworthy_ports::mcp::{
    Kind, MAX_LISTED, McpError, McpPrompt, McpResource, McpResourceTemplate, McpTool,
};

use super::server::Offer;
use super::session::Session;
use super::{McpFault, McpSeen};
use crate::locked;

/// A list with the connection and the number of changes that it was read at.
pub(super) type Cached<T> = Option<(u64, u64, Arc<[T]>)>;

#[derive(Default)]
pub(super) struct Cache {
    pub(super) tools: Cached<McpTool>,
    pub(super) resources: Cached<McpResource>,
    pub(super) templates: Cached<McpResourceTemplate>,
    pub(super) prompts: Cached<McpPrompt>,
}

impl Session {
    /// A whole list, from the cache if it is still good.
    pub(super) async fn list<T: Clone + Send + Sync>(
        &self,
        operation: &'static str,
        what: &'static str,
        cached: impl Fn(&mut Cache) -> &mut Cached<T> + Send + Sync,
        entries: impl Fn(&Offer) -> Result<Vec<T>, &'static str> + Send + Sync,
    ) -> Result<Arc<[T]>, McpError> {
        let request = self.request(operation);
        let (_, number) = self.line(operation).await?;
        let changes = self.server.changes();
        if let Some((connection, at, list)) = cached(&mut locked(&self.cache)).clone()
            && (connection, at) == (number, changes)
        {
            return Ok(list);
        }
        let mut list = Vec::new();
        let connection = loop {
            let from = list.len();
            let page = self.in_time(&request, async {
                let (line, number) = self.enter(&request).await?;
                let page = self.ask(&request, &line, McpSeen::Listed(what), || async {
                    let offer = self.server.offer();
                    let all = entries(&offer).map_err(|_why| McpFault::Garbled)?;
                    let start = if offer.is_endless { 0 } else { from };
                    let page: Vec<T> = all.iter().skip(start).take(offer.page).cloned().collect();
                    let is_last = !offer.is_endless && from + page.len() >= all.len();
                    Ok((page, is_last))
                });
                Ok((page.await?, number))
            });
            let ((page, is_last), number) = page.await?;
            // A page of nothing that has a successor would be turned for ever.
            if list.len() + page.len() > MAX_LISTED || (page.is_empty() && !is_last) {
                return Err(request.failed(Kind::TooLarge, "the list has no end"));
            }
            list.extend(page);
            if is_last {
                break number;
            }
        };
        let list: Arc<[T]> = list.into();
        *cached(&mut locked(&self.cache)) = Some((connection, changes, Arc::clone(&list)));
        Ok(list)
    }
}
