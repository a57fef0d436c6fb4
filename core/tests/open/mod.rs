//! What a transaction between BEGIN and COMMIT may have of commands and savepoints: more than a script can name.

mod late;
mod past;

use crate::driver::World;
use cairn_core::limits::{SAVEPOINTS_MAX, TXN_STATEMENTS_MAX};

/// The replies to so many of a command between BEGIN and COMMIT, the first and the last aside.
fn replies(world: &mut World, command: impl Fn(usize) -> String, count: usize) -> Vec<String> {
    replies_behind(world, "BEGIN\r\n", command, count)
}

fn replies_behind(world: &mut World, begin: &str, command: impl Fn(usize) -> String, count: usize) -> Vec<String> {
    let mut replies = Vec::new();
    let mut ask = |world: &mut World, bytes: String| {
        world.send(1, bytes.as_bytes());
        let received = String::from_utf8(world.receive(1).0).unwrap();
        replies.extend(received.split_terminator("\r\n").map(str::to_string));
    };
    ask(world, begin.into());
    // Not so many at a time that the client would have to read in between.
    for from in (0..count).step_by(1000) {
        ask(world, (from..count.min(from + 1000)).map(&command).collect());
    }
    ask(world, "COMMIT\r\n".into());
    assert_eq!((replies.len(), &replies[0][..], &replies[count + 1][..]), (count + 2, "+OK", "+OK"));
    replies[1..=count].to_vec()
}

#[test]
fn who_only_reads_has_more_commands_than_can_be_undone() {
    let max = TXN_STATEMENTS_MAX as usize;
    for shards in [1, 2] {
        let mut world = World::new(shards, &[]);
        let command = |number| match number % 3 {
            0 => "STRLEN foo\r\n".to_string(),
            1 => "DBSIZE\r\n".to_string(),
            _ => "EVAL_RO return(redis.call(ARGV[1],KEYS[1])) 1 bar STRLEN\r\n".to_string(),
        };
        let replies = replies_behind(&mut world, "BEGIN READ ONLY\r\n", command, max + 100);
        let last = replies.iter().enumerate().find(|(_, reply)| *reply != ":0");
        assert_eq!(last, None, "{shards} shards");
    }
}

#[test]
fn a_transaction_has_so_many_commands() {
    let max = TXN_STATEMENTS_MAX as usize;
    for (count, shards) in [(max - 1, 1), (max, 1), (max + 1, 1), (max + 1, 2)] {
        let mut world = World::new(shards, &[]);
        // The last one that is taken writes.
        let command = |number| if number == max - 1 { "INCR n\r\n" } else { "STRLEN m\r\n" }.to_string();
        let replies = replies(&mut world, command, count);
        let done = count.min(max);
        let expect = |at: usize| if at == max - 1 { ":1" } else { ":0" };
        assert!(replies[..done].iter().enumerate().all(|(at, reply)| reply == expect(at)), "{count}");
        for refused in &replies[done..] {
            assert!(refused.starts_with(&format!("-ERR a transaction has {max} commands at most")), "{refused}");
        }
        // What came before it is committed all the same.
        world.send(1, b"STRLEN n\r\n");
        assert_eq!(world.receive(1).0, format!(":{}\r\n", usize::from(count >= max)).as_bytes());
    }
}

#[test]
fn what_is_taken_in_steps_has_so_many_commands_together_with_those_before_it() {
    let max = TXN_STATEMENTS_MAX as usize;
    // Its locks, a look at each of its sets, and what it stores.
    let of_union = 4;
    for count in [max - of_union - 1, max - of_union, max - of_union + 1, max - 1, max] {
        let mut world = World::new(2, &[]);
        world.send(1, b"SADD foo a\r\nSADD bar b\r\n");
        assert_eq!(world.receive(1).0, b":1\r\n:1\r\n");
        let command =
            |number| if number == count { "SUNIONSTORE {foo}d foo bar\r\n" } else { "STRLEN m\r\n" }.to_string();
        let replies = replies(&mut world, command, count + 1);
        let fits = count + of_union <= max;
        assert_eq!(replies[count] == ":2", fits, "{count}: {}", replies[count]);
        assert!(fits || replies[count].starts_with(&format!("-ERR a transaction has {max} commands at most")));
        world.send(1, b"SCARD {foo}d\r\n");
        assert_eq!(world.receive(1).0, format!(":{}\r\n", if fits { 2 } else { 0 }).as_bytes());
    }
}

#[test]
fn a_transaction_has_so_many_savepoints() {
    for count in [SAVEPOINTS_MAX - 1, SAVEPOINTS_MAX, SAVEPOINTS_MAX + 1] {
        let mut world = World::new(1, &[]);
        let replies = replies(&mut world, |number| format!("SAVEPOINT s{number}\r\n"), count);
        let taken = replies.iter().take_while(|reply| *reply == "+OK").count();
        assert_eq!(taken, count.min(SAVEPOINTS_MAX));
        let refused = format!("-ERR a transaction has {SAVEPOINTS_MAX} savepoints at most");
        assert!(replies[taken..].iter().all(|reply| *reply == refused), "{replies:?}");
    }
}

#[test]
fn what_a_command_costs_does_not_grow_with_those_before_it() {
    let max = TXN_STATEMENTS_MAX as usize;
    for shards in [1, 2] {
        let mut world = World::new(shards, &[]);
        let sums = replies(&mut world, |_| "INCR bar\r\n".into(), max);
        assert!(sums.iter().zip(1..).all(|(reply, sum)| *reply == format!(":{sum}")));
        world.send(1, b"GET bar\r\n");
        assert_eq!(world.receive(1).0, format!("$5\r\n{max}\r\n").as_bytes());
    }
}
