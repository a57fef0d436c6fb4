//! Owns command templates: `SET {key} {value}` becomes RESP bytes that are copied and patched for each request.
//!
//! | placeholder | stands for |
//! | --- | --- |
//! | `{key}` | the key pattern with a key number drawn from the group's distribution |
//! | `{num}`, `{num:WIDTH}` | such a number alone, zero-padded (12 digits unless told) |
//! | `{value}`, `{value:SIZE}`, `{value:MIN-MAX}` | random printable bytes |
//! | `{seq}` | a 12-digit number that grows by one with each use |
//! | `{conn}` | the 6-digit number of the connection |
//! | `{int:LIMIT}` | a random number below LIMIT, plain |
//!
//! `{{` and `}}` are braces. Words are separated by blanks, quotes (`"` or `'`) keep blanks. A lone `;` separates
//! commands that together are one request: `MULTI ; INCR {key} ; EXEC`.

use super::verify;
use crate::workload::{Keys, ValuePool, ValueSize};

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template {
    /// The command's name, for reports: `MULTI;INCR;EXEC`.
    pub name: String,
    /// Replies that one request gets.
    pub replies: u32,
    pub expects: Expects,
    pub value_bytes_max: usize,
    form: Form,
}

/// What a verifying run may ask of the reply, known from the template's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Anything but an error.
    Any,
    /// `GET {key}`: nil, or a value that was written for that key.
    ValueOfKey,
}

#[derive(Clone, Debug)]
enum Form {
    /// Every request has the same length: bytes to copy, fields to overwrite.
    Fixed { bytes: Vec<u8>, fields: Vec<(usize, Field)> },
    /// Some field's length varies: written word by word.
    Varying(Vec<Vec<Word>>),
}

type Word = Vec<Part>;

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    KeyNumber { width: usize },
    Value(ValueSize),
    Sequence,
    Connection,
    Int { below: u64 },
}

const NUMBER_WIDTH: usize = 12;
const CONNECTION_WIDTH: usize = 6;
/// The digits of `u64::MAX`.
const WIDTH_MAX: usize = 20;

impl Field {
    fn fixed_width(self) -> Option<usize> {
        match self {
            Self::KeyNumber { width } => Some(width),
            Self::Value(size) => (size.min == size.max).then_some(size.min),
            Self::Sequence => Some(NUMBER_WIDTH),
            Self::Connection => Some(CONNECTION_WIDTH),
            Self::Int { .. } => None,
        }
    }
}

/// Where a request's random parts come from. One per thread and group.
#[derive(Debug)]
pub struct Draw {
    pub keys: Keys,
    pub rng: fastrand::Rng,
    pub pool: ValuePool,
    pub sequence: u64,
    pub sequence_stride: u64,
    /// Values carry the last key number and the sequence number.
    pub verify: bool,
    /// The key number drawn last.
    pub key: u64,
    pub scratch: Vec<u8>,
}

impl Draw {
    #[inline]
    fn next_sequence(&mut self) -> u64 {
        let drawn = self.sequence;
        self.sequence = self.sequence.wrapping_add(self.sequence_stride);
        drawn
    }

    #[inline]
    fn put_value(&mut self, slot: &mut [u8]) {
        if self.verify {
            let sequence = self.next_sequence();
            verify::stamp(slot, self.key, sequence, &self.pool);
        } else {
            self.pool.fill(slot, &mut self.rng);
        }
    }

    #[inline]
    fn put(&mut self, field: Field, slot: &mut [u8], connection: u32) {
        match field {
            Field::KeyNumber { .. } => {
                self.key = self.keys.draw(&mut self.rng);
                put_digits(slot, self.key);
            }
            Field::Value(_) => self.put_value(slot),
            Field::Sequence => {
                let sequence = self.next_sequence();
                put_digits(slot, sequence);
            }
            Field::Connection => put_digits(slot, u64::from(connection)),
            Field::Int { .. } => unreachable!("a number of varying length is not patched in place"),
        }
    }
}

/// What a template is compiled against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub key_pattern: &'a str,
    pub value_size: ValueSize,
    /// Key numbers are below this.
    pub keys: u64,
}

impl Template {
    /// # Errors
    /// A sentence that names the faulty placeholder or word.
    pub fn parse(text: &str, context: Context<'_>) -> Result<Self, String> {
        let mut commands = vec![Vec::new()];
        for word in split_words(text)? {
            if word == ";" {
                commands.push(Vec::new());
                continue;
            }
            let parts = parse_word(&word, context, false)?;
            commands.last_mut().expect("never empty").push(parts);
        }
        if commands.iter().any(Vec::is_empty) {
            return Err(format!("{text:?} has an empty command"));
        }
        let names: Vec<String> = commands.iter().map(|words| name_of(&words[0])).collect();
        let fields = commands.iter().flatten().flatten();
        let value_bytes_max =
            fields.filter_map(|p| if let Part::Field(Field::Value(s)) = p { Some(s.max) } else { None });
        Ok(Self {
            name: names.join(";"),
            replies: commands.len() as u32,
            expects: if is_get(&commands) { Expects::ValueOfKey } else { Expects::Any },
            value_bytes_max: value_bytes_max.max().unwrap_or(0),
            form: compile(commands),
        })
    }

    /// Appends one request to `out`.
    #[inline]
    pub fn render(&self, out: &mut Vec<u8>, draw: &mut Draw, connection: u32) {
        match &self.form {
            Form::Fixed { bytes, fields } => {
                let base = out.len();
                out.extend_from_slice(bytes);
                for (at, field) in fields {
                    let from = base + at;
                    let width = field.fixed_width().expect("compiled as fixed");
                    draw.put(*field, &mut out[from..from + width], connection);
                }
            }
            Form::Varying(commands) => {
                for words in commands {
                    push_header(out, b'*', words.len());
                    for word in words {
                        render_word(word, out, draw, connection);
                    }
                }
            }
        }
    }

    /// The least length of a value that the template writes.
    #[must_use]
    pub fn value_bytes_min(&self) -> Option<usize> {
        let least = |fields: &mut dyn Iterator<Item = Field>| {
            fields.filter_map(|f| if let Field::Value(size) = f { Some(size.min) } else { None }).min()
        };
        match &self.form {
            Form::Fixed { fields, .. } => least(&mut fields.iter().map(|(_, f)| *f)),
            Form::Varying(commands) => {
                let parts = commands.iter().flatten().flatten();
                least(&mut parts.filter_map(|p| if let Part::Field(f) = p { Some(*f) } else { None }))
            }
        }
    }
}

fn is_get(commands: &[Vec<Word>]) -> bool {
    let [words] = commands else { return false };
    let [name, key] = words.as_slice() else { return false };
    let keys = key.iter().filter(|p| matches!(p, Part::Field(_))).count();
    name_of(name) == "GET" && keys == 1 && key.iter().any(|p| matches!(p, Part::Field(Field::KeyNumber { .. })))
}

fn name_of(word: &Word) -> String {
    match word.as_slice() {
        [Part::Text(text)] => String::from_utf8_lossy(text).to_uppercase(),
        _ => "?".to_owned(),
    }
}

fn compile(commands: Vec<Vec<Word>>) -> Form {
    let varies = |part: &Part| matches!(part, Part::Field(field) if field.fixed_width().is_none());
    if commands.iter().flatten().flatten().any(varies) {
        return Form::Varying(commands);
    }
    let mut bytes = Vec::new();
    let mut fields = Vec::new();
    for words in &commands {
        push_header(&mut bytes, b'*', words.len());
        for word in words {
            let width = |p: &Part| match p {
                Part::Text(text) => text.len(),
                Part::Field(field) => field.fixed_width().expect("no field varies"),
            };
            push_header(&mut bytes, b'$', word.iter().map(width).sum());
            for part in word {
                match part {
                    Part::Text(text) => bytes.extend_from_slice(text),
                    Part::Field(field) => {
                        fields.push((bytes.len(), *field));
                        bytes.resize(bytes.len() + width(part), b'0');
                    }
                }
            }
            bytes.extend_from_slice(b"\r\n");
        }
    }
    Form::Fixed { bytes, fields }
}

fn render_word(word: &Word, out: &mut Vec<u8>, draw: &mut Draw, connection: u32) {
    // The length precedes the word, so the word is written aside first.
    let mut body = core::mem::take(&mut draw.scratch);
    body.clear();
    for part in word {
        match part {
            Part::Text(text) => body.extend_from_slice(text),
            Part::Field(Field::Int { below }) => {
                let number = draw.rng.u64(0..*below);
                body.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            Part::Field(field) => {
                let width = match field {
                    Field::Value(size) => size.draw(&mut draw.rng),
                    other => other.fixed_width().expect("only values and numbers vary"),
                };
                let from = body.len();
                body.resize(from + width, b'0');
                draw.put(*field, &mut body[from..], connection);
            }
        }
    }
    push_header(out, b'$', body.len());
    out.extend_from_slice(&body);
    out.extend_from_slice(b"\r\n");
    draw.scratch = body;
}

/// `*3\r\n`, `$17\r\n`.
fn push_header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// `number` in decimal, zero-padded to the slot; higher digits are cut.
#[inline]
fn put_digits(slot: &mut [u8], mut number: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Words at blanks; quotes keep blanks and may make an empty word.
fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    if let Some(q) = quote {
        return Err(format!("{text:?} has an unclosed {q}"));
    }
    words.extend(word);
    Ok(words)
}

/// The parts of one word. Within the key pattern `{key}` itself has no meaning.
fn parse_word(word: &str, context: Context<'_>, in_pattern: bool) -> Result<Word, String> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        text.extend_from_slice(&rest.as_bytes()[..at]);
        let brace = rest.as_bytes()[at];
        let tail = &rest[at + 1..];
        if tail.as_bytes().first() == Some(&brace) {
            text.push(brace);
            rest = &tail[1..];
            continue;
        }
        let end = tail.find('}').filter(|_| brace == b'{').ok_or_else(|| format!("{word:?} has a lone brace"))?;
        if !text.is_empty() {
            parts.push(Part::Text(core::mem::take(&mut text)));
        }
        match &tail[..end] {
            "key" if !in_pattern => parts.extend(parse_word(context.key_pattern, context, true)?),
            name => parts.push(Part::Field(parse_field(name, context)?)),
        }
        rest = &tail[end + 1..];
    }
    text.extend_from_slice(rest.as_bytes());
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn parse_field(placeholder: &str, context: Context<'_>) -> Result<Field, String> {
    let (name, argument) = match placeholder.split_once(':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (placeholder, None),
    };
    let bad = |e: &dyn core::fmt::Display| format!("{{{placeholder}}}: {e}");
    match (name, argument) {
        ("num", width) => {
            let width = width.map_or(Ok(NUMBER_WIDTH), str::parse).map_err(|e| bad(&e))?;
            let digits = context.keys.saturating_sub(1).checked_ilog10().map_or(1, |d| d as usize + 1);
            if width < digits || width > WIDTH_MAX {
                return Err(bad(&format!("{} keys need a width from {digits} to {WIDTH_MAX}", context.keys)));
            }
            Ok(Field::KeyNumber { width })
        }
        ("value", None) => Ok(Field::Value(context.value_size)),
        ("value", Some(size)) => Ok(Field::Value(size.parse().map_err(|e: String| bad(&e))?)),
        ("seq", None) => Ok(Field::Sequence),
        ("conn", None) => Ok(Field::Connection),
        ("int", Some(below)) => match below.parse() {
            Ok(0) => Err(bad(&"no number is below 0")),
            Ok(below) => Ok(Field::Int { below }),
            Err(e) => Err(bad(&e)),
        },
        _ => Err(bad(&"unknown; there are {key} {num} {num:WIDTH} {value} {value:SIZE} {seq} {conn} {int:LIMIT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::KeyDistribution;

    const CONTEXT: Context<'_> =
        Context { key_pattern: "key:{num}", value_size: ValueSize { min: 3, max: 3 }, keys: 10 };

    fn draw() -> Draw {
        Draw {
            keys: Keys::new(KeyDistribution::Sequential, 10, 0, 1),
            rng: fastrand::Rng::with_seed(1),
            pool: ValuePool::new(64),
            sequence: 7,
            sequence_stride: 1,
            verify: false,
            key: 0,
            scratch: Vec::new(),
        }
    }

    /// Renders `text` twice and compares the second request, values blanked to `v`.
    fn check(text: &str, expected: &str) {
        let template = Template::parse(text, CONTEXT).unwrap();
        let mut draw = draw();
        draw.pool = ValuePool::constant(b'v', 64);
        let mut out = Vec::new();
        template.render(&mut out, &mut draw, 42);
        out.clear();
        template.render(&mut out, &mut draw, 42);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    }

    #[test]
    fn templates_render() {
        check("PING", "*1\r\n$4\r\nPING\r\n");
        check("get {key}", "*2\r\n$3\r\nget\r\n$16\r\nkey:000000000001\r\n");
        check("SET {key} {value}", "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$3\r\nvvv\r\n");
        check(
            "HSET h:{num:1} f{seq} {value:2}",
            "*4\r\n$4\r\nHSET\r\n$3\r\nh:1\r\n$13\r\nf000000000008\r\n$2\r\nvv\r\n",
        );
        check(
            "MULTI ; GET c{conn} ; EXEC",
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$7\r\nc000042\r\n*1\r\n$4\r\nEXEC\r\n",
        );
        check("ECHO {{a}}'b c'\"\"", "*2\r\n$4\r\nECHO\r\n$6\r\n{a}b c\r\n");
        check("ECHO ''", "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n");
        check("MGET {key} {key}", "*3\r\n$4\r\nMGET\r\n$16\r\nkey:000000000002\r\n$16\r\nkey:000000000003\r\n");
        check("INCRBY {key} {int:1}", "*3\r\n$6\r\nINCRBY\r\n$16\r\nkey:000000000001\r\n$1\r\n0\r\n");
    }

    #[test]
    fn values_of_varying_length_keep_their_bounds_and_their_length_headers() {
        let template = Template::parse("SET k {value:0-12}", CONTEXT).unwrap();
        let mut draw = draw();
        let mut seen = [false; 13];
        for _ in 0..1000 {
            let mut out = Vec::new();
            template.render(&mut out, &mut draw, 0);
            let text = String::from_utf8(out).unwrap();
            let (length, body) =
                text.strip_prefix("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$").unwrap().split_once("\r\n").unwrap();
            let length: usize = length.parse().unwrap();
            assert_eq!(body.len(), length + 2);
            seen[length] = true;
        }
        assert_eq!(seen, [true; 13]);
    }

    #[test]
    fn faulty_templates_are_named() {
        for text in [
            "",
            "GET {kex}",
            "GET {key",
            "GET key}",
            "SET a 'b",
            "GET {num:0}",
            "GET {num:21}",
            "X {int:0}",
            "X {int}",
            "A ; ; B",
            "X {value:5-2}",
        ] {
            assert!(Template::parse(text, CONTEXT).is_err(), "{text:?}");
        }
        assert!(Template::parse("GET {num:1}", Context { keys: 11, ..CONTEXT }).is_err());
        assert!(Template::parse("GET {key}", Context { key_pattern: "{key}", ..CONTEXT }).is_err());
    }

    #[test]
    fn shapes_are_recognised() {
        let parse = |text| Template::parse(text, CONTEXT).unwrap();
        assert_eq!(parse("get {key}").expects, Expects::ValueOfKey);
        assert_eq!(parse("MGET {key} {key}").expects, Expects::Any);
        assert_eq!(parse("GET fixed").expects, Expects::Any);
        assert_eq!((parse("MULTI ; exec").name.as_str(), parse("MULTI ; exec").replies), ("MULTI;EXEC", 2));
        assert_eq!(parse("SET {key} {value:2-9}").value_bytes_min(), Some(2));
    }
}
