//! Reading transcripts: one sequential pass, a line at a time, in bounded memory.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};

use super::dir::{Dir, FileInfo};
use crate::model::inventory::Content;
use crate::model::transcript::Analyzer;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// Reads and judges the transcript `name`.
pub fn transcript(dir: &Dir, name: &OsStr) -> (Content, Option<FileInfo>) {
    let (file, info) = match dir.open_file(name) {
        Ok(opened) => opened,
        Err(error) => return (Content::Unreadable(format!("{error:#}")), None),
    };
    let mut analyzer = Analyzer::default();
    let mut reader = BufReader::with_capacity(CHUNK.min(info.stamp.size as usize + 1), file);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return (Content::Read(analyzer.finish()), Some(info)),
            Ok(_) => {
                let terminated = line.last() == Some(&b'\n');
                let end = line.len() - usize::from(terminated);
                analyzer.line(&line[..end], terminated);
            }
            Err(error) => {
                let why = format!("cannot read {}: {error}", dir.join(name).display());
                return (Content::Unreadable(why), Some(info));
            }
        }
    }
}
