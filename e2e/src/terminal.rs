//! A person at a terminal: a command in a pseudo-terminal of its own, what is typed, and what is shown.
//!
//! The terminal is made by `script` of util-linux, which every Debian has. Its size is changed from outside, on the device
//! itself, as a window system would.

use crate::command::{command, run};
use anyhow::{Context, Result, bail};
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A command in a terminal. Ended when dropped.
#[derive(Debug)]
pub struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<Vec<u8>>>,
    _reader: JoinHandle<()>,
}

impl Terminal {
    /// Starts a shell command line in a terminal of that size.
    ///
    /// # Errors
    /// If `script` can't be started.
    pub fn start(command_line: &str, cols: u16, rows: u16, kubeconfig: &std::path::Path) -> Result<Self> {
        let line = format!("stty cols {cols} rows {rows}; exec {command_line}");
        let mut process = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"])
            .env("KUBECONFIG", kubeconfig)
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting `script` of util-linux")?;
        let keyboard = process.stdin.take().context("a keyboard")?;
        let mut output = process.stdout.take().context("a screen")?;
        let screen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let reader = std::thread::spawn({
            let screen = screen.clone();
            move || {
                let mut chunk = [0; 4096];
                while let Ok(read) = output.read(&mut chunk)
                    && read > 0
                {
                    screen.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..read]);
                }
            }
        });
        Ok(Self { process, keyboard, screen, _reader: reader })
    }

    /// Everything that was shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Types.
    ///
    /// # Errors
    /// If nobody reads any more.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes())?;
        Ok(self.keyboard.flush()?)
    }

    /// Waits until a text is shown.
    ///
    /// # Errors
    /// If it isn't within 20 seconds; the error has what was shown instead.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.shown().contains(text) {
            if Instant::now() > deadline {
                bail!("{text:?} is not shown, but: {:?}", self.shown());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Gives the terminal another size, as dragging the corner of a window does.
    ///
    /// # Errors
    /// If the command has ended, or is in no terminal.
    pub fn resize(&self, cols: u16, rows: u16) -> Result<()> {
        let script = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children"))?;
        let child = children.split_whitespace().next().context("script has a child")?;
        let device = std::fs::read_link(format!("/proc/{child}/fd/0"))?;
        let (cols, rows) = (cols.to_string(), rows.to_string());
        let args = [
            "-F".as_ref(),
            device.as_os_str(),
            "cols".as_ref(),
            cols.as_ref(),
            "rows".as_ref(),
            rows.as_ref(),
        ];
        run(&mut command("stty", args))?.success()?;
        Ok(())
    }

    /// Waits for the end of the command and returns its exit code.
    ///
    /// # Errors
    /// If it does not end within 20 seconds.
    pub fn wait(&mut self) -> Result<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.process.try_wait()? {
                return status.code().context("an exit code");
            }
            if Instant::now() > deadline {
                bail!("it does not end; shown: {:?}", self.shown());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        drop(ended);
    }
}
