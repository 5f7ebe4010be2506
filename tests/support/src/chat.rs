//! Long conversations as they are on real hosts: prose, code, tool output, JSON in JSON, other scripts and pictures in
//! base64, in lines of 200 B to 200 kB. The same bytes for the same seed.

use std::io::{self, Write};

use serde_json::json;

use crate::openclaw::{Rng, iso};

/// What the lines look like.
#[derive(Clone, Copy)]
pub enum Lines {
    /// Sizes spread evenly over the powers between 200 B and 200 kB, contents mixed: what `validate` is measured with.
    Mixed,
    /// Every line has about this many bytes.
    Of(usize),
}

/// Writes one transcript of about `bytes` bytes; gives the number of its lines.
pub fn write(out: &mut impl Write, seed: &str, bytes: u64, lines: Lines) -> io::Result<u64> {
    let mut rng = Rng::of(seed);
    let mut time = 1_760_000_000_000;
    let header = json!({
        "type": "session", "version": 3, "id": rng.uuid(), "timestamp": iso(time), "cwd": "/home/user/.openclaw/workspace"
    });
    let (mut written, mut count) = (0, 1);
    let salt = rng.below(1 << 32) as u32;
    let mut line = format!("{header}\n");
    let mut parent = None;
    loop {
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
        if written >= bytes {
            return Ok(count);
        }
        let size = match lines {
            Lines::Mixed => (200.0 * 1000f64.powf(rng.below(1 << 20) as f64 / f64::from(1 << 20))) as usize,
            Lines::Of(size) => size,
        };
        // No id comes twice, as it would among so many by chance.
        let id = format!("{:08x}", (count as u32).wrapping_mul(0x9e37_79b1) ^ salt);
        time += 1 + rng.below(90_000) as i64;
        let message = message(count, size.saturating_sub(160), time, &mut rng);
        let entry = json!({
            "type": "message", "id": id, "parentId": parent, "timestamp": iso(time), "message": message
        });
        line = format!("{entry}\n");
        parent = Some(id);
        count += 1;
    }
}

/// A question, a tool call with its result, or an answer, of about `size` bytes.
fn message(turn: u64, size: usize, time: i64, rng: &mut Rng) -> serde_json::Value {
    let assistant = |content: serde_json::Value, stop: &str| {
        json!({
            "role": "assistant", "content": content, "api": "openai-completions", "provider": "mock", "model": "mock-1",
            "usage": {
                "input": 11951, "output": 210, "cacheRead": 4096, "cacheWrite": 0, "totalTokens": 16257,
                "cost": {"input": 0.0012, "output": 0.0003, "cacheRead": 0, "cacheWrite": 0, "total": 0.0015}
            },
            "stopReason": stop, "timestamp": time
        })
    };
    // The result comes a turn later than the call.
    let call = format!("call_{:012}", turn / 4);
    match turn % 4 {
        1 => {
            json!({"role": "user", "content": [{"type": "text", "text": text(size.saturating_sub(80), rng)}], "timestamp": time})
        }
        2 => {
            let command = text(size.saturating_sub(450), rng);
            let arguments = json!({"command": command, "timeout": 600});
            assistant(json!([{"type": "toolCall", "id": call, "name": "exec", "arguments": arguments}]), "toolUse")
        }
        3 => json!({
            "role": "toolResult", "toolCallId": call, "toolName": "exec",
            "content": [{"type": "text", "text": text(size.saturating_sub(190), rng)}],
            "details": {"status": "completed", "exitCode": 0, "durationMs": rng.below(9000)}, "isError": false,
            "timestamp": time
        }),
        _ => assistant(json!([{"type": "text", "text": text(size.saturating_sub(340), rng)}]), "stop"),
    }
}

const PROSE: &str = "The gateway restarted at four in the morning and three of the channels did not come back. I looked at \
    the log first: \"lane=main\" was busy for ten minutes, so nothing that was sent in between got an answer.\n\nWhat I would \
    do next is to look at the store, to see which of the bindings still point at a session that anybody uses. ";
const CODE: &str = "export function prune(entries: Map<string, Entry>, limit: number): string[] {\n\tconst gone: string[] = \
    [];\n\tfor (const [key, entry] of entries) {\n\t\tif (entry.updatedAt < limit && !entry.pinned) {\n\t\t\tgone.push(key);\
    \n\t\t\tconsole.log(`pruned \"${key}\"`);\n\t\t}\n\t}\n\treturn gone;\n}\n";
const CYRILLIC: &str = "Шлюз перезапустился в четыре утра, и три канала так и не поднялись. Сначала я посмотрел журнал: \
    «lane=main» был занят десять минут, поэтому на сообщения никто не отвечал.\n";
const JSON: &str =
    r#"{"id":4711,"name":"daily brief","path":"C:\\data\\brief","items":[{"k":"a","v":"\"1\""},{"k":"b"}]}, "#;
const BASE64: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4/8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAA";

/// Text that takes about `size` bytes as JSON.
fn text(size: usize, rng: &mut Rng) -> String {
    let source = match rng.below(20) {
        0..=7 => PROSE,
        8..=13 => CODE,
        14..=15 => CYRILLIC,
        16..=17 => JSON,
        _ => BASE64,
    };
    let encoded = serde_json::to_string(source).unwrap().len() - 2;
    let chars = (source.chars().count() * size / encoded).max(1);
    let skipped = rng.below(source.chars().count() as u64) as usize;
    let text: String = source.chars().cycle().skip(skipped).take(chars).collect();
    if text.trim().is_empty() { "!".to_owned() } else { text }
}
