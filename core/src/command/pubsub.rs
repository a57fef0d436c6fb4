//! PUBLISH, SUBSCRIBE and their kin. What they do is in `machine/pubsub.rs`.

use super::help::help;
use super::{Call, Flags, Flow, Keys, Run, Spec};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::pubsub::Class;
use crate::resp::encode::Reply;

const PUBSUB: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE);
const LISTEN: Flags = PUBSUB.and(Flags::NOSCRIPT).and(Flags::LISTENS);
const SPEAK: Flags = PUBSUB.and(Flags::FAST).and(Flags::MAY_REPLICATE);

const FAMILY: Spec = Spec { flags: PUBSUB, group: "pubsub", since: "2.0.0", ..Spec::DEFAULT };

/// Names of sharded channels stand where keys do, so that clients of a cluster find their slots.
const NOT_KEYS: &[&str] = &["not_key"];

pub const SPECS: &[Spec] = &[
    Spec {
        name: "publish",
        arity: 3,
        flags: SPEAK,
        run: Run::Server(publish),
        complexity: "O(N+M) where N is the number of subscribers of the channel and M is the number of patterns",
        summary: "Sends a message to all who have subscribed to a channel.",
        synopsis: "channel message",
        ..FAMILY
    },
    Spec {
        name: "spublish",
        arity: 3,
        flags: SPEAK,
        keys: Keys::ONE,
        key_uses: NOT_KEYS,
        run: Run::Server(publish),
        since: "7.0.0",
        complexity: "O(N) where N is the number of subscribers of the channel",
        summary: "Sends a message to all who have subscribed to a sharded channel.",
        synopsis: "shardchannel message",
        ..FAMILY
    },
    Spec {
        name: "subscribe",
        arity: -2,
        flags: LISTEN,
        run: Run::Server(subscribe),
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to channels.",
        synopsis: "channel [channel ...]",
        ..FAMILY
    },
    Spec {
        name: "psubscribe",
        arity: -2,
        flags: LISTEN,
        run: Run::Server(subscribe),
        complexity: "O(N) where N is the number of patterns",
        summary: "Listens to all channels whose names match patterns.",
        synopsis: "pattern [pattern ...]",
        ..FAMILY
    },
    Spec {
        name: "ssubscribe",
        arity: -2,
        flags: LISTEN,
        keys: Keys::ALL,
        key_uses: NOT_KEYS,
        run: Run::Server(subscribe),
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to sharded channels.",
        synopsis: "shardchannel [shardchannel ...]",
        ..FAMILY
    },
    Spec {
        name: "unsubscribe",
        arity: -1,
        flags: LISTEN,
        run: Run::Server(unsubscribe),
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to channels no longer, or to none.",
        synopsis: "[channel [channel ...]]",
        ..FAMILY
    },
    Spec {
        name: "punsubscribe",
        arity: -1,
        flags: LISTEN,
        run: Run::Server(unsubscribe),
        complexity: "O(N) where N is the number of patterns",
        summary: "Listens to channels that match patterns no longer, or to none.",
        synopsis: "[pattern [pattern ...]]",
        ..FAMILY
    },
    Spec {
        name: "sunsubscribe",
        arity: -1,
        flags: LISTEN,
        keys: Keys::ALL,
        key_uses: NOT_KEYS,
        run: Run::Server(unsubscribe),
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels",
        summary: "Listens to sharded channels no longer, or to none.",
        synopsis: "[shardchannel [shardchannel ...]]",
        ..FAMILY
    },
    Spec {
        name: "pubsub",
        arity: -2,
        flags: Flags::NONE,
        run: Run::Container,
        subcommands: SUBCOMMANDS,
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        summary: "A container for commands about publish and subscribe.",
        ..FAMILY
    },
];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "pubsub|channels",
        arity: -2,
        run: Run::Server(channels),
        since: "2.8.0",
        complexity: "O(N log N) where N is the number of channels",
        summary: "The channels that somebody listens to.",
        synopsis: "[pattern]",
        ..FAMILY
    },
    Spec {
        name: "pubsub|help",
        arity: 2,
        flags: Flags::LOADING.and(Flags::STALE),
        run: Run::Server(help),
        since: "6.2.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "pubsub|numpat",
        arity: 2,
        run: Run::Server(numpat),
        since: "2.8.0",
        summary: "How many patterns somebody listens to.",
        ..FAMILY
    },
    Spec {
        name: "pubsub|numsub",
        arity: -2,
        run: Run::Server(numsub),
        since: "2.8.0",
        complexity: "O(N) where N is the number of channels that are named",
        summary: "How many listen to channels, by their names and not by patterns.",
        synopsis: "[channel [channel ...]]",
        ..FAMILY
    },
    Spec {
        name: "pubsub|shardchannels",
        arity: -2,
        run: Run::Server(channels),
        since: "7.0.0",
        complexity: "O(N log N) where N is the number of channels",
        summary: "The sharded channels that somebody listens to.",
        synopsis: "[pattern]",
        ..FAMILY
    },
    Spec {
        name: "pubsub|shardnumsub",
        arity: -2,
        run: Run::Server(numsub),
        since: "7.0.0",
        complexity: "O(N) where N is the number of channels that are named",
        summary: "How many listen to sharded channels.",
        synopsis: "[shardchannel [shardchannel ...]]",
        ..FAMILY
    },
];

/// What a command of the name `subscribe` or `unsubscribe`, with or without a letter in front, is about.
fn class_of(spec: &Spec) -> Class {
    match spec.name.as_bytes()[0] {
        b'p' => Class::Pattern,
        b's' if spec.name != "subscribe" => Class::Shard,
        _ => Class::Channel,
    }
}

fn publish(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let receivers = machine.publish(conn, call.spec.name == "spublish", &call.args[1], &call.args[2])?;
    reply.integer(receivers as i64);
    Ok(Flow::Done)
}

fn subscribe(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let class = class_of(call.spec);
    if class == Class::Shard && machine.is_in_transaction() {
        return Err(Refusal::text("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client").into());
    }
    machine.subscribe(conn, class, &call.args.skip(1), reply)?;
    Ok(Flow::Done)
}

fn unsubscribe(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.unsubscribe(conn, class_of(call.spec), &call.args.skip(1), reply);
    Ok(Flow::Done)
}

fn channels(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    if call.args.len() > 3 {
        return Err(super::help::wrong_subcommand(call).into());
    }
    let names = machine.channels(call.spec.name == "pubsub|shardchannels", call.args.get(2));
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(Flow::Done)
}

fn numpat(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.integer(machine.subscribed_names(Class::Pattern) as i64);
    Ok(Flow::Done)
}

fn numsub(machine: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let names = call.args.skip(2);
    reply.array(2 * names.len());
    for name in names.iter() {
        reply.bulk(name);
        reply.integer(machine.subscribers(call.spec.name == "pubsub|shardnumsub", name) as i64);
    }
    Ok(Flow::Done)
}

/// What a client of RESP2 that has subscribed is told of other commands.
#[cold]
pub(crate) fn only_listens(spec: &Spec) -> Refusal {
    Refusal::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        spec.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_letter_says_what_is_subscribed_to() {
        let class = |name: &str| class_of(SPECS.iter().find(|spec| spec.name == name).unwrap());
        assert_eq!(["subscribe", "psubscribe", "ssubscribe"].map(class), super::super::super::pubsub::CLASSES);
        assert_eq!(["unsubscribe", "punsubscribe", "sunsubscribe"].map(class), super::super::super::pubsub::CLASSES);
    }
}
