//! The command line in redis-server's grammar: `[FILE] [--directive value ...] [-]`.
//!
//! A directive takes all words up to the next one that begins with `--`; later ones win. `--directive=value` is
//! understood too, and `'--directive value ...'`: one word that is a whole line of the file. `-` reads more configuration from standard input, after the file and before the flags.

use super::directive::{ConfigError, Directive, Origin};
use super::words;

/// What the words say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    pub file: Option<String>,
    pub from_stdin: bool,
    pub directives: Vec<Directive>,
}

impl Arguments {
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, ConfigError> {
        let mut arguments = Arguments::default();
        for (index, word) in words.into_iter().enumerate() {
            if word == "-" {
                arguments.from_stdin = true;
            } else if let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) {
                arguments.directives.push(directive(name));
            } else if let Some(last) = arguments.directives.last_mut() {
                last.values.push(word);
            } else if word.starts_with('-') {
                return Err(ConfigError::ShortOption { word });
            } else if index == 0 {
                arguments.file = Some(word);
            } else {
                return Err(ConfigError::StrayWord { word });
            }
        }
        for directive in &mut arguments.directives {
            // `--save` alone is `save ""`, and `--save "900 1"` is one word that holds two, as in Redis.
            match directive.values.as_slice() {
                [] if directive.name == "save" => directive.values.push(String::new()),
                [one] if one.contains(' ') && matches!(directive.name.as_str(), "save" | "bind") => {
                    directive.values = one.split_ascii_whitespace().map(str::to_string).collect();
                }
                _ => {}
            }
        }
        Ok(arguments)
    }
}

fn directive(word: &str) -> Directive {
    let (name, values) = match word.split_once(['=', ' ']) {
        Some((name, value)) if word[name.len()..].starts_with('=') => (name, vec![value.to_string()]),
        Some((name, rest)) => (name, line(rest)),
        None => (word, Vec::new()),
    };
    Directive { name: name.to_ascii_lowercase(), values, origin: Origin::CommandLine }
}

/// The words of a line; if its quotes are not in order, the line as it is.
fn line(rest: &str) -> Vec<String> {
    let words = words::split(rest.as_bytes()).unwrap_or_else(|| vec![rest.as_bytes().to_vec()]);
    words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], file: Option<&str>, from_stdin: bool, directives: &[&str]) {
        let arguments = Arguments::parse(words.iter().map(|word| word.to_string())).unwrap();
        let shown: Vec<String> = arguments.directives.iter().map(Directive::shown).collect();
        assert_eq!((arguments.file.as_deref(), arguments.from_stdin), (file, from_stdin), "{words:?}");
        assert_eq!(shown, directives, "{words:?}");
    }

    #[test]
    fn words_are_understood_as_redis_does() {
        check(&[], None, false, &[]);
        check(&["a.conf", "--port", "7000", "-"], Some("a.conf"), true, &["port 7000"]);
        check(&["--bind", "127.0.0.1", "::1", "--PORT=1"], None, false, &["bind 127.0.0.1 ::1", "port 1"]);
        check(&["--save", "--port", "1", "--port", "2"], None, false, &["save \"\"", "port 1", "port 2"]);
        check(
            &["--maxmemory '700mb'", "--Bind  127.0.0.1 ::1"],
            None,
            false,
            &["maxmemory 700mb", "bind 127.0.0.1 ::1"],
        );
        check(&["--requirepass=a b", "--save "], None, false, &["requirepass (hidden)", "save \"\""]);
        check(&["--save", "900 1", "--maxmemory", "-1"], None, false, &["save 900 1", "maxmemory -1"]);
    }

    #[test]
    fn a_word_without_a_directive_is_refused() {
        let error = Arguments::parse(["a.conf", "b.conf"].map(String::from)).unwrap_err();
        assert!(matches!(error, ConfigError::StrayWord { word } if word == "b.conf"));
        let error = Arguments::parse(["-p", "7000"].map(String::from)).unwrap_err();
        assert!(matches!(error, ConfigError::ShortOption { word } if word == "-p"));
    }
}
