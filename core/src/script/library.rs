//! Libraries of functions: what their first line says, and all that a server has. What is in a library its code says when it runs
//! (`vm/library.rs`).

use super::payload;
use super::source::ScriptFlags;
use crate::rdb::Version;
use crate::resp::decode::unquote;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A function, as its library has registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub description: Option<Vec<u8>>,
    pub flags: ScriptFlags,
}

/// A library.
#[derive(Debug, PartialEq, Eq)]
pub struct Library {
    pub name: String,
    /// Its whole text.
    pub text: Vec<u8>,
    /// In the order of their names.
    pub functions: Vec<Arc<Function>>,
}

/// What a library's first line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Heading {
    pub name: String,
    /// Bytes of the line. Its end is Lua's, so that lines keep their numbers.
    pub bytes: usize,
}

/// What names of libraries and functions are made of.
pub const NAMES: &str =
    "Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

impl Heading {
    /// Of a library's text; or what is wrong with its first line.
    pub fn parse(text: &[u8]) -> Result<Heading, String> {
        const INVALID: &str = "Invalid library metadata";
        let shown = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        if !text.starts_with(b"#!") {
            return Err("Missing library metadata".into());
        }
        let bytes = memchr::memchr2(b'\n', 0, text).filter(|at| text[*at] == b'\n').ok_or(INVALID)?;
        let words = unquote(&text[..bytes]).filter(|words| !words.is_empty()).ok_or(INVALID)?;
        let mut name: Option<&[u8]> = None;
        for word in &words[1..] {
            match word.split_at_checked(5) {
                Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => {
                    if name.replace(value).is_some() {
                        return Err("Invalid metadata value, name argument was given multiple times".into());
                    }
                }
                _ => return Err(format!("Invalid metadata value given: {}", shown(word))),
            }
        }
        let name = name.ok_or("Library name was not given")?;
        if !is_name(name) {
            return Err(NAMES.into());
        }
        let engine = words[0].get(2..).unwrap_or_default();
        if !engine.eq_ignore_ascii_case(b"lua") {
            return Err(format!("Engine '{}' not found", shown(engine)));
        }
        Ok(Heading { name: shown(name), bytes })
    }
}

/// All libraries. No two have a function of the same name, whatever its case.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<String, Arc<Library>>,
    /// By names in lower case.
    functions: BTreeMap<String, Arc<Function>>,
    bytes: usize,
}

impl Libraries {
    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The function of that name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<&Arc<Function>> {
        let name = std::str::from_utf8(name).ok()?;
        match self.functions.get(name) {
            None if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.functions.get(&name.to_ascii_lowercase())
            }
            found => found,
        }
    }

    /// Functions of all libraries.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a library, in place of one of its name. If it has a function that another one has, that one's name; then nothing
    /// has changed.
    pub fn add(&mut self, library: &Arc<Library>) -> Result<(), String> {
        let before = self.remove(&library.name);
        let lower = |function: &Arc<Function>| function.name.to_ascii_lowercase();
        if let Some(taken) = library.functions.iter().find(|it| self.functions.contains_key(&lower(it))) {
            let taken = taken.name.clone();
            if let Some(before) = before {
                self.link(&before);
            }
            return Err(taken);
        }
        self.link(library);
        Ok(())
    }

    fn link(&mut self, library: &Arc<Library>) {
        self.bytes += library.text.len();
        let functions = library.functions.iter().map(|it| (it.name.to_ascii_lowercase(), Arc::clone(it)));
        self.functions.extend(functions);
        self.by_name.insert(library.name.clone(), Arc::clone(library));
    }

    /// The library goes.
    pub fn remove(&mut self, name: &str) -> Option<Arc<Library>> {
        let library = self.by_name.remove(name)?;
        self.bytes -= library.text.len();
        for function in &library.functions {
            self.functions.remove(&function.name.to_ascii_lowercase());
        }
        Some(library)
    }

    /// As FUNCTION DUMP answers.
    pub fn payload(&self, version: Version) -> Vec<u8> {
        payload::encode(self.iter().map(|library| library.text.as_slice()), version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read() {
        let check = |text: &str, expect: Result<&str, &str>| {
            let heading = Heading::parse(text.as_bytes());
            assert_eq!(heading.as_ref().map(|it| it.name.as_str()).map_err(String::as_str), expect, "{text}");
        };
        check("#!lua name=a\nx", Ok("a"));
        check("#!LUA  NAME=\"a_1\" \nx", Ok("a_1"));
        for text in ["#!", "#!lua", "#!lua name=x", "#!lua \"name=q\n"] {
            check(text, Err("Invalid library metadata"));
        }
        check("x", Err("Missing library metadata"));
        check("#!lua\n", Err("Library name was not given"));
        check("#!lua name=a name=b\n", Err("Invalid metadata value, name argument was given multiple times"));
        check("#!lua x=1\n", Err("Invalid metadata value given: x=1"));
        check("#!lua name=a-b\n", Err(NAMES));
        check("#!x name=a\n", Err("Engine 'x' not found"));
        check("#! name=a\n", Err("Engine '' not found"));
        assert_eq!(Heading::parse(b"#!lua name=a\nx").map(|it| it.bytes), Ok(12));
    }

    fn library(name: &str, functions: &[&str]) -> Arc<Library> {
        let function =
            |name: &&str| Arc::new(Function { name: (*name).into(), description: None, flags: ScriptFlags::default() });
        let text = format!("#!lua name={name}\n").into_bytes();
        Arc::new(Library { name: name.into(), text, functions: functions.iter().map(function).collect() })
    }

    #[test]
    fn functions_have_names_of_their_own() {
        let mut all = Libraries::default();
        all.add(&library("a", &["f", "G"])).unwrap();
        all.add(&library("b", &["h"])).unwrap();
        assert_eq!(all.add(&library("c", &["i", "F"])), Err("F".into()));
        assert_eq!(all.add(&library("b", &["g"])), Err("g".into()));
        assert!(all.function(b"H").is_some() && all.function(b"g").is_some() && all.function(b"i").is_none());
        all.add(&library("a", &["f", "i"])).unwrap();
        assert!(all.function(b"G").is_none() && all.function(b"I").is_some());
        assert_eq!((all.functions(), all.iter().len(), all.bytes()), (3, 2, 26));
        assert!(all.remove("a").is_some() && all.remove("a").is_none());
        assert_eq!((all.functions(), all.bytes()), (1, 13));
    }
}
