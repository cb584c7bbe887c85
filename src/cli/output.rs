//! The only writer to stdout and stderr.
//!
//! Invariant: data on stdout, everything else on stderr; colour only on a terminal and without
//! `NO_COLOR`. A reader that has gone (`| head`) ends the program quietly with exit code 0.

use std::io::{self, IsTerminal, Write};

use cdc_api::{Error, Result};
use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Writes data, as it is.
///
/// # Errors
/// When stdout cannot be written: a full disk.
pub fn data(text: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Error::transient(format!("cannot write to stdout: {error}"))),
    }
}

/// Writes a line for people.
pub fn note(text: &str) {
    // Whoever closed stderr does not want to hear.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes a prompt for people, without a line feed.
pub fn prompt(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// Writes an error: what failed, why underneath, and what mends it.
pub fn error(error: &Error) {
    note(&described(error, colour_on_stderr()));
}

fn described(error: &Error, colour: bool) -> String {
    let mut text = format!("{} {error}", painted("error:", Tone::Bad, colour));
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let because = error.to_string();
        // Many errors name their cause in their own words.
        if !text.contains(&because) {
            text.push_str(&format!("\n  caused by: {because}"));
        }
        cause = error.source();
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!(
            "\n{} {hint}",
            painted("hint:", Tone::Good, colour)
        ));
    }
    text
}

fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether text on stdout may be coloured.
pub fn colour_on_stdout() -> bool {
    wants_colour() && io::stdout().is_terminal()
}

/// Whether text on stderr may be coloured.
pub fn colour_on_stderr() -> bool {
    wants_colour() && io::stderr().is_terminal()
}

/// Whether someone sits in front of it: stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether progress can be drawn: stderr is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// How a text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As any.
    Plain,
    /// As it should be.
    Good,
    /// Under way, or worth a look.
    Notice,
    /// Wrong.
    Bad,
}

/// A text in its tone's colour.
pub fn painted(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        _ if !colour => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => "32",
        Tone::Notice => "33",
        Tone::Bad => "1;31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// A table of aligned columns without lines, ended by a line feed.
pub struct Columns {
    table: Table,
    colour: bool,
}

impl Columns {
    /// A table with these headings.
    pub fn new(headings: &[&str], colour: bool) -> Self {
        let mut table = Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(headings.iter().map(Cell::new));
        Self { table, colour }
    }

    /// Adds a row; a tone colours its cell.
    pub fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.table.add_row(cells.into_iter().map(|(text, tone)| {
            let cell = Cell::new(escaped(&text));
            match tone {
                Tone::Plain => cell,
                Tone::Good => cell.fg(Color::DarkGreen),
                Tone::Notice => cell.fg(Color::DarkYellow),
                Tone::Bad => cell.fg(Color::DarkRed),
            }
        }));
    }

    /// Puts the text of a column at its right edge.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Self {
        for &column in columns {
            if let Some(column) = self.table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// The text.
    pub fn render(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if self.colour {
            self.table.enforce_styling();
        } else {
            self.table.force_no_tty();
        }
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Control characters made visible, so that no value can steer the terminal or break a line.
pub fn escaped(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|char| {
            let (plain, escape) = if char.is_control() {
                (None, Some(char.escape_default()))
            } else {
                (Some(char), None)
            };
            plain.into_iter().chain(escape.into_iter().flatten())
        })
        .collect()
}

/// Some lines at the bottom of the terminal that are drawn again and again; nothing elsewhere.
pub struct Live(ProgressBar);

impl Default for Live {
    /// Draws on stderr.
    fn default() -> Self {
        let target = if stderr_is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Live {
    /// Replaces what is drawn.
    pub fn draw(&self, text: &str) {
        self.0.set_message(text.trim_end().to_owned());
        self.0.tick();
    }

    /// Leaves what is drawn last where it is.
    pub fn leave(self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_steer_the_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(escaped("Grüße 東京"), "Grüße 東京");
    }

    #[test]
    fn errors_show_context_cause_and_hint() {
        let error = Error::transient("it broke")
            .caused_by(std::io::Error::other("deep inside"))
            .context("doing this")
            .hint("do that");
        assert_eq!(
            described(&error, false),
            "error: doing this: it broke\n  caused by: deep inside\nhint: do that"
        );
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blank_ends() {
        let mut columns = Columns::new(&["NAME", "ROWS"], false);
        columns.row(vec![
            ("a".to_owned(), Tone::Plain),
            ("1".to_owned(), Tone::Bad),
        ]);
        columns.row(vec![
            ("long name".to_owned(), Tone::Plain),
            (String::new(), Tone::Good),
        ]);
        assert_eq!(
            columns.render(),
            "NAME       ROWS\na          1\nlong name\n"
        );
    }
}
