//! The decoder, at every cut of its input.

use super::*;

const LIMITS: RequestLimits = RequestLimits { bulk_bytes_max: 1000, is_authenticated: true };

/// Decodes `input` given in two pieces cut at `cut`; shows requests as words, errors by their text.
fn decode_cut(input: &[u8], cut: usize, limits: RequestLimits) -> Vec<String> {
    let mut decoder = Decoder::default();
    let (mut shown, mut start) = (Vec::new(), 0);
    for end in [cut, input.len()] {
        loop {
            let mut ranges = vec![];
            let rest = &input[start..end];
            match decoder.decode(rest, &mut ranges, limits) {
                Decoded::Request { len } => {
                    let words: Vec<_> = ranges
                        .iter()
                        .map(|&(from, to)| String::from_utf8_lossy(&rest[from as usize..to as usize]).into_owned())
                        .collect();
                    shown.push(words.join("|"));
                    start += len;
                }
                Decoded::Quoted { len, args } => {
                    let words: Vec<_> = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
                    shown.push(words.join("|"));
                    start += len;
                }
                Decoded::Incomplete { need } => {
                    assert!(need == 0 || need > rest.len(), "{need} bytes are there");
                    assert!(ranges.is_empty());
                    break;
                }
                Decoded::Error(error) => {
                    shown.push(error.to_string());
                    return shown;
                }
            }
        }
    }
    shown
}

fn check_with(input: &str, limits: RequestLimits, expect: &[&str]) {
    for cut in 0..=input.len() {
        assert_eq!(decode_cut(input.as_bytes(), cut, limits), expect, "cut at {cut}");
    }
}

fn check(input: &str, expect: &[&str]) {
    check_with(input, LIMITS, expect);
}

#[test]
fn pipelines() {
    check(
        "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\nhello\r\nworld\r\n",
        &["PING", "SET|k|hello\r\nworld"],
    );
    check("*0\r\n*-1\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n", &["", "", "GET|"]);
}

#[test]
fn inline_requests() {
    check("PING\r\nset k  v\n\r\n", &["PING", "set|k|v", ""]);
    check("set k \"a\\x41\\n b\" 'it\\'s'\r\n", &["set|k|aA\n b|it's"]);
    check("set k \"open\r\n", &["unbalanced quotes in request"]);
    check("set k \"a\"b\r\n", &["unbalanced quotes in request"]);
}

#[test]
fn malformed_requests() {
    check("*a\r\n", &["invalid multibulk length"]);
    check("*1048577\r\n", &["invalid multibulk length"]);
    for number in ["01", "+1", "", " 1", "1 ", "-0", "0x1", "00", "99999999999999999999"] {
        check(&format!("*{number}\r\n"), &["invalid multibulk length"]);
        check(&format!("*1\r\n${number}\r\n"), &["invalid bulk length"]);
    }
    check("*1\r\n!3\r\n", &["expected '$', got '!'"]);
    check("*1\r\n$-1\r\n", &["invalid bulk length"]);
    check("*1\r\n$x\r\n", &["invalid bulk length"]);
}

#[test]
fn limits_at_their_edges() {
    let bulk = |len: usize| format!("*1\r\n${len}\r\n{}\r\n", "x".repeat(len));
    for len in [999, 1000] {
        check(&bulk(len), &["x".repeat(len).as_str()]);
    }
    check(&bulk(1001), &["invalid bulk length"]);
    let stranger = RequestLimits { bulk_bytes_max: 1 << 20, is_authenticated: false };
    for len in [UNAUTHENTICATED_BULK_BYTES_MAX - 1, UNAUTHENTICATED_BULK_BYTES_MAX] {
        assert_eq!(decode_cut(bulk(len).as_bytes(), 9, stranger)[0].len(), len);
    }
    assert_eq!(
        decode_cut(bulk(UNAUTHENTICATED_BULK_BYTES_MAX + 1).as_bytes(), 9, stranger),
        ["unauthenticated bulk length"]
    );
    let args = |count: usize| format!("*{count}\r\n{}", "$1\r\na\r\n".repeat(count));
    for count in [UNAUTHENTICATED_ARGS_MAX - 1, UNAUTHENTICATED_ARGS_MAX] {
        check_with(&args(count), stranger, &[vec!["a"; count].join("|").as_str()]);
    }
    check_with(&args(UNAUTHENTICATED_ARGS_MAX + 1), stranger, &["unauthenticated multibulk length"]);
}

#[test]
fn lines_without_an_end() {
    for (lead, error) in
        [("", "too big inline request"), ("*1\r\n$", "too big bulk count string"), ("*", "too big mbulk count string")]
    {
        // The limit counts from the line's own beginning.
        let line_start = lead.rfind(['$', '*']).filter(|_| lead.len() > 1).unwrap_or(0);
        let text = |line_len: usize| {
            let mut text = lead.to_owned();
            text.push_str(&"1".repeat(line_start + line_len - lead.len()));
            text
        };
        for len in [INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX] {
            assert!(decode_cut(text(len).as_bytes(), 0, LIMITS).is_empty(), "{error}");
        }
        assert_eq!(decode_cut(text(INLINE_BYTES_MAX + 1).as_bytes(), 0, LIMITS), [error]);
    }
}

#[test]
fn the_longest_inline_request() {
    let line = |len: usize| format!("{}\n", "x".repeat(len));
    for len in [INLINE_BYTES_MAX - 1, INLINE_BYTES_MAX] {
        assert_eq!(decode_cut(line(len).as_bytes(), 7, LIMITS)[0].len(), len);
    }
    assert_eq!(decode_cut(line(INLINE_BYTES_MAX + 1).as_bytes(), 7, LIMITS), ["too big inline request"]);
}

#[test]
fn the_most_arguments() {
    let announced = |count: usize| decode_cut(format!("*{count}\r\n").as_bytes(), 0, LIMITS);
    for count in [ARGS_MAX - 1, ARGS_MAX] {
        assert!(announced(count).is_empty());
    }
    assert_eq!(announced(ARGS_MAX + 1), ["invalid multibulk length"]);
    let request = format!("*{ARGS_MAX}\r\n{}", "$0\r\n\r\n".repeat(ARGS_MAX));
    assert_eq!(decode_cut(request.as_bytes(), 100, LIMITS)[0].len(), ARGS_MAX - 1, "that many bars");
}
