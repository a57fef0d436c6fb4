//! DEBUG OBJECT, DIGEST and DIGEST-VALUE: what shards say of single rows, and of all.

use crate::collection::digest::{Digest, mix_row};
use crate::collection::dump;
use crate::command::args::Args;
use crate::command::keys::encoding_of;
use crate::command::keyspace::is_refused;
use crate::command::{Call, Flow, table};
use crate::error::{Refusal, Stop};
use crate::event::{ConnId, Now};
use crate::limits::DIGEST_KEYS_MAX;
use crate::machine::{Machine, Merge};
use crate::parcel::{Answer, Ask};
use crate::rdb::payload;
use crate::resp::encode::Reply;
use crate::route;
use crate::shard::{Row, ScanEnd, Shard};
use std::cell::Cell;

/// What is asked.
#[derive(Clone, Debug)]
pub enum RowAsk {
    /// What a row is.
    Object { db: u8, key: Vec<u8> },
    /// The digests of these keys' values.
    Values { db: u8, keys: Vec<Vec<u8>> },
    /// The digests of all databases.
    All { databases: u8 },
}

/// How far the digest of all rows has come.
#[derive(Debug, Default)]
pub struct Digesting {
    db: u8,
    /// The head to go on from.
    head: u64,
    /// Keys before that whose rows are still to come.
    keys: Vec<Vec<u8>>,
    is_last: bool,
    /// Of each database that has rows.
    digests: Vec<(u32, Digest)>,
}

/// What a shard answers.
pub fn answer(shard: &Shard, now: Now, ask: &RowAsk, progress: &mut Digesting) -> Result<Answer, Stop> {
    match ask {
        RowAsk::Object { db, key } => looked_at(now, *db, |call| object(shard, call, key)),
        RowAsk::Values { db, keys } => looked_at(now, *db, |call| values(shard, call, keys)),
        RowAsk::All { databases } => {
            while progress.db < *databases {
                looked_at(now, progress.db, |call| digest_database(shard, call, progress))?;
                *progress = Digesting {
                    db: progress.db + 1,
                    digests: std::mem::take(&mut progress.digests),
                    ..Digesting::default()
                };
            }
            Ok(Answer::Digests(std::mem::take(&mut progress.digests)))
        }
    }
}

/// Rows whose time is over are seen as long as they are there: nothing has expired at the beginning of all time.
fn looked_at<T>(now: Now, db: u8, look: impl FnOnce(&Call<'_>) -> T) -> T {
    let spec = table::find(b"debug").expect("it is in the table");
    let now = Now { unix_us: 0, ..now };
    look(&Call { spec, args: &Args::new(&[], &[]), db, is_resp3: false, now, head: 0 })
}

fn object(shard: &Shard, call: &Call<'_>, key: &[u8]) -> Result<Answer, Stop> {
    let row = shard.peek(call, key)?.ok_or(Refusal::NoSuchKey)?;
    let encoding = encoding_of(shard, call, &row)?;
    // As it would stand in a file: without the byte of its type.
    let length = dump::dump(shard, call, &row, shard.payload_version)?.len() - payload::FOOTER_BYTES - 1;
    Ok(Answer::Text(format!(
        "Value at:0x0 refcount:1 encoding:{encoding} serializedlength:{length} lru:0 lru_seconds_idle:0"
    )))
}

/// Those that are this shard's, with their places.
fn values(shard: &Shard, call: &Call<'_>, keys: &[Vec<u8>]) -> Result<Answer, Stop> {
    let mut digests = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let mut digest = Digest::default();
        if let Some(row) = shard.peek(call, key)? {
            mix_row(shard, call, &row, &mut digest)?;
            digests.push((place as u32, digest));
        }
    }
    Ok(Answer::Digests(digests))
}

/// Goes on from where it was when something was missing: all rows need not be in memory at once.
fn digest_database(shard: &Shard, call: &Call<'_>, progress: &mut Digesting) -> Result<(), Stop> {
    loop {
        while let Some(key) = progress.keys.last() {
            if let Some(row) = shard.peek(call, key)? {
                let mut digest = Digest::default();
                digest.mix(key);
                mix_row(shard, call, &row, &mut digest)?;
                let place = u32::from(call.db);
                match progress.digests.last_mut().filter(|(db, _)| *db == place) {
                    Some((_, all)) => all.add(&digest.0),
                    None => progress.digests.push((place, Digest::of(&digest.0))),
                }
            }
            progress.keys.pop();
        }
        if progress.is_last {
            return Ok(());
        }
        let (mut keys, count) = (Vec::new(), Cell::new(0));
        let mut visit = |key: &[u8], _: Row<'_>| {
            keys.push(key.to_vec());
            count.set(count.get() + 1);
        };
        match shard.scan_part(call.now, call.db, progress.head, &mut visit, &mut || count.get() < DIGEST_KEYS_MAX) {
            ScanEnd::At(next) => (progress.head, progress.is_last) = (next, next == 0),
            ScanEnd::Missing { missing, from } if from <= progress.head => return Err(missing.into()),
            ScanEnd::Missing { from, .. } => {
                shard.forget_from(&mut keys, from);
                progress.head = from;
            }
        }
        progress.keys = keys;
    }
}

pub fn run_object(machine: &mut Machine, conn: ConnId, call: &Call<'_>) -> Result<Flow, Stop> {
    let key = call.args[2].to_vec();
    let shard = machine.owner(route::slot(&key));
    let merge: Merge = Box::new(|_, _, answers, reply| match answers.into_iter().next() {
        Some(Answer::Text(line)) => reply.simple(&line),
        Some(Answer::Refused(line)) => reply.error(&line),
        _ => unreachable!("it was asked of one shard"),
    });
    machine.ask_one(conn, shard, Ask::Rows(RowAsk::Object { db: call.db, key }), merge)
}

pub fn run_values(machine: &mut Machine, conn: ConnId, call: &Call<'_>) -> Result<Flow, Stop> {
    let keys: Vec<Vec<u8>> = call.args.skip(2).iter().map(<[u8]>::to_vec).collect();
    let count = keys.len();
    let merge: Merge = Box::new(move |_, _, answers, reply| {
        let Some(found) = digests(answers, reply) else { return };
        reply.array(count);
        for at in 0..count {
            let digest = found.iter().find(|(place, _)| *place as usize == at);
            reply.simple(&digest.map_or(Digest::default(), |(_, digest)| *digest).hex());
        }
    });
    machine.ask_all(conn, Ask::Rows(RowAsk::Values { db: call.db, keys }), merge)
}

pub fn run_all(machine: &mut Machine, conn: ConnId) -> Result<Flow, Stop> {
    let merge: Merge = Box::new(|_, _, answers, reply| {
        let Some(mut found) = digests(answers, reply) else { return };
        found.sort_by_key(|(db, _)| *db);
        let (mut all, mut last) = (Digest::default(), None);
        for (db, digest) in found {
            if last != Some(db) {
                all.mix(&db.to_be_bytes());
                last = Some(db);
            }
            all.join(digest);
        }
        reply.simple(&all.hex());
    });
    let databases = machine.settings.databases;
    machine.ask_all(conn, Ask::Rows(RowAsk::All { databases }), merge)
}

/// What all shards have answered; `None` if one has refused, which is then the reply.
fn digests(answers: Vec<Answer>, reply: &mut Reply<'_>) -> Option<Vec<(u32, Digest)>> {
    if is_refused(&answers, reply) {
        return None;
    }
    let digests = |answer| if let Answer::Digests(digests) = answer { digests } else { Vec::new() };
    Some(answers.into_iter().flat_map(digests).collect())
}
