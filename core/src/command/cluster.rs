//! CLUSTER, READONLY, READWRITE: one node that owns all slots, so that cluster-aware clients find their way.

use super::{Call, Flags, Flow, Run, Spec, help::help};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::machine::Machine;
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::route::{self, SLOTS};

const LOADING: Flags = Flags::LOADING.and(Flags::STALE);
const FAMILY: Spec = Spec { flags: LOADING, group: "cluster", since: "3.0.0", ..Spec::DEFAULT };

pub const SPECS: &[Spec] = &[
    Spec {
        name: "cluster",
        arity: -2,
        flags: Flags::NONE,
        run: Run::Container,
        subcommands: SUBCOMMANDS,
        complexity: "Depends on subcommand.",
        summary: "A container for commands about the cluster.",
        ..FAMILY
    },
    Spec {
        name: "readonly",
        arity: 1,
        flags: LOADING.and(Flags::FAST),
        run: Run::Server(readonly),
        categories: "connection",
        summary: "Lets the connection read from replicas.",
        ..FAMILY
    },
    Spec {
        name: "readwrite",
        arity: 1,
        flags: LOADING.and(Flags::FAST),
        run: Run::Server(readwrite),
        categories: "connection",
        summary: "Takes READONLY back.",
        ..FAMILY
    },
];

const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "cluster|countkeysinslot",
        arity: 3,
        flags: Flags::STALE,
        run: Run::Server(count_keys),
        complexity: "O(N) where N is the number of keys in the slot",
        summary: "How many keys a slot has.",
        synopsis: "slot",
        ..FAMILY
    },
    Spec {
        name: "cluster|getkeysinslot",
        arity: 4,
        flags: Flags::STALE,
        run: Run::Server(keys),
        complexity: "O(N) where N is the number of keys that are answered",
        tips: "nondeterministic_output",
        summary: "Some keys of a slot.",
        synopsis: "slot count",
        ..FAMILY
    },
    Spec {
        name: "cluster|help",
        arity: 2,
        run: Run::Server(help),
        since: "5.0.0",
        summary: "What the subcommands are.",
        ..FAMILY
    },
    Spec {
        name: "cluster|info",
        arity: 2,
        run: Run::Server(info),
        tips: "nondeterministic_output",
        summary: "The state of the cluster.",
        ..FAMILY
    },
    Spec {
        name: "cluster|keyslot",
        arity: 3,
        flags: Flags::STALE,
        run: Run::Server(keyslot),
        complexity: "O(N) where N is the length of the key",
        summary: "The slot of a key.",
        synopsis: "key",
        ..FAMILY
    },
    Spec { name: "cluster|myid", arity: 2, run: Run::Server(myid), summary: "The number of this node.", ..FAMILY },
    Spec {
        name: "cluster|nodes",
        arity: 2,
        run: Run::Server(nodes),
        tips: "nondeterministic_output",
        summary: "The nodes and their slots, as a text.",
        ..FAMILY
    },
    Spec {
        name: "cluster|shards",
        arity: 2,
        run: Run::Server(shards),
        since: "7.0.0",
        tips: "nondeterministic_output",
        summary: "The slots and their nodes, as maps.",
        ..FAMILY
    },
    Spec {
        name: "cluster|slots",
        arity: 2,
        run: Run::Server(slots),
        tips: "nondeterministic_output",
        summary: "The slots and their nodes.",
        ..FAMILY
    },
];

/// Redis's bus port; nothing listens there.
const BUS_PORT_OFFSET: u32 = 10_000;

/// Where the client reached this node: the address of the server's own end of its connection.
fn endpoint(machine: &Machine, conn: ConnId) -> (String, u16) {
    let laddr = &machine.client(conn).peer.laddr;
    match laddr.rsplit_once(':') {
        Some((ip, port)) if !ip.starts_with('/') => {
            let ip = ip.trim_matches(['[', ']']).to_owned();
            (ip, port.parse().unwrap_or(machine.identity.tcp_port))
        }
        _ => ("127.0.0.1".to_owned(), machine.identity.tcp_port),
    }
}

fn info(_: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let mut text = String::new();
    for (field, value) in [
        ("cluster_state", "ok"),
        ("cluster_slots_assigned", "16384"),
        ("cluster_slots_ok", "16384"),
        ("cluster_slots_pfail", "0"),
        ("cluster_slots_fail", "0"),
        ("cluster_known_nodes", "1"),
        ("cluster_size", "1"),
        ("cluster_current_epoch", "1"),
        ("cluster_my_epoch", "1"),
        ("cluster_stats_messages_sent", "0"),
        ("cluster_stats_messages_received", "0"),
        ("total_cluster_links_buffer_limit_exceeded", "0"),
    ] {
        text.push_str(field);
        text.push(':');
        text.push_str(value);
        text.push_str("\r\n");
    }
    reply.verbatim(&text);
    Ok(Flow::Done)
}

fn nodes(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (ip, port) = endpoint(machine, conn);
    let (id, bus) = (&machine.identity.node_id, u32::from(port) + BUS_PORT_OFFSET);
    reply.verbatim(&format!("{id} {ip}:{port}@{bus} myself,master - 0 0 1 connected 0-{}\n", SLOTS - 1));
    Ok(Flow::Done)
}

fn slots(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (ip, port) = endpoint(machine, conn);
    reply.array(1);
    reply.array(3);
    reply.integer(0);
    reply.integer(i64::from(SLOTS) - 1);
    reply.array(4);
    reply.bulk(ip.as_bytes());
    reply.integer(i64::from(port));
    reply.bulk(machine.identity.node_id.as_bytes());
    reply.map(0);
    Ok(Flow::Done)
}

fn shards(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let (ip, port) = endpoint(machine, conn);
    reply.array(1);
    reply.map(2);
    reply.bulk(b"slots");
    reply.array(2);
    reply.integer(0);
    reply.integer(i64::from(SLOTS) - 1);
    reply.bulk(b"nodes");
    reply.array(1);
    reply.map(7);
    reply.bulk(b"id");
    reply.bulk(machine.identity.node_id.as_bytes());
    reply.bulk(b"port");
    reply.integer(i64::from(port));
    for (field, value) in [("ip", ip.as_str()), ("endpoint", ip.as_str()), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"replication-offset");
    reply.integer(0);
    reply.bulk(b"health");
    reply.bulk(b"online");
    Ok(Flow::Done)
}

fn myid(machine: &mut Machine, _: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.bulk(machine.identity.node_id.as_bytes());
    Ok(Flow::Done)
}

fn keyslot(_: &mut Machine, _: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.integer(i64::from(route::slot(&call.args[2])));
    Ok(Flow::Done)
}

/// The slot that an argument names.
fn slot(call: &Call<'_>) -> Result<Option<u16>, Refusal> {
    let slot = call.args.integer(2)?;
    Ok(u16::try_from(slot).ok().filter(|slot| *slot < SLOTS))
}

fn count_keys(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let slot = slot(call)?.ok_or(Refusal::text("ERR Invalid slot"))?;
    machine.ask_one(
        conn,
        machine.owner(slot),
        Ask::CountKeysInSlot { slot },
        Box::new(|_, _, answers, reply| match answers.into_iter().next() {
            Some(Answer::Count(count)) => reply.integer(count),
            Some(Answer::Refused(line)) => reply.error(&line),
            other => unreachable!("a count was asked for, not {other:?}"),
        }),
    )
}

fn keys(machine: &mut Machine, conn: ConnId, call: &Call<'_>, _: &mut Reply<'_>) -> Result<Flow, Stop> {
    let slot = slot(call)?;
    let count = usize::try_from(call.args.integer(3)?).ok();
    let (Some(slot), Some(count)) = (slot, count) else {
        return Err(Refusal::text("ERR Invalid slot or number of keys").into());
    };
    machine.ask_one(
        conn,
        machine.owner(slot),
        Ask::KeysInSlot { slot, count },
        Box::new(|_, _, answers, reply| match answers.into_iter().next() {
            Some(Answer::Keys { keys, .. }) => {
                reply.array(keys.len());
                for key in &keys {
                    reply.bulk(key);
                }
            }
            Some(Answer::Refused(line)) => reply.error(&line),
            other => unreachable!("keys were asked for, not {other:?}"),
        }),
    )
}

fn readonly(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.client_mut(conn).is_readonly = true;
    reply.ok();
    Ok(Flow::Done)
}

fn readwrite(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    machine.client_mut(conn).is_readonly = false;
    reply.ok();
    Ok(Flow::Done)
}
