//! `cairn inspect` shows what stands in log, pages and trees, names damage, and may run beside a server.

use crate::integrity::{Case, flip};
use crate::server::run;
use serde_json::Value;
use std::fs;

/// Its exit status, and the documents that it prints.
fn inspect(case: &Case, what: &str, args: &[&str]) -> (i32, Vec<Value>) {
    let mut all = vec!["inspect", what, case.data.to_str().unwrap(), "--json"];
    all.extend(args);
    let (status, text) = run(&all);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}")));
    (status.code().unwrap(), lines.collect())
}

fn with<'a>(found: &'a [Value], name: &str) -> Vec<&'a Value> {
    found.iter().filter(|it| !it[name].is_null()).collect()
}

#[test]
fn log_tree_and_page_are_shown_beside_a_server_too() {
    let case = Case::sound();
    let data = case.data.to_str().unwrap();
    // What the newest checkpoint has is shown when it is asked for. A server may make another one at any moment, and give
    // up the log before the last but one.
    let (code, log) = inspect(&case, "log", &["--from", "0", "--limit", "100000"]);
    let records = with(&log, "record");
    assert!(code == 0 && !with(&log, "flush").is_empty(), "{log:#?}");
    assert!(records.iter().any(|it| it["record"] == "put" && it["key"] == "\"key:5\"" && it["value_bytes"] == 300));
    let (_, some) = inspect(&case, "log", &["--from", "0", "--limit", "3", "--bytes", "4"]);
    assert!(
        with(&some, "record").len() == 3 && some.iter().any(|it| it["key"] == "\"key:\"... (5 bytes)"),
        "{some:#?}"
    );
    let (status, text) = run(&["inspect", "log", data, "--from", "0", "--limit", "100000"]);
    assert!(status.success() && text.contains("put     db 0 slot ") && text.contains("\"key:5\""), "{text}");

    // A log whose first segment was given up begins within a record.
    let (segment, away) = (case.data.join("shard-0000/log/00000000000000000000.seg"), case.data.join("away"));
    fs::rename(&segment, &away).unwrap();
    let (status, text) = run(&["inspect", "log", data, "--from", "0", "--limit", "100000"]);
    assert!(status.success() && text.contains("a record whose beginning is not here"), "{text}");
    fs::rename(&away, &segment).unwrap();

    let server = case.recipe.start();
    let (code, tree) = inspect(&case, "tree", &["--db", "0"]);
    assert_eq!((code, tree[1]["rows"].as_u64()), (0, Some(2500)));
    let leaves: Vec<_> = tree.iter().filter(|it| it["kind"] == "leaf").collect();
    assert_eq!(leaves.iter().map(|leaf| leaf["entries"].as_u64().unwrap()).sum::<u64>(), 2500);
    let number = leaves[3]["page"].to_string();
    let (code, page) = inspect(&case, "page", &[&number]);
    let entries = page[0]["entries"].as_array().unwrap();
    assert_eq!((code, entries.len() as u64), (0, leaves[3]["entries"].as_u64().unwrap()));
    assert!(entries.iter().all(|row| row["key"]["tail"].as_str().unwrap().starts_with("\"key:")), "{page:#?}");

    // The same for people.
    let (status, text) = run(&["inspect", "page", data, &number]);
    assert!(status.success() && text.contains("a server has this directory") && text.contains("\"key:"), "{text}");
    let (status, text) = run(&["inspect", "tree", data]);
    assert!(status.success() && text.contains("database 0: 2500 rows") && text.contains("leaf page"), "{text}");
    let (status, text) = run(&["inspect", "log", data, "--from", "0", "--limit", "100000"]);
    assert!(
        status.success() && text.contains("a server has this directory") && text.contains("put     db 0 slot "),
        "{text}"
    );
    let (status, text) = run(&["inspect", "page", data, "4000000"]);
    assert!(status.code() == Some(2) && text.contains("there is no such page"), "{text}");
    let (status, text) = run(&["inspect", "tree", data, "--shard", "7"]);
    assert!(status.code() == Some(2) && text.contains("there is no shard 7"), "{text}");
    drop(server);

    // Damage is named. The server may have moved the page.
    let (_, tree) = inspect(&case, "tree", &["--db", "0"]);
    let leaf = tree.iter().find(|it| it["page"] == leaves[3]["page"]).unwrap();
    let offset = leaf["offset"].as_u64().unwrap();
    flip(&case.pages(), offset + 500);
    let (code, tree) = inspect(&case, "tree", &["--db", "0"]);
    assert_eq!((code, with(&tree, "damage")[0]["offset"].as_u64()), (1, Some(offset)));
    let (code, page) = inspect(&case, "page", &[&number]);
    assert_eq!((code, page[0]["damage"].as_str()), (1, Some("the checksum does not hold")));
}
