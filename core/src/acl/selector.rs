//! What one set of rules allows: commands, keys to read and to write, channels. A user has a root selector and any number of others.
//!
//! The rules on commands are kept twice: as a bit for each command of the table, which is what checks look at, and as the
//! text that ACL LIST shows, in the order in which they were given.

use super::category::Categories;
use super::rules::Bad;
use crate::command::table::{self, Entry};
use crate::glob;
use std::fmt::Write;

/// What may be done with a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub reads: bool,
    pub writes: bool,
}

impl Access {
    const ALL: Access = Access { reads: true, writes: true };

    /// What a key specification's words want: `RW access update`.
    pub fn of_use(words: &str) -> Access {
        let mut access = Access::default();
        for word in words.split(' ') {
            access.reads |= word == "access";
            access.writes |= matches!(word, "insert" | "delete" | "update");
        }
        access
    }

    fn includes(self, other: Access) -> bool {
        self.reads >= other.reads && self.writes >= other.writes
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    glob: Vec<u8>,
    access: Access,
}

/// One set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// By the numbers of commands.
    allowed: Vec<u64>,
    /// The last of `+@all` and `-@all`; all commands are allowed as no rule has taken one away since.
    is_from_all: bool,
    has_all_commands: bool,
    /// Rules since then, in small letters, with their signs.
    command_rules: Vec<String>,
    /// First arguments with which commands are allowed that otherwise are not.
    first_args: Vec<(u16, Vec<u8>)>,
    has_all_keys: bool,
    keys: Vec<KeyPattern>,
    has_all_channels: bool,
    channels: Vec<Vec<u8>>,
}

impl Selector {
    /// It allows nothing, or channels only.
    pub fn new(has_all_channels: bool) -> Selector {
        Selector {
            allowed: vec![0; table::count().div_ceil(64)],
            is_from_all: false,
            has_all_commands: false,
            command_rules: Vec::new(),
            first_args: Vec::new(),
            has_all_keys: false,
            keys: Vec::new(),
            has_all_channels,
            channels: Vec::new(),
        }
    }

    /// It allows everything.
    pub fn unrestricted() -> Selector {
        let mut selector = Selector::new(true);
        selector.set_all_commands(true);
        selector.has_all_keys = true;
        selector
    }

    pub fn reads_all_keys(&self) -> bool {
        self.has_all_keys || self.keys.iter().any(|pattern| pattern.glob == b"*" && pattern.access.reads)
    }

    pub fn is_unrestricted(&self) -> bool {
        self.has_all_commands && self.has_all_keys && self.has_all_channels
    }

    /// Changes it by one rule on commands, keys or channels.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), Bad> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => (self.has_all_keys, self.keys) = (true, Vec::new()),
            _ if is("resetkeys") => (self.has_all_keys, self.keys) = (false, Vec::new()),
            _ if is("allchannels") || is("&*") => (self.has_all_channels, self.channels) = (true, Vec::new()),
            _ if is("resetchannels") => (self.has_all_channels, self.channels) = (false, Vec::new()),
            _ if is("allcommands") || is("+@all") => self.set_all_commands(true),
            _ if is("nocommands") || is("-@all") => self.set_all_commands(false),
            [b'~', glob @ ..] => self.add_keys(glob, Access::ALL)?,
            [b'%', rest @ ..] => self.add_keys_of(rest)?,
            [b'&', glob @ ..] => self.add_channels(glob)?,
            [sign @ (b'+' | b'-'), b'@', name @ ..] => self.set_category(*sign == b'+', name)?,
            [b'+', name @ ..] => self.allow(name)?,
            [b'-', name @ ..] => {
                let entry = lookup(name).ok_or(Bad::Unknown)?;
                self.set_command(entry, false);
                self.note_rule(false, entry.spec.name.to_owned());
            }
            _ => return Err(Bad::Syntax),
        }
        Ok(())
    }

    fn set_all_commands(&mut self, are_allowed: bool) {
        self.allowed.fill(if are_allowed { u64::MAX } else { 0 });
        self.is_from_all = are_allowed;
        self.has_all_commands = are_allowed;
        self.command_rules.clear();
        self.first_args.clear();
    }

    /// `%R~glob`, `%W~glob`, `%RW~glob`.
    fn add_keys_of(&mut self, rest: &[u8]) -> Result<(), Bad> {
        if self.has_all_keys {
            return Err(Bad::PatternAfterAllKeys);
        }
        let mut access = Access::default();
        for (at, byte) in rest.iter().enumerate() {
            match byte.to_ascii_uppercase() {
                b'R' if !access.reads => access.reads = true,
                b'W' if !access.writes => access.writes = true,
                b'~' if access != Access::default() => return self.add_keys(&rest[at + 1..], access),
                _ => return Err(Bad::Syntax),
            }
        }
        // Redis takes a pattern that ends before its tilde for an empty one.
        self.add_keys(b"", access)
    }

    fn add_keys(&mut self, glob: &[u8], access: Access) -> Result<(), Bad> {
        if self.has_all_keys {
            return Err(Bad::PatternAfterAllKeys);
        }
        if super::has_blanks(glob) {
            return Err(Bad::Syntax);
        }
        match self.keys.iter_mut().find(|pattern| pattern.glob == glob) {
            Some(pattern) => {
                pattern.access.reads |= access.reads;
                pattern.access.writes |= access.writes;
            }
            None => self.keys.push(KeyPattern { glob: glob.to_vec(), access }),
        }
        Ok(())
    }

    fn add_channels(&mut self, glob: &[u8]) -> Result<(), Bad> {
        if self.has_all_channels {
            return Err(Bad::PatternAfterAllChannels);
        }
        if super::has_blanks(glob) {
            return Err(Bad::Syntax);
        }
        if !self.channels.iter().any(|known| known == glob) {
            self.channels.push(glob.to_vec());
        }
        Ok(())
    }

    fn set_category(&mut self, is_allowed: bool, name: &[u8]) -> Result<(), Bad> {
        let wanted = Categories::named(name).ok_or(Bad::Unknown)?;
        self.note_rule(is_allowed, format!("@{}", String::from_utf8_lossy(name).to_ascii_lowercase()));
        for number in 0..table::count() as u16 {
            let spec = table::spec(number);
            if Categories::of(spec).meet(wanted) {
                self.set_command(table::numbered(number), is_allowed);
            }
        }
        Ok(())
    }

    /// `+command`, `+command|subcommand`, `+command|argument`.
    fn allow(&mut self, name: &[u8]) -> Result<(), Bad> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            let entry = lookup(name).ok_or(Bad::Unknown)?;
            self.set_command(entry, true);
            self.note_rule(true, entry.spec.name.to_owned());
            return Ok(());
        };
        let (command, word) = (&name[..bar], &name[bar + 1..]);
        let container = lookup(command).ok_or(Bad::Unknown)?;
        if container.spec.name.contains('|') {
            return Err(Bad::FirstArgOfSubcommand);
        }
        if word.is_empty() {
            return Err(Bad::Syntax);
        }
        if container.spec.subcommands.is_empty() {
            let first_arg = (container.id, word.to_ascii_lowercase());
            if !self.first_args.contains(&first_arg) {
                self.first_args.push(first_arg);
            }
        } else {
            self.set_command(lookup(name).ok_or(Bad::Unknown)?, true);
        }
        self.note_rule(true, String::from_utf8_lossy(name).to_ascii_lowercase());
        Ok(())
    }

    /// A command, and a container's subcommands with it.
    fn set_command(&mut self, Entry { id, spec, .. }: Entry, is_allowed: bool) {
        // A container stands before its subcommands.
        for number in id..=id + spec.subcommands.len() as u16 {
            let (word, bit) = (usize::from(number) / 64, 1 << (number % 64));
            if is_allowed {
                self.allowed[word] |= bit;
            } else {
                self.allowed[word] &= !bit;
                self.has_all_commands = false;
            }
        }
        self.first_args.retain(|(known, _)| *known != id);
    }

    /// The text of a rule takes the place of those that it makes pointless.
    fn note_rule(&mut self, is_allowed: bool, rule: String) {
        let is_of_it = |known: &String| {
            let known = &known[1..];
            known == rule || known.strip_prefix(rule.as_str()).is_some_and(|rest| rest.starts_with('|'))
        };
        self.command_rules.retain(|known| !is_of_it(known));
        self.command_rules.push(format!("{}{rule}", if is_allowed { '+' } else { '-' }));
    }

    /// Whether a command may run, with this for its first argument behind the name.
    pub fn allows_command(&self, Entry { id, spec, .. }: Entry, first_arg: Option<&[u8]>) -> bool {
        self.has_all_commands
            || spec.flags.has(crate::command::Flags::NO_AUTH)
            || self.allowed[usize::from(id) / 64] & 1 << (id % 64) != 0
            || self.allows_first_arg(id, first_arg)
    }

    fn allows_first_arg(&self, id: u16, first_arg: Option<&[u8]>) -> bool {
        let Some(arg) = first_arg.filter(|_| !self.first_args.is_empty()) else { return false };
        self.first_args.iter().any(|(known, word)| *known == id && word.eq_ignore_ascii_case(arg))
    }

    pub fn allows_all_keys(&self) -> bool {
        self.has_all_keys
    }

    pub fn allows_key(&self, key: &[u8], access: Access) -> bool {
        self.has_all_keys
            || self.keys.iter().any(|pattern| pattern.access.includes(access) && glob::is_match(&pattern.glob, key))
    }

    /// A pattern of channels is allowed if it is one of the rules' own.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let fits = |glob: &Vec<u8>| if is_pattern { glob == channel } else { glob::is_match(glob, channel) };
        self.has_all_channels || self.channels.iter().any(fits)
    }

    /// The rules on commands, as ACL LIST has them.
    pub fn commands_text(&self) -> String {
        let mut out = String::from(if self.is_from_all { "+@all" } else { "-@all" });
        for rule in &self.command_rules {
            write!(out, " {rule}").expect("a string grows");
        }
        out
    }

    pub fn keys_text(&self) -> Vec<u8> {
        if self.has_all_keys {
            return b"~*".to_vec();
        }
        let mut out = Vec::new();
        for KeyPattern { glob, access } in &self.keys {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(match (access.reads, access.writes) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                // `~*` would be all keys, and no pattern may stand behind that.
                _ if glob == b"*" && self.keys.len() > 1 => b"%RW~",
                _ => b"~",
            });
            out.extend_from_slice(glob);
        }
        out
    }

    pub fn channels_text(&self) -> Vec<u8> {
        if self.has_all_channels {
            return b"&*".to_vec();
        }
        let mut out = Vec::new();
        for glob in &self.channels {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.push(b'&');
            out.extend_from_slice(glob);
        }
        out
    }

    /// All of it in one line, as ACL LIST has it.
    pub fn text(&self) -> Vec<u8> {
        let mut out = self.keys_text();
        if !out.is_empty() {
            out.push(b' ');
        }
        if !self.has_all_channels {
            out.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channels_text();
        out.extend_from_slice(&channels);
        if !channels.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(self.commands_text().as_bytes());
        out
    }
}

/// A command by its full name: `get`, `config`, `config|get`.
fn lookup(name: &[u8]) -> Option<Entry> {
    table::entry(name)
}
