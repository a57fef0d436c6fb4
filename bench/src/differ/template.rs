//! The language that families are written in: a command as its synopsis reads, with pools in the place of its arguments.
//!
//! ```text
//! SET {key} {value} [NX | XX] [GET]     words, pools, options: one of them or none, each as likely as not
//! EXPIRE {key} (0 | {seconds})          exactly one of the alternatives
//! MSET ({key} {value})+                 one to four times
//! SET k{digit} 'a b'                    pools within a word; what is in single quotes is a word as it stands
//! ```

use super::limits::REPEATS_MAX;
use super::pools::{self, Draw, Pool};

/// A template, ready to draw commands from.
#[derive(Debug)]
pub struct Template(Vec<Node>);

#[derive(Debug)]
enum Node {
    Word(Vec<Segment>),
    /// One of the alternatives.
    Choice {
        alternatives: Vec<Vec<Node>>,
        is_optional: bool,
    },
    Repeated(Box<Node>),
}

#[derive(Debug)]
enum Segment {
    Text(Vec<u8>),
    Pool(&'static Pool),
}

impl Template {
    /// What is wrong with a text that is none.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut rest = text.trim_start();
        let nodes = sequence(&mut rest).map_err(|what| format!("{text}: {what}"))?;
        if !rest.is_empty() || nodes.is_empty() {
            return Err(format!("{text}: what is {rest:?}?"));
        }
        Ok(Template(nodes))
    }

    /// One command: its words.
    pub fn draw(&self, draw: &mut Draw<'_>) -> Vec<Vec<u8>> {
        let mut words = Vec::new();
        self.0.iter().for_each(|node| node.draw(draw, &mut words));
        words
    }
}

impl Node {
    fn draw(&self, draw: &mut Draw<'_>, words: &mut Vec<Vec<u8>>) {
        match self {
            Node::Word(segments) => {
                let mut word = Vec::new();
                for segment in segments {
                    match segment {
                        Segment::Text(text) => word.extend_from_slice(text),
                        Segment::Pool(pool) => word.extend_from_slice(&pool.draw(draw)),
                    }
                }
                words.push(word);
            }
            Node::Choice { is_optional: true, .. } if draw.rng.bool() => {}
            Node::Choice { alternatives, .. } => {
                let chosen = &alternatives[draw.rng.usize(..alternatives.len())];
                chosen.iter().for_each(|node| node.draw(draw, words));
            }
            Node::Repeated(node) => {
                for _ in 0..draw.rng.usize(1..=REPEATS_MAX) {
                    node.draw(draw, words);
                }
            }
        }
    }
}

/// Nodes up to the end of the text, or of the alternative.
fn sequence(rest: &mut &str) -> Result<Vec<Node>, String> {
    let mut nodes = Vec::new();
    while let Some(first) = rest.chars().next().filter(|first| !"|])".contains(*first)) {
        let node = match first {
            '[' | '(' => choice(rest, first == '[')?,
            '\'' => {
                let (word, after) = rest[1..].split_once('\'').ok_or("a quote is not closed")?;
                *rest = after;
                Node::Word(vec![Segment::Text(word.into())])
            }
            _ => Node::Word(word(rest)?),
        };
        let is_repeated = rest.starts_with('+');
        *rest = rest.strip_prefix('+').unwrap_or(rest).trim_start();
        nodes.push(if is_repeated { Node::Repeated(Box::new(node)) } else { node });
    }
    Ok(nodes)
}

fn choice(rest: &mut &str, is_optional: bool) -> Result<Node, String> {
    let close = if is_optional { ']' } else { ')' };
    let mut alternatives = Vec::new();
    loop {
        *rest = rest[1..].trim_start();
        alternatives.push(sequence(rest)?);
        match rest.chars().next() {
            Some('|') => {}
            Some(found) if found == close => break,
            _ => return Err(format!("{close:?} is missing")),
        }
    }
    *rest = &rest[1..];
    Ok(Node::Choice { alternatives, is_optional })
}

/// A word up to a space, a sign of the language, or a `+` behind a pool.
fn word(rest: &mut &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('{') {
            let (name, after) = inner.split_once('}').ok_or("a brace is not closed")?;
            segments.push(Segment::Pool(pools::find(name).ok_or_else(|| format!("there is no pool {name:?}"))?));
            *rest = after;
            continue;
        }
        let end = rest.find([' ', '{', '|', '[', ']', '(', ')']).unwrap_or(rest.len());
        if end == 0 || (rest.starts_with('+') && !segments.is_empty()) {
            break;
        }
        segments.push(Segment::Text(rest[..end].into()));
        *rest = &rest[end..];
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All commands that a thousand draws give.
    fn drawn(text: &str) -> BTreeSet<String> {
        let (template, mut rng) = (Template::parse(text).unwrap(), fastrand::Rng::with_seed(1));
        let mut draw = Draw { rng: &mut rng, prefix: "s" };
        let show = |words: Vec<Vec<u8>>| {
            words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
        };
        (0..1000).map(|_| show(template.draw(&mut draw))).collect()
    }

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(drawn(text), expect.iter().map(|text| text.to_string()).collect(), "{text}");
    }

    #[test]
    fn what_a_template_says_is_drawn_and_nothing_else() {
        check("GET k", &["GET k"]);
        check("A [B | C D]", &["A", "A B", "A C D"]);
        check("A (B | C [D]) E", &["A B E", "A C E", "A C D E"]);
        check("A (B|C)+", &drawn("A (B|C) [(B|C) [(B|C) [(B|C)]]]").iter().map(String::as_str).collect::<Vec<_>>());
        check("EVAL 'return [1]' 0", &["EVAL return [1] 0"]);
        check("A+B -1 +1", &["A+B -1 +1"]);
        assert_eq!(drawn("a{digit}b").len(), 10);
        assert!(drawn("{digit}+").iter().map(String::len).collect::<BTreeSet<_>>() == [1, 3, 5, 7].into());
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["", "A {nosuch}", "A [B", "A (B]", "A 'B", "A {key", "A ]"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
