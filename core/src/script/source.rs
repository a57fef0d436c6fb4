//! A script: its text, its SHA-1, and what its first line says of it.

use sha1::{Digest, Sha1};
use std::fmt::Write;
use std::sync::Arc;

/// The SHA-1 of a script's text: its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha([u8; 20]);

impl Sha {
    pub fn of(body: &[u8]) -> Sha {
        Sha(Sha1::digest(body).into())
    }

    /// From 40 hexadecimal digits in any case.
    pub fn parse(text: &[u8]) -> Option<Sha> {
        let text: &[u8; 40] = text.try_into().ok()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let mut sha = [0; 20];
        for (byte, pair) in sha.iter_mut().zip(text.as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Sha(sha))
    }

    /// 40 lower-case digits.
    pub fn hex(self) -> String {
        self.0.iter().fold(String::with_capacity(40), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all");
            text
        })
    }
}

/// What a script's first line, `#!lua flags=...`, says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    /// There is no such line: the script is run as scripts always were.
    pub is_plain: bool,
    pub no_writes: bool,
    pub allow_oom: bool,
    pub allow_stale: bool,
    pub no_cluster: bool,
    pub allow_cross_slot_keys: bool,
}

impl ScriptFlags {
    /// Sets the flag of that name. Whether there is one.
    pub fn set(&mut self, name: &[u8]) -> bool {
        match name {
            b"no-writes" => self.no_writes = true,
            b"allow-oom" => self.allow_oom = true,
            b"allow-stale" => self.allow_stale = true,
            b"no-cluster" => self.no_cluster = true,
            b"allow-cross-slot-keys" => self.allow_cross_slot_keys = true,
            _ => return false,
        }
        true
    }

    /// Their names, as FUNCTION LIST shows them.
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ];
        all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
    }
}

/// A script. It is the same on all shards, which share it.
#[derive(Debug)]
pub struct Script {
    pub sha: Sha,
    pub body: Vec<u8>,
    pub flags: ScriptFlags,
    /// Bytes of the first line, if it is not Lua's. Its end is, so that lines keep their numbers.
    shebang_bytes: usize,
}

impl Script {
    /// Of a text; or what is wrong with its first line.
    pub fn new(body: &[u8]) -> Result<Arc<Script>, String> {
        let (flags, shebang_bytes) = shebang(body)?;
        Ok(Arc::new(Script { sha: Sha::of(body), body: body.to_vec(), flags, shebang_bytes }))
    }

    /// What Lua is given.
    pub fn code(&self) -> &[u8] {
        &self.body[self.shebang_bytes..]
    }
}

/// The flags, and how long the line is that has them.
fn shebang(body: &[u8]) -> Result<(ScriptFlags, usize), String> {
    if !body.starts_with(b"#!") {
        return Ok((ScriptFlags { is_plain: true, ..ScriptFlags::default() }, 0));
    }
    let Some(end) = memchr::memchr(b'\n', body) else { return Err("Invalid script shebang".into()) };
    let mut words = body[..end].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(format!("Unexpected engine in script shebang: {}", String::from_utf8_lossy(engine)));
    }
    let mut flags = ScriptFlags::default();
    for word in words {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err(format!("Unknown lua shebang option: {}", String::from_utf8_lossy(word)));
        };
        // `flags=` alone names none.
        for name in names.split(|byte| *byte == b',').filter(|_| !names.is_empty()) {
            if !flags.set(name) {
                return Err(format!("Unexpected flag in script shebang: {}", String::from_utf8_lossy(name)));
            }
        }
    }
    Ok((flags, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sha_is_written_and_read() {
        let sha = Sha::of(b"return 1");
        assert_eq!(sha.hex(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(Sha::parse(b"E0E1F9FABFC9D4800C877A703B823AC0578ff8db"), Some(sha));
        assert_eq!(Sha::parse(b"E0E1F9FABFC9D4800C877A703B823AC0578ff8d"), None);
        assert_eq!(Sha::parse(b"x0E1F9FABFC9D4800C877A703B823AC0578ff8db"), None);
    }

    #[test]
    fn the_first_line_is_read() {
        let flags = |body: &str| Script::new(body.as_bytes()).map(|script| (script.flags, script.code().to_vec()));
        let (plain, code) = flags("return 1").unwrap();
        assert!(plain.is_plain && code == b"return 1");
        let (some, code) = flags("#!lua flags=no-writes,allow-oom\nreturn 1").unwrap();
        assert!(!some.is_plain && some.no_writes && some.allow_oom && !some.allow_stale && code == b"\nreturn 1");
        assert_eq!(some.names(), ["no-writes", "allow-oom"]);
        assert!(flags("#!lua\nreturn 1").unwrap().0.names().is_empty());
        let wrong = |body: &str, text: &str| assert_eq!(flags(body).unwrap_err(), text);
        wrong("#!lua", "Invalid script shebang");
        wrong("#!python\n", "Unexpected engine in script shebang: #!python");
        wrong("#!lua name=x\n", "Unknown lua shebang option: name=x");
        wrong("#!lua flags=no-writes,x\n", "Unexpected flag in script shebang: x");
    }
}
