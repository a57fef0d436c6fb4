//! Machines whose memory holds a part of their rows: pages come and go, checkpoints are made, operations end in any order.
//! Every client gets the replies of a map of its own, in order; after a crash everything acknowledged is there.
#![allow(clippy::unwrap_used)]

mod pieces;
mod world;

use cairn_storage::limits::PAGE_BYTES;
use cairn_storage::pagefile::{Bug, CheckpointState};
use cairn_storage::units::PageId;
use std::collections::BTreeSet;
use world::{CLIENTS, Disk, Node, SHARDS, World, open, read, write};

#[test]
fn clients_get_their_replies_in_order_whatever_is_in_memory() {
    for seed in 0..3 {
        let mut world = World::new(seed);
        let (mut evictions, mut counts_off) = (0, 0);
        for era in 0..4 {
            world.connect();
            counts_off += u32::from(world.check_counts());
            for round in 0..250 {
                for client in 0..CLIENTS {
                    world.send(client);
                }
                world.turn();
                if round % 50 == 0 {
                    world.nodes.iter_mut().for_each(|node| assert!(node.machine.checkpoint().is_some()));
                    world.settle();
                }
            }
            world.settle();
            let is_orderly = era % 2 == 1;
            if is_orderly {
                world.drain();
            }
            evictions += world.nodes.iter().map(|node| node.machine.shard.engine().page_counts().2).sum::<u64>();
            let disks: Vec<Disk> = world.nodes.drain(..).map(|node| node.disk).collect();
            world.nodes = (0..).zip(disks).map(|(shard, disk)| open((shard, SHARDS), disk, None)).collect();
            let redo_left: u64 = world.nodes.iter().map(|node| node.machine.shard.engine().redo_left()).sum();
            assert_eq!(redo_left == 0, is_orderly, "{redo_left} effects to redo in the end of era {era}");
        }
        assert!(evictions > 1000, "memory was not short: {evictions}");
        assert!(counts_off > 0, "redo was over before anybody counted");
    }
}

/// Reads of absent pages as well as writes: memory is full of what has changed, and nothing of it can leave. Everybody goes on by
/// himself when the disk does.
#[test]
fn who_waits_for_memory_goes_on_once_pages_are_written() {
    for seed in 0..3 {
        let mut world = World::new(seed);
        world.connect();
        for _ in 0..250 {
            (0..CLIENTS).for_each(|client| world.send(client));
            world.turn();
        }
        world.settle();
        world.is_holding = true;
        let mut waiting = 0;
        for round in 0..2000 {
            // Nobody sends more who has not been answered for long.
            if round < 400 {
                (0..CLIENTS).for_each(|client| world.send(client));
            }
            world.turn();
            let answered: usize = world.clients.iter().map(|client| client.received.len()).sum();
            waiting = world.clients.iter().map(|client| client.expected.len()).sum::<usize>() - answered;
        }
        assert!(waiting > 100_000, "seed {seed}: somebody waits for memory: {waiting} bytes");
        let stopped = world.clients.iter().filter(|client| client.received.len() < client.expected.len()).count();
        assert_eq!(stopped, CLIENTS as usize, "seed {seed}");
        world.is_holding = false;
        world.settle();
    }
}

/// What victims replaced is held until the checkpoint after the next one: so many of them make one due, not one less. That bounds
/// the page file.
#[test]
fn a_checkpoint_is_due_at_its_number_of_victims() {
    let mut world = World::new(1);
    world.connect();
    let (mut begun, mut last_idle, mut first_due) = (0, 0, u64::MAX);
    for _ in 0..60_000 {
        world.send(0);
        let look = |world: &World| {
            let engine = world.nodes[0].machine.shard.engine();
            // One that is wanted begins when the file has room for it.
            let is_idle = engine.checkpoint_state() == CheckpointState::Idle && !engine.is_checkpoint_wanted();
            (engine.sites_taken(), is_idle)
        };
        let ((taken, due), was_idle) = look(&world);
        world.turn();
        let is_idle = look(&world).1;
        if was_idle {
            assert_eq!(is_idle, taken < due, "{taken} victims, {due} make a checkpoint due");
            if is_idle {
                last_idle = last_idle.max(taken)
            } else {
                first_due = first_due.min(taken)
            }
            begun += u32::from(!is_idle);
        }
        // Nothing else is to make one due.
        world.now.mono_ns -= 1_000_000;
        world.now.mono_ns += 1;
        if begun == 4 {
            break;
        }
    }
    let due = world.nodes[0].machine.shard.engine().sites_taken().1;
    assert!(begun == 4 && last_idle + 8 > due && first_due < due + 8, "{begun}: {last_idle}, {first_due} of {due}");
    world.settle();
}

/// An image whose checksum holds, and which is not that of the tree. Checksums that hold are made by not looking at them.
#[test]
fn a_branch_in_a_leafs_place_is_damage_to_those_who_need_it_and_to_nobody_else() {
    let mut world = World::new(5);
    world.connect();
    for number in 0..1200 {
        assert_eq!(world.ask(0, &["SET", &format!("key:{number}"), &"v".repeat(700)]), "+OK\r\n");
    }
    world.drain();
    let disks: Vec<Disk> = world.nodes.drain(..).map(|node| node.disk).collect();
    world.nodes = (0..).zip(disks).map(|(shard, disk)| open((shard, SHARDS), disk, Some(Bug::ReadUnchecked))).collect();
    world.connect();
    // Of the pages that the checkpoint has: a branch, and a leaf in whose place its image comes to be.
    let Node { machine, disk, .. } = &mut world.nodes[0];
    let file = machine.shard.engine().page_file().unwrap();
    let images = (1..200).filter_map(|page| Some((page, file.offset_of(PageId(page))?)));
    let is_kind = |offset: u64, kind: u8| disk.pages[offset as usize + 16] == kind;
    let (_, branch) = images.clone().find(|(_, offset)| is_kind(*offset, 2)).unwrap();
    let (page, leaf) = images.filter(|(_, offset)| is_kind(*offset, 1)).nth(4).unwrap();
    let mut image = read(&disk.pages, branch, PAGE_BYTES);
    image[4..8].copy_from_slice(&page.to_le_bytes());
    write(&mut disk.pages, leaf, &image);

    let damage = format!(
        "the page file is damaged at offset {leaf}: a branch is where a leaf belongs (shard-0000/pages, page {page} of database 0, heads from 0x"
    );
    let mut refused = Vec::new();
    for number in 0..1200 {
        let key = format!("key:{number}");
        let reply = world.ask(0, &["GET", &key]);
        if reply.starts_with(&format!("-ERR {damage}")) {
            refused.push(key);
        } else {
            assert_eq!(reply, format!("$700\r\n{}\r\n", "v".repeat(700)), "{key}");
        }
    }
    assert!((4..40).contains(&refused.len()), "{} rows are behind the leaf", refused.len());
    // Who writes is told the same, from another shard too, and so is who needs all rows; the shard serves the others on.
    for words in
        [&["SET", &refused[0], "w"][..], &["APPEND", &refused[1], "w"], &["DEL", &refused[2]], &["MGET", &refused[3]]]
    {
        assert!(world.ask(0, words).starts_with(&format!("-ERR {damage}")), "{words:?}");
        assert!(world.ask(1, words).starts_with(&format!("-ERR {damage}")), "{words:?}");
    }
    assert!(world.ask(0, &["KEYS", "*"]).starts_with("-ERR "));
    assert_eq!(world.ask(0, &["SET", "other", "w"]), "+OK\r\n");
    // It is said once, and counted once.
    assert!(world.damages.len() == 1 && world.damages[0].starts_with(&damage), "{:?}", world.damages);
    assert_eq!(world.nodes[0].machine.damages(), 1);
}

/// What is asked of a whole database between BEGIN and COMMIT: it is larger than memory, and others go on.
#[test]
fn a_transaction_looks_at_a_database_that_memory_does_not_hold() {
    let mut world = World::new(8);
    world.connect();
    for _ in 0..400 {
        (0..CLIENTS).for_each(|client| world.send(client));
        world.turn();
    }
    world.settle();
    let evictions = |world: &World| world.nodes.iter().map(|it| it.machine.shard.engine().page_counts().2).sum::<u64>();
    let (rows, before) = (world.rows(), evictions(&world));
    assert_eq!(world.ask(0, &["CONFIG", "SET", "slice-items", "50"]), "+OK\r\n");
    assert_eq!(world.ask(0, &["BEGIN"]), "+OK\r\n");
    assert_eq!(world.ask(0, &["MSET", "{a}1", "1", "{a}2", "2", "{b}1", "1"]), "+OK\r\n");
    assert_eq!(world.ask(0, &["DBSIZE"]), format!(":{}\r\n", rows + 3));
    let keys = world.ask(0, &["KEYS", "*"]);
    assert!(keys.starts_with(&format!("*{}\r\n", rows + 3)), "{}", &keys[..keys.len().min(100)]);
    assert_eq!(world.ask(0, &["KEYS", "{?}1"]).lines().next(), Some("*2"));
    assert_eq!(world.ask(0, &["ROLLBACK"]), "+OK\r\n");
    assert_eq!(world.ask(0, &["DBSIZE"]), format!(":{rows}\r\n"));
    assert!(evictions(&world) > before + 100, "memory was not short");
}

/// The same in a transaction that only reads: what others change, make and remove meanwhile is not seen, and each key of its moment is answered once.
#[test]
fn a_snapshot_shows_all_keys_of_a_database_that_memory_does_not_hold() {
    for seed in 9..12 {
        let mut world = World::new(seed);
        world.connect();
        let work = |world: &mut World, rounds: u32, clients: std::ops::Range<u32>| {
            for _ in 0..rounds {
                clients.clone().for_each(|client| world.send(client));
                world.turn();
            }
        };
        work(&mut world, 400, 0..CLIENTS);
        world.settle();
        let keys_now = |world: &World| -> BTreeSet<String> {
            let keys = (0..).zip(&world.clients).flat_map(|(client, it)| it.rows.keys().map(move |key| (client, key)));
            keys.map(|(client, key): (u32, _)| format!("key:{client}:{key}")).collect()
        };
        let evictions =
            |world: &World| world.nodes.iter().map(|it| it.machine.shard.engine().page_counts().2).sum::<u64>();
        let shown = |reply: &str| reply.lines().filter(|line| line.starts_with("key:")).map(str::to_owned).collect();
        // Some rows still wait for their pages.
        work(&mut world, 50, 1..CLIENTS);
        world.settle();
        let before = evictions(&world);
        assert_eq!(world.ask(0, &["CONFIG", "SET", "slice-items", "50"]), "+OK\r\n");
        assert_eq!(world.ask(0, &["BEGIN", "READ", "ONLY"]), "+OK\r\n");
        let keys = keys_now(&world);
        let size = format!(":{}\r\n", keys.len());
        for round in 0..3 {
            work(&mut world, 150, 1..CLIENTS);
            assert_eq!(world.ask_amid(0, &["DBSIZE"]), size, "seed {seed}, round {round}");
            work(&mut world, 50, 1..CLIENTS);
            let found: Vec<String> = shown(&world.ask_amid(0, &["KEYS", "*"]));
            assert_eq!(found.len(), keys.len(), "seed {seed}, round {round}");
            assert_eq!(BTreeSet::from_iter(found), keys, "seed {seed}, round {round}");
        }
        let (mut cursor, mut scanned) = (String::from("0"), Vec::new());
        loop {
            let reply = world.ask_amid(0, &["SCAN", &cursor, "COUNT", "40"]);
            let found: Vec<String> = shown(&reply);
            scanned.extend(found);
            cursor = reply.lines().nth(2).unwrap().to_owned();
            work(&mut world, 5, 1..CLIENTS);
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(scanned.len(), keys.len(), "seed {seed}: each key once");
        assert_eq!(BTreeSet::from_iter(scanned), keys, "seed {seed}");
        let drawn = world.ask_amid(0, &["RANDOMKEY"]);
        assert!(keys.contains(drawn.lines().nth(1).unwrap()), "seed {seed}: {drawn}");
        assert_eq!(world.ask_amid(0, &["COMMIT"]), "+OK\r\n");
        world.settle();
        let now = keys_now(&world);
        assert!(keys.difference(&now).count() > 100 && now.difference(&keys).count() > 100, "seed {seed}");
        assert_eq!(world.ask(0, &["DBSIZE"]), format!(":{}\r\n", now.len()));
        assert!(evictions(&world) > before + 100, "memory was not short");
    }
}

/// A long value that cannot be read is met when a command of a script, or of a transaction beside one, has begun to change rows.
#[test]
fn what_a_script_has_half_done_when_a_value_cannot_be_read_is_undone() {
    let mut world = World::of(13, 1);
    world.connect();
    assert_eq!(world.ask(0, &["MSET", "first", "1", "second", "2"]), "+OK\r\n");
    assert_eq!(world.ask(0, &["SET", "long", &"z".repeat(50_000)]), "+OK\r\n");
    world.drain();
    let mut disk = world.nodes.remove(0).disk;
    let at = disk.pages.windows(100).position(|bytes| bytes.iter().all(|byte| *byte == b'z')).unwrap();
    disk.pages[at + 1000] = b'y';
    world.nodes.push(open((0, 1), disk, None));
    world.connect();
    let is_refused = |reply: &str| {
        reply.starts_with("-ERR the page file is damaged") || reply.contains("-ERR the page file is damaged")
    };
    let script = "redis.call('SET', 'second', 'changed') return {redis.pcall('DEL', 'first', 'long'), redis.call('EXISTS', 'first')}";
    let look = ["MGET", "first", "second"];
    let as_it_was = "*2\r\n$1\r\n1\r\n$1\r\n2\r\n";
    let reply = world.ask(0, &["EVAL", script, "0"]);
    assert!(is_refused(&reply) && reply.starts_with('-'), "{reply}");
    assert_eq!(world.ask(0, &look), as_it_was);
    for words in [&["MULTI"][..], &["SET", "third", "3"], &["EVAL", script, "0"]] {
        assert!(world.ask(0, words).starts_with('+'));
    }
    let reply = world.ask(0, &["EXEC"]);
    assert!(is_refused(&reply) && reply.starts_with('-'), "{reply}");
    assert_eq!(world.ask(0, &look), as_it_was);
    assert_eq!(world.ask(0, &["EXISTS", "third"]), ":0\r\n");
    // Where a command has changed nothing it is refused as others are, and the script goes on.
    let reply = world.ask(0, &["EVAL", "return {redis.pcall('GET', 'long'), redis.call('INCR', 'first')}", "0"]);
    assert!(is_refused(&reply) && reply.ends_with(":2\r\n"), "{reply}");
    assert_eq!(world.ask(0, &["GET", "first"]), "$1\r\n2\r\n");
}
