//! A terminal as an SVG: what a program really printed, with its colors. It has a ground of its own, so it looks the same
//! on a light page and on a dark one.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

const COLUMNS: usize = 116;
const CHAR: f64 = 8.4;
const LINE: f64 = 19.0;
const PAD: f64 = 18.0;
const GROUND: &str = "#0d1117";
const EDGE: &str = "#3d444d";
const PLAIN: &str = "#d1d7e0";
const BRIGHT: &str = "#ffffff";
const DIM: &str = "#8b949e";
const ELIDED: &str = "\u{1b}[2m…\u{1b}[0m";

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
                self.0.push(line.to_owned());
            } else if !left_out && !self.0.last().is_some_and(String::is_empty) {
                self.0.push(String::new());
            }
        }
        if left_out {
            self.0.push(ELIDED.to_owned());
        }
    }

    /// The picture.
    pub(crate) fn svg(&self, title: &str) -> String {
        let lines: Vec<Vec<Run>> = self.0.iter().flat_map(|line| wrapped(&runs(line))).collect();
        let width = (COLUMNS as f64).mul_add(CHAR, 2.0 * PAD);
        let height = (lines.len() as f64).mul_add(LINE, 2.0 * PAD);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<rect x=\"0.5\" y=\"0.5\" width=\"{:.0}\" \
             height=\"{:.0}\" rx=\"8\" fill=\"{GROUND}\" stroke=\"{EDGE}\"/>\n<g font-family=\"ui-monospace, SFMono-Regular, \
             'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace\" font-size=\"14\">\n",
            title,
            width - 1.0,
            height - 1.0
        );
        for (at, line) in lines.iter().enumerate() {
            let y = (at as f64).mul_add(LINE, PAD + 14.0);
            let mut column = 0;
            for run in line {
                let wide = run.text.width();
                // Every run begins in its column and has its width, whichever font there is.
                if !run.text.trim().is_empty() {
                    let x = (column as f64).mul_add(CHAR, PAD);
                    let weight = if run.bold { " font-weight=\"bold\"" } else { "" };
                    let length = wide as f64 * CHAR;
                    writeln!(
                        svg,
                        "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{length:.1}\" fill=\"{}\"{weight}>{}</text>",
                        run.color(),
                        escaped(&run.text)
                    )
                    .unwrap();
                }
                column += wide;
            }
        }
        svg.push_str("</g>\n</svg>\n");
        svg
    }
}

/// Characters of one style.
#[derive(Clone, Default)]
struct Run {
    text: String,
    bold: bool,
    dim: bool,
    code: Option<u8>,
}

impl Run {
    fn color(&self) -> &'static str {
        match self.code {
            Some(31) => "#ff7b72",
            Some(32) => "#3fb950",
            Some(33) => "#d9a93a",
            Some(36) => "#56d4dd",
            _ if self.dim => DIM,
            _ if self.bold => BRIGHT,
            _ => PLAIN,
        }
    }
}

/// A line as runs of one style.
fn runs(line: &str) -> Vec<Run> {
    let mut runs = vec![Run::default()];
    let mut parts = line.split("\u{1b}[");
    runs[0].text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (codes, text) = part.split_once('m').expect("only colors are escaped");
        let mut style = Run { text: String::new(), ..runs.last().unwrap().clone() };
        for code in codes.split(';').map(|code| code.parse().unwrap_or(0)) {
            match code {
                1 => style.bold = true,
                2 => style.dim = true,
                30..=37 => style.code = Some(code),
                _ => style = Run::default(),
            }
        }
        style.text.push_str(text);
        runs.push(style);
    }
    runs
}

/// A line in lines that fit; where it can, between words.
fn wrapped(runs: &[Run]) -> Vec<Vec<Run>> {
    let text: Vec<char> = runs.iter().flat_map(|run| run.text.chars()).collect();
    let mut breaks = Vec::new();
    let mut start = 0;
    while text.len() - start > COLUMNS {
        let space = (start + 1..start + COLUMNS).rev().find(|&at| text[at - 1] == ' ');
        start = space.unwrap_or(start + COLUMNS);
        breaks.push(start);
    }
    let mut lines = vec![Vec::new()];
    let mut at = 0;
    for run in runs {
        let mut piece = Run { text: String::new(), ..run.clone() };
        for c in run.text.chars() {
            if breaks.contains(&at) {
                let whole = std::mem::replace(&mut piece, Run { text: String::new(), ..run.clone() });
                lines.last_mut().unwrap().push(whole);
                lines.push(Vec::new());
            }
            piece.text.push(c);
            at += 1;
        }
        lines.last_mut().unwrap().push(piece);
    }
    lines
}

/// Spaces that no viewer folds.
fn escaped(text: &str) -> String {
    text.replace(' ', "\u{a0}").replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
