//! `GET processes/{pid}/strace`: the system calls of a process, and of those it starts, as they happen.
//!
//! Nothing is noted while nobody reads, and a reader that is too slow is told how much it missed.

use std::collections::VecDeque;

use vm_abi::Errno;
use vm_api::{Problem, StraceMessage};
use vm_kernel::{Pid, StraceLine, StraceReader};

use super::not_found;
use crate::http::{Request, Response};
use crate::vm::boot::Vm;
use crate::vm::server::event::stream::{self, Messages};
use crate::vm::server::query::Query;

/// How many the kernel lets trace a process at once.
const MAX_READERS: usize = 8;

/// Gives the calls as messages.
struct Calls {
    reader: StraceReader,
    /// To be told before anything else is read.
    ready: VecDeque<StraceMessage>,
    told: u64,
}

/// Answers one request.
pub(crate) fn strace(vm: &Vm, pid: Pid, request: &Request) -> Result<Response, Problem> {
    let query = Query::parse(request.query(), &["follow"])?;
    let reader = vm.kernel().strace(pid, query.switch("follow")?).map_err(|errno| match errno {
        Errno::EBUSY => stream::too_many_readers("the system calls of a process", MAX_READERS),
        _ => not_found(pid).with_errno(errno.name()),
    })?;
    Ok(stream::response(Calls { reader, ready: VecDeque::new(), told: 0 }))
}

impl Messages for Calls {
    async fn next(&mut self) -> Option<(u64, String)> {
        if self.ready.is_empty() {
            let line = self.reader.read().await?;
            self.ready.extend(messages(line));
        }
        let message = self.ready.pop_front()?;
        self.told += 1;
        // Strings and numbers only: cannot fail.
        Some((self.told, serde_json::to_string(&message).unwrap_or_default()))
    }
}

fn messages(line: StraceLine) -> impl Iterator<Item = StraceMessage> {
    let StraceLine { pid, at, text, lost } = line;
    let nanos = i32::try_from(at.nsec).unwrap_or_default();
    let at = jiff::Timestamp::new(at.sec, nanos).unwrap_or_default().to_string();
    let lost = (lost > 0).then_some(StraceMessage::Lost { lines: lost });
    lost.into_iter().chain([StraceMessage::Call { pid: pid.raw(), at, text }])
}

#[cfg(test)]
mod tests {
    use vm_abi::Timespec;

    use super::*;

    #[test]
    fn what_was_lost_is_told_before_what_came_after() {
        let at = Timespec { sec: 1, nsec: 500_000_000 };
        let line = StraceLine { pid: Pid::new(7).unwrap(), at, text: "getpid() = 7".to_owned(), lost: 3 };
        let told: Vec<_> = messages(line).collect();
        assert_eq!(told[0], StraceMessage::Lost { lines: 3 });
        let at = "1970-01-01T00:00:01.5Z".to_owned();
        assert_eq!(told[1], StraceMessage::Call { pid: 7, at, text: "getpid() = 7".to_owned() });
    }
}
