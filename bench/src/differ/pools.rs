//! The pools that arguments are drawn from. They are small, so that keys and values meet, and full of what goes wrong elsewhere: extremes of
//! integers and floats, what is nearly a number, nothing at all, bytes that are no text, and values too long for a page.
//!
//! A pool is a row of [`POOLS`]: words, with `\xHH`, `\r`, `\n` and `\t` for what cannot be written, or a function. Times are far away or long past,
//! so that nothing expires between one server and the next.

use super::families::FAMILIES;
use fastrand::Rng;

/// What drawing goes by.
pub struct Draw<'a> {
    pub rng: &'a mut Rng,
    /// How the keys of the family begin; empty for those of any family.
    pub prefix: &'static str,
}

/// A pool of arguments.
#[derive(Debug)]
pub struct Pool {
    name: &'static str,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Of(&'static [&'static str]),
    By(fn(&mut Draw<'_>) -> Vec<u8>),
}

impl Pool {
    pub fn draw(&self, draw: &mut Draw<'_>) -> Vec<u8> {
        match self.source {
            Source::Of(words) => unescaped(words[draw.rng.usize(..words.len())]),
            Source::By(source) => source(draw),
        }
    }
}

pub fn find(name: &str) -> Option<&'static Pool> {
    POOLS.iter().find(|pool| pool.name == name)
}

/// What an argument is replaced with to see how that is refused. Nothing in it is a time that ends soon.
pub const ODD: &str = "odd";

const fn of(name: &'static str, words: &'static [&'static str]) -> Pool {
    Pool { name, source: Source::Of(words) }
}

const fn by(name: &'static str, source: fn(&mut Draw<'_>) -> Vec<u8>) -> Pool {
    Pool { name, source: Source::By(source) }
}

static POOLS: &[Pool] = &[
    // Of redis-server 7.0.15; then those that were written before it; then what is none.
    of(
        "payload",
        &[
            "\\x00\\x05hello\\x0a\\x00cr\\xdfve4 \\x0a",
            "\\x00\\xc190\\x0a\\x00\\x9d\\x94\\xea\\x27\\x93\\xfc\\x08\\xb9",
            "\\x00\\xc3\\x09@d\\x01aa\\xe0W\\x00\\x01aa\\x0a\\x00\\xe8\\xa3\\xb5\\x07\\xb0m\\xf2q",
            "\\x12\\x01\\x02\\x13\\x13\\x00\\x00\\x00\\x04\\x00\\x81a\\x02\\x01\\x01\\xdf\\xfb\\x02\\x82bb\\x03\\xff\\x0a\\x00G\\xf9\\x89*\\x27\\xa5\\x97\\x0d",
            "\\x0b\\x0e\\x02\\x00\\x00\\x00\\x03\\x00\\x00\\x00\\x01\\x00\\x02\\x00,\\x01\\x0a\\x00\\xe5\\x10\\xb2\\x8e\\x7b\\x95)\\xaa",
            "\\x02\\x02\\x01b\\x01a\\x0a\\x00u\\xd9\\x9d\\x83^\\xf8_e",
            "\\x10\\x12\\x12\\x00\\x00\\x00\\x04\\x00\\x81f\\x02\\x81v\\x02\\x81g\\x02\\x0c\\x01\\xff\\x0a\\x00\\xde\\x139\\x93\\xf7\\x83\\x81~",
            "\\x11\\x1d\\x1d\\x00\\x00\\x00\\x06\\x00\\x81c\\x02\\x84-inf\\x05\\x81a\\x02\\x01\\x01\\x81b\\x02\\x832.5\\x04\\xff\\x0a\\x009\\x923\\x9b\\xe1\\x1f2=",
            "\\x13\\x01\\x10\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x01--\\x00\\x00\\x00\\x11\\x00\\x02\\x01\\x00\\x01\\x01\\x01\\x81f\\x02\\x00\\x01\\x02\\x01\\x00\\x01\\x00\\x01\\x81v\\x02\\x04\\x01\\x00\\x01\\x01\\x01\\x00\\x01\\x01\\x01\\x81g\\x02\\x81w\\x02\\x06\\x01\\xff\\x02\\x02\\x01\\x01\\x01\\x00\\x00\\x02\\x01\\x01g\\x01\\x01\\x81\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\x00\\x0a\\x00d\\xbc\\xdc\\x7b\\x9e\\xce\\xab\\xb6",
            "\\x0a\\x1c\\x1c\\x00\\x00\\x00\\x16\\x00\\x00\\x00\\x05\\x00\\x00\\x01a\\x03\\xf3\\x02\\xfe\\xfb\\x03\\xc0\\xe8\\x03\\x04\\xf0\\x00\\x00\\x80\\xff\\x06\\x00|\\xc2\\xa8\\xd2\\xca8\\x979",
            "\\x0e\\x02\\x1c\\x1c\\x00\\x00\\x00\\x16\\x00\\x00\\x00\\x05\\x00\\x00\\x01a\\x03\\xf3\\x02\\xfe\\xfb\\x03\\xc0\\xe8\\x03\\x04\\xf0\\x00\\x00\\x80\\xff\\x1c\\x1c\\x00\\x00\\x00\\x16\\x00\\x00\\x00\\x05\\x00\\x00\\x01a\\x03\\xf3\\x02\\xfe\\xfb\\x03\\xc0\\xe8\\x03\\x04\\xf0\\x00\\x00\\x80\\xff\\x07\\x00\\x09\\xe9\\xb0\\x91\\xe0\\xcf\\xae\\xcc",
            "\\x0d\\x14\\x14\\x00\\x00\\x00\\x0d\\x00\\x00\\x00\\x02\\x00\\x00\\x01a\\x03\\x041.50\\xff\\x09\\x00^\\xaatn\\xe6\\xc7\\x11P",
            "\\x0c\\x14\\x14\\x00\\x00\\x00\\x0d\\x00\\x00\\x00\\x02\\x00\\x00\\x01a\\x03\\x041.50\\xff\\x09\\x00\\x8c4\\xfc\\x83\\xfe\\xda,\\xbf",
            "\\x09\\x0d\\x02\\x01a\\x02\\x01bc?\\x01x\\x00\\x00\\xff\\x06\\x00\\xe6\\xf5\\xeb\\x95\\x8b\\x04\\xb8\\xeb",
            "\\x03\\x02\\x01a\\x033.5\\x01b\\xff\\x06\\x00\\xa5\\xb0\\xf1\\xb3\\x13\\xd1\\x1c\\xfd",
            "\\x01\\x02\\x01a\\x01b\\x01\\x00\\x06\\xecqM\\x27\\xe3Q\\x16",
            "\\x00\\x82xxxxxxxxx\\x0a\\x00\\xc2\\xe2\\xf3\\x96\\xfaNb\\x88",
            "\\x08\\x01\\x0a\\x00\\x7f\\xf6\\x89\\x8fw\\xf4\\xdf\\xe4",
            "\\x01\\x00\\x0a\\x00[\\xf8%\\xccl\\x17CV",
            "\\x02\\x02\\x01a\\x01a\\x0a\\x00W\\xbev/\\xc2\\xd6R:",
            "\\x05\\x01\\x01a\\x00\\x00\\x00\\x00\\x00\\x00\\xf8\\x7f\\x0a\\x00\\xf0\\xf9)\\xa9\\x06TY\\x27",
            "\\x00\\x01ac\\x00.\\xb6\\xfbv5\\xf9:\\xeb",
            "\\x00\\x05hello\\x0a\\x00cr\\xdfve4 x",
            "",
            "short",
        ],
    ),
    // Mostly one of the family's own keys, now and then one of another.
    by("key", key),
    by("any-key", |draw| key(&mut Draw { rng: draw.rng, prefix: "" })),
    of("text-key", &["lcs1", "lcs2", "lcs{t}3", "lcs{t}4", "absent"]),
    by("value", value),
    of(
        "small",
        &["a", "b", "c", "ab", "ba", "", "1", "2", "10", "-1", "1.5", "a b", "\\x00", "\\xff\\xfe", "\\r\\n", "A"],
    ),
    of("digit", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
    of("int", &INTEGERS),
    by("stream-id", |draw| match draw.rng.u32(..20) {
        0 => [&b"x"[..], b"", b"0-0", b"0", b"18446744073709551615-18446744073709551615", b"-", b"1-*"]
            [draw.rng.usize(..7)]
        .to_vec(),
        1..=3 => draw.rng.u32(..10).to_string().into_bytes(),
        _ => format!("{}-{}", draw.rng.u32(..10), draw.rng.u32(..8)).into_bytes(),
    }),
    of("near-int", &["0", "1", "-1", "2", "3", "5", "10", "-2", "-3", "100"]),
    of("float", &FLOATS),
    of(
        "index",
        &[
            "0",
            "1",
            "2",
            "3",
            "4",
            "5",
            "7",
            "10",
            "-1",
            "-2",
            "-3",
            "-5",
            "-10",
            "100",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "x",
            "",
        ],
    ),
    // Never so large that a string would be: both servers would do as they are told.
    of(
        "offset",
        &[
            "0",
            "1",
            "2",
            "5",
            "10",
            "43",
            "44",
            "100",
            "5000",
            "70000",
            "-1",
            "536870912",
            "4294967296",
            "9223372036854775807",
            "-9223372036854775808",
            "x",
            "1.5",
            "",
            "01",
        ],
    ),
    of(
        "bit-offset",
        &[
            "0",
            "1",
            "5",
            "7",
            "8",
            "9",
            "63",
            "64",
            "100",
            "1000",
            "40000",
            "560000",
            "-1",
            "4294967296",
            "9223372036854775807",
            "x",
            "",
            "01",
            "#1",
            "1.0",
        ],
    ),
    of(
        "field-offset",
        &[
            "0",
            "1",
            "5",
            "7",
            "8",
            "9",
            "63",
            "64",
            "100",
            "1000",
            "#0",
            "#1",
            "#3",
            "#10",
            "-1",
            "#-1",
            "#",
            "4294967296",
            "#9223372036854775807",
            "9223372036854775807",
            "x",
            "",
        ],
    ),
    of(
        "width",
        &[
            "u1", "i1", "u8", "i8", "u5", "i7", "u16", "i16", "u31", "i32", "u33", "u63", "i64", "i63", "u64", "i65",
            "u0", "x8", "U8", "i", "",
        ],
    ),
    of(
        "score",
        &[
            "0", "1", "-1", "(1", "(0", "2", "1.5", "(10", "100", "-inf", "+inf", "inf", "(inf", "nan", "x", "", "(",
            "5e-324",
        ],
    ),
    of("lex", &["-", "+", "[a", "(a", "[b", "(c", "[", "(", "[1", "(2", "[ab", "a", "", "[z"]),
    of("count", &["0", "1", "2", "3", "10", "-1", "-2", "1000", "9223372036854775807", "-9223372036854775808", "x"]),
    of("scan-count", &["1", "2", "3", "10", "1000"]),
    of("seconds", &["100000", "200000", "86400000", "4000000000"]),
    of("ms", &["100000000", "200000000", "86400000000"]),
    of("at", &["4102444800", "7258118400", "32503680000"]),
    of("at-ms", &["4102444800000", "7258118400123", "32503680000000"]),
    // Behind a time of day or the time now: over at once.
    of("past", &["0", "-1", "-100", "-9223372036854775808"]),
    of("past-at", &["0", "-1", "1", "1000000000", "-9223372036854775808"]),
    of("db", &["0", "1", "2", "3", "0", "1", "0"]),
    of("odd-db", &["-1", "16", "100", "x", "", "1.0", "4294967296", "9223372036854775808", "01"]),
    of(
        "glob",
        &[
            "*", "s*", "?1", "[sk]*", "*1*", "s[^1]", "s[1-3]", "\\\\s1", "s\\x00", "", "[", "*{t}*", "a[b", "s[3-1]",
            "**1", "\\\\",
        ],
    ),
    of(
        "letters",
        &[
            "ohmytext",
            "mynewtext",
            "abcabba",
            "cbabac",
            "",
            "aaaa",
            "aa",
            "abcdefghij",
            "hgfedcba",
            "xaxbxc",
            "\\x00\\x01\\x00",
            "12345678901234567890",
        ],
    ),
    by("long", |draw| draw.rng.choice([45, 200, 5_000, 70_000]).map_or_else(Vec::new, |len| pattern(draw, len))),
    by(ODD, |draw| unescaped(ODDS[draw.rng.usize(..ODDS.len())])),
];

const INTEGERS: [&str; 34] = [
    "0",
    "1",
    "-1",
    "2",
    "3",
    "7",
    "10",
    "-10",
    "100",
    "255",
    "256",
    "9999",
    "10000",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775806",
    "9223372036854775807",
    "-9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "01",
    "+1",
    " 1",
    "1 ",
    "-0",
    "1.0",
    "x",
];

const FLOATS: [&str; 38] = [
    "0",
    "1",
    "-1",
    "1.5",
    "-1.5",
    "0.1",
    "0.2",
    "3.0e3",
    "1e10",
    "-2.5e-3",
    "1e17",
    "1e18",
    "123456789.123456789",
    "9223372036854775807",
    "17179869184.5",
    "1.7976931348623157e308",
    "-1.7976931348623157e308",
    "5e-324",
    "1e-17",
    "inf",
    "-inf",
    "+inf",
    "Infinity",
    "nan",
    "-nan",
    "1e400",
    "-1e5000",
    "0x1p3",
    "1.",
    ".5",
    "+1",
    " 1",
    "1 ",
    "1e",
    "",
    "x",
    "-0",
    "00.5",
];

const ODDS: [&str; 20] = [
    "",
    "x",
    "-1",
    "0",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    " 1",
    "1.5",
    "nan",
    "-inf",
    "\\xff\\x00\\xfe",
    "GET",
    "NX",
    "count",
    "s1",
    "s{t}1",
    "\\r\\n",
];

const KEY_ENDS: [&str; 7] = ["1", "2", "3", "4", "{t}1", "{t}2", "{t}3"];

/// Keys of two families in seven, of all families in one: commands meet values of their own type mostly, and of others too.
fn key(draw: &mut Draw<'_>) -> Vec<u8> {
    let rng = &mut *draw.rng;
    match rng.u32(..60) {
        0 => return Vec::new(),
        1 => return b"\xff\x00\r\n".to_vec(),
        _ => {}
    }
    let prefix = if draw.prefix.is_empty() || rng.u32(..8) == 0 {
        let family = &FAMILIES[rng.usize(..FAMILIES.len())];
        // What counts notes here less than Redis does; bytes of it that others write would show that.
        if ["", "p"].contains(&family.prefix) { "s" } else { family.prefix }
    } else {
        draw.prefix
    };
    [prefix, KEY_ENDS[rng.usize(..KEY_ENDS.len())]].concat().into_bytes()
}

fn value(draw: &mut Draw<'_>) -> Vec<u8> {
    match draw.rng.u32(..24) {
        0..8 => named("small", draw),
        8..15 => named("int", draw),
        15..19 => named("float", draw),
        19..21 => pattern(draw, 44),
        21 => pattern(draw, 45),
        22 => pattern(draw, 300),
        _ => named("long", draw),
    }
}

fn named(name: &str, draw: &mut Draw<'_>) -> Vec<u8> {
    find(name).expect("it is in the list").draw(draw)
}

/// So many bytes that are not all the same.
fn pattern(draw: &mut Draw<'_>, len: usize) -> Vec<u8> {
    let begin = draw.rng.u8(..);
    (0..len).map(|at| begin.wrapping_add((at % 251) as u8)).collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        let &[sign, ref after @ ..] = after else {
            bytes.push(*first);
            break;
        };
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        rest = after;
        bytes.push(match sign {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let (digits, after) = after.split_at(2);
                rest = after;
                let digits = std::str::from_utf8(digits).expect("pools are text");
                u8::from_str_radix(digits, 16).expect("two digits follow \\x")
            }
            other => other,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_bytes() {
        assert_eq!(unescaped("a\\x00\\xff\\r\\\\b"), b"a\x00\xff\r\\b");
        assert_eq!(unescaped("\\"), b"\\");
    }

    #[test]
    fn every_pool_can_be_drawn_from() {
        let mut rng = Rng::with_seed(3);
        for pool in POOLS {
            let drawn: Vec<_> = (0..200).map(|_| pool.draw(&mut Draw { rng: &mut rng, prefix: "s" })).collect();
            assert!(drawn.iter().any(|word| *word != drawn[0]), "{}: all the same", pool.name);
        }
    }
}
