//! The rules of ACL SETUSER, one word each, and what is wrong with one.

use super::selector::Selector;
use super::{User, is_hash};
use std::fmt;

/// Why a rule was not taken. Its text is Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    Unknown,
    Syntax,
    PatternAfterAllKeys,
    PatternAfterAllChannels,
    NoSuchPassword,
    Hash,
    FirstArgOfSubcommand,
    /// A password in clear text, where only its hash can be taken.
    ClearPassword,
    TooManyPasswords,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bad::Unknown => "Unknown command or category name in ACL",
            Bad::Syntax => "Syntax error",
            Bad::PatternAfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try \
                 'resetkeys' to start with an empty list of patterns"
            }
            Bad::PatternAfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try \
                 'resetchannels' to start with an empty list of channels"
            }
            Bad::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Bad::Hash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Bad::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
            Bad::ClearPassword => "the password must have been hashed",
            Bad::TooManyPasswords => "a user has too many passwords",
        })
    }
}

/// What a new or reset user may do with channels: `acl-pubsub-default`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fresh {
    pub has_all_channels: bool,
}

/// Puts the words of each selector together: `(+get`, `~a)` are one rule. Refused: the word that begins a selector which
/// does not end.
pub fn merge<'a>(words: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut rules: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        match &mut open {
            None if word.starts_with(b"(") && !word.ends_with(b")") => open = Some((word, word.to_vec())),
            None => rules.push(word.to_vec()),
            Some((_, rule)) => {
                rule.push(b' ');
                rule.extend_from_slice(word);
                if word.ends_with(b")") {
                    rules.extend(open.take().map(|(_, rule)| rule));
                }
            }
        }
    }
    match open {
        Some((first, _)) => Err(first.to_vec()),
        None => Ok(rules),
    }
}

/// Whether a rule has a password in clear text.
pub fn is_clear(rule: &[u8]) -> bool {
    matches!(rule.first(), Some(b'>' | b'<'))
}

/// Passwords of a user at most.
pub const PASSWORDS_MAX: usize = 64;

impl User {
    /// Changes the user by one rule.
    pub fn apply(&mut self, rule: &[u8], fresh: Fresh) -> Result<(), Bad> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.is_on = true,
            _ if is("off") => self.is_on = false,
            _ if is("sanitize-payload") => self.skips_sanitizing = false,
            _ if is("skip-sanitize-payload") => self.skips_sanitizing = true,
            _ if is("nopass") => (self.is_nopass, self.passwords) = (true, Vec::new()),
            _ if is("resetpass") => (self.is_nopass, self.passwords) = (false, Vec::new()),
            _ if is("clearselectors") => self.others.clear(),
            _ if is("reset") => *self = User::new(self.name.clone(), fresh),
            [b'>' | b'<', ..] => return Err(Bad::ClearPassword),
            [b'#', hash @ ..] => self.add_password(hash)?,
            [b'!', hash @ ..] => {
                let hash = is_hash(hash).ok_or(Bad::Hash)?;
                let at = self.passwords.iter().position(|known| known == hash).ok_or(Bad::NoSuchPassword)?;
                self.passwords.remove(at);
            }
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::new(fresh.has_all_channels);
                for rule in inner.split(u8::is_ascii_whitespace).filter(|rule| !rule.is_empty()) {
                    // In a file of users it would be the selector's end.
                    if rule.ends_with(b")") {
                        return Err(Bad::Syntax);
                    }
                    selector.apply(rule)?;
                }
                self.others.push(selector);
            }
            _ => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, hash: &[u8]) -> Result<(), Bad> {
        let hash = is_hash(hash).ok_or(Bad::Hash)?;
        if !self.passwords.iter().any(|known| known == hash) {
            if self.passwords.len() >= PASSWORDS_MAX {
                return Err(Bad::TooManyPasswords);
            }
            self.passwords.push(hash.to_owned());
        }
        self.is_nopass = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
