//! How a terminal treats its input and output.

use bitflags::bitflags;

bitflags! {
    /// Treatment of input, with Linux's bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct InputFlags: u32 {
        /// Clear the eighth bit.
        const ISTRIP = 0o40;
        /// Newline becomes carriage return.
        const INLCR = 0o100;
        /// Carriage return is dropped.
        const IGNCR = 0o200;
        /// Carriage return becomes newline.
        const ICRNL = 0o400;
        /// Output can be stopped and started by keys; kept, not acted on.
        const IXON = 0o2000;
        /// Input is UTF-8: erasing takes whole characters.
        const IUTF8 = 0o40000;
    }
}

bitflags! {
    /// Treatment of output, with Linux's bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct OutputFlags: u32 {
        /// Output is treated at all.
        const OPOST = 0o1;
        /// Newline becomes carriage return and newline.
        const ONLCR = 0o4;
    }
}

bitflags! {
    /// Editing, echo and signals, with Linux's bits.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct LocalFlags: u32 {
        /// Keys send signals.
        const ISIG = 0o1;
        /// Input comes in lines that can be edited.
        const ICANON = 0o2;
        /// Input is shown.
        const ECHO = 0o10;
        /// Erasing is shown as erasing.
        const ECHOE = 0o20;
        /// Killing a line is shown by a newline.
        const ECHOK = 0o40;
        /// Newlines are shown even if nothing else is.
        const ECHONL = 0o100;
        /// Signals do not discard input.
        const NOFLSH = 0o200;
        /// Background processes may not write.
        const TOSTOP = 0o400;
        /// Control characters are shown as `^X`.
        const ECHOCTL = 0o1000;
        /// Killing a line is shown by erasing it.
        const ECHOKE = 0o4000;
        /// Word erase and literal next work.
        const IEXTEN = 0o100000;
    }
}

/// The keys that mean something; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlCharacters {
    /// Sends `SIGINT`.
    pub interrupt: u8,
    /// Sends `SIGQUIT`.
    pub quit: u8,
    /// Takes back a character.
    pub erase: u8,
    /// Takes back the line.
    pub kill: u8,
    /// Ends the input.
    pub end_of_file: u8,
    /// Ends a line, besides newline.
    pub end_of_line: u8,
    /// Sends `SIGTSTP`.
    pub suspend: u8,
    /// Takes back a word.
    pub word_erase: u8,
    /// Takes the next character as it is.
    pub literal_next: u8,
    /// Without lines: how many bytes a read waits for.
    pub min: u8,
    /// Without lines: how long a read waits, in tenths of a second; kept, not acted on.
    pub time: u8,
}

/// All settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input.
    pub input: InputFlags,
    /// Output.
    pub output: OutputFlags,
    /// Editing, echo, signals.
    pub local: LocalFlags,
    /// Keys.
    pub control: ControlCharacters,
}

impl Termios {
    /// Lines that can be edited, echo, signals: what a fresh terminal does.
    pub const COOKED: Self = Self {
        input: InputFlags::ICRNL.union(InputFlags::IXON).union(InputFlags::IUTF8),
        output: OutputFlags::OPOST.union(OutputFlags::ONLCR),
        local: LocalFlags::ISIG
            .union(LocalFlags::ICANON)
            .union(LocalFlags::ECHO)
            .union(LocalFlags::ECHOE)
            .union(LocalFlags::ECHOK)
            .union(LocalFlags::ECHOCTL)
            .union(LocalFlags::ECHOKE)
            .union(LocalFlags::IEXTEN),
        control: ControlCharacters {
            interrupt: 3,
            quit: 28,
            erase: 127,
            kill: 21,
            end_of_file: 4,
            end_of_line: 0,
            suspend: 26,
            word_erase: 23,
            literal_next: 22,
            min: 1,
            time: 0,
        },
    };

    /// Bytes as they come, as `cfmakeraw` has it.
    #[must_use]
    pub fn raw(self) -> Self {
        let untouched = LocalFlags::NOFLSH | LocalFlags::TOSTOP | LocalFlags::ECHOE | LocalFlags::ECHOK;
        Self {
            input: self.input & InputFlags::IUTF8,
            output: self.output - OutputFlags::OPOST,
            local: self.local & (untouched | LocalFlags::ECHOCTL | LocalFlags::ECHOKE),
            control: ControlCharacters { min: 1, time: 0, ..self.control },
        }
    }
}
