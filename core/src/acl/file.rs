//! The file of users that `aclfile` names: a line for each, as ACL LIST shows them. No comments: ACL SAVE writes it anew.

use super::rules::{Bad, Fresh, merge};
use super::{User, has_blanks};
use std::fmt;

/// All that is wrong with a file, in one line, with Redis's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError(pub String);

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The users of a file of this name. `hash` makes the hash of a password that stands there in clear text.
pub fn parse_file(
    text: &[u8],
    name: &str,
    fresh: Fresh,
    hash: &mut dyn FnMut(&[u8]) -> Result<String, String>,
) -> Result<Vec<User>, FileError> {
    let mut users: Vec<User> = Vec::new();
    let mut errors = String::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let (line, number) = (line.trim_ascii(), index + 1);
        if line.is_empty() {
            continue;
        }
        match parse_line(line, &format!("{name}:{number}"), number, &users, fresh, hash) {
            Ok(user) => users.push(user),
            Err(error) => errors.push_str(&error),
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push_str("WARNING: ACL errors detected, no change to the previously active ACL rules was performed");
    Err(FileError(errors))
}

fn parse_line(
    line: &[u8],
    place: &str,
    number: usize,
    users: &[User],
    fresh: Fresh,
    hash: &mut dyn FnMut(&[u8]) -> Result<String, String>,
) -> Result<User, String> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [b"user", name, rules @ ..] = &words[..] else {
        return Err(format!("{place} should start with user keyword followed by the username. "));
    };
    let shown = String::from_utf8_lossy(name);
    if has_blanks(name) {
        return Err(format!("'{place}: username '{shown}' contains invalid characters. "));
    }
    if users.iter().any(|user| user.name == *name) {
        return Err(format!("WARNING: Duplicate user '{shown}' found on line {number}. "));
    }
    let rules = rules.iter().map(|rule| rule.trim_ascii());
    let rules = merge(rules).map_err(|_| format!("{place}: Unmatched parenthesis in selector definition."))?;
    let mut user = User::new(name.to_vec(), fresh);
    let (mut errors, mut has_other) = (String::new(), false);
    for rule in &rules {
        let applied = match rule.split_first() {
            Some((b'>', password)) => {
                let hash = hash(password).map_err(|why| format!("{place}: {why}. "))?;
                user.apply(format!("#{hash}").as_bytes(), fresh)
            }
            _ => user.apply(rule, fresh),
        };
        match applied {
            Ok(()) => {}
            Err(Bad::Unknown) => {
                let rule = String::from_utf8_lossy(rule);
                errors.push_str(&format!("{place}: Error in applying operation '{rule}': {}. ", Bad::Unknown));
            }
            Err(_) if has_other => {}
            Err(bad) => {
                errors.push_str(&format!("{place}: {bad}. "));
                has_other = true;
            }
        }
    }
    if errors.is_empty() { Ok(user) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::Acl;

    fn parse(text: &str) -> Result<Vec<String>, String> {
        let hash = &mut |password: &[u8]| Ok(format!("$argon2id$v=19${}", String::from_utf8_lossy(password)));
        let users = parse_file(text.as_bytes(), "f", Fresh::default(), hash).map_err(|error| error.0)?;
        let acl = Acl::of(users);
        Ok(acl.users().map(|user| String::from_utf8(user.line()).unwrap()).collect())
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let text = "\nuser bob on >secret ~a* (+get ~b) -@all +@read\r\n  user alice off nopass\n\n";
        let lines = parse(text).unwrap();
        assert_eq!(
            lines,
            [
                "user alice off nopass sanitize-payload resetchannels -@all",
                "user bob on sanitize-payload #$argon2id$v=19$secret ~a* resetchannels -@all +@read (~b resetchannels -@all +get)",
                "user default on nopass sanitize-payload ~* &* +@all",
            ]
        );
        assert_eq!(parse(&lines.join("\n")).unwrap(), lines);
    }

    #[test]
    fn all_that_is_wrong_is_said() {
        let error = parse("# no\nuser a on +nosuch ~x bad worse\nuser a on\nuser b (+get\nuser b\nuser b").unwrap_err();
        assert_eq!(
            error,
            "f:1 should start with user keyword followed by the username. f:2: Error in applying operation '+nosuch': Unknown \
             command or category name in ACL. f:2: Syntax error. f:4: Unmatched parenthesis in selector definition.WARNING: \
             Duplicate user 'b' found on line 6. WARNING: ACL errors detected, no change to the previously active ACL rules was \
             performed"
        );
    }
}
