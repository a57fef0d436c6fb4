//! The file of users that `aclfile` names: read at the start and by ACL LOAD, written by ACL SAVE.
//!
//! What a line means is in `cairn_core::acl`; here are the file, and the hashes of passwords that stand there in clear text.

use crate::config::replace;
use crate::{limits, password};
use cairn_core::acl::{Fresh, User, parse_file};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The users of the file, or all that is wrong with it.
pub fn read(path: &str, fresh: Fresh) -> Result<Vec<User>, String> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limits::CONFIG_FILE_BYTES_MAX).read_to_end(&mut text));
    read.map_err(|error| format!("Error loading ACLs, opening file '{path}': {}", os_text(&error)))?;
    let users = parse_file(&text, path, fresh, &mut password::hash).map_err(|error| error.to_string())?;
    match users.iter().find(|user| std::str::from_utf8(&user.line()).is_err()) {
        Some(user) => Err(format!("{path}: the user {} is not UTF-8", String::from_utf8_lossy(&user.name))),
        None => Ok(users),
    }
}

/// A line for each.
pub fn text(users: &[User]) -> String {
    let lines: Vec<String> = users.iter().map(|user| String::from_utf8_lossy(&user.line()).into_owned()).collect();
    lines.join("\n")
}

/// Puts these lines in the place of the file.
pub fn write(path: &str, lines: &[Vec<u8>]) -> Result<(), String> {
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    replace(Path::new(path), &text).map_err(|error| format!("writing {path}: {error}"))
}

/// As the C library says it, without the number.
fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_back_from_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.acl").display().to_string();
        let missing = read(&path, Fresh::default()).unwrap_err();
        assert_eq!(missing, format!("Error loading ACLs, opening file '{path}': No such file or directory"));
        write(&path, &[b"user alice on >secret ~a* +get".to_vec(), b"user bob off".to_vec()]).unwrap();
        let users = read(&path, Fresh::default()).unwrap();
        let shown = text(&users);
        assert!(
            shown.starts_with("user alice on sanitize-payload #$argon2id$v=19$") && !shown.contains("secret"),
            "{shown}"
        );
        write(&path, &users.iter().map(User::line).collect::<Vec<_>>()).unwrap();
        assert_eq!(read(&path, Fresh::default()).unwrap(), users);
    }
}
