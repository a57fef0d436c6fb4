//! Access control: who the users are, and what each may do. Redis 7.2's rules, word for word.
//!
//! All users together are one value, an [`Acl`], which never changes: a change makes another one with a higher version. Each
//! core has the latest that it was sent, and each connection the user that it has logged in as. Which core makes the
//! changes, and when they are answered, is in `machine/access.rs`; why it is so, and what a password is kept as, in
//! `docs/decisions/0029-access-control.md`.

pub mod category;
mod check;
mod file;
pub mod log;
mod rules;
mod selector;

pub use check::{Denial, Denied, Subject};
pub use file::{FileError, parse_file};
pub use rules::{Bad, Fresh, PASSWORDS_MAX, is_clear, merge};
pub use selector::{Access, Selector};

use std::collections::BTreeMap;
use std::sync::Arc;

/// The user that connections begin as.
pub const DEFAULT_USER: &[u8] = b"default";

/// A user, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: Vec<u8>,
    /// Somebody may log in as it.
    pub is_on: bool,
    /// Any password will do.
    pub is_nopass: bool,
    pub skips_sanitizing: bool,
    /// PHC strings, and SHA-256 in hexadecimal as Redis writes it.
    pub passwords: Vec<String>,
    pub root: Selector,
    /// What one of them allows is allowed.
    pub others: Vec<Selector>,
}

impl User {
    /// It may do nothing, and nobody may be it.
    pub fn new(name: Vec<u8>, fresh: Fresh) -> User {
        User {
            name,
            is_on: false,
            is_nopass: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            root: Selector::new(fresh.has_all_channels),
            others: Vec::new(),
        }
    }

    /// It may do everything, and everybody is it.
    pub fn default_user() -> User {
        User {
            is_on: true,
            is_nopass: true,
            root: Selector::unrestricted(),
            ..User::new(DEFAULT_USER.to_vec(), Fresh::default())
        }
    }

    /// Nothing it does needs to be checked.
    /// May it read whatever key there is?
    pub fn reads_all_keys(&self) -> bool {
        self.selectors().any(Selector::reads_all_keys)
    }

    pub fn is_unrestricted(&self) -> bool {
        self.root.is_unrestricted()
    }

    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.others)
    }

    /// As ACL GETUSER has them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_on { "on" } else { "off" }];
        if self.is_nopass {
            flags.push("nopass");
        }
        flags.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// Its rules in one line, without `user` and its name.
    pub fn text(&self) -> Vec<u8> {
        let mut out = self.flags().join(" ").into_bytes();
        for password in &self.passwords {
            out.extend_from_slice(b" #");
            out.extend_from_slice(password.as_bytes());
        }
        out.push(b' ');
        out.extend_from_slice(&self.root.text());
        for selector in &self.others {
            out.extend_from_slice(b" (");
            out.extend_from_slice(&selector.text());
            out.push(b')');
        }
        out
    }

    /// The line of ACL LIST and of the file.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", self.name.as_slice(), b" ", &self.text()].concat()
    }
}

/// All users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub version: u64,
    users: BTreeMap<Vec<u8>, Arc<User>>,
}

impl Default for Acl {
    fn default() -> Acl {
        Acl::of([])
    }
}

impl Acl {
    /// These, and the default user as it begins if it is none of them.
    pub fn of(users: impl IntoIterator<Item = User>) -> Acl {
        let mut acl = Acl { version: 0, users: BTreeMap::new() };
        acl.put(User::default_user());
        users.into_iter().for_each(|user| acl.put(user));
        acl
    }

    pub fn user(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    pub fn default_user(&self) -> &Arc<User> {
        self.user(DEFAULT_USER).expect("nobody can remove it")
    }

    /// Whether connections begin logged in.
    pub fn is_open(&self) -> bool {
        let user = self.default_user();
        user.is_nopass && user.is_on
    }

    /// In the order of their names.
    pub fn users(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    pub fn put(&mut self, user: User) {
        self.users.insert(user.name.clone(), Arc::new(user));
    }

    /// Whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.users.remove(name).is_some()
    }

    /// A user changed by rules, or a new one. Refused: the rule, and what is wrong with it.
    pub fn changed<'a>(&self, name: &[u8], rules: &'a [Vec<u8>], fresh: Fresh) -> Result<User, (&'a [u8], Bad)> {
        let mut user = self.user(name).map_or_else(|| User::new(name.to_vec(), fresh), |user| (**user).clone());
        for rule in rules {
            user.apply(rule, fresh).map_err(|bad| (rule.as_slice(), bad))?;
        }
        Ok(user)
    }
}

/// The hash of a password, if it has one of the forms that are kept.
fn is_hash(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let is_sha256 = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_phc = crate::settings::is_hashed(text) && !has_blanks(text.as_bytes());
    (is_sha256 || is_phc).then_some(text)
}

/// What may not stand in the name of a user or in a pattern.
pub fn has_blanks(text: &[u8]) -> bool {
    text.iter().any(|byte| byte.is_ascii_whitespace() || matches!(byte, 0 | 0x0b))
}
