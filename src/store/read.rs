//! Reading transcripts: one sequential pass, a line at a time, in bounded memory.
//!
//! Only the bytes that were there when the file was opened are read: what is appended meanwhile belongs to the next
//! look, and the stamp that goes with the verdict is that of the opening.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::dir::{Dir, FileInfo};
use crate::model::inventory::Content;
use crate::model::transcript::Analyzer;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// With `quick`, a file larger than this is read at its head and its tail only, half of it each.
pub const QUICK: u64 = 128 * 1024;

/// Progress is told after so many bytes.
const STEP: u64 = 1 << 20;

/// Reads and judges the transcript `name`. `advance` is told of the bytes that were read.
pub fn transcript(dir: &Dir, name: &OsStr, quick: bool, advance: &dyn Fn(u64)) -> (Content, Option<FileInfo>) {
    let (mut file, info) = match dir.open_file(name) {
        Ok(opened) => opened,
        Err(error) => return (Content::Unreadable(format!("{error:#}")), None),
    };
    let judged = if quick && info.stamp.size > QUICK {
        head_and_tail(&mut file, info.stamp.size).inspect(|_| advance(info.stamp.size))
    } else {
        whole(&file, info.stamp.size, advance)
    };
    match judged {
        Ok(analyzer) => (Content::Read(analyzer.finish()), Some(info)),
        Err(error) => {
            let why = format!("cannot read {}: {error}", dir.join(name).display());
            (Content::Unreadable(why), Some(info))
        }
    }
}

fn whole(file: &File, size: u64, advance: &dyn Fn(u64)) -> io::Result<Analyzer> {
    let mut analyzer = Analyzer::default();
    let mut reader = BufReader::with_capacity(CHUNK.min(size as usize + 1), file.take(size));
    feed(&mut analyzer, &mut reader, advance)?;
    Ok(analyzer)
}

/// The first lines, then the last ones; the lines that the cuts go through are left out.
fn head_and_tail(file: &mut File, size: u64) -> io::Result<Analyzer> {
    let mut analyzer = Analyzer::default();
    let mut head = Vec::new();
    (&*file).take(QUICK / 2).read_to_end(&mut head)?;
    let whole_lines = head.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    feed(&mut analyzer, &mut &head[..whole_lines], &|_| ())?;
    analyzer.skip_to(size - QUICK / 2);
    file.seek(SeekFrom::Start(size - QUICK / 2))?;
    let mut tail = BufReader::with_capacity(CHUNK, file.take(QUICK / 2));
    let cut = tail.skip_until(b'\n')?;
    analyzer.skip_to(size - QUICK / 2 + cut as u64);
    feed(&mut analyzer, &mut tail, &|_| ())?;
    Ok(analyzer)
}

fn feed(analyzer: &mut Analyzer, reader: &mut impl BufRead, advance: &dyn Fn(u64)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut untold = 0;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)? as u64;
        untold += read;
        if untold >= STEP || read == 0 {
            advance(std::mem::take(&mut untold));
        }
        if read == 0 {
            return Ok(());
        }
        let terminated = line.last() == Some(&b'\n');
        let end = line.len() - usize::from(terminated);
        analyzer.line(&line[..end], terminated);
    }
}
