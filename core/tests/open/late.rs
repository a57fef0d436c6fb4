//! Scripts that have seen a row alive which is past its time at their end.

use crate::driver::World;
use cairn_core::limits::LATES_MAX;

/// Sends lines for a client. What it receives.
fn ask(world: &mut World, client: u32, lines: &[&str]) -> String {
    let bytes: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    world.send(client, bytes.as_bytes());
    String::from_utf8(world.receive(client).0).unwrap()
}

/// Each time that it begins again the next of its keys expires.
#[test]
fn a_script_begins_again_so_often_because_what_it_has_seen_is_over() {
    let mut world = World::new(2, &[]);
    let [script, holder] = [1, 2];
    let keys: Vec<String> = (0..=LATES_MAX).map(|number| format!("{{foo}}{number}")).collect();
    for (key, ms) in keys.iter().zip((10..).step_by(20)) {
        assert_eq!(ask(&mut world, holder, &[&format!("SET {key} v PX {ms}")]), "+OK\r\n");
    }
    assert_eq!(ask(&mut world, holder, &["BEGIN", "SET {foo}wait 1"]), "+OK\r\n+OK\r\n");
    let keys = keys.join("', '");
    let text = format!("local seen = redis.call('EXISTS', '{keys}') redis.call('GET', '{{foo}}wait') return seen");
    assert_eq!(ask(&mut world, script, &[&format!("EVAL \"{text}\" 0")]), "");
    for late in 1..=LATES_MAX + 1 {
        world.advance(20);
        // When it gives back what it has waited for it is its turn again.
        assert_eq!(ask(&mut world, holder, &["COMMIT", "BEGIN", "SET {foo}wait 1"]), "+OK\r\n+OK\r\n+OK\r\n", "{late}");
        // The last one is dead by now, and was alive when it began.
        let expect = if late > LATES_MAX { ":1\r\n" } else { "" };
        assert_eq!(ask(&mut world, script, &[]), expect, "{late}");
    }
}
