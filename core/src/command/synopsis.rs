//! A command's synopsis, taken apart into the arguments that COMMAND DOCS describes.
//!
//! The notation is that of the Redis documentation: `word` is an argument, `WORD` a token, `[...]` is optional,
//! `<a | b>` and `[a | b]` are alternatives, `x [x ...]` may be repeated.

use crate::resp::encode::Reply;

/// One argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    pub name: String,
    pub kind: Kind,
    /// The word that stands before it.
    pub token: String,
    pub is_optional: bool,
    pub is_multiple: bool,
    pub parts: Vec<Argument>,
}

/// What an argument is, in Redis's terms (`arg_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Text,
    Integer,
    Key,
    Pattern,
    UnixTime,
    Token,
    OneOf,
    Block,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::Integer => "integer",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::Token => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }
}

/// The arguments of a synopsis.
pub fn parse(synopsis: &str) -> Vec<Argument> {
    let spaced: String = synopsis
        .chars()
        .map(|c| if matches!(c, '[' | ']' | '<' | '>' | '|') { format!(" {c} ") } else { c.to_string() })
        .collect();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let parts = sequence(&words, &mut at);
    debug_assert_eq!(at, words.len(), "unbalanced: {synopsis}");
    parts
}

/// Arguments one after the other, until a bar or a closing bracket.
fn sequence(words: &[&str], at: &mut usize) -> Vec<Argument> {
    let mut out: Vec<Argument> = Vec::new();
    while let Some(&word) = words.get(*at) {
        match word {
            "]" | ">" | "|" => break,
            "..." => *at += 1,
            "[" if is_repetition(words, *at) => {
                skip_bracket(words, at);
                repeat(&mut out, words, *at);
            }
            "[" | "<" => {
                *at += 1;
                let mut choice = alternatives(words, at);
                choice.is_optional = word == "[";
                *at += 1;
                out.push(choice);
            }
            _ if is_token(word) => {
                *at += 1;
                out.push(token(word, words, at));
            }
            _ => {
                *at += 1;
                out.push(Argument { name: word.to_owned(), kind: kind_of(word), ..Argument::default() });
            }
        }
    }
    out
}

fn is_token(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A token, with the argument that it introduces if one follows.
fn token(word: &str, words: &[&str], at: &mut usize) -> Argument {
    let token = word.to_owned();
    match words.get(*at) {
        Some(&"<") => {
            *at += 1;
            let mut choice = alternatives(words, at);
            *at += 1;
            choice.token = token;
            choice
        }
        Some(&next) if !is_token(next) && !matches!(next, "[" | "]" | ">" | "|" | "...") => {
            *at += 1;
            Argument { name: next.to_owned(), kind: kind_of(next), token, ..Argument::default() }
        }
        _ => Argument { name: word.to_ascii_lowercase(), kind: Kind::Token, token, ..Argument::default() },
    }
}

/// What stands between brackets: one argument, a block of several, or a choice.
fn alternatives(words: &[&str], at: &mut usize) -> Argument {
    let mut options = vec![block(sequence(words, at))];
    while words.get(*at) == Some(&"|") {
        *at += 1;
        options.push(block(sequence(words, at)));
    }
    if options.len() == 1 {
        return options.remove(0);
    }
    let name = options[0].name.clone();
    Argument { name, kind: Kind::OneOf, parts: options, ..Argument::default() }
}

fn block(mut parts: Vec<Argument>) -> Argument {
    if parts.len() == 1 {
        return parts.remove(0);
    }
    let name = parts.first().map(|part| part.name.clone()).unwrap_or_default();
    Argument { name, kind: Kind::Block, parts, ..Argument::default() }
}

/// Is this bracket the `[x ...]` of a repetition?
fn is_repetition(words: &[&str], open: usize) -> bool {
    let mut at = open;
    skip_bracket(words, &mut at);
    at >= 2 && words[at - 2] == "..."
}

fn skip_bracket(words: &[&str], at: &mut usize) {
    let mut depth = 0;
    while let Some(word) = words.get(*at) {
        *at += 1;
        match *word {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// The last arguments, as many as stand in the repetition that ended before `end`, may be repeated.
fn repeat(out: &mut Vec<Argument>, words: &[&str], end: usize) {
    let open = words[..end].iter().rposition(|word| *word == "[").expect("a repetition has a bracket");
    // The bracket holds the repeated words and the three dots; a token of its own is the argument's, not one more.
    let repeated = words[open + 1..end - 2].iter().filter(|word| !is_token(word)).count().clamp(1, out.len().max(1));
    let tail = out.split_off(out.len().saturating_sub(repeated));
    if tail.is_empty() {
        return;
    }
    let mut argument = block(tail);
    argument.is_multiple = true;
    out.push(argument);
}

/// The kind of value that an argument of this name is.
fn kind_of(name: &str) -> Kind {
    match name {
        "key" | "newkey" | "source" | "destination" | "key1" | "key2" => Kind::Key,
        "pattern" => Kind::Pattern,
        _ if name.starts_with("unix-time") => Kind::UnixTime,
        "seconds" | "milliseconds" | "count" | "cursor" | "offset" | "start" | "end" | "index" | "increment"
        | "decrement" | "timeout" | "slot" | "numreplicas" | "numlocal" | "client-id" | "protover" | "bit"
        | "min-match-len" | "destination-db" | "version" => Kind::Integer,
        _ => Kind::Text,
    }
}

/// Writes the arguments as COMMAND DOCS has them, for a command with so many key specifications.
pub fn write(arguments: &[Argument], key_specs: usize, reply: &mut Reply<'_>) {
    reply.array(arguments.len());
    let mut keys_before = 0;
    for argument in arguments {
        let Argument { name, kind, token, is_optional, is_multiple, parts } = argument;
        let flags = [(*is_optional, "optional"), (*is_multiple, "multiple")];
        let flags: Vec<&str> = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| *name).collect();
        let fields = [!token.is_empty(), !flags.is_empty(), !parts.is_empty(), *kind == Kind::Key];
        reply.map(2 + fields.iter().filter(|is_there| **is_there).count());
        reply.bulk(b"name");
        reply.bulk(name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(kind.name().as_bytes());
        if *kind == Kind::Key {
            reply.bulk(b"key_spec_index");
            reply.integer(keys_before.min(key_specs.saturating_sub(1)) as i64);
            keys_before += 1;
        }
        if !token.is_empty() {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            reply.bulk(b"flags");
            reply.array(flags.len());
            flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !parts.is_empty() {
            reply.bulk(b"arguments");
            write(parts, key_specs, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::table;

    /// One argument in a few letters: `name:kind`, `?` optional, `*` repeated, `(a b)` a block, `(a|b)` a choice.
    fn short(arguments: &[Argument], between: &str) -> String {
        let one = |argument: &Argument| {
            let Argument { name, kind, token, is_optional, is_multiple, parts } = argument;
            let what = match kind {
                Kind::OneOf => format!("({})", short(parts, "|")),
                Kind::Block => format!("({})", short(parts, " ")),
                Kind::Token => String::new(),
                _ => format!("{name}:{}", kind.name()),
            };
            let marks = [(*is_optional, "?"), (*is_multiple, "*")];
            let marks: String = marks.iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| *mark).collect();
            let space = if token.is_empty() || what.is_empty() { "" } else { "=" };
            format!("{token}{space}{what}{marks}")
        };
        arguments.iter().map(one).collect::<Vec<_>>().join(between)
    }

    #[test]
    fn synopses_are_taken_apart() {
        for (synopsis, expect) in [
            ("", ""),
            ("key", "key:key"),
            ("[message]", "message:string?"),
            ("key [key ...]", "key:key*"),
            ("key value [key value ...]", "(key:key value:string)*"),
            ("[section [section ...]]", "section:string?*"),
            ("key [NX | XX]", "key:key (NX|XX)?"),
            ("<ON | OFF>", "(ON|OFF)"),
            (
                "key [EX seconds | PX milliseconds | PERSIST]",
                "key:key (EX=seconds:integer|PX=milliseconds:integer|PERSIST)?",
            ),
            ("cursor [MATCH pattern] [COUNT count]", "cursor:integer MATCH=pattern:pattern? COUNT=count:integer?"),
            ("[protover [AUTH username password]]", "(protover:integer (AUTH=username:string password:string)?)?"),
            ("[FILTERBY <MODULE name | PATTERN pattern>]", "FILTERBY=(MODULE=name:string|PATTERN=pattern:pattern)?"),
        ] {
            assert_eq!(short(&parse(synopsis), " "), expect, "{synopsis}");
        }
    }

    #[test]
    fn every_synopsis_of_the_table_can_be_taken_apart() {
        for spec in table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
            let arguments = parse(spec.synopsis);
            let is_container = !spec.subcommands.is_empty();
            assert!(
                is_container || spec.arity.unsigned_abs() == 1 || spec.name.contains('|') || !arguments.is_empty(),
                "{}",
                spec.name
            );
        }
    }
}
