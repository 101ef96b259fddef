//! The line discipline: what becomes of typed bytes before a program reads them, and of written ones before they are
//! shown.
//!
//! Pure: bytes in, bytes and signals out. Everything it holds is bounded: a line by [`MAX_LINE_BYTES`], unread input and
//! its lines by [`MAX_INPUT_BYTES`].

use std::collections::VecDeque;

use vm_abi::Signal;

use super::termios::{InputFlags, LocalFlags, OutputFlags, Termios};

/// The longest line that can be edited; further keys are ignored but the ones that end it.
pub(super) const MAX_LINE_BYTES: usize = 4095;
/// How much may wait to be read.
pub(super) const MAX_INPUT_BYTES: usize = 64 << 10;

/// What a typed byte does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reaction {
    /// What is shown.
    pub(super) echo: Vec<u8>,
    /// What the foreground group gets.
    pub(super) signal: Option<Signal>,
}

/// Input on its way from keyboard to program, and the settings of a terminal.
#[derive(Debug)]
pub(super) struct LineDiscipline {
    termios: Termios,
    /// The line that is being typed.
    line: Vec<u8>,
    /// What can be read.
    ready: VecDeque<u8>,
    /// Lengths of the lines at the front of `ready`; one may be 0, which reads as the end. Only with `ICANON`.
    lines: VecDeque<usize>,
    is_literal_next: bool,
}

impl LineDiscipline {
    /// A fresh terminal's.
    pub(super) fn new() -> Self {
        Self {
            termios: Termios::COOKED,
            line: Vec::new(),
            ready: VecDeque::new(),
            lines: VecDeque::new(),
            is_literal_next: false,
        }
    }

    /// The settings.
    pub(super) fn termios(&self) -> Termios {
        self.termios
    }

    /// Changes the settings. What was typed stays, as lines or as bytes.
    pub(super) fn set_termios(&mut self, termios: Termios) {
        let (was, is) = (self.is_canonical(), termios.local.contains(LocalFlags::ICANON));
        self.termios = termios;
        if was && !is {
            self.ready.extend(self.line.drain(..));
            self.lines.clear();
        } else if is && !was && !self.ready.is_empty() {
            self.lines.push_back(self.ready.len());
        }
    }

    /// Whether more can be typed.
    pub(super) fn has_room(&self) -> bool {
        // A line may be empty.
        self.ready.len() < MAX_INPUT_BYTES && self.lines.len() < MAX_INPUT_BYTES
    }

    /// Whether a read would give something.
    pub(super) fn is_readable(&self) -> bool {
        if self.is_canonical() {
            !self.lines.is_empty()
        } else {
            self.ready.len() >= usize::from(self.termios.control.min).max(1)
        }
    }

    /// Takes what can be read: of lines at most one. `None` if nothing can be yet; 0 is the end of input.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let available = if self.is_canonical() {
            *self.lines.front()?
        } else if self.ready.len() >= usize::from(self.termios.control.min).min(buffer.len()).max(1) {
            self.ready.len()
        } else {
            return if self.termios.control.min == 0 { Some(0) } else { None };
        };
        let count = available.min(buffer.len());
        for (target, byte) in buffer.iter_mut().zip(self.ready.drain(..count)) {
            *target = byte;
        }
        if self.is_canonical() {
            if count == available {
                self.lines.pop_front();
            } else if let Some(left) = self.lines.front_mut() {
                *left -= count;
            }
        }
        Some(count)
    }

    /// Forgets what was typed and not read.
    pub(super) fn flush(&mut self) {
        self.line.clear();
        self.ready.clear();
        self.lines.clear();
    }

    /// A byte is typed.
    pub(super) fn input(&mut self, byte: u8) -> Reaction {
        let mut reaction = Reaction::default();
        let Some(byte) = self.translated(byte) else {
            return reaction;
        };
        if std::mem::take(&mut self.is_literal_next) {
            self.take(byte, &mut reaction.echo);
            return reaction;
        }
        if let Some(signal) = self.signal_of(byte) {
            if !self.has(LocalFlags::NOFLSH) {
                self.flush();
            }
            self.echo(byte, &mut reaction.echo);
            reaction.signal = Some(signal);
            return reaction;
        }
        if self.is_canonical() {
            self.edit(byte, &mut reaction.echo);
        } else {
            self.take(byte, &mut reaction.echo);
        }
        reaction
    }

    /// What written bytes become before they are shown.
    pub(super) fn output(&self, bytes: &[u8], shown: &mut Vec<u8>) {
        let output = self.termios.output;
        if !output.contains(OutputFlags::OPOST | OutputFlags::ONLCR) {
            shown.extend_from_slice(bytes);
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(line) => {
                    shown.extend_from_slice(line);
                    shown.extend_from_slice(b"\r\n");
                }
                None => shown.extend_from_slice(part),
            }
        }
    }

    fn has(&self, flags: LocalFlags) -> bool {
        self.termios.local.contains(flags)
    }

    fn is_canonical(&self) -> bool {
        self.has(LocalFlags::ICANON)
    }

    fn translated(&self, byte: u8) -> Option<u8> {
        let input = self.termios.input;
        let byte = if input.contains(InputFlags::ISTRIP) { byte & 0x7f } else { byte };
        match byte {
            b'\r' if input.contains(InputFlags::IGNCR) => None,
            b'\r' if input.contains(InputFlags::ICRNL) => Some(b'\n'),
            b'\n' if input.contains(InputFlags::INLCR) => Some(b'\r'),
            byte => Some(byte),
        }
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        let control = self.termios.control;
        if !self.has(LocalFlags::ISIG) || byte == 0 {
            None
        } else if byte == control.interrupt {
            Some(Signal::SIGINT)
        } else if byte == control.quit {
            Some(Signal::SIGQUIT)
        } else if byte == control.suspend {
            Some(Signal::SIGTSTP)
        } else {
            None
        }
    }

    /// A byte of a line.
    fn edit(&mut self, byte: u8, echo: &mut Vec<u8>) {
        let control = self.termios.control;
        let is_key = |key: u8| key != 0 && byte == key;
        let is_extended = self.has(LocalFlags::IEXTEN);
        if is_key(control.erase) {
            self.erase(echo);
        } else if is_key(control.kill) {
            self.kill(byte, echo);
        } else if is_extended && is_key(control.word_erase) {
            self.erase_word(echo);
        } else if is_extended && is_key(control.literal_next) {
            self.is_literal_next = true;
        } else if is_key(control.end_of_file) {
            self.finish_line();
        } else if byte == b'\n' || is_key(control.end_of_line) {
            self.line.push(byte);
            if self.has(LocalFlags::ECHO) || (byte == b'\n' && self.has(LocalFlags::ECHONL)) {
                self.output(&[byte], echo);
            }
            self.finish_line();
        } else {
            self.take(byte, echo);
        }
    }

    /// An ordinary byte.
    fn take(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.is_canonical() {
            if self.line.len() >= MAX_LINE_BYTES {
                return;
            }
            self.line.push(byte);
        } else {
            self.ready.push_back(byte);
        }
        self.echo(byte, echo);
    }

    fn finish_line(&mut self) {
        self.lines.push_back(self.line.len());
        self.ready.extend(self.line.drain(..));
    }

    fn erase(&mut self, echo: &mut Vec<u8>) {
        let Some(mut erased) = self.line.pop() else { return };
        if self.termios.input.contains(InputFlags::IUTF8) {
            while erased & 0xc0 == 0x80 {
                match self.line.pop() {
                    Some(byte) => erased = byte,
                    None => break,
                }
            }
        }
        self.show_erasure(erased, echo);
    }

    fn erase_word(&mut self, echo: &mut Vec<u8>) {
        let is_blank = |byte: Option<&u8>| byte.is_some_and(|byte| *byte == b' ' || *byte == b'\t');
        while is_blank(self.line.last()) {
            self.erase(echo);
        }
        while !self.line.is_empty() && !is_blank(self.line.last()) {
            self.erase(echo);
        }
    }

    fn kill(&mut self, byte: u8, echo: &mut Vec<u8>) {
        if self.has(LocalFlags::ECHOKE | LocalFlags::ECHOE) {
            while !self.line.is_empty() {
                self.erase(echo);
            }
            return;
        }
        self.line.clear();
        self.echo(byte, echo);
        if self.has(LocalFlags::ECHO | LocalFlags::ECHOK) {
            self.output(b"\n", echo);
        }
    }

    fn show_erasure(&self, erased: u8, echo: &mut Vec<u8>) {
        if !self.has(LocalFlags::ECHO) {
            return;
        }
        if !self.has(LocalFlags::ECHOE) {
            self.echo(self.termios.control.erase, echo);
            return;
        }
        let width = if self.shows_as_pair(erased) { 2 } else { 1 };
        for _ in 0..width {
            echo.extend_from_slice(b"\x08 \x08");
        }
    }

    fn echo(&self, byte: u8, echo: &mut Vec<u8>) {
        if !self.has(LocalFlags::ECHO) {
            return;
        }
        if self.shows_as_pair(byte) {
            echo.extend_from_slice(&[b'^', byte ^ 0x40]);
        } else {
            self.output(&[byte], echo);
        }
    }

    fn shows_as_pair(&self, byte: u8) -> bool {
        self.has(LocalFlags::ECHOCTL) && byte.is_ascii_control() && byte != b'\n' && byte != b'\t'
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Signal;

    use super::{LineDiscipline, MAX_INPUT_BYTES, MAX_LINE_BYTES, Termios};

    fn type_in(discipline: &mut LineDiscipline, bytes: &[u8]) -> String {
        let mut echo = Vec::new();
        for byte in bytes {
            echo.extend(discipline.input(*byte).echo);
        }
        String::from_utf8(echo).unwrap()
    }

    fn read(discipline: &mut LineDiscipline) -> Option<String> {
        let mut buffer = [0; 100];
        let count = discipline.read(&mut buffer)?;
        Some(String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    #[test]
    fn a_line_is_read_when_it_is_finished() {
        let mut discipline = LineDiscipline::new();
        assert_eq!(type_in(&mut discipline, b"ab"), "ab");
        assert_eq!(read(&mut discipline), None);
        assert_eq!(type_in(&mut discipline, b"c\rd\n"), "c\r\nd\r\n");
        assert_eq!(read(&mut discipline).as_deref(), Some("abc\n"));
        assert_eq!(read(&mut discipline).as_deref(), Some("d\n"));
        assert_eq!(read(&mut discipline), None);
    }

    #[test]
    fn a_line_can_be_edited() {
        let mut discipline = LineDiscipline::new();
        assert_eq!(type_in(&mut discipline, b"ab\x7fc"), "ab\x08 \x08c");
        type_in(&mut discipline, " \u{e9}\x7f two  words\x17!\n".as_bytes());
        assert_eq!(read(&mut discipline).as_deref(), Some("ac  two  !\n"));
        type_in(&mut discipline, b"gone\x15kept\n");
        assert_eq!(read(&mut discipline).as_deref(), Some("kept\n"));
        assert_eq!(type_in(&mut discipline, b"\x16\x03\n"), "^C\r\n");
        assert_eq!(read(&mut discipline).as_deref(), Some("\x03\n"));
    }

    #[test]
    fn the_end_key_ends_a_line_or_the_input() {
        let mut discipline = LineDiscipline::new();
        assert_eq!(type_in(&mut discipline, b"part\x04"), "part");
        assert_eq!(read(&mut discipline).as_deref(), Some("part"));
        assert_eq!(read(&mut discipline), None);
        type_in(&mut discipline, b"\x04");
        assert!(discipline.is_readable());
        assert_eq!(read(&mut discipline).as_deref(), Some(""));
    }

    #[test]
    fn keys_send_signals_and_discard_what_was_typed() {
        let mut discipline = LineDiscipline::new();
        type_in(&mut discipline, b"lost");
        let reaction = discipline.input(3);
        assert_eq!((reaction.signal, &*reaction.echo), (Some(Signal::SIGINT), &b"^C"[..]));
        assert_eq!(discipline.input(28).signal, Some(Signal::SIGQUIT));
        assert_eq!(discipline.input(26).signal, Some(Signal::SIGTSTP));
        type_in(&mut discipline, b"\n");
        assert_eq!(read(&mut discipline).as_deref(), Some("\n"));
    }

    #[test]
    fn raw_bytes_come_as_they_are_and_are_not_shown() {
        let mut discipline = LineDiscipline::new();
        type_in(&mut discipline, b"before");
        discipline.set_termios(Termios::COOKED.raw());
        assert_eq!(type_in(&mut discipline, b"\r\x03\x7f"), "");
        assert_eq!(read(&mut discipline).as_deref(), Some("before\r\x03\x7f"));
        let mut shown = Vec::new();
        discipline.output(b"a\n", &mut shown);
        assert_eq!(shown, b"a\n");
        type_in(&mut discipline, b"left");
        discipline.set_termios(Termios::COOKED);
        assert_eq!(read(&mut discipline).as_deref(), Some("left"));
    }

    #[test]
    fn a_short_buffer_gets_a_line_in_pieces() {
        let mut discipline = LineDiscipline::new();
        type_in(&mut discipline, b"abc\nd\n");
        let mut two = [0; 2];
        assert_eq!((discipline.read(&mut two), two), (Some(2), *b"ab"));
        assert_eq!((discipline.read(&mut two), two), (Some(2), *b"c\n"));
        assert_eq!(read(&mut discipline).as_deref(), Some("d\n"));
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut discipline = LineDiscipline::new();
        type_in(&mut discipline, &vec![b'x'; 2 * MAX_LINE_BYTES]);
        type_in(&mut discipline, b"\n");
        let mut buffer = vec![0; 3 * MAX_LINE_BYTES];
        assert_eq!(discipline.read(&mut buffer), Some(MAX_LINE_BYTES + 1));
    }

    #[test]
    fn ends_of_input_that_nobody_reads_take_room_too() {
        let mut discipline = LineDiscipline::new();
        let typed = (0..2 * MAX_INPUT_BYTES).take_while(|_| {
            let has_room = discipline.has_room();
            discipline.input(4);
            has_room
        });
        assert_eq!(typed.count(), MAX_INPUT_BYTES);
        while discipline.is_readable() {
            assert_eq!(read(&mut discipline).as_deref(), Some(""));
        }
        assert!(discipline.has_room());
    }

    #[test]
    fn newlines_are_shown_as_carriage_return_and_newline() {
        let mut shown = Vec::new();
        LineDiscipline::new().output(b"a\nb\n\nc", &mut shown);
        assert_eq!(shown, b"a\r\nb\r\n\r\nc");
    }
}
