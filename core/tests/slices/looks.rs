//! SORT with BY and GET on one shard looks at rows that are not locked: it is of one moment all the same.

use super::{Client, count, fill_overlapping, settled};
use crate::driver::show;

const SORT: &str = "SORT list:d BY weight:* GET # GET weight:* GET hash:*->field";
const STORE: &str = "SORT list:d BY weight:* GET weight:* STORE to";

/// What is there before it is stored.
const BEFORE: &[u8] = b"*1\r\n$6\r\nbefore\r\n";

/// What is sorted, and a hash that is spread.
fn filled(items: &str) -> Client {
    let mut client = Client::new(1, 1, items);
    fill_overlapping(&mut client);
    for at in 0..300 {
        client.ask(&format!("HSET hash:111 field:{at} value:{at}"));
    }
    client
}

/// A command under way, after so many turns; nothing of it is answered.
fn begun(line: &str, settings: &[&str], turns: u32) -> Client {
    let mut client = filled("64");
    client.ask("RPUSH to before");
    settings.iter().for_each(|setting| drop(client.ask(setting)));
    client.world.turns_max = Some(turns);
    client.send(line);
    assert_eq!(client.world.receive(1).0, b"", "{line} is under way");
    client.world.turns_max = Some(5);
    client
}

/// Another client's command, answered within five turns or not at all.
fn ask(client: &mut Client, number: u32, line: &str) -> Vec<u8> {
    client.world.send(number, &show::request(&show::words(line)));
    client.world.receive(number).0
}

fn end(client: &mut Client) -> Vec<u8> {
    client.world.turns_max = None;
    client.world.advance(1);
    client.world.receive(1).0
}

/// What the command is answered if nobody changes anything.
fn alone(line: &str) -> (Vec<u8>, Vec<u8>) {
    let mut client = filled("1048576");
    (client.ask(line), client.ask("LRANGE to 0 -1"))
}

/// Changes of what it looks up, while few turns pass.
fn change_some(client: &mut Client) {
    client.world.turns_max = Some(1);
    for line in (100..120).map(|at| format!("SET weight:{at} {}", 1000 - at)).chain([
        "HSET hash:107 field new".to_owned(),
        "DEL hash:108 hash:111 weight:150".to_owned(),
        "HSET hash:110 other field".to_owned(),
    ]) {
        client.world.send(3, &show::request(&show::words(&line)));
    }
    client.world.turns_max = Some(3);
    client.world.send(3, b"PING\r\n");
    assert!(client.world.receive(3).0.ends_with(b"+OK\r\n:0\r\n:3\r\n:1\r\n+PONG\r\n"), "who changes them goes on");
}

#[test]
fn a_sort_sees_what_it_looks_up_as_it_was_when_it_began() {
    let expect = alone(SORT).0;
    for turns in [2, 20, 100, 300] {
        let mut client = begun(SORT, &[], turns);
        assert_eq!(ask(&mut client, 4, "RPUSH list:d 5"), b"", "who changes what is sorted waits");
        change_some(&mut client);
        assert!(end(&mut client) == expect, "after {turns} turns");
        assert_eq!(client.world.receive(4).0, b":901\r\n");
        assert_eq!(client.ask("GET weight:100"), b"$3\r\n900\r\n");
    }
}

/// It happens where it began: so nobody sees both what was there before and a change behind that.
#[test]
fn what_a_sort_stores_is_seen_by_nobody_who_sees_a_change_behind_it() {
    let (_, expect) = alone(STORE);
    for turns in [2, 20, 100, 300] {
        let mut client = begun(STORE, &[], turns);
        assert_eq!(ask(&mut client, 4, "LRANGE to 0 -1"), b"", "who looks at what is stored waits");
        assert_eq!(ask(&mut client, 5, "SORT list:a BY weight:* STORE other"), b"", "so does the next one");
        change_some(&mut client);
        assert_eq!(end(&mut client), b":900\r\n");
        assert!(client.world.receive(4).0 == expect, "after {turns} turns");
        assert_eq!(client.world.receive(5).0, b":900\r\n");
        assert!(client.ask("LRANGE to 0 -1") == expect);
    }
}

/// A snapshot that is drawn meanwhile has what was there before: so the sort comes behind it, with all that has changed by then.
#[test]
fn a_sort_that_stores_comes_behind_a_snapshot_that_is_drawn_meanwhile() {
    let (_, before) = alone(STORE);
    for turns in [2, 100, 300] {
        let mut client = begun(STORE, &[], turns);
        change_some(&mut client);
        client.world.send(6, b"BEGIN READ ONLY\r\n");
        client.world.advance(1);
        assert_eq!(end(&mut client), b":900\r\n");
        assert_eq!(client.world.receive(6).0, b"+OK\r\n");
        assert_eq!(ask(&mut client, 6, "GET weight:100"), b"$3\r\n900\r\n");
        assert!(ask(&mut client, 6, "LRANGE to 0 -1") == BEFORE);
        let after = client.ask("LRANGE to 0 -1");
        assert!(after != before);
        client.ask("SORT list:d BY weight:* GET weight:* STORE again");
        assert!(client.ask("LRANGE again 0 -1") == after, "after {turns} turns");
    }
}

/// Where what others change is more than is kept for it.
#[test]
fn a_sort_whose_rows_are_not_kept_is_done_in_one_turn() {
    let before = alone(SORT).0;
    for (line, turns) in [(SORT, 30), (STORE, 30)] {
        let mut client = begun(line, &["CONFIG SET txn-snapshot-memory 1kb"], turns);
        let pairs: String = (100..120).map(|at| format!(" weight:{at} {}", 1000 - at)).collect();
        assert_eq!(ask(&mut client, 3, &format!("MSET{pairs}")), b"+OK\r\n");
        let reply = end(&mut client);
        assert!(reply != before && !reply.is_empty(), "{line}");
        let now = client.ask(if line == SORT { SORT } else { "SORT list:d BY weight:* GET weight:* STORE again" });
        assert!(reply == now, "{line}");
    }
}

#[test]
fn a_sort_whose_client_goes_away_leaves_nothing() {
    for turns in [2, 20, 100, 200, 300] {
        let mut client = begun(STORE, &[], turns);
        client.world.break_off(1);
        client.world.turns_max = None;
        assert!(ask(&mut client, 3, "LRANGE to 0 -1") == BEFORE, "{turns} turns");
        assert_eq!(ask(&mut client, 3, "RPUSH to x"), b":2\r\n");
        client.number = 3;
        assert!(settled(SORT, &client.ask(SORT)) == settled(SORT, &alone(SORT).0));
        assert_eq!(ask(&mut client, 3, STORE), b":900\r\n");
    }
}

/// As few as are done at once, and one more.
#[test]
fn sorts_about_as_long_as_a_turn_are_the_same() {
    let mut whole = Client::new(1, 1, "1048576");
    for at in 0..40 {
        whole.ask(&format!("SET weight:{at} {}", (at * 7) % 40));
    }
    for items in ["39", "40", "41", "79", "80", "81", "119", "120", "121"] {
        let mut pieces = Client::new(1, 1, items);
        for client in [&mut whole, &mut pieces] {
            client.ask("DEL list");
            for at in 0..40 {
                client.ask(&format!("SET weight:{at} {}", (at * 7) % 40));
                client.ask(&format!("RPUSH list {at}"));
            }
        }
        for line in [
            "SORT list DESC",
            "SORT list BY weight:*",
            "SORT list BY weight:* GET weight:*",
            "SORT list BY none GET weight:* GET # GET weight:*",
            "SORT list BY weight:* LIMIT 3 20 GET weight:*",
            "SORT list BY weight:* STORE to",
            "LRANGE to 0 -1",
        ] {
            let reply = whole.ask(line);
            assert!(pieces.ask(line) == reply && count(&reply, "ERR") == 0, "{line}, {items} a piece");
        }
    }
}
