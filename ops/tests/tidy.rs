//! The house rules of the sources, as a test. Each check lists every place that breaks its rule.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 6] = ["storage", "replica", "core", "net", "bench", "ops"];
const PURE: [&str; 3] = ["storage", "replica", "core"];

/// What each crate may use of the others.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("storage", &[]),
    ("replica", &["storage"]),
    ("core", &["storage", "replica"]),
    ("net", &["storage", "replica", "core"]),
    ("bench", &["storage", "replica", "core", "net"]),
    ("ops", &["storage", "replica", "core", "net", "bench"]),
];

/// What a pure crate does not mention outside comments and strings.
const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
    "std::os",
    "std::io",
    "Instant::now",
    "SystemTime",
    "Mutex",
    "RandomState",
    "thread_rng",
    "getrandom",
    "rand::",
    "libc::",
    "rustix::",
    "glommio::",
    "io_uring::",
    "println!",
    "eprintln!",
    "tracing::",
    "async fn",
    "thread_local!",
];

const FILE_LINES_MAX: usize = 600;
const UNIT_TEST_LINES_MAX: usize = 150;
const FUNCTION_LINES_MAX: usize = 70;

/// Files over [`FILE_LINES_MAX`] lines, up to 800, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions over [`FUNCTION_LINES_MAX`] lines, each with its reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[("net/src/error.rs", "fmt", "one match arm a sentence")];

struct Source {
    /// Relative to the repository.
    path: String,
    folder: &'static str,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap();
        self.path.contains("/tests/") || name == "tests.rs"
    }

    /// A program that measures a crate from outside: no part of it.
    fn is_example(&self) -> bool {
        self.path.contains("/examples/")
    }

    /// Lines with their numbers, without comments and the contents of strings: words in them mean nothing.
    fn code(&self) -> Vec<(usize, String)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, bare(line))).collect()
    }

    /// The code that is not a unit test.
    fn shipped(&self) -> Vec<(usize, String)> {
        let code = self.code();
        let end = tests_begin(&self.text).unwrap_or(code.len());
        if self.is_test() || self.is_example() { Vec::new() } else { code.into_iter().take(end).collect() }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && name != "node_modules" && !name.starts_with('.') {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|is| is == extension) {
            found.push(path);
        }
    }
    found.sort();
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for folder in CRATES {
        let mut paths = Vec::new();
        files(&root().join(folder), "rs", &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
            sources.push(Source { path, folder, text });
        }
    }
    assert!(sources.len() > 30, "where are the sources?");
    sources
}

/// A line without its comment and the contents of its strings.
fn bare(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(char) = chars.next() {
        match char {
            '\\' if is_quoted => {
                chars.next();
            }
            '\'' if !is_quoted && chars.peek() == Some(&'"') => {
                // The character literal '"'.
                chars.next();
                chars.next();
            }
            '"' => {
                is_quoted = !is_quoted;
                code.push('"');
            }
            '/' if !is_quoted && chars.peek() == Some(&'/') => break,
            _ if is_quoted => {}
            _ => code.push(char),
        }
    }
    code
}

/// Lines before `#[cfg(test)]` and the module in the same file that it marks.
fn tests_begin(text: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    (0..lines.len()).find(|&at| {
        let module = lines[at + 1..].iter().find(|line| !line.trim_start().starts_with("#["));
        let is_module = |line: &&str| line.split(' ').any(|word| word == "mod") && line.ends_with('{');
        lines[at].trim() == "#[cfg(test)]" && module.is_some_and(is_module)
    })
}

/// The name of the function that a line begins.
fn function_name(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let qualifiers = ["pub", "const", "async", "unsafe", "extern", "\"\""];
    let is_qualifier = |word: &str| qualifiers.contains(&word) || word.starts_with("pub(");
    let name = rest.split(|char: char| !char.is_alphanumeric() && char != '_').next()?;
    (before.split_whitespace().all(is_qualifier) && !name.is_empty()).then_some(name)
}

/// Names of functions with the lines where they begin and how many they have. By rustfmt's layout: a function ends with
/// a brace at the indentation of its first line.
fn functions(code: &[(usize, String)]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, (number, line)) in code.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indentation = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indentation]);
        let is_over = |(_, line): &(usize, String)| {
            let is_declared_only = line.len() - line.trim_start().len() == indentation && line.ends_with(';');
            *line == end || is_declared_only
        };
        let lines = if line.ends_with('}') { 1 } else { code[at..].iter().position(is_over).unwrap_or(0) + 1 };
        found.push((name.to_string(), *number, lines));
    }
    found
}

fn report(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

/// Lines of shipped code that contain one of these words.
fn lines_with(sources: &[Source], is_meant: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| is_meant(source)) {
        for (number, line) in source.shipped() {
            if let Some(word) = words.iter().find(|word| has_word(&line, word)) {
                found.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    found
}

/// The word stands in the line, and is no part of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |char: char| char.is_alphanumeric() || char == '_';
    let tail_is_name = word.chars().last().is_some_and(is_name);
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().last().is_some_and(is_name);
        let after = tail_is_name && line[at + word.len()..].chars().next().is_some_and(is_name);
        !before && !after
    })
}

#[test]
fn every_file_says_what_it_owns() {
    let breaches = sources().into_iter().filter(|source| {
        let first = source.text.lines().next().unwrap_or_default();
        !first.starts_with("//! ") || first.len() < 12
    });
    report("a file opens with `//!` and what it owns", breaches.map(|source| source.path).collect());
}

#[test]
fn files_hold_one_noun() {
    let mut breaches = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let is_excused = lines <= 800 && LONG_FILES.iter().any(|(path, _)| *path == source.path);
        // A golden test may be long; what runs in production may not.
        if lines > FILE_LINES_MAX && !is_excused && !source.is_test() {
            breaches.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", source.path));
        }
        let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
        if ["utils", "util", "helper", "helpers", "misc", "common"].contains(&name) {
            breaches.push(format!("{}: a file is named after what it holds", source.path));
        }
    }
    for (path, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{path} needs a reason");
        let lines = fs::read_to_string(root().join(path)).unwrap().lines().count();
        assert!(lines > FILE_LINES_MAX, "{path} needs no exception any more");
    }
    report("a file holds one noun", breaches);
}

#[test]
fn functions_fit_a_screen() {
    let mut breaches = Vec::new();
    let mut excused = 0;
    for source in sources() {
        for (name, number, lines) in functions(&source.shipped()) {
            if lines <= FUNCTION_LINES_MAX {
                continue;
            }
            if LONG_FUNCTIONS.iter().any(|(path, excuse, _)| *path == source.path && *excuse == name) {
                excused += 1;
            } else {
                breaches.push(format!("{}:{number}: {name} has {lines} lines", source.path));
            }
        }
    }
    report(&format!("a function has {FUNCTION_LINES_MAX} lines at most"), breaches);
    assert_eq!(excused, LONG_FUNCTIONS.len(), "an exception that is not needed any more");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let manifests = CRATES.map(|folder| (folder, fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap()));
    let breaches = manifests.iter().filter(|(_, text)| !text.contains("[lints]\nworkspace = true"));
    report("`unwrap` is denied by the workspace's lints", breaches.map(|(folder, _)| folder.to_string()).collect());
}

#[test]
fn long_unit_tests_live_in_their_own_file() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        if let Some(begin) = tests_begin(&source.text) {
            let lines = source.text.lines().count() - begin;
            if lines > UNIT_TEST_LINES_MAX {
                breaches.push(format!("{}: {lines} lines of tests", source.path));
            }
        }
    }
    report(&format!("unit tests over {UNIT_TEST_LINES_MAX} lines go to `tests.rs`"), breaches);
}

#[test]
fn the_deciding_crates_are_pure() {
    let breaches = lines_with(&sources(), |source| PURE.contains(&source.folder), IMPURE);
    report("storage, replica and core are pure: events in, effects out", breaches);
}

#[test]
fn crates_depend_one_way_only() {
    let mut breaches = Vec::new();
    for (folder, may_use) in MAY_USE {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        // What tests use of crates further up is no dependency of the product.
        let shipped = manifest.split("[dev-dependencies]").next().unwrap();
        for line in shipped.lines().filter(|line| line.starts_with("cairn-")) {
            let used = line["cairn-".len()..].split(['.', ' ', '=']).next().unwrap();
            if !may_use.contains(&used) {
                breaches.push(format!("{folder}/Cargo.toml uses cairn-{used}"));
            }
        }
        let outside = ["glommio", "io-uring", "rustix", "libc", "socket2", "rand", "tracing", "metrics", "tokio"];
        for line in shipped.lines().filter(|_| PURE.contains(&folder)) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            if outside.contains(&name) {
                breaches.push(format!("{folder}/Cargo.toml uses {name}: the crate is pure"));
            }
        }
    }
    report("storage <- replica <- core <- net <- ops, bench beside them", breaches);
}

#[test]
fn unsafe_stands_in_net_only_and_is_argued() {
    let sources = sources();
    let mut breaches = lines_with(&sources, |source| source.folder != "net", &["unsafe"]);
    for folder in CRATES.iter().filter(|folder| **folder != "net") {
        let with_name = |name: &str| sources.iter().find(|source| source.path == format!("{folder}/src/{name}.rs"));
        for top in [with_name("lib"), with_name("main")].into_iter().flatten() {
            if !top.text.contains("#![forbid(unsafe_code)]") {
                breaches.push(format!("{} lacks #![forbid(unsafe_code)]", top.path));
            }
        }
    }
    for source in sources.iter().filter(|source| source.folder == "net") {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, code) in source.code() {
            let begins_block = has_word(&code, "unsafe {") || has_word(&code, "unsafe impl");
            if begins_block && !is_argued(&lines[..number - 1]) {
                breaches.push(format!("{}:{number}: no `// SAFETY:` before it", source.path));
            }
            if has_word(&code, "unsafe fn") && !documents_safety(&lines[..number - 1]) {
                breaches.push(format!("{}:{number}: no `# Safety` in its documentation", source.path));
            }
        }
    }
    report("unsafe only in net; each block says the contract, who keeps it and what breaks if not", breaches);
}

/// A comment that says `SAFETY:` stands right before the line, or before the statement that the line belongs to.
fn is_argued(before: &[&str]) -> bool {
    let mut has_comment = false;
    for line in before.iter().rev().take(14) {
        let line = line.trim_start();
        if line.starts_with("//") {
            has_comment = true;
            if line.contains("SAFETY:") {
                return true;
            }
        } else if has_comment || line.is_empty() || line.ends_with(';') || line.ends_with('}') {
            return false;
        }
    }
    false
}

fn documents_safety(before: &[&str]) -> bool {
    let mut docs = before.iter().rev().take_while(|line| line.trim_start().starts_with(['/', '#']));
    docs.any(|line| line.contains("# Safety"))
}

#[test]
fn nothing_is_left_undone() {
    let mut breaches = Vec::new();
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("TO", "DO")];
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| has_word(line, mark)) {
                breaches.push(format!("{}:{}: {mark}", source.path, index + 1));
            }
            if line.trim_start().starts_with("#[ignore") {
                breaches.push(format!("{}:{}: an ignored test", source.path, index + 1));
            }
        }
    }
    report("what is there is done, and every test runs", breaches);
}

#[test]
fn tests_take_the_time_as_given() {
    let mut breaches = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.folder) && !source.is_example()) {
        for (number, line) in source.code() {
            if ["thread::sleep", "Instant::now", "SystemTime::now"].iter().any(|word| line.contains(word)) {
                breaches.push(format!("{}:{number}", source.path));
            }
        }
    }
    report("tests of the pure crates neither sleep nor read a clock", breaches);
}

#[test]
fn documents_hold_no_places_that_only_some_can_reach() {
    let mut paths = Vec::new();
    for extension in ["md", "toml", "sh", "yml"] {
        files(&root(), extension, &mut paths);
    }
    let mut breaches = Vec::new();
    let private = ["/work/", "/farm/", ".internal", "artifactory", "index = \"http", "registry = \"", "--index-url"];
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        for (index, line) in text.lines().enumerate() {
            if private.iter().any(|word| line.contains(word)) {
                breaches.push(format!("{}:{}", path.strip_prefix(root()).unwrap().display(), index + 1));
            }
        }
    }
    report("documents and manifests name no private hosts and folders", breaches);
}

#[test]
fn versions_are_declared_once() {
    let mut breaches = Vec::new();
    for folder in CRATES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        for (index, line) in manifest.lines().enumerate() {
            if line.starts_with(|char: char| char.is_ascii_lowercase()) && line.contains("version = \"") {
                breaches.push(format!("{folder}/Cargo.toml:{}: {line}", index + 1));
            }
        }
    }
    report("dependencies are declared in the workspace's manifest", breaches);
}

#[test]
fn the_checks_see_what_they_look_for() {
    assert_eq!(bare(r#"let a = "unsafe // b"; // unsafe"#), r#"let a = ""; "#);
    assert!(has_word("x = unsafe { y }", "unsafe") && !has_word("unsafe_code", "unsafe"));
    assert!(has_word("rand::random()", "rand::") && !has_word("operand::x", "rand::"));
    assert!(is_argued(&["// SAFETY: it is ours.", "let x ="]) && !is_argued(&["// SAFETY: a", "a();"]));
    assert_eq!(function_name("    pub(super) const fn a_b<T>(x: u8) {"), Some("a_b"));
    assert_eq!((function_name("let a = fn b;"), function_name("// a fn x")), (None, None));
    let text = "fn a(\n) {\n    if x {\n    }\n}\nfn b() {}\ntrait T {\n    fn c();\n}";
    let code: Vec<(usize, String)> = text.lines().enumerate().map(|(at, line)| (at + 1, line.into())).collect();
    let found = functions(&code);
    assert_eq!(found, [("a".into(), 1, 5), ("b".into(), 6, 1), ("c".into(), 8, 1)]);
    assert_eq!(tests_begin("fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod tests {\n}"), Some(1));
    assert_eq!(tests_begin("#[cfg(test)]\npub(super) mod tests {\n}"), Some(0));
    assert_eq!(tests_begin("#[cfg(test)]\nfn a() {}"), None);
    assert_eq!(tests_begin("#[cfg(test)]\nmod tests;\nfn a() {}"), None);
    let by_folder: BTreeMap<&str, usize> = sources().iter().fold(BTreeMap::new(), |mut counts, source| {
        *counts.entry(source.folder).or_default() += 1;
        counts
    });
    assert_eq!(by_folder.len(), CRATES.len(), "a crate without sources? {by_folder:?}");
}
