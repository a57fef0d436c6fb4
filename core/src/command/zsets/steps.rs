//! Steps of commands on sorted sets that are on several shards.

use super::range;
use crate::command::algebra::{Scored, scored};
use crate::command::program::{Steps, first_of};
use crate::command::{Call, table};
use crate::error::Stop;
use crate::resp::encode::Reply;
use crate::shard::Shard;

/// Sets a key to a sorted set of these members and answers how many they are. `event`: what that is called, mostly a command's name.
pub fn store<'m>(
    steps: &mut dyn Steps,
    key: &[u8],
    event: &str,
    members: impl Iterator<Item = (&'m [u8], f64)>,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    let members: Vec<(&[u8], [u8; 8])> = members.map(|(member, score)| (member, score.to_le_bytes())).collect();
    let mut words: Vec<&[u8]> = vec![b"zset|store", key, event.as_bytes()];
    words.extend(members.iter().flat_map(|(member, score)| [*member, score.as_slice()]));
    steps.answer(&words, reply)
}

/// Members and scores, one by one.
pub fn each(members: &Scored) -> impl Iterator<Item = (&[u8], f64)> {
    members.iter().map(|(member, score)| (member.as_slice(), *score))
}

/// A step: `key event [member score ...]`, a score as the 8 bytes of a double.
pub fn put(shard: &mut Shard, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let args = call.args;
    let event = match &args[2] {
        b"georadiusstore" => "georadiusstore",
        command => table::find(command).expect("a command has this step").name,
    };
    let score = |at: usize| f64::from_le_bytes(args[at].try_into().expect("a double has 8 bytes"));
    let members = (3..args.len()).step_by(2).map(|at| (args[at].to_vec(), score(at + 1))).collect();
    let stored = range::store(shard, call, &args[1], members, event)?;
    reply.integer(stored);
    Ok(())
}

/// ZRANGESTORE whose keys are on two shards.
pub fn zrangestore(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let mut words: Vec<&[u8]> = call.args.iter().collect();
    words[0] = b"zset|range";
    let members = scored(&steps.run(&words)?);
    store(steps, &call.args[1], call.spec.name, each(&members), reply)
}

/// ZMPOP whose keys are on several shards: the first that has something is popped.
pub fn zmpop(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let several = super::pop::Several::parse(call.args, 1)?;
    first_of(call, steps, several.first..several.first + several.keys, reply)
}
