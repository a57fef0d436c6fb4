//! `docs/COMPATIBILITY.md` says what the server is: every command and parameter of the tables is in it, and nothing that is not.
//!
//! With `CAIRN_GOLDEN=write` in the environment its lists of parameters are rewritten; its rows of commands are written by hand.
#![allow(clippy::unwrap_used)]

use cairn_core::command::table;
use cairn_core::settings::{Role, parameters};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// Commands of Redis 7.2, subcommands not counted.
const REDIS_COMMANDS: usize = 242;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/COMPATIBILITY.md")
}

/// One row: the command's name as the table has it (`client|id`), what it is, and the note.
struct Row {
    name: String,
    status: String,
    note: String,
}

fn rows(text: &str) -> Vec<Row> {
    let cells =
        |line: &str| -> Vec<String> { line.split(" |").map(|cell| cell.trim_matches(['|', ' ']).into()).collect() };
    let row = |line: &str| {
        let [name, status, note, ..] = &cells(line)[..] else { panic!("a row has three cells: {line}") };
        let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(name, name.to_ascii_uppercase());
        Row { name: name.to_ascii_lowercase().replace(' ', "|"), status: status.clone(), note: note.clone() }
    };
    let (_, commands) = text.split_once("\n## Commands\n").unwrap();
    let (commands, _) = commands.split_once("\n## ").unwrap();
    commands.lines().filter(|line| line.starts_with("| `")).map(row).collect()
}

#[test]
fn every_command_of_the_table_is_described_and_no_other() {
    let text = fs::read_to_string(path()).unwrap();
    let rows = rows(&text);
    let mut described = BTreeSet::new();
    for Row { name, status, note } in &rows {
        match status.as_str() {
            "full" => assert!(note.is_empty(), "{name}: what is full needs no note"),
            "differs" | "absent" | "added" | "later" => assert!(!note.is_empty(), "{name}: how, or why?"),
            _ => panic!("{name}: {status}?"),
        }
        let is_there = table::find(name.as_bytes()).is_some();
        assert_eq!(is_there, status != "absent", "{name} is {status}");
        assert!(described.insert(name.as_str()), "{name} is described twice");
    }
    for spec in table::commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        assert!(described.contains(spec.name), "{} is not described", spec.name);
    }
    let of_redis = |row: &&Row| !row.name.contains('|') && row.status != "added" && row.status != "later";
    assert_eq!(rows.iter().filter(of_redis).count(), REDIS_COMMANDS);
}

/// Parameters by the reason why they have no effect.
fn listed(reason_of: fn(Role) -> Option<&'static str>) -> String {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for parameter in parameters() {
        let Some(reason) = reason_of(parameter.role) else { continue };
        by_reason.entry(reason).or_default().push(format!("`{}`", parameter.name));
    }
    by_reason.iter().map(|(reason, names)| format!("- {reason}: {}\n", names.join(", "))).collect()
}

#[test]
fn every_parameter_without_effect_is_listed_with_its_reason() {
    let mut text = fs::read_to_string(path()).unwrap();
    let before = text.clone();
    let fixed = listed(|role| if let Role::Fixed(reason) = role { Some(reason) } else { None });
    let idle = listed(|role| if let Role::Idle(reason) = role { Some(reason) } else { None });
    for (mark, list) in [("<!-- fixed parameters -->\n", fixed), ("<!-- idle parameters -->\n", idle)] {
        let start = text.find(mark).unwrap() + mark.len();
        let end = start + text[start..].find("<!-- end -->").unwrap();
        text.replace_range(start..end, &list);
    }
    if std::env::var_os("CAIRN_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(path(), &text).unwrap();
    } else {
        assert!(text == before, "run with CAIRN_GOLDEN=write and read the difference");
    }
}
