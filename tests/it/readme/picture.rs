//! A terminal as an SVG: what a program really printed, with its colors. It has a ground of its own, so it looks the same
//! on a light page and on a dark one.

use anstyle::RgbColor;
use anstyle_svg::{Palette, Term};
use unicode_width::UnicodeWidthStr as _;

const COLUMNS: usize = 116;
const ELIDED: &str = "\u{1b}[2m…\u{1b}[0m";

/// Black, the seven colors and white; then the bright ones.
const PALETTE: Palette = {
    let [ground, red, green, yellow, blue, magenta, cyan, text] = [
        RgbColor(0x0d, 0x11, 0x17),
        RgbColor(0xff, 0x7b, 0x72),
        RgbColor(0x3f, 0xb9, 0x50),
        RgbColor(0xd9, 0xa9, 0x3a),
        RgbColor(0x58, 0xa6, 0xff),
        RgbColor(0xbc, 0x8c, 0xff),
        RgbColor(0x56, 0xd4, 0xdd),
        RgbColor(0xd1, 0xd7, 0xe0),
    ];
    let white = RgbColor(0xff, 0xff, 0xff);
    Palette([
        ground, red, green, yellow, blue, magenta, cyan, text, ground, red, green, yellow, blue, magenta, cyan, white,
    ])
};

/// Lines of a terminal, each with its escape sequences.
#[derive(Default)]
pub(crate) struct Terminal(Vec<String>);

impl Terminal {
    /// How wide it is.
    pub(crate) const fn columns() -> usize {
        COLUMNS
    }

    /// A command and what it printed: the lines that have one of these texts, and `…` for what stands between.
    pub(crate) fn show(&mut self, command: &str, printed: &str, kept: &[&str]) {
        if !self.0.is_empty() {
            self.0.push(String::new());
        }
        self.0.push(format!("\u{1b}[32m$\u{1b}[0m \u{1b}[1m{command}\u{1b}[0m"));
        let mut left_out = false;
        for text in kept {
            assert!(printed.contains(text), "{text:?} is not in what {command} prints:\n{printed}");
        }
        for line in printed.lines() {
            let plain = anstream::adapter::strip_str(line).to_string();
            let blank = plain.is_empty();
            if !blank && !kept.iter().any(|text| plain.contains(text)) {
                left_out = true;
            } else if !blank {
                if std::mem::take(&mut left_out) {
                    self.0.push(ELIDED.to_owned());
                }
                self.0.extend(wrapped(line));
            } else if !left_out && !self.0.last().is_some_and(String::is_empty) {
                self.0.push(String::new());
            }
        }
        if left_out {
            self.0.push(ELIDED.to_owned());
        }
    }

    /// The picture, which is as wide as the page that shows it.
    pub(crate) fn svg(&self) -> String {
        let svg = Term::new().palette(PALETTE).render_svg(&self.0.join("\n"));
        let size: Vec<&str> = svg.split('"').filter_map(|word| word.strip_suffix("px")).take(2).collect();
        svg.replacen("<svg ", &format!("<svg viewBox=\"0 0 {} {}\" ", size[0], size[1]), 1)
    }
}

/// A line in lines that fit, broken between words. The long ones are plain.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let plain = anstream::adapter::strip_str(line).to_string();
    if plain.width() <= COLUMNS {
        return vec![line.to_owned()];
    }
    assert_eq!(plain, line, "a long line has colors");
    for word in line.split(' ') {
        if lines.last().is_some_and(|last| last.width() + 1 + word.width() > COLUMNS) {
            lines.push(String::new());
        }
        let last = lines.last_mut().unwrap();
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}
