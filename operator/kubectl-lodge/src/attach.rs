//! A terminal of a workspace, shown here. The connection may break and come back; nothing that was shown is lost.
//!
//! ```text
//!            WebSocket                    exited ─▶ its exit code
//!  attach ──────────────▶ attached ──────  keys ─▶ detached, it runs on
//!     ▲                      │            signal ─▶ sent on (exec), or detached (shell)
//!     └── within RECONNECT ──┘ broke: again, after the last byte that was shown
//! ```

use std::time::Duration;

use tokio::time::Instant;
use vm_api::{ProblemCode, ProcessExit, ShellControl, ShellInfo, ShellMessage, ShellRequest, WireDuration};

use crate::args::Setting;
use crate::detach::{DetachKeys, Scanner};
use crate::error::Error;
use crate::gateway::Patience;
use crate::gateway::web_socket::{Incoming, WebSocket};
use crate::remote::Remote;
use crate::signals::{Signals, Wish};
use crate::terminal::{Input, Terminal};
use crate::tty::{Screen, Window};

/// How long a connection that broke is made again.
pub(crate) const RECONNECT: Duration = Duration::from_mins(1);
/// A connection that is quiet for longer than this is broken: the runner pings every 20 s.
const SILENCE: Duration = Duration::from_secs(50);
/// A connection that has lasted this long was one.
const STABLE: Duration = Duration::from_secs(5);
/// How long a message may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The key that ends input, ctrl-d.
const END_OF_INPUT: u8 = 4;

/// What a signal to the plugin means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnSignal {
    /// It is meant for the command.
    SendOn,
    /// Whoever looks on goes away.
    Detach,
}

/// How it ends.
#[derive(Debug)]
pub(crate) enum Ending {
    Exited(ProcessExit),
    Detached,
    Signaled(Wish),
}

/// How to attach.
pub(crate) struct Attachment<'a> {
    pub(crate) remote: &'a Remote,
    pub(crate) shell: &'a ShellInfo,
    /// Position to show from; `None` for all that is kept.
    pub(crate) after: Option<u64>,
    pub(crate) keys: &'a DetachKeys,
    pub(crate) with_input: bool,
    pub(crate) on_signal: OnSignal,
}

/// A login shell in this setting, in a terminal of the size of the one here.
pub(crate) fn shell_request(setting: Setting, terminal: &Terminal) -> ShellRequest {
    let Setting { env, workdir, run_as } = setting;
    let window = terminal.tty.as_ref().and_then(Window::of);
    ShellRequest {
        command: None,
        argv: None,
        env,
        cwd: workdir,
        user: run_as,
        cols: window.map(|window| window.cols),
        rows: window.map(|window| window.rows),
    }
}

/// What one connection came to.
enum Outcome {
    Ended(Ending),
    Broken(String),
}

/// An attachment that is going on.
struct Attached<'a, 'b> {
    wanted: &'b Attachment<'a>,
    terminal: &'b mut Terminal,
    screen: Option<Screen>,
    input: Option<Input>,
    /// Whether the last thing typed was the end of a line.
    is_line_ended: bool,
    scanner: Scanner,
    signals: Signals,
    after: Option<u64>,
}

impl Attachment<'_> {
    /// Shows the terminal until it ends or is left.
    pub(crate) async fn show(&self, terminal: &mut Terminal) -> Result<Ending, Error> {
        let signals = Signals::listen()?;
        let screen = terminal.tty.take().map(|tty| Screen::begin(tty, self.with_input)).transpose()?;
        let input = self.with_input.then(|| terminal.input());
        let scanner = Scanner::new(self.keys);
        let after = self.after;
        Attached { wanted: self, terminal, screen, input, is_line_ended: true, scanner, signals, after }
            .run()
            .await
    }
}

impl Attached<'_, '_> {
    async fn run(&mut self) -> Result<Ending, Error> {
        let mut broken: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = match self.connect().await {
                Ok(Ok(socket)) => {
                    let began = Instant::now();
                    broken.get_or_insert(began);
                    let outcome = self.serve(socket).await?;
                    // One that breaks at once, again and again, is no connection.
                    if began.elapsed() > STABLE {
                        broken = Some(Instant::now());
                        pause = FIRST_PAUSE;
                    }
                    outcome
                }
                Ok(Err(wish)) => Outcome::Ended(Ending::Signaled(wish)),
                // Only a connection that was there comes back.
                Err(error) if broken.is_none() => return Err(error),
                Err(Error::Unreachable { why, .. }) => Outcome::Broken(why),
                Err(error) if error.is(ProblemCode::ShellNotFound) => {
                    return Err(self.lost("its workspace has slept or its runner was restarted".to_owned()));
                }
                // Such as a permission that was withdrawn.
                Err(error) if error.is_final() => return Err(error),
                Err(error) => Outcome::Broken(error.to_string()),
            };
            let why = match outcome {
                Outcome::Ended(ending) => return Ok(ending),
                Outcome::Broken(why) => why,
            };
            if broken.get_or_insert_with(Instant::now).elapsed() > RECONNECT {
                return Err(self.lost(why));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn lost(&self, why: String) -> Error {
        let Attachment { remote, shell, .. } = self.wanted;
        Error::ShellLost {
            id: shell.id.clone(),
            patience: WireDuration(RECONNECT).to_string(),
            why,
            hint: format!("see {}", remote.command("shell --list")),
        }
    }

    /// Connects, unless a signal comes first.
    async fn connect(&mut self) -> Result<Result<WebSocket, Wish>, Error> {
        let Attachment { remote, shell, .. } = self.wanted;
        let mut path = remote.route.shell(&shell.id, "attach");
        if let Some(after) = self.after {
            path.push_str(&format!("?after={after}"));
        }
        let patience = Patience::new(&remote.name, remote.wait, None);
        let mut socket = tokio::select! {
            socket = remote.gateway.web_socket(path, patience) => socket?,
            wish = self.signals.next() => return Ok(Err(wish)),
        };
        if let Some(window) = self.screen.as_ref().and_then(Screen::window) {
            // A connection that is broken already shows it when it is read.
            let _ = socket.tell(resize(window)).await;
        }
        Ok(Ok(socket))
    }

    /// One connection, until it ends.
    async fn serve(&mut self, mut socket: WebSocket) -> Result<Outcome, Error> {
        loop {
            let sent = tokio::select! {
                message = tokio::time::timeout(SILENCE, socket.next()) => {
                    let Ok(message) = message else {
                        return Ok(Outcome::Broken(format!("nothing came for {} s", SILENCE.as_secs())));
                    };
                    match self.take(message)? {
                        Some(outcome) => return Ok(outcome),
                        None => Ok(()),
                    }
                }
                typed = next(&mut self.input) => {
                    let (bytes, ending) = self.typed(typed?);
                    let sent = if bytes.is_empty() { Ok(()) } else { within(socket.send(bytes)).await };
                    if let Some(ending) = ending {
                        socket.close().await;
                        return Ok(Outcome::Ended(ending));
                    }
                    sent
                }
                wish = self.signals.next() => match self.wanted.on_signal {
                    OnSignal::Detach => {
                        socket.close().await;
                        return Ok(Outcome::Ended(Ending::Signaled(wish)));
                    }
                    OnSignal::SendOn => {
                        self.send_on(wish).await?;
                        Ok(())
                    }
                },
                changed = changed(&mut self.screen) => {
                    changed?;
                    match self.screen.as_ref().and_then(Screen::window) {
                        Some(window) => within(socket.tell(resize(window))).await,
                        None => Ok(()),
                    }
                }
            };
            if let Err(why) = sent {
                return Ok(Outcome::Broken(why));
            }
        }
    }

    /// Takes what comes from the workspace.
    fn take(&mut self, message: Incoming) -> Result<Option<Outcome>, Error> {
        let text = match message {
            Incoming::Binary(bytes) => {
                self.terminal.print(&bytes)?;
                self.after = self.after.map(|after| after + bytes.len() as u64);
                return Ok(None);
            }
            Incoming::Text(text) => text,
            Incoming::Quiet => return Ok(None),
            Incoming::Closed(why) => return Ok(Some(Outcome::Broken(why))),
        };
        match serde_json::from_str(&text).map_err(|error| Error::Answer(error.to_string()))? {
            ShellMessage::Attached { seq, lost, .. } => {
                if lost > 0 {
                    self.tell(&format!("[{lost} bytes that were shown meanwhile are not kept]"));
                }
                self.after = Some(seq);
            }
            ShellMessage::Replayed { seq } => self.after = Some(seq),
            ShellMessage::Lagged { seq, lost } => {
                self.tell(&format!("[{lost} bytes were shown faster than they could be read]"));
                self.after = Some(seq);
                return Ok(Some(Outcome::Broken("too slow".to_owned())));
            }
            ShellMessage::Exited(exit) => return Ok(Some(Outcome::Ended(Ending::Exited(exit)))),
            // Sizes are the terminal's affair, and one that is refused changes nothing.
            ShellMessage::Resized { .. } | ShellMessage::Refused { .. } => {}
        }
        Ok(None)
    }

    /// Takes what is typed: what to send of it, and whether that is the end.
    fn typed(&mut self, chunk: Option<bytes::Bytes>) -> (Vec<u8>, Option<Ending>) {
        match chunk {
            Some(chunk) => {
                let (bytes, is_detached) = self.scanner.scan(&chunk);
                self.is_line_ended = bytes.last().map_or(self.is_line_ended, |last| *last == b'\n');
                (bytes, is_detached.then_some(Ending::Detached))
            }
            // The terminal here is gone.
            None if self.screen.is_some() => (Vec::new(), Some(Ending::Detached)),
            None => {
                self.input = None;
                let mut bytes = self.scanner.finish();
                // In the middle of a line the key only ends the line.
                let keys = if self.is_line_ended { 1 } else { 2 };
                bytes.extend(std::iter::repeat_n(END_OF_INPUT, keys));
                (bytes, None)
            }
        }
    }

    async fn send_on(&mut self, wish: Wish) -> Result<(), Error> {
        let Attachment { remote, shell, .. } = self.wanted;
        match tokio::time::timeout(KILL_TIMEOUT, remote.kill(shell.pid, wish.name(), true)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error))
                if error.is(ProblemCode::ProcessNotFound) || error.is(ProblemCode::ProcessEnded) =>
            {
                Ok(())
            }
            Ok(Err(error)) => {
                self.tell(&format!("{} cannot be sent on to the command: {error}", wish.name()));
                Err(Error::Interrupted(wish.number()))
            }
            Err(_) => Err(Error::Interrupted(wish.number())),
        }
    }

    fn tell(&mut self, text: &str) {
        let is_raw = self.screen.as_ref().is_some_and(Screen::is_raw);
        self.terminal.tell(&if is_raw { format!("\r\n{text}\r") } else { text.to_owned() });
    }
}

/// The next bytes that are typed; never, without input.
async fn next(input: &mut Option<Input>) -> Result<Option<bytes::Bytes>, Error> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for another size of the terminal; for ever, without one.
async fn changed(screen: &mut Option<Screen>) -> Result<(), Error> {
    match screen {
        Some(screen) => screen.changed().await,
        None => std::future::pending().await,
    }
}

async fn within(sending: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(SEND_TIMEOUT, sending)
        .await
        .unwrap_or_else(|_| Err(format!("nothing could be sent for {} s", SEND_TIMEOUT.as_secs())))
}

fn resize(Window { cols, rows }: Window) -> String {
    // Numbers only: cannot fail.
    serde_json::to_string(&ShellControl::Resize { cols, rows }).unwrap_or_default()
}
