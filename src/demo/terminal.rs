//! How the demo speaks: calm lines of at most 100 columns, colours only where somebody looks.

use std::fmt::{self, Display};
use std::io::{IsTerminal, Write, stdout};

/// What the story prints to.
pub(super) struct Terminal {
    out: Box<dyn Write + Send>,
    colours: bool,
    steps: usize,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("steps", &self.steps).finish_non_exhaustive()
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "1;31";

impl Terminal {
    /// Standard output; colours when it is a terminal, unless `NO_COLOR` says otherwise.
    pub(super) fn stdout() -> Self {
        let wanted = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let able = std::env::var_os("TERM").is_none_or(|kind| kind != "dumb");
        Self::new(Box::new(stdout()), stdout().is_terminal() && able && wanted("NO_COLOR"))
    }

    pub(super) fn new(out: Box<dyn Write + Send>, colours: bool) -> Self {
        Self { out, colours, steps: 0 }
    }

    pub(super) fn heading(&mut self, text: &str) {
        let text = self.painted(BOLD, text);
        self.print(format_args!("\n{text}\n"));
    }

    pub(super) fn line(&mut self, text: impl Display) {
        self.print(format_args!("{text}"));
    }

    /// What is done now.
    pub(super) fn step(&mut self, text: &str) {
        self.steps += 1;
        let (number, text) = (self.steps, self.painted(BOLD, text));
        self.print(format_args!("{number:>2}  {text}"));
    }

    /// What came back, as it should.
    pub(super) fn came(&mut self, text: impl Display) {
        let mark = self.painted(GREEN, "ok");
        self.print(format_args!("    {mark}  {text}"));
    }

    /// More about it.
    pub(super) fn detail(&mut self, text: impl Display) {
        let text = self.painted(DIM, &text.to_string());
        self.print(format_args!("        {text}"));
    }

    /// Not what should have come back.
    pub(super) fn unexpected(&mut self, text: impl Display) {
        let mark = self.painted(RED, "NOT OK");
        self.print(format_args!("    {mark}  {text}"));
    }

    /// How many steps were begun.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// A closed pipe is no reason to panic.
    fn print(&mut self, text: fmt::Arguments<'_>) {
        let _ = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text`, at most `most` characters of it.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_shortened_by_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
