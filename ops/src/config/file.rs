//! Files in redis.conf's grammar: a directive a line, `#` comments, `include` in place.

use super::directive::{ConfigError, Directive, Origin};
use super::words;
use crate::limits::{CONFIG_FILE_BYTES_MAX, INCLUDE_DEPTH_MAX};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The directives of a file and of all that it includes, in the order in which they apply.
pub fn read(path: &Path) -> Result<Vec<Directive>, ConfigError> {
    let mut directives = Vec::new();
    read_into(path, None, 0, &mut directives)?;
    Ok(directives)
}

/// The directives of a text that came by standard input.
pub fn read_stdin(text: &[u8]) -> Result<Vec<Directive>, ConfigError> {
    let mut directives = Vec::new();
    parse(text, &|line| Origin::Stdin { line }, 0, &mut directives)?;
    Ok(directives)
}

fn read_into(
    path: &Path,
    from: Option<&Origin>,
    depth: usize,
    directives: &mut Vec<Directive>,
) -> Result<(), ConfigError> {
    let unreadable = |why: String| ConfigError::Unreadable { path: path.to_path_buf(), why, from: from.cloned() };
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(CONFIG_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(unreadable(format!("longer than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    parse(&text, &|line| Origin::File { path: path.to_path_buf(), line }, depth, directives)
}

fn parse(
    text: &[u8],
    origin: &dyn Fn(usize) -> Origin,
    depth: usize,
    directives: &mut Vec<Directive>,
) -> Result<(), ConfigError> {
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let origin = origin(index + 1);
        let wrong = |why: &str| ConfigError::Line {
            origin: origin.clone(),
            text: visible(line),
            why: why.to_string(),
            advice: String::new(),
        };
        let words = words::split(line).ok_or_else(|| wrong("Unbalanced quotes in configuration line"))?;
        if words.is_empty() {
            continue;
        }
        let directive =
            Directive::from_words(words, origin.clone()).ok_or_else(|| wrong("The line is not valid UTF-8"))?;
        if directive.name == "include" {
            let [pattern] = directive.values.as_slice() else { return Err(wrong("include takes one file or pattern")) };
            include(pattern, &origin, depth, directives)?;
        } else {
            directives.push(directive);
        }
    }
    Ok(())
}

/// A pattern may match nothing; a plain name must exist.
fn include(pattern: &str, origin: &Origin, depth: usize, directives: &mut Vec<Directive>) -> Result<(), ConfigError> {
    if depth + 1 > INCLUDE_DEPTH_MAX {
        return Err(ConfigError::IncludeDepth { origin: origin.clone() });
    }
    if !pattern.contains(['*', '?', '[']) {
        return read_into(Path::new(pattern), Some(origin), depth + 1, directives);
    }
    let paths = glob::glob(pattern).map_err(|error| ConfigError::Line {
        origin: origin.clone(),
        text: format!("include {pattern}"),
        why: error.to_string(),
        advice: String::new(),
    })?;
    let mut paths: Vec<PathBuf> = paths.filter_map(Result::ok).collect();
    paths.sort();
    for path in paths {
        read_into(&path, Some(origin), depth + 1, directives)?;
    }
    Ok(())
}

/// A line for an error message, without a secret.
fn visible(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let name = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if super::directive::is_secret(&name) { format!("{name} (hidden)") } else { line.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(directives: &[Directive]) -> Vec<String> {
        directives.iter().map(|directive| format!("{} @ {}", directive.shown(), directive.origin)).collect()
    }

    #[test]
    fn includes_apply_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(path("b1.inc"), "maxclients 2\n").unwrap();
        std::fs::write(path("b2.inc"), "\n  # comment\nMAXCLIENTS 3\n").unwrap();
        std::fs::write(
            path("main"),
            format!("port 1\r\ninclude {}\ninclude {}\nport 2", path("b*.inc"), path("none*")),
        )
        .unwrap();
        let found = lines(&read(Path::new(&path("main"))).unwrap());
        let expect = [
            format!("port 1 @ {}, line 1", path("main")),
            format!("maxclients 2 @ {}, line 1", path("b1.inc")),
            format!("maxclients 3 @ {}, line 3", path("b2.inc")),
            format!("port 2 @ {}, line 4", path("main")),
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn a_file_that_includes_itself_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loop.conf");
        std::fs::write(&path, format!("include {}", path.display())).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::IncludeDepth { .. })));
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.conf");
        std::fs::write(&path, "port 1\nlogfile \"x\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("bad.conf, at line 2") && error.contains(">>> 'logfile \"x'"), "{error}");
        std::fs::write(&path, "include /no/such/file\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("/no/such/file") && error.contains("bad.conf, line 1"), "{error}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let error = read_stdin(b"requirepass \"secret\n").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("requirepass"), "{error}");
    }
}
