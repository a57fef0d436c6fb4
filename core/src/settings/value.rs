//! Values of parameters: how they are read and shown. Redis 7.2's forms and texts.

use crate::command::args::parse_integer;
use crate::notify::Events;
use std::borrow::Cow;
use std::fmt::Write;

/// How the value of a parameter is written.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// `yes` or `no`.
    Bool,
    Int {
        min: i64,
        max: i64,
    },
    /// Permissions of a file.
    Octal {
        max: i64,
    },
    /// Bytes, with a unit or without: `k` is 1000, `kb` is 1024, `m`, `mb`, `g`, `gb` likewise.
    Memory {
        min: u64,
        max: u64,
    },
    /// `Memory`, or a percentage.
    MemoryOrPercent,
    Enum(&'static [&'static str]),
    /// Any number of these words.
    Flags(&'static [&'static str]),
    Text,
    /// Any number of words.
    Words,
    OutputLimits,
    /// Letters of classes of events.
    Events,
    /// Percentages from 0 to 100.
    Percentiles,
    /// Pairs of seconds and changes.
    Save,
}

impl Form {
    /// May the value be several words, which CONFIG SET takes as one argument?
    pub fn is_list(self) -> bool {
        matches!(self, Form::Flags(_) | Form::Words | Form::OutputLimits | Form::Percentiles | Form::Save)
    }
}

/// A value as it was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Bytes(u64),
    Text(String),
    Words(Vec<String>),
    OutputLimits(OutputLimits),
    Events(Events),
    Percentiles(Vec<f64>),
}

impl Value {
    pub fn bool(self) -> bool {
        let Value::Bool(value) = self else { unreachable!("its form yields a bool") };
        value
    }

    pub fn int(self) -> i64 {
        let Value::Int(value) = self else { unreachable!("its form yields an integer") };
        value
    }

    pub fn bytes(self) -> u64 {
        let Value::Bytes(value) = self else { unreachable!("its form yields bytes") };
        value
    }

    pub fn text(self) -> String {
        let Value::Text(value) = self else { unreachable!("its form yields a text") };
        value
    }

    pub fn words(self) -> Vec<String> {
        let Value::Words(value) = self else { unreachable!("its form yields words") };
        value
    }
}

/// When a client that does not read is cut off. Zero: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// At once above this.
    pub hard_bytes: u64,
    /// Above this for so long.
    pub soft_bytes: u64,
    pub soft_seconds: u64,
}

/// `client-output-buffer-limit`, by class of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

/// Reads a value. `limits` is what the output limits are now: a list may name some classes only.
pub fn parse(form: Form, args: &[&str], limits: &OutputLimits) -> Result<Value, Cow<'static, str>> {
    let words: Vec<&str> =
        if form.is_list() { args.iter().flat_map(|arg| arg.split_whitespace()).collect() } else { args.to_vec() };
    match form {
        Form::Flags(known) => flags(known, &words),
        Form::Words => Ok(Value::Words(words.into_iter().map(str::to_owned).collect())),
        Form::OutputLimits if args.is_empty() => Err("wrong number of arguments".into()),
        Form::Events => Events::parse(&words.join(" ")).map(Value::Events),
        Form::OutputLimits => output_limits(&words, *limits).map(Value::OutputLimits),
        Form::Percentiles => percentiles(&words),
        Form::Save => save(&words),
        _ => match words[..] {
            [word] => scalar(form, word),
            _ => Err("wrong number of arguments".into()),
        },
    }
}

fn scalar(form: Form, word: &str) -> Result<Value, Cow<'static, str>> {
    match form {
        Form::Bool => match word {
            _ if word.eq_ignore_ascii_case("yes") => Ok(Value::Bool(true)),
            _ if word.eq_ignore_ascii_case("no") => Ok(Value::Bool(false)),
            _ => Err("argument must be 'yes' or 'no'".into()),
        },
        Form::Int { min, max } => {
            let value = parse_integer(word.as_bytes()).ok_or("argument couldn't be parsed into an integer")?;
            within(value, min, max).map(Value::Int)
        }
        Form::Octal { max } => {
            let value = i64::from_str_radix(word, 8).map_err(|_| "argument couldn't be parsed as an octal number")?;
            if !(0..=max).contains(&value) {
                return Err(format!("argument must be between 0 and {max:o} inclusive").into());
            }
            Ok(Value::Int(value))
        }
        Form::Memory { min, max } => {
            let value = bytes(word).ok_or("argument must be a memory value")?;
            within(value, min, max).map(Value::Bytes)
        }
        Form::MemoryOrPercent => match word.strip_suffix('%') {
            Some(percent) => match parse_integer(percent.as_bytes()) {
                Some(0..=100) => Ok(Value::Text(word.to_owned())),
                Some(101..) => Err("percentage argument must be less or equal to 100".into()),
                _ => Err("argument must be a memory or percent value".into()),
            },
            None => bytes(word).map(Value::Bytes).ok_or("argument must be a memory or percent value".into()),
        },
        Form::Enum(known) => match known.iter().find(|known| known.eq_ignore_ascii_case(word)) {
            Some(known) => Ok(Value::Text((*known).to_owned())),
            None => Err(one_of(known)),
        },
        _ => Ok(Value::Text(word.to_owned())),
    }
}

fn within<T: PartialOrd + std::fmt::Display>(value: T, min: T, max: T) -> Result<T, Cow<'static, str>> {
    if value < min || value > max {
        return Err(format!("argument must be between {min} and {max} inclusive").into());
    }
    Ok(value)
}

fn one_of(known: &[&str]) -> Cow<'static, str> {
    format!("argument(s) must be one of the following: {}", known.join(", ")).into()
}

/// Bytes with a unit.
pub fn bytes(word: &str) -> Option<u64> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let unit: u64 = match word[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    word[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

fn flags(known: &'static [&'static str], words: &[&str]) -> Result<Value, Cow<'static, str>> {
    let found: Option<Vec<String>> = words
        .iter()
        .map(|word| known.iter().find(|known| known.eq_ignore_ascii_case(word)).map(|known| (*known).to_owned()))
        .collect();
    match found {
        Some(words) if !words.is_empty() => Ok(Value::Words(words)),
        _ => Err(one_of(known)),
    }
}

fn output_limits(words: &[&str], mut limits: OutputLimits) -> Result<OutputLimits, Cow<'static, str>> {
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for class in words.chunks_exact(4) {
        let slot = match class[0].to_ascii_lowercase().as_str() {
            "normal" => &mut limits.normal,
            "slave" | "replica" => &mut limits.replica,
            "pubsub" => &mut limits.pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let read = || {
            let soft_seconds = u64::try_from(parse_integer(class[3].as_bytes())?).ok()?;
            Some(OutputLimit { hard_bytes: bytes(class[1])?, soft_bytes: bytes(class[2])?, soft_seconds })
        };
        *slot = read().ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    Ok(limits)
}

fn percentiles(words: &[&str]) -> Result<Value, Cow<'static, str>> {
    let mut out = Vec::with_capacity(words.len());
    for word in words {
        let value: f64 = word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&value) {
            return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
        }
        out.push(value);
    }
    Ok(Value::Percentiles(out))
}

fn save(words: &[&str]) -> Result<Value, Cow<'static, str>> {
    let words: Vec<&str> = words.iter().copied().filter(|word| !matches!(*word, "\"\"" | "''")).collect();
    let is_valid = words.len().is_multiple_of(2)
        && words
            .iter()
            .enumerate()
            .all(|(at, word)| parse_integer(word.as_bytes()).is_some_and(|n| n >= i64::from(at % 2 == 0)));
    if !is_valid {
        return Err("Invalid save parameters".into());
    }
    Ok(Value::Words(words.into_iter().map(str::to_owned).collect()))
}

/// The value as CONFIG GET shows it.
pub fn show(form: Form, value: &Value) -> String {
    match value {
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Int(value) if matches!(form, Form::Octal { .. }) => format!("{value:o}"),
        Value::Int(value) => value.to_string(),
        Value::Bytes(value) => value.to_string(),
        Value::Text(text) => text.clone(),
        Value::Words(words) => words.join(" "),
        Value::OutputLimits(limits) => {
            let mut out = String::new();
            for (class, limit) in [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)] {
                let space = if out.is_empty() { "" } else { " " };
                let OutputLimit { hard_bytes, soft_bytes, soft_seconds } = limit;
                write!(out, "{space}{class} {hard_bytes} {soft_bytes} {soft_seconds}").expect("a string grows");
            }
            out
        }
        Value::Events(events) => events.show(),
        Value::Percentiles(list) => list.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
    }
}
