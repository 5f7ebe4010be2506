//! Tables that fit: columns go, and keys are shortened in the middle, before a line is longer than the terminal.

use std::fmt::Write as _;

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

/// A column.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Column {
    /// Its head.
    pub head: &'static str,
    /// Numbers stand right.
    pub right: bool,
    /// When space is short, the column with the highest number goes first; 0 stays.
    pub expendable: u8,
    /// Takes what space is left; its cells may be shortened to this many characters.
    pub shrinks_to: Option<usize>,
}

impl Column {
    /// A column that stays.
    pub const fn new(head: &'static str) -> Self {
        Self { head, right: false, expendable: 0, shrinks_to: None }
    }

    /// Numbers stand right.
    pub const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    /// Goes when space is short, the highest number first.
    pub const fn expendable(self, order: u8) -> Self {
        Self { expendable: order, ..self }
    }

    /// May be shortened.
    pub const fn shrinks_to(self, width: usize) -> Self {
        Self { shrinks_to: Some(width), ..self }
    }
}

/// A row and how it is colored.
#[derive(Clone, Debug)]
pub struct Row {
    /// One cell for each column.
    pub cells: Vec<String>,
    /// The style of the whole line.
    pub style: Style,
}

/// Stands between two columns.
const BETWEEN: &str = "  ";
const GAP: usize = BETWEEN.len();

/// Lays out a table for `width` characters.
pub fn lay_out<'a>(columns: &'a [Column], rows: &'a [Row], width: usize) -> String {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row.cells[column].width());
        cells.chain([columns[column].head.width()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(widest).collect();
    let least = |shown: &[usize]| {
        let of = |&column: &usize| columns[column].shrinks_to.map_or(widths[column], |least| widths[column].min(least));
        shown.iter().map(of).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while least(&shown) > width {
        let Some(goes) = shown.iter().copied().max_by_key(|&column| columns[column].expendable) else { break };
        if columns[goes].expendable == 0 {
            break;
        }
        shown.retain(|&column| column != goes);
    }
    let mut spare = width.saturating_sub(least(&shown));
    let mut limits = widths.clone();
    for &column in &shown {
        if let Some(least) = columns[column].shrinks_to {
            let base = widths[column].min(least);
            limits[column] = widths[column].min(base + spare);
            spare = spare.saturating_sub(limits[column] - base);
        }
    }
    // What no column can give up any more is cut off the widest ones: a line that wraps is no row.
    while shown.iter().map(|&column| limits[column]).sum::<usize>() + GAP * shown.len().saturating_sub(1) > width {
        let Some(&widest) = shown.iter().max_by_key(|&&column| limits[column]).filter(|&&column| limits[column] > 1)
        else {
            break;
        };
        limits[widest] -= 1;
    }
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(usize) -> &'a str, style: Style| {
        let cell = |&column: &usize| pad(&shorten(cell(column), limits[column]), limits[column], columns[column].right);
        let line = shown.iter().map(cell).collect::<Vec<_>>().join(BETWEEN);
        let _ = writeln!(text, "{style}{}{style:#}", line.trim_end());
    };
    line(&|column| columns[column].head, Style::new().bold());
    for row in rows {
        line(&|column| &row.cells[column], row.style);
    }
    text
}

/// Lays out a list without heads. A cell that is wider than `most` stands out of its column; none is shortened.
pub fn list(rows: &[Vec<(Style, String)>], most: usize) -> String {
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|(_, cell)| cell.width()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (style, cell)) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widest(column).unwrap_or(0).min(most) };
            let gap = if column == 0 { "" } else { BETWEEN };
            let padded = pad(cell, width, false);
            let _ = write!(line, "{gap}{style}{cell}{style:#}{}", &padded[cell.len()..]);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Fills a cell up to its width.
fn pad(cell: &str, width: usize, right: bool) -> String {
    let spaces = " ".repeat(width.saturating_sub(cell.width()));
    if right { spaces + cell } else { cell.to_owned() + &spaces }
}

/// Shortens in the middle: both ends of a key tell something.
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (head, tail) = (width.saturating_sub(1).div_ceil(2), width.saturating_sub(1) / 2);
    let take = |chars: &mut dyn Iterator<Item = char>, width: usize| {
        let mut taken = String::new();
        for c in chars {
            if taken.width() + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0) > width {
                break;
            }
            taken.push(c);
        }
        taken
    };
    let start = take(&mut text.chars(), head);
    let end: String = take(&mut text.chars().rev(), tail).chars().rev().collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_terminal_while_columns_can_go() {
        let columns = [
            Column::new("KEY").shrinks_to(12),
            Column::new("AGE").right().expendable(2),
            Column::new("WHY").expendable(1),
        ];
        let row = Row { cells: vec!["k".repeat(60), "10d".into(), "reset-stale".into()], style: Style::new() };
        for width in [12, 20, 40, 80, 200] {
            let text = lay_out(&columns, std::slice::from_ref(&row), width);
            let plain = anstream::adapter::strip_str(&text).to_string();
            assert!(plain.lines().all(|line| line.width() <= width), "{width}: {plain}");
            assert_eq!(plain.contains("AGE"), width >= 30, "{width}: {plain}");
        }
    }

    #[test]
    fn columns_that_stay_are_cut_before_a_line_wraps() {
        let columns = [
            Column::new("RUN").shrinks_to(16),
            Column::new("STATE"),
            Column::new("BINDINGS").right(),
            Column::new("RESTORABLE"),
        ];
        let cells = ["20261129T150438Z-ec51", "partly-restored", "36", "yes"];
        let row = Row { cells: cells.map(str::to_owned).to_vec(), style: Style::new() };
        for (width, head) in [(60, "RUN"), (40, "RUN"), (20, "RUN")] {
            let text = lay_out(&columns, std::slice::from_ref(&row), width);
            let plain = anstream::adapter::strip_str(&text).to_string();
            assert!(plain.lines().all(|line| line.width() <= width), "{width}: {plain}");
            assert!(plain.starts_with(head) && plain.contains("36"), "{width}: {plain}");
        }
    }

    #[test]
    fn both_ends_of_a_long_key_stay_visible() {
        assert_eq!(shorten("agent:main:telegram:42", 11), "agent…am:42");
        assert_eq!(shorten("short", 11), "short");
        assert_eq!(shorten("日本語日本語", 7), "日…語");
    }
}
