//! Steps of commands on sorted sets that are on several shards.

use super::range;
use crate::command::long::bag::Bag;
use crate::command::long::stock::{Storing, Target};
use crate::command::long::{self, Long};
use crate::command::program::{Steps, first_of};
use crate::command::{Call, table};
use crate::error::Stop;
use crate::number::double;
use crate::resp::encode::Reply;
use crate::resp::read::{Item, Reader};
use crate::shard::{Kind, Shard};

/// Sets a key to a sorted set of these members and answers how many they are. `event`: what that is called, mostly a command's name.
pub fn store(steps: &mut dyn Steps, key: &[u8], event: &str, found: &Bag, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let members = (0..found.len()).map(|at| found.get(at));
    let members: Vec<(&[u8], [u8; 8])> = members.map(|(member, score)| (member, score.to_le_bytes())).collect();
    let mut words: Vec<&[u8]> = vec![b"zset|store", key, event.as_bytes()];
    words.extend(members.iter().flat_map(|(member, score)| [*member, score.as_slice()]));
    steps.answer(&words, reply)
}

/// The same, what is large piece by piece.
pub fn store_found(
    steps: &mut dyn Steps,
    (key, event): (&[u8], &'static str),
    storing: &mut Storing,
    reply: &mut Reply<'_>,
) -> Result<(), Stop> {
    match storing.go_on(steps, &Target { key, kind: Kind::ZSet, event })? {
        Some(stored) => reply.integer(stored),
        None => store(steps, key, event, &storing.found, reply)?,
    }
    Ok(())
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

/// What ZRANGESTORE finds on another shard than it stores it on.
struct Ranging {
    /// Those of the command.
    words: Vec<Vec<u8>>,
    storing: Storing,
    is_over: bool,
}

impl Long for Ranging {
    fn piece(&mut self, steps: &mut dyn Steps, _: u64) -> Result<bool, Stop> {
        if self.is_over {
            return Ok(true);
        }
        let found = &mut self.storing.found;
        let from = found.len().to_string();
        let mut words: Vec<&[u8]> = self.words.iter().map(Vec::as_slice).collect();
        (words[0], words[1]) = (b"zset|range", from.as_bytes());
        let answer = steps.run(&words)?;
        let mut reader = Reader::new(&answer);
        let items = reader.array();
        let Some(Item::Integer(total)) = reader.next() else { unreachable!("it says how many there are") };
        for _ in 0..items / 2 {
            let (Some(member), Some(score)) = (reader.text(), reader.text().and_then(double::parse)) else { break };
            found.push(member, score);
        }
        self.is_over = found.len() as i64 >= total || items == 1;
        Ok(self.is_over)
    }
}

/// ZRANGESTORE whose keys are on two shards.
pub fn zrangestore(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let begun = || Ranging {
        words: call.args.iter().map(<[u8]>::to_vec).collect(),
        storing: Storing::default(),
        is_over: false,
    };
    let work = long::work(steps, || Ok(begun()))?;
    long::follow(steps, work, |steps, work| {
        store_found(steps, (&call.args[1], call.spec.name), &mut work.storing, reply)
    })
}

/// ZMPOP whose keys are on several shards: the first that has something is popped.
pub fn zmpop(call: &Call<'_>, steps: &mut dyn Steps, reply: &mut Reply<'_>) -> Result<(), Stop> {
    let several = super::pop::Several::parse(call.args, 1)?;
    first_of(call, steps, several.first..several.first + several.keys, reply)
}
