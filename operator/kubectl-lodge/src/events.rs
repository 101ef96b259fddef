//! `kubectl lodge events`: what happens in a workspace, from the beginning or as it happens. Wakes nothing.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use vm_api::{ProblemCode, WireDuration, sse};

use crate::args::{ClusterArgs, EventFormat};
use crate::error::Error;
use crate::gateway::{Ask, Reply};
use crate::remote::Remote;
use crate::signals::until_signal;
use crate::table::printable;
use crate::terminal::Terminal;

/// Without --follow: how long nothing comes once all has come.
const QUIET: Duration = Duration::from_millis(500);
/// A stream that is quiet for longer than this is broken: there is a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(50);
/// How long a stream that broke is taken up again.
const RESUME: Duration = Duration::from_mins(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  # What has happened, as far as it is kept
  kubectl lodge events ada

  # As it happens, until ctrl-c
  kubectl lodge events ada -f

  # Go on where you were: the number in front of the last event that you saw
  kubectl lodge events ada -f --after 41

  # For programs: a JSON document a line
  kubectl lodge events ada -f -o json | jq -c 'select(.type == \"processExit\")'

A stream that breaks is taken up again where it broke, for up to 5 minutes.";

/// Show what happens in a workspace
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EventsArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Go on showing what happens
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
    /// Only what came after this event
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    pub(crate) after: Option<u64>,
    /// How it is printed
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<EventFormat>,
}

fn parse_id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected the number that stands in front of an event".to_owned())
}

/// Shows.
pub(crate) async fn run(
    args: EventsArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let EventsArgs { name, follow, after, output } = args;
    let remote = Remote::open(&name, &cluster_args).await?;
    let mut reader = Reader { remote: &remote, after: after.unwrap_or(0), format: output, terminal };
    until_signal(reader.read(follow)).await.map(|()| 0)
}

struct Reader<'a> {
    remote: &'a Remote,
    /// The last event that was shown.
    after: u64,
    format: Option<EventFormat>,
    terminal: &'a mut Terminal,
}

impl Reader<'_> {
    async fn read(&mut self, follow: bool) -> Result<(), Error> {
        let mut reply = self.open().await?;
        let patience = if follow { SILENCE } else { QUIET };
        loop {
            let error = match self.show(reply, patience).await? {
                None if !follow => return Ok(()),
                None => Error::Transfer("the stream of events ended".to_owned()),
                Some(error) => error,
            };
            reply = self.reopen(error).await?;
        }
    }

    async fn open(&mut self) -> Result<Reply, Error> {
        let path = format!("{}?after={}", self.remote.route.events(), self.after);
        self.remote.ask(Ask::get(path).events(), self.terminal).await
    }

    /// Connects again after a failure.
    async fn reopen(&mut self, mut error: Error) -> Result<Reply, Error> {
        let since = Instant::now();
        let mut pause = FIRST_PAUSE;
        while since.elapsed() < RESUME {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            match self.open().await {
                Ok(reply) => return Ok(reply),
                Err(refusal) if refusal.is(ProblemCode::InvalidQuery) && self.after > 0 => {
                    self.terminal.tell("[the numbers of events begin anew]");
                    self.after = 0;
                }
                Err(refusal) if refusal.is_final() => return Err(refusal),
                Err(failure) => error = failure,
            }
        }
        let patience = WireDuration(RESUME);
        Err(Error::Transfer(format!("the events could not be taken up again within {patience}: {error}")))
    }

    /// Shows what comes over a connection until nothing does, or it breaks.
    async fn show(&mut self, mut reply: Reply, patience: Duration) -> Result<Option<Error>, Error> {
        let mut decoder = sse::Decoder::default();
        loop {
            let chunk = match tokio::time::timeout(patience, reply.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) | Err(_) => return Ok(None),
                Ok(Err(error)) => return Ok(Some(error)),
            };
            for message in decoder.push(&chunk).map_err(|error| Error::Answer(error.to_string()))? {
                self.after = message.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or(self.after);
                let text = self.line(&message.data)?;
                self.terminal.print(text.as_bytes())?;
            }
        }
    }

    fn line(&self, data: &str) -> Result<String, Error> {
        let mut event: Map<String, Value> =
            serde_json::from_str(data).map_err(|error| Error::Answer(error.to_string()))?;
        Ok(match self.format {
            Some(EventFormat::Json) => document(self.after, event),
            None => format!("{:<6} {}\n", self.after, describe(&mut event)),
        })
    }
}

/// An event as a line of JSON, with its number. That is not called `id`: events of shells have an `id` of their own.
fn document(number: u64, mut event: Map<String, Value>) -> String {
    event.insert("number".to_owned(), json!(number));
    format!("{}\n", Value::Object(event))
}

/// An event in words, also one that this version does not know: its type, and its fields.
fn describe(event: &mut Map<String, Value>) -> String {
    let kind = event.remove("type");
    let at = event.remove("at");
    let mut words: Vec<String> = at.iter().filter_map(Value::as_str).map(printable).collect();
    words.push(format!("{:<16}", kind.as_ref().and_then(Value::as_str).unwrap_or("?")));
    for (name, value) in event.iter().filter(|(_, value)| !value.is_null() && **value != json!(false)) {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let texts: Vec<String> = items
                    .iter()
                    .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                    .collect();
                format!("[{}]", texts.join(" "))
            }
            other => other.to_string(),
        };
        words.push(format!("{name}={}", printable(&text)));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_json_has_its_number_and_keeps_what_it_says() {
        let event = r#"{"type":"shellExit","id":"s1","exitCode":0}"#;
        let line = document(41, serde_json::from_str(event).unwrap());
        let told: Value = serde_json::from_str(line.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(told, json!({"type": "shellExit", "id": "s1", "exitCode": 0, "number": 41}));
    }

    #[test]
    fn events_of_any_kind_are_told() {
        let told = |text: &str| describe(&mut serde_json::from_str(text).unwrap());
        assert_eq!(
            told(r#"{"type":"processStarted","pid":7,"argv":["sh","-c","x\u001b"]}"#)
                .split_whitespace()
                .collect::<Vec<_>>(),
            ["processStarted", "argv=[sh", "-c", "x\\u{1b}]", "pid=7"]
        );
        assert!(
            told(r#"{"type":"news","at":"2026-01-01T00:00:00Z","a":null,"timedOut":false}"#)
                .starts_with("2026-01-01T00:00:00Z news")
        );
    }
}
