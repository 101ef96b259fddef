//! Where a command reads and writes: the process's streams, or a test's, and the terminal behind them, if there is one.

use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::table::printable;

/// Bytes of standard input that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that are read ahead.
const CHUNKS: usize = 4;

/// Where a command reads and writes.
pub struct Terminal {
    /// Standard input.
    pub stdin: Box<dyn Read + Send>,
    /// Standard output.
    pub stdout: Box<dyn Write + Send>,
    /// Standard error.
    pub stderr: Box<dyn Write + Send>,
    /// The terminal that standard input is, if it is one.
    pub(crate) tty: Option<OwnedFd>,
    /// Whether somebody watches standard error.
    pub(crate) is_watched: bool,
    /// The user's editor, as the environment names it.
    pub(crate) editor: Option<String>,
    /// Whether standard output is a terminal.
    pub(crate) shows: bool,
}

impl Terminal {
    /// The process's own streams.
    pub fn of_process() -> Self {
        let stdin = io::stdin();
        let tty = stdin.is_terminal().then(|| stdin.as_fd().try_clone_to_owned().ok()).flatten();
        Self {
            tty,
            editor: ["VISUAL", "EDITOR"].iter().find_map(|name| variable(name)),
            is_watched: io::stderr().is_terminal(),
            shows: io::stdout().is_terminal(),
            stdin: Box::new(stdin),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
        }
    }

    /// Streams that are no terminal.
    pub fn of_streams(
        stdin: impl Read + Send + 'static,
        stdout: impl Write + Send + 'static,
        stderr: impl Write + Send + 'static,
    ) -> Self {
        Self {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            tty: None,
            editor: None,
            is_watched: false,
            shows: false,
        }
    }

    /// Writes to standard output.
    pub(crate) fn print(&mut self, text: &[u8]) -> Result<(), Error> {
        write(&mut *self.stdout, text)
    }

    /// Tells the user something that is no output. Names and words of others may be in it: of what a terminal would take for a
    /// command, only ends of lines are left.
    pub(crate) fn tell(&mut self, text: &str) {
        // Who closed standard error has no use for the text.
        let _ = writeln!(self.stderr, "{}", harmless(text));
    }

    /// Standard input as it comes. A thread reads it, which ends with the process: nothing can wake it from a read.
    pub(crate) fn input(&mut self) -> Input {
        let mut stdin = std::mem::replace(&mut self.stdin, Box::new(io::empty()));
        let (sender, receiver) = mpsc::channel(CHUNKS);
        std::thread::spawn(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let chunk = match stdin.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Err(error),
                };
                let is_failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || is_failed {
                    return;
                }
            }
        });
        Input(receiver)
    }
}

/// Text whose lines are printable.
fn harmless(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        // A terminal that is raw wants them around a line.
        let (rest, inner) = (line.trim_start_matches('\r'), line.trim_matches('\r'));
        let (before, after) = ("\r".repeat(line.len() - rest.len()), "\r".repeat(rest.len() - inner.len()));
        format!("{before}{}{after}", printable(inner))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A variable of the environment that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.trim().is_empty())
}

/// Writes all of it at once. That nobody reads any more is told apart ([`Error::Unread`]).
pub(crate) fn write(stream: &mut (dyn Write + Send), bytes: &[u8]) -> Result<(), Error> {
    stream.write_all(bytes).and_then(|()| stream.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Unread,
        _ => Error::Output(error),
    })
}

/// Standard input, chunk by chunk.
pub(crate) struct Input(mpsc::Receiver<io::Result<Bytes>>);

impl Input {
    /// The next bytes; `None` at the end. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.recv().await.transpose().map_err(Error::Input)
    }

    /// The bytes that are there already.
    pub(crate) fn try_next(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.try_recv().ok().transpose().map_err(Error::Input)
    }

    /// The chunks themselves.
    pub(crate) fn into_chunks(self) -> mpsc::Receiver<io::Result<Bytes>> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn standard_input_comes_to_its_end() {
        let mut terminal = Terminal::of_streams(&b"abc"[..], io::sink(), io::sink());
        let mut input = terminal.input();
        assert_eq!(input.next().await.unwrap().unwrap(), "abc");
        assert!(input.next().await.unwrap().is_none());
        assert!(terminal.input().next().await.unwrap().is_none());
    }

    #[test]
    fn what_is_told_gives_the_terminal_no_commands() {
        for (text, shown) in [
            ("left out: a\u{1b}]0;title\u{7}b", "left out: a\\u{1b}]0;title\\u{7}b"),
            ("two\nlines", "two\nlines"),
            ("\r\n[notice]\r", "\r\n[notice]\r"),
            ("over\rwritten", "over\\rwritten"),
            ("\r\r", "\r\r"),
            ("grün", "grün"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }
}
