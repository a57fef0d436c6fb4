//! Looks for transactions that wait for each other: what they cost where nothing comes of them, and how many there may be.

use crate::driver::World;
use cairn_core::limits::PROBES_MAX;

/// Sends lines for a client. What it receives.
fn ask(world: &mut World, client: u32, lines: &[&str]) -> String {
    let bytes: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    world.send(client, bytes.as_bytes());
    String::from_utf8(world.receive(client).0).unwrap()
}

const DEADLOCK: &str = "-DEADLOCK ";

#[test]
fn a_shard_follows_so_many_looks_between_two_ticks() {
    let mut world = World::new(1, &[]);
    // Three pairs, of which one waits for the other; and one that others wait for.
    let pairs = [(1, 2), (3, 4), (5, 6)];
    for (one, other) in pairs {
        for client in [one, other] {
            assert_eq!(ask(&mut world, client, &["BEGIN", &format!("SET k{client} 1")]), "+OK\r\n+OK\r\n");
        }
        assert_eq!(ask(&mut world, one, &[&format!("SET k{other} 1")]), "");
    }
    assert_eq!(ask(&mut world, 7, &["BEGIN", "SET k7 1"]), "+OK\r\n+OK\r\n");
    // Looks of those that begin to wait and go away: two are left.
    for _ in pairs.len()..PROBES_MAX - 2 {
        assert_eq!(ask(&mut world, 8, &["BEGIN", "SET k7 8"]), "+OK\r\n");
        world.hang_up(8);
    }
    for ((one, other), looks) in pairs.into_iter().zip(PROBES_MAX - 1..) {
        let at_once = ask(&mut world, other, &[&format!("SET k{one} 2")]);
        assert_eq!(at_once.starts_with(DEADLOCK), looks <= PROBES_MAX, "{looks}: {at_once}");
        assert_eq!(ask(&mut world, one, &[]), if looks <= PROBES_MAX { "+OK\r\n" } else { "" });
    }
    // At the next tick those that wait look again.
    world.advance(100);
    assert!(ask(&mut world, 6, &[]).starts_with(DEADLOCK));
    assert_eq!(ask(&mut world, 5, &[]), "+OK\r\n");
}

/// A ring that nobody has looked at yet, since transactions with declared keys have closed it, and in which two wait for two: a look that begins
/// beside it goes round, and finds each of them by two ways.
#[test]
fn a_cycle_that_does_not_lead_back_costs_few_messages() {
    let mut world = World::new(2, &[]);
    // All clients are on the first shard, and so is {bar}; {foo} is on the other one.
    let [first, second, holder, third, fourth, beside] = [1, 3, 5, 7, 9, 11];
    for client in [first, second] {
        assert_eq!(ask(&mut world, client, &["BEGIN", "EXISTS {foo}x {foo}y"]), "+OK\r\n:0\r\n");
    }
    assert_eq!(ask(&mut world, holder, &["BEGIN", "SET {bar}a 0"]), "+OK\r\n+OK\r\n");
    for (client, key) in [(third, "{foo}x"), (fourth, "{foo}y")] {
        let set = format!("SET {key} 1");
        assert_eq!(ask(&mut world, client, &["MULTI", "GET {bar}a", &set, "EXEC"]), "");
    }
    for client in [first, second] {
        assert_eq!(ask(&mut world, client, &["SET {bar}a 1"]), "");
    }
    // These go on to where they wait for the first two, which wait for them here.
    assert_eq!(ask(&mut world, holder, &["COMMIT"]), "+OK\r\n");
    assert_eq!(ask(&mut world, beside, &["BEGIN"]), "+OK\r\n");
    let messages = world.messages;
    world.turns_max = Some(8);
    assert_eq!(ask(&mut world, beside, &["SET {bar}a 2"]), "");
    // Each of the four by both that wait for it, and the two that are known.
    assert_eq!(world.messages - messages, 10);
    world.turns_max = None;
    world.advance(100);
    let ends: Vec<bool> = [first, second].map(|client| ask(&mut world, client, &[]).starts_with(DEADLOCK)).to_vec();
    assert_eq!(ends, [true, true]);
    for client in [third, fourth] {
        assert_eq!(ask(&mut world, client, &[]), "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n$1\r\n0\r\n+OK\r\n");
    }
    assert_eq!(ask(&mut world, beside, &["COMMIT"]), "+OK\r\n+OK\r\n");
}
