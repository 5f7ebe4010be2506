//! Session keys and agent ids: taken apart, never made up.

#![allow(clippy::disallowed_methods, reason = "a fuzz target")]
#![no_main]

use claw_sessions::model::key::{self, Class};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (text, chat_type) = match text.split_once('\n') {
        Some((text, chat_type)) => (text, Some(chat_type)),
        None => (text, None),
    };
    let parsed = key::parse(text, "main", chat_type);
    for part in [parsed.agent, parsed.channel, parsed.cron_job].into_iter().flatten() {
        assert!(!part.is_empty() && !part.contains(':'));
        assert!(text.as_bytes().as_ptr_range().contains(&part.as_ptr()), "a part is of the key itself");
    }
    assert_eq!(parsed.cron_job.is_some(), matches!(parsed.class, Class::Cron | Class::CronRun));

    let class = |text: &str| key::parse(text, "main", chat_type).class;
    assert_eq!(class(&text.to_ascii_uppercase()), parsed.class, "words have no case");
    assert_eq!(class(&format!(" {text}\t")), parsed.class);
    let parts: Vec<&str> = text.trim().split(':').filter(|part| !part.is_empty()).collect();
    let joined = parts.join(":");
    // What was inside may now be at an end, where white space does not count.
    if joined.trim() == joined {
        assert_eq!(key::parse(&joined, "main", chat_type), parsed, "empty parts do not count");
        if parsed.agent.is_none() && !parts.is_empty() && parsed.class != Class::Global {
            assert_eq!(class(&format!("agent:x:{joined}")), parsed.class, "an agent is no part of the class");
        }
    }
    if chat_type.is_some() && key::parse(text, "main", None).class != Class::Other {
        assert_eq!(key::parse(text, "main", None), parsed, "the entry speaks only where the key is silent");
    }

    let id = key::normalize_agent_id(text);
    assert!((1..=64).contains(&id.len()));
    assert!(id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
    assert_eq!(key::normalize_agent_id(&text.to_ascii_uppercase()), id);
    // OpenClaw too cuts to 64 after it trimmed, so the cut may leave a dash at the end of an id that begins with `_`.
    let again = key::normalize_agent_id(&id);
    assert_eq!(again, if id.starts_with('_') { id.trim_end_matches('-') } else { &id });
});
