//! Patterns that name keys.

/// Whether a key matches a pattern: `*` is any text, `?` any one character, everything else itself. Only the last `*`
/// is ever retried, so the steps are at most pattern times key, however many there are.
pub fn matches(pattern: &str, key: &str) -> bool {
    let (mut pattern, mut key) = (pattern.chars(), key.chars());
    let mut last_star = None;
    loop {
        let (mut pattern_rest, mut key_rest) = (pattern.clone(), key.clone());
        match (pattern_rest.next(), key_rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                last_star = Some((pattern_rest.clone(), key.clone()));
                pattern = pattern_rest;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, key) = (pattern_rest, key_rest);
            }
            _ => {
                let Some((after_star, mut taken)) = last_star else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, key) = (after_star.clone(), taken.clone());
                last_star = Some((after_star, taken));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_without_wildcards_is_the_whole_key() {
        assert!(matches("agent:main:main", "agent:main:main"));
        assert!(!matches("agent:main", "agent:main:main"));
        assert!(!matches("agent:main:main:x", "agent:main:main"));
        assert!(!matches("Agent:main:main", "agent:main:main"));
    }

    #[test]
    fn a_star_is_any_text_even_none() {
        assert!(matches("*", ""));
        assert!(matches("agent:main:telegram:direct:4038*", "agent:main:telegram:direct:40382952"));
        assert!(matches("*:cron:*:run:*", "agent:main:cron:job:run:1"));
        assert!(matches("a*b*c", "abbbcc"));
        assert!(matches("**a", "a"));
        assert!(!matches("a*b*c", "abbbccd"));
        assert!(!matches("agent:*:x", "agent:main"));
    }

    #[test]
    fn a_question_mark_is_one_character_of_any_width() {
        assert!(matches("?", "é"));
        assert!(matches("a?c", "a:c"));
        assert!(!matches("a?c", "ac"));
        assert!(!matches("?", ""));
        assert!(matches("*?", "日本"));
    }

    #[test]
    fn wildcards_in_a_key_mean_nothing() {
        assert!(matches("a*", "a*b"));
        assert!(!matches("axb", "a*b"));
        assert!(matches("?x", "*x"));
    }

    #[test]
    fn many_stars_end_soon() {
        assert!(!matches(&("*a".repeat(100) + "b"), &"a".repeat(20_000)));
    }
}
