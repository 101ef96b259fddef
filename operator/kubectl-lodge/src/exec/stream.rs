//! The output of a command, as server-sent events. A stream that breaks is taken up again where it broke; the command is
//! never run twice.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use vm_api::{OutputMessage, ProblemCode, sse};

use crate::error::Error;
use crate::gateway::{Ask, Reply};
use crate::remote::Remote;

/// How long a broken stream is taken up again. The runner kills a command of `exec` that nobody has followed for 5 s, but
/// still knows how it ended and what it wrote last.
pub(crate) const RESUME: Duration = Duration::from_secs(30);
/// A stream that is quiet for longer than this is broken: the runner shows a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(50);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Follows a command.
pub(crate) struct OutputStream<'a> {
    remote: &'a Remote,
    reply: Option<Reply>,
    decoder: sse::Decoder,
    messages: VecDeque<sse::Message>,
    pid: Option<i32>,
    /// How much output was told.
    position: u64,
    broken: Option<Broken>,
}

/// Since when, and why, there is no stream.
struct Broken {
    since: Instant,
    pause: Duration,
    why: String,
}

impl<'a> OutputStream<'a> {
    /// Of a command that was begun with this answer.
    pub(crate) fn new(remote: &'a Remote, reply: Reply) -> Self {
        Self {
            remote,
            reply: Some(reply),
            decoder: sse::Decoder::default(),
            messages: VecDeque::new(),
            pid: None,
            position: 0,
            broken: None,
        }
    }

    /// Of a process that runs.
    pub(crate) fn of_process(remote: &'a Remote, pid: i32) -> Self {
        let broken = Broken { since: Instant::now(), pause: Duration::ZERO, why: String::new() };
        Self {
            remote,
            reply: None,
            decoder: sse::Decoder::default(),
            messages: VecDeque::new(),
            pid: Some(pid),
            position: 0,
            broken: Some(broken),
        }
    }

    /// The number of the process, once it is known.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// The next message. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<OutputMessage, Error> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return self.take(&message);
            }
            if self.broken.is_some() {
                self.resume().await?;
            }
            let Some(reply) = &mut self.reply else { continue };
            match tokio::time::timeout(SILENCE, reply.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    let messages = self.decoder.push(&chunk);
                    self.messages.extend(messages.map_err(|error| Error::Answer(error.to_string()))?);
                }
                Ok(Ok(None)) => self.note_broken("it ended early".to_owned()),
                Ok(Err(error)) => self.note_broken(error.to_string()),
                Err(_) => self.note_broken(format!("nothing came for {} s", SILENCE.as_secs())),
            }
        }
    }

    fn take(&mut self, message: &sse::Message) -> Result<OutputMessage, Error> {
        let id = message.id.as_deref().and_then(|id| id.parse().ok());
        let message =
            serde_json::from_str(&message.data).map_err(|error| Error::Answer(error.to_string()))?;
        if let OutputMessage::Started { pid } = &message {
            self.pid = Some(*pid);
        }
        self.position = id.unwrap_or(self.position);
        Ok(message)
    }

    fn note_broken(&mut self, why: String) {
        self.reply = None;
        self.decoder = sse::Decoder::default();
        self.broken = Some(Broken { since: Instant::now(), pause: FIRST_PAUSE, why });
    }

    /// Connects again, where the stream broke.
    async fn resume(&mut self) -> Result<(), Error> {
        let Some(broken) = &mut self.broken else { return Ok(()) };
        let Some(pid) = self.pid else {
            let why = format!("{}; it may or may not have run, and is not run again", broken.why);
            return Err(Error::CommandLost(why));
        };
        loop {
            let path = format!("{}?after={}", self.remote.route.process(pid, "output"), self.position);
            match self.remote.ask_quietly(Ask::get(path).events()).await {
                Ok(reply) => {
                    self.reply = Some(reply);
                    self.broken = None;
                    return Ok(());
                }
                Err(Error::Unreachable { why, .. }) => broken.why = why,
                Err(error) if error.is(ProblemCode::ProcessNotFound) => {
                    let why = "its workspace has slept or its runner was restarted meanwhile".to_owned();
                    return Err(Error::CommandLost(why));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => broken.why = error.to_string(),
            }
            if broken.since.elapsed() > RESUME {
                return Err(Error::CommandLost(format!("{} for {} s", broken.why, RESUME.as_secs())));
            }
            tokio::time::sleep(broken.pause).await;
            broken.pause = (broken.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
    }
}
