//! One parameter with its values, and where it was written; and what to tell the operator when it cannot be taken.

use std::fmt;
use std::path::PathBuf;

/// Where a directive was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File { path: PathBuf, line: usize },
    Stdin { line: usize },
    Environment { variable: String },
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Origin::Stdin { line } => write!(f, "standard input, line {line}"),
            Origin::Environment { variable } => write!(f, "environment variable {variable}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// A parameter and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// In lower case.
    pub name: String,
    pub values: Vec<String>,
    pub origin: Origin,
}

impl Directive {
    /// From the words of a line. Nothing if a word is not UTF-8.
    pub fn from_words(words: Vec<Vec<u8>>, origin: Origin) -> Option<Directive> {
        let mut words = words.into_iter().map(String::from_utf8);
        let name = words.next()?.ok()?.to_ascii_lowercase();
        let values = words.collect::<Result<_, _>>().ok()?;
        Some(Directive { name, values, origin })
    }

    /// The line as it may be shown: secrets stay out of terminals and logs.
    pub fn shown(&self) -> String {
        if is_secret(&self.name) {
            return format!("{} (hidden)", self.name);
        }
        let mut line = self.name.clone();
        for value in &self.values {
            line.push(' ');
            line.push_str(&super::words::quote(value));
        }
        line
    }
}

/// Parameters whose value nobody but the client may see.
pub fn is_secret(name: &str) -> bool {
    name == "user" || cairn_core::settings::is_secret(name)
}

/// Why the configuration cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// This line, whose text may be shown, is wrong.
    Line {
        origin: Origin,
        text: String,
        why: String,
        advice: String,
    },
    /// A file cannot be read.
    Unreadable {
        path: PathBuf,
        why: String,
        from: Option<Origin>,
    },
    IncludeDepth {
        origin: Origin,
    },
    /// A word on the command line that belongs to no directive.
    StrayWord {
        word: String,
    },
    /// An option with one dash.
    ShortOption {
        word: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Line { origin, text, why, advice } => {
                // The first line is Redis's where it is about a file: people look for it.
                let version = env!("CARGO_PKG_VERSION");
                match origin {
                    Origin::File { path, line } => {
                        writeln!(f, "*** FATAL CONFIG FILE ERROR (Cairn {version}) ***")?;
                        writeln!(f, "Reading the configuration file {}, at line {line}", path.display())?;
                    }
                    Origin::Stdin { line } => {
                        writeln!(f, "*** FATAL CONFIG FILE ERROR (Cairn {version}) ***")?;
                        writeln!(f, "Reading the configuration from standard input, at line {line}")?;
                    }
                    other => {
                        writeln!(f, "*** FATAL CONFIG ERROR (Cairn {version}) ***")?;
                        writeln!(f, "Reading the configuration from the {other}")?;
                    }
                }
                write!(f, ">>> '{text}'\n{why}")?;
                if !advice.is_empty() {
                    write!(f, "\n{advice}")?;
                }
                Ok(())
            }
            ConfigError::Unreadable { path, why, from } => {
                write!(f, "Fatal error, can't open config file '{}': {why}", path.display())?;
                match from {
                    Some(from) => write!(f, " (included from {from})"),
                    // A word without any of these was hardly meant as a path.
                    None if !path.to_string_lossy().contains(['.', '/']) => {
                        write!(f, "\n'{}' is no subcommand either: see cairn --help", path.display())
                    }
                    None => Ok(()),
                }
            }
            ConfigError::IncludeDepth { origin } => write!(
                f,
                "Fatal error, more than {} levels of include ({origin}): does a file include itself?",
                crate::limits::INCLUDE_DEPTH_MAX
            ),
            ConfigError::StrayWord { word } => write!(
                f,
                "'{word}' belongs to no directive. The grammar is: cairn serve [FILE] [--directive value ...] [-]; \
                 see cairn serve --help"
            ),
            ConfigError::ShortOption { word } => write!(
                f,
                "There is no option '{word}': directives have two dashes, as in --port 7000; see cairn serve --help"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
