//! Redis's glob patterns, as KEYS, SCAN, PSUBSCRIBE and CONFIG GET match them.
//!
//! `?` is any byte, `*` any bytes, `[abc]`, `[^abc]` and `[a-z]` a byte of a set, `\` makes the next byte ordinary. A set that
//! is not closed ends with the pattern. Every element but `*` takes exactly one byte, so on a mismatch it is enough to let the
//! last star take one byte more: time is at most the product of both lengths, whatever the pattern.

/// Does the whole text match?
pub fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, false)
}

/// Does the whole text match if the case of ASCII letters does not count?
pub fn is_match_nocase(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, true)
}

fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    // As in Redis, not even a star matches the empty text.
    if text.is_empty() {
        return pattern.is_empty();
    }
    let mut pattern_at = 0;
    let mut text_at = 0;
    // Where to go on after the last star, and the text position up to which it takes bytes.
    let mut star: Option<(usize, usize)> = None;
    while text_at < text.len() {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            star = Some((pattern_at, text_at));
        } else if let Some(next) = element(pattern, pattern_at, text[text_at], nocase) {
            pattern_at = next;
            text_at += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            pattern_at = after;
            text_at = taken + 1;
        } else {
            return false;
        }
    }
    pattern[pattern_at..].iter().all(|&byte| byte == b'*')
}

/// The end of the element at `at` if it matches the byte.
fn element(pattern: &[u8], at: usize, byte: u8, nocase: bool) -> Option<usize> {
    let same = |a: u8, b: u8| a == b || nocase && a.eq_ignore_ascii_case(&b);
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => {
            let (is_member, end) = set(pattern, at + 1, byte, nocase);
            is_member.then_some(end)
        }
        b'\\' if at + 1 < pattern.len() => same(pattern[at + 1], byte).then_some(at + 2),
        ordinary => same(ordinary, byte).then_some(at + 1),
    }
}

/// Is the byte in the set whose members begin at `at`? With the end of the set.
fn set(pattern: &[u8], mut at: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let is_negated = pattern.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut is_member = false;
    let end = loop {
        match pattern[at.min(pattern.len())..] {
            [] => break pattern.len(),
            [b'\\', escaped, ..] => {
                // Redis compares escaped members with their case even where case does not count.
                is_member |= escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [first, b'-', last, ..] => {
                is_member |= is_between(first, last, byte, nocase);
                at += 3;
            }
            [member, ..] => {
                is_member |= member == byte || nocase && member.eq_ignore_ascii_case(&byte);
                at += 1;
            }
        }
    };
    (is_member != is_negated, end)
}

/// Ranges compare bytes as signed numbers, as C does on x86, and put their ends in order.
fn is_between(first: u8, last: u8, byte: u8, nocase: bool) -> bool {
    let number = |byte: u8| if nocase { byte.to_ascii_lowercase() as i8 } else { byte as i8 };
    let (low, high) = if first as i8 <= last as i8 { (first, last) } else { (last, first) };
    (number(low)..=number(high)).contains(&number(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(is_match(pattern.as_bytes(), text.as_bytes()), "{pattern} should match {text}");
        }
        for text in no {
            assert!(!is_match(pattern.as_bytes(), text.as_bytes()), "{pattern} should not match {text}");
        }
    }

    /// Each line was checked with KEYS against redis-server 7.0.15.
    #[test]
    fn patterns_match_as_in_redis() {
        check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeeello"], &["hll", "xhllo"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo", "h[ae]llo"]);
        check("h[^e]llo", &["hallo"], &["hello", "hllo"]);
        check("h[a-b]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("h\\*llo", &["h*llo"], &["hello", "h\\llo"]);
        check("*a*b*c*", &["abc", "xaxbxcx"], &["acb", "ab"]);
        check("**", &["a", "ab"], &[]);
        check("a**", &["a", "ab"], &["b"]);
        check("[", &[], &["[", "a"]);
        check("[abc", &["a", "b"], &["d", "[abc"]);
        check("[^", &["a"], &["ab"]);
        check("[]", &[], &["]", "a"]);
        check("[^]", &["a"], &[]);
        check("[a-]", &["a", "]"], &["-", "b"]);
        check("[\\]]", &["]"], &["\\", "a"]);
        check("[\\", &["\\"], &["a"]);
        check("a\\", &["a\\"], &["a"]);
        check("*.txt", &["a.txt", ".txt", "a.txt.txt"], &["a.tx", "a.txt "]);
        check("a", &["a"], &["A", "", "aa"]);
    }

    #[test]
    fn the_empty_text_matches_the_empty_pattern_only() {
        check("", &[""], &["a"]);
        check("*", &["a"], &[""]);
    }

    #[test]
    fn case_counts_only_where_asked() {
        assert!(is_match_nocase(b"MAXmemory*", b"maxMEMORY-policy"));
        assert!(is_match_nocase(b"[A-C]x", b"bX"));
        assert!(!is_match_nocase(b"[\\A]", b"a"));
    }

    #[test]
    fn abusive_patterns_take_no_time() {
        let pattern = b"a*".repeat(500);
        let text = [b"a".repeat(10_000), b"b".to_vec()].concat();
        assert!(is_match(&pattern, &text));
        assert!(!is_match(&[&pattern[..], b"c"].concat(), &text));
    }
}
