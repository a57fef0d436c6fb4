//! A row of the command table that is not complete does not compile.

use super::{Flags, Run, Spec, Spread, table};

const _: () = check_families(table::FAMILIES);

const fn check_families(families: &[&[Spec]]) {
    let mut at = 0;
    while at < families.len() {
        check_rows(families[at], "");
        at += 1;
    }
}

/// Rows of a family, or of a container's subcommands: their names begin with `container` and a bar.
const fn check_rows(rows: &[Spec], container: &str) {
    let mut at = 0;
    while at < rows.len() {
        check_row(&rows[at], container.as_bytes());
        check_rows(rows[at].subcommands, rows[at].name);
        at += 1;
    }
}

const fn check_row(row: &Spec, container: &[u8]) {
    check_name(row.name.as_bytes(), container);
    assert!(row.arity != 0, "a command has an arity: its name counts");
    assert!(!row.group.is_empty(), "a command has a group");
    assert!(!row.since.is_empty(), "a command is there since a version");
    assert!(!row.complexity.is_empty(), "a command has a complexity");
    assert!(row.summary.len() > 1, "a command has a summary");
    assert!(row.summary.as_bytes()[row.summary.len() - 1] == b'.', "a summary is a sentence");
    let (writes, reads) = (row.flags.has(Flags::WRITE), row.flags.has(Flags::READONLY));
    assert!(!(writes && reads), "a command that writes is not read-only");
    let has_place = row.keys.first > 0 || row.keynum > 0 || row.streams > 0;
    match row.run {
        Run::Row(_) => {
            assert!(writes || reads, "a command on rows writes or is read-only");
            assert!(has_place, "a command on rows says where its keys are");
        }
        Run::Container => assert!(!row.subcommands.is_empty(), "a container has subcommands"),
        Run::Server(_) | Run::Databases { .. } => {}
    }
    assert!(row.blocks.is_none() || row.flags.has(Flags::BLOCKING), "a command that waits has the flag");
    assert!(has_place || matches!(row.spread, Spread::Refuse), "what has no keys is not spread");
}

const fn check_name(name: &[u8], container: &[u8]) {
    assert!(!name.is_empty(), "a command has a name");
    let mut at = 0;
    while at < name.len() {
        assert!(!name[at].is_ascii_uppercase() && !name[at].is_ascii_whitespace(), "names are in lower case");
        if at < container.len() {
            assert!(name[at] == container[at], "a subcommand's name begins with its container's");
        }
        at += 1;
    }
    if !container.is_empty() {
        assert!(name.len() > container.len() + 1 && name[container.len()] == b'|', "a subcommand's name follows a bar");
    }
}
