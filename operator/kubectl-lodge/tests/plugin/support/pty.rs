//! The plugin, or a shell around it, as a program in a terminal of its own.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OutputModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::world::World;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Pty {
    master: std::fs::File,
    /// Kept open, so that the terminal has modes after the program has ended.
    replica: OwnedFd,
    shown: Arc<Mutex<Vec<u8>>>,
    child: Child,
    before: Termios,
}

impl Pty {
    /// Starts the plugin in a terminal.
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        let (subcommand, rest) = arguments.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lodge"));
        command.args([subcommand, "--kubeconfig"]).arg(world.kubeconfig()).args(rest);
        Self::start_program(command.env_remove("LODGE_GATEWAY"))
    }

    /// Starts a program in a terminal of 100 columns and 30 rows.
    pub(crate) fn start_program(command: &mut Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        set_window(&master, 100, 30);
        let name = ptsname(&master, Vec::new()).unwrap();
        let replica = std::fs::File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let replica = OwnedFd::from(replica);
        let before = tcgetattr(&replica).unwrap();
        let stream = || Stdio::from(replica.try_clone().unwrap());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let master = std::fs::File::from(master);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { master, replica, shown, child, before }
    }

    /// Types keys.
    pub(crate) fn keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, cols: u16, rows: u16) {
        set_window(&self.master, cols, rows);
        // It is not the program's controlling terminal, which would tell it.
        self.signal(Signal::WINCH);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Everything that was shown.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until this is shown.
    pub(crate) async fn shows(&self, text: &str) {
        wait(text, &self.shown, || self.text().contains(text).then_some(())).await;
    }

    /// How much was shown, to say what comes after it.
    pub(crate) fn mark(&self) -> usize {
        self.shown.lock().unwrap().len()
    }

    /// Waits until this is shown after the mark, in whatever colours.
    pub(crate) async fn shows_after(&self, mark: usize, text: &str) {
        let since = || plain(&String::from_utf8_lossy(&self.shown.lock().unwrap()[mark..]));
        wait(text, &self.shown, || since().contains(text).then_some(())).await;
    }

    /// Waits until keys come as they are typed.
    pub(crate) async fn is_raw(&self) {
        wait("raw mode", &self.shown, || {
            (!self.modes().local_modes.contains(LocalModes::ICANON)).then_some(())
        })
        .await;
    }

    /// Waits until keys come by lines.
    pub(crate) async fn is_cooked(&self) {
        wait("line mode", &self.shown, || {
            self.modes().local_modes.contains(LocalModes::ICANON).then_some(())
        })
        .await;
    }

    fn modes(&self) -> Termios {
        tcgetattr(self.replica.as_fd()).unwrap()
    }

    /// Waits for the end of the program.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait("the end", &self.shown, || child.try_wait().unwrap()).await
    }

    /// Checks that the terminal is as it was before.
    pub(crate) fn assert_restored(&self) {
        let now = self.modes();
        assert_eq!(now.local_modes, self.before.local_modes);
        assert_eq!(now.input_modes, self.before.input_modes);
        assert_eq!(now.output_modes, self.before.output_modes);
        assert!(now.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        assert!(now.output_modes.contains(OutputModes::OPOST));
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It has ended, unless a test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn set_window(terminal: impl std::os::fd::AsFd, cols: u16, rows: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

/// Text without colours and moves.
fn plain(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = match piece.chars().next() {
            Some('[') => piece.find(|c: char| c.is_ascii_alphabetic()),
            Some(']') => piece.find('\u{7}'),
            Some('(') => Some(1),
            _ => Some(0),
        };
        plain.push_str(end.and_then(|end| piece.get(end + 1..)).unwrap_or_default());
    }
    plain
}

async fn wait<T>(what: &str, shown: &Mutex<Vec<u8>>, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        let shown = || String::from_utf8_lossy(&shown.lock().unwrap()).into_owned();
        assert!(began.elapsed() < PATIENCE, "{what} did not come; shown is: {}", shown());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
