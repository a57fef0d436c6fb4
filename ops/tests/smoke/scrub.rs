//! The scrub finds damage that no client has met, says so, and costs next to nothing where there is nothing to do.

use crate::integrity::{Case, flip, info};
use crate::operation::{get, metrics_address};
use crate::server::{Server, until};
use redis::cmd;
use std::fs;

const PAGE_BYTES: u64 = 8192;

fn passes(server: &Server) -> u64 {
    info(server, "cairn_scrub_passes").parse().unwrap()
}

#[test]
fn damage_is_found_before_a_client_meets_it() {
    let mut case = Case::sound();
    let (offset, _) = case.damage(1, "page");
    case.recipe = case.recipe.with(&["--scrub-interval", "1"]);
    let server = case.recipe.start();
    until("the scrub has found it", || info(&server, "cairn_scrub_damaged") != "0");
    assert_eq!(info(&server, "cairn_pages_damaged"), "1");
    until("a pass ends", || passes(&server) > 0);
    let named = format!("damaged at offset {offset}");
    let log = server.log();
    assert!(log.contains(&named) && log.contains("of database 0, heads from 0x"), "{log}");
    until("the metrics say so", || {
        let metrics = get(&metrics_address(&server), "/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("cairn_scrub_damaged_total{shard=\"0\"} "));
        line.is_some_and(|count| count != "0")
    });
}

#[test]
fn what_is_in_memory_is_written_anew() {
    let case = Case::sound();
    let (server, refused) = case.serve();
    assert!(refused.is_empty());
    cmd("SAVE").exec(&mut server.client()).unwrap();
    // All pages are in memory now, and as they are on disk.
    let bytes = fs::read(case.pages()).unwrap();
    let offsets = (2 * PAGE_BYTES..bytes.len() as u64).step_by(PAGE_BYTES as usize);
    offsets.filter(|at| bytes[*at as usize + 16..][..2] == [1, 1]).for_each(|at| flip(&case.pages(), at + 100));
    cmd("CONFIG").arg("SET").arg("scrub-interval").arg(1).exec(&mut server.client()).unwrap();
    until("the scrub has found it", || info(&server, "cairn_scrub_damaged") != "0");
    let log = server.log();
    assert!(log.contains("is damaged at offset") && log.contains("written anew"), "{log}");
    let whole_pass = || {
        let before = passes(&server);
        until("two passes end", || passes(&server) > before + 1);
    };
    whole_pass();
    // Two, so that neither checkpoint has an image from before.
    cmd("SAVE").exec(&mut server.client()).unwrap();
    cmd("SAVE").exec(&mut server.client()).unwrap();
    let found = info(&server, "cairn_scrub_damaged");
    whole_pass();
    assert_eq!(info(&server, "cairn_scrub_damaged"), found, "it was not healed");
    assert_eq!(info(&server, "cairn_pages_damaged"), "0");
}
