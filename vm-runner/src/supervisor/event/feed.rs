//! Following the events of one workspace: those that are kept, page by page, and then those that come.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;
use vm_api::{LoggedEvent, Problem, ProblemCode, VmEvent};

use super::Follower;
use crate::supervisor::journal::Page;
use crate::vm::server::event::stream::Messages;

/// Events that are read at once.
const PAGE_LENGTH: usize = 128;

/// The events of one workspace after an id.
#[derive(Debug)]
pub(crate) struct Feed {
    follower: Follower,
    epoch: u64,
    after: u64,
    /// Read, and not told yet.
    read: VecDeque<(u64, String)>,
    stop: CancellationToken,
}

impl Feed {
    pub(super) async fn begin(
        follower: Follower,
        epoch: u64,
        after: u64,
        stop: CancellationToken,
    ) -> Result<Self, Problem> {
        let mut feed = Self { follower, epoch, after, read: VecDeque::new(), stop };
        let page = feed.page().await?;
        if after > page.last {
            let detail = format!("after={after}: the last event of this workspace is {}", page.last);
            return Err(Problem::new(ProblemCode::InvalidQuery, detail).with_field("after"));
        }
        feed.take(page);
        Ok(feed)
    }

    async fn page(&self) -> Result<Page, Problem> {
        let Follower { events, uid, .. } = &self.follower;
        Ok(events.inner.journal.events(uid, self.epoch, self.after, PAGE_LENGTH).await?)
    }

    fn take(&mut self, page: Page) {
        if page.lost > 0 {
            let event = VmEvent::Lost { events: page.lost };
            let lost = LoggedEvent { at: jiff::Timestamp::now().to_string(), event };
            // Text and a number only: cannot fail.
            self.read.push_back((page.from, serde_json::to_string(&lost).unwrap_or_default()));
        }
        self.read.extend(page.items);
    }
}

impl Messages for Feed {
    async fn next(&mut self) -> Option<(u64, String)> {
        loop {
            if let Some((id, text)) = self.read.pop_front() {
                self.after = id;
                return Some((id, text));
            }
            self.follower.grown.mark_unchanged();
            match self.page().await {
                Ok(page) if page.lost > 0 || !page.items.is_empty() => self.take(page),
                Ok(_) => tokio::select! {
                    () = self.stop.cancelled() => return None,
                    grown = self.follower.grown.changed() => grown.ok()?,
                },
                Err(problem) => {
                    tracing::debug!(%problem, "a stream of events ends");
                    return None;
                }
            }
        }
    }
}
