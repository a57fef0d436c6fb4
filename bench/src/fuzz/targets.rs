//! What reads bytes of others in `core`.
//!
//! | target | reads | what comes out is at most | and goes back |
//! | --- | --- | --- | --- |
//! | `resp`, `inline` | requests | as long as the input | the arguments, encoded again; in any pieces the same |
//! | `rdb` | a file, in pieces | what stands in it, and what is packed up to [`UNPACKED_MAX`] | |
//! | `restore` | the body of a payload | the same | the value, encoded again |
//! | `glob` | a pattern and a text | a bit | what is escaped matches itself |
//! | `acl` | the rules of a user | as long as the input, and what each rule names | the user, described and made again |

use super::Target;
use cairn_core::acl::{Fresh, User, merge};
use cairn_core::collection::packed;
use cairn_core::glob;
use cairn_core::rdb::file::{Found, Walk};
use cairn_core::rdb::{Crc64, VERSION_MAX, Value, Version, What, deadline_bytes, payload, write};
use cairn_core::resp::decode::{Decoded, Decoder, RequestLimits};
use cairn_core::shard::Kind;

/// Bytes that packed strings may unpack to.
const UNPACKED_MAX: u64 = 1 << 20;

pub fn targets() -> Vec<Target> {
    vec![
        Target { name: "resp", corpus: requests, run: decode_requests },
        Target { name: "inline", corpus: lines, run: decode_requests },
        Target { name: "rdb", corpus: files, run: walk },
        Target { name: "restore", corpus: bodies, run: restore },
        Target { name: "glob", corpus: patterns, run: matches },
        Target { name: "acl", corpus: users, run: apply_rules },
    ]
}

fn copies(texts: &[&[u8]]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.to_vec()).collect()
}

fn requests() -> Vec<Vec<u8>> {
    let mut all = copies(&[
        b"*1\r\n$4\r\nPING\r\n",
        b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
        b"*0\r\n*-1\r\n*2\r\n$0\r\n\r\n$1\r\n\n\r\n",
        b"*3\r\n$3\r\nSET\r\n$10\r\nbinary\r\n\0\xff\r\n$0\r\n\r\n",
        b"*1048577\r\n$536870913\r\n",
    ]);
    all.push([b"*2\r\n$4\r\nECHO\r\n$300\r\n", &[b'x'; 300][..], b"\r\nPING\r\n"].concat());
    all
}

fn lines() -> Vec<Vec<u8>> {
    copies(&[
        b"PING\r\n",
        b"SET key \"a value\\r\\n\\x41\\\"\"\r\nGET 'it\\'s'\n",
        b"   \r\n\r\n \t GET  key \r\n",
        b"SET key \"unbalanced\r\n",
        b"GET \"closed\"behind\r\n",
    ])
}

/// All requests of an input that comes in pieces of this length, up to what is no request.
fn decoded(input: &[u8], piece: usize, is_authenticated: bool) -> (Vec<Vec<Vec<u8>>>, bool) {
    let limits = RequestLimits { bulk_bytes_max: 512 << 20, is_authenticated };
    let (mut decoder, mut found) = (Decoder::default(), Vec::new());
    let (mut start, mut end) = (0, piece.min(input.len()));
    loop {
        let mut ranges = Vec::new();
        let len = match decoder.decode(&input[start..end], &mut ranges, limits) {
            Decoded::Request { len } => {
                let text = &input[start..end];
                found.push(ranges.iter().map(|(from, to)| text[*from as usize..*to as usize].to_vec()).collect());
                len
            }
            Decoded::Quoted { len, args } => {
                found.push(args);
                len
            }
            Decoded::Incomplete { .. } if end < input.len() => {
                end = (end + piece).min(input.len());
                continue;
            }
            Decoded::Incomplete { .. } => return (found, true),
            Decoded::Error(_) => return (found, false),
        };
        assert!(len > 0 && start + len <= end, "a request of {len} bytes in {}", end - start);
        start += len;
    }
}

fn decode_requests(input: &[u8]) {
    let (found, is_sound) = decoded(input, input.len().max(1), true);
    let bytes: usize = found.iter().flatten().map(Vec::len).sum();
    assert!(bytes <= input.len(), "{bytes} bytes of arguments");
    for piece in [1, 7] {
        let (other, _) = decoded(input, piece, true);
        assert_eq!(other, found, "in pieces of {piece}");
    }
    decoded(input, input.len().max(1), false);
    let mut again = Vec::new();
    for request in found.iter().filter(|request| !request.is_empty()) {
        again.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
        for arg in request {
            again.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            again.extend_from_slice(arg);
            again.extend_from_slice(b"\r\n");
        }
    }
    let (same, _) = decoded(&again, again.len().max(1), true);
    assert!(
        same.iter().eq(found.iter().filter(|request| !request.is_empty())),
        "it reads otherwise, sound: {is_sound}"
    );
}

fn entries(kind: Kind, per: usize, items: &[&[u8]]) -> Value {
    let mut bytes = Vec::new();
    items.iter().for_each(|item| packed::push(&mut bytes, item));
    Value::Entries { kind, bytes, count: (items.len() / per) as u64 }
}

fn values() -> Vec<Value> {
    let (one, two) = (1.5f64.to_le_bytes(), f64::NEG_INFINITY.to_le_bytes());
    let (never, at) = (deadline_bytes(0), deadline_bytes(1_700_000_000_000));
    let mut timed = Vec::new();
    for item in [&b"a"[..], b"1", &never, b"b", b"2", &at] {
        packed::push(&mut timed, item);
    }
    vec![
        Value::String(b"a string".to_vec()),
        entries(Kind::List, 1, &[b"a", b"", b"12"]),
        entries(Kind::Set, 1, &[b"a", b"-5"]),
        entries(Kind::Hash, 2, &[b"field", b"value", b"other", b""]),
        entries(Kind::ZSet, 2, &[b"a", &one, b"b", &two]),
        Value::Timed { bytes: timed, count: 2 },
    ]
}

/// A string of a body, behind its type.
fn long(of_type: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![of_type];
    write::string(&mut out, bytes);
    out
}

/// All types of values, packed ones too.
fn bodies() -> Vec<Vec<u8>> {
    let body = |value: &Value| {
        let bytes = payload::encode(value, Version::Eleven);
        payload::body(&bytes, VERSION_MAX).expect("it was just made").to_vec()
    };
    let mut all: Vec<Vec<u8>> = values().iter().map(body).collect();
    let ziplist = b"\x1c\0\0\0\x16\0\0\0\x05\0\0\x01a\x03\xf3\x02\xfe\xfb\x03\xc0\xe8\x03\x04\xf0\x00\x00\x80\xff";
    // Three strings, three integers: `a 1 2 b 3 4`.
    let listpack = b"\x14\0\0\0\x06\0\x81a\x02\x01\x01\x02\x01\x81b\x02\x03\x01\x04\x01\xff";
    all.push(long(10, ziplist));
    all.push(long(9, b"\x02\x01a\x02\x01bc?\x01x\x00\x00\xff"));
    all.push(long(11, b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\x00"));
    all.push(b"\x00\xc3\x06\x05\x00a\x20\x00\x00b".to_vec());
    all.push(long(16, listpack));
    all.push(long(17, listpack));
    all.push(long(20, listpack));
    all.push([&[25], &[1, 0, 0, 0, 0, 0, 0, 0][..], &long(0, listpack)[1..]].concat());
    // A stream of one node: its id, a listpack, and the facts; one group with a consumer.
    let node =
        b"\x1d\0\0\0\x0a\0\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x811\x02\x04\x01\xff";
    let mut stream = vec![15, 1];
    write::string(&mut stream, &[0; 16]);
    write::string(&mut stream, node);
    stream.extend_from_slice(&[1, 0, 0, 1, 1, b'g', 0, 0, 0, 1, 1, b'c', 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    all.push(stream);
    all
}

fn restore(body: &[u8]) {
    if let Ok(value) = payload::decode(body, UNPACKED_MAX) {
        // What is taken can be written again.
        let again = payload::open(&payload::encode(&value, Version::Eleven), UNPACKED_MAX);
        assert_eq!(again, Ok(value));
    }
}

fn files() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    write::header(&mut out, Version::Ten as u16);
    write::aux(&mut out, "redis-ver", b"7.0.15");
    write::function(&mut out, b"#!lua name=l");
    write::database(&mut out, 3, 8, 1);
    for (at, body) in bodies().iter().enumerate() {
        write::key(&mut out, &[b'k', at as u8], (at == 1).then_some(u64::MAX), body);
    }
    let mut rest = Vec::new();
    let mut crc = Crc64::default();
    crc.add(&out);
    write::end(&mut rest, crc);
    let unknown = [&out[..], &[255, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    vec![[out, rest].concat(), unknown, b"REDIS0003\xfe\x00\x00\x01k\x01v\xff".to_vec()]
}

fn walk(file: &[u8]) {
    for piece in [file.len().max(1), 11] {
        let (mut walk, mut out) = (Walk::new(UNPACKED_MAX), Vec::new());
        let (mut start, mut end) = (0, piece.min(file.len()));
        loop {
            match walk.step(&file[start..end], &mut out) {
                Ok((_, Found::End { .. })) => break,
                Ok((taken, _)) => {
                    assert!(taken <= end - start, "{taken} bytes were taken of {}", end - start);
                    start += taken;
                    // Who follows it passes pieces on.
                    assert!(out.len() as u64 <= 8 * (file.len() as u64 + UNPACKED_MAX), "{} bytes", out.len());
                    out.clear();
                }
                Err(invalid) if matches!(invalid.what, What::Short(_)) && end < file.len() => {
                    end = (end + piece).min(file.len());
                }
                Err(_) => break,
            }
        }
    }
}

fn patterns() -> Vec<Vec<u8>> {
    copies(&[
        b"h?llo\nhello",
        b"h[ae]llo\nhallo",
        b"h[^e-z]llo\nhbllo",
        b"*a*b*c*d*\nxaxbxcxdx",
        b"\\*literal\\?\n*literal?",
        b"[z-a]\\[[]]\nm[]",
        b"a*a*a*a*a*a*a*a*b\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"user:*:{[0-9]}\nuser:me:{7}",
    ])
}

fn matches(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == b'\n');
    let (pattern, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // What many stars cost is bounded elsewhere: here inputs are short.
    let (pattern, text) = (&pattern[..pattern.len().min(256)], &text[..text.len().min(256)]);
    let _ = (glob::is_match(pattern, text), glob::is_match_nocase(pattern, text));
    let escaped: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
    assert!(glob::is_match(&escaped, text) && glob::is_match_nocase(&escaped, text));
    // As in Redis, nothing is matched by a star.
    assert_eq!(glob::is_match(b"*", text), !text.is_empty());
}

fn users() -> Vec<Vec<u8>> {
    copies(&[
        b"on nopass ~* &* +@all",
        b"on >secret <other #9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 ~a:* +@read -get +config|get",
        b"off resetpass resetkeys resetchannels allkeys allchannels allcommands nocommands",
        b"%R~read:* %W~write:* %RW~both &news:* -@all +@hash -@dangerous (+get ~x) (%R~y +@all -set)",
        b"%RW~* %R~a ~b) (~c %RW~*) (~d +get)",
        b"reset clearselectors sanitize-payload skip-sanitize-payload +select|0 -client|kill",
    ])
}

fn apply_rules(input: &[u8]) {
    let fresh = Fresh::default();
    let Ok(merged) = merge(input.split(|byte| matches!(byte, b' ' | b'\n' | 0))) else { return };
    let mut user = User::new(b"some".to_vec(), fresh);
    for rule in &merged {
        let before = user.text();
        if user.apply(rule, fresh).is_err() {
            assert_eq!(user.text(), before, "a rule that is refused changes nothing");
        }
    }
    let text = user.text();
    let words = merge(text.split(|byte| *byte == b' ')).expect("what is described is whole");
    let mut again = User::new(b"some".to_vec(), fresh);
    for rule in &words {
        assert!(again.apply(rule, fresh).is_ok(), "{}", rule.escape_ascii());
    }
    assert_eq!(again.text().escape_ascii().to_string(), text.escape_ascii().to_string());
}
