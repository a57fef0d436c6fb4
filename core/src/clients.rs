//! The connections of one core as CLIENT LIST shows them and as CLIENT KILL chooses them.

use crate::command::tracking::redirect_of;
use crate::event::{ConnId, Now};
use crate::machine::Machine;
use crate::parcel::ClientFilter;
use crate::pubsub::Class;
use crate::session::{Client, Durability};
use std::fmt::Write;

/// Its type, in Redis's words.
fn kind_of(client: &Client) -> &'static str {
    if client.subscriptions.is_some() { "pubsub" } else { "normal" }
}

/// Does the filter mean this client?
pub fn is_meant(client: &Client, filter: &ClientFilter) -> bool {
    (filter.ids.is_empty() || filter.ids.contains(&client.id))
        && filter.addr.as_ref().is_none_or(|addr| *addr == client.peer.addr)
        && filter.laddr.as_ref().is_none_or(|laddr| *laddr == client.peer.laddr)
        && filter.kind.as_ref().is_none_or(|kind| kind == kind_of(client))
        && filter.user.as_ref().is_none_or(|user| *user == client.user.name)
}

/// The line of one client, with its end.
pub fn line(machine: &Machine, conn: ConnId) -> String {
    let (query, output) = machine.buffered(conn);
    let mut out = String::new();
    write_line(&mut out, machine.client(conn), machine.now, query, output);
    out
}

/// The lines of all clients of this core that the filter means.
pub fn lines(machine: &Machine, filter: &ClientFilter) -> String {
    let mut out = String::new();
    for (conn, client) in machine.clients() {
        if is_meant(client, filter) {
            let (query, output) = machine.buffered(conn);
            write_line(&mut out, client, machine.now, query, output);
        }
    }
    out
}

/// Redis's 30 fields. What belongs to features that are not there has the value that Redis gives to a client which
/// does not use them.
fn write_line(out: &mut String, client: &Client, now: Now, query: usize, output: usize) {
    let seconds = |since: Now| now.mono_ns.saturating_sub(since.mono_ns) / 1_000_000_000;
    let text = String::from_utf8_lossy;
    let peer = &client.peer;
    let multi_bytes = client.multi.as_ref().map_or(0, |multi| multi.memory_bytes());
    let subscribed = |class| client.subscriptions.as_ref().map_or(0, |own| own.of(class).len());
    let events = if output > 0 { "rw" } else { "r" };
    writeln!(
        out,
        "id={id} addr={addr} laddr={laddr} fd={fd} name={name} age={age} idle={idle} flags={flags} db={db} sub={sub} psub={psub} \
         ssub={ssub} multi={multi} qbuf={query} qbuf-free=0 argv-mem=0 multi-mem={multi_bytes} rbs=0 rbp=0 obl={output} oll=0 omem={output} \
         tot-mem={total} events={events} cmd={cmd} user={user} redir={redir} resp={resp} lib-name={lib_name} \
         lib-ver={lib_ver}",
        id = client.id,
        addr = peer.addr,
        laddr = peer.laddr,
        fd = peer.fd,
        name = text(&client.name),
        age = seconds(client.accepted),
        idle = seconds(client.last_active),
        flags = flags(client),
        db = client.db,
        sub = subscribed(Class::Channel),
        psub = subscribed(Class::Pattern),
        ssub = subscribed(Class::Shard),
        multi = client.multi.as_ref().map_or(-1, |multi| multi.len() as i64),
        total = size_of::<Client>() + query + output + multi_bytes,
        cmd = client.last_command,
        user = text(&client.user.name),
        redir = redirect_of(client.tracking.as_deref()),
        resp = if client.is_resp3 { 3 } else { 2 },
        lib_name = text(&client.lib_name),
        lib_ver = text(&client.lib_ver),
    )
    .expect("a string grows");
}

fn flags(client: &Client) -> String {
    let mut out = String::new();
    let tracking = client.tracking.as_deref();
    for (holds, letter) in [
        (client.is_monitor, 'O'),
        (client.subscriptions.is_some(), 'P'),
        (client.multi.is_some() || client.open.is_some(), 'x'),
        (client.is_blocked, 'b'),
        (tracking.is_some(), 't'),
        (tracking.is_some_and(|tracking| tracking.is_broken), 'R'),
        (tracking.is_some_and(|tracking| tracking.is_broadcast), 'B'),
        (client.peer.addr.ends_with(":0"), 'U'),
        (client.is_readonly, 'r'),
        (client.no_evict, 'e'),
        (client.no_touch, 'T'),
        // Not one of Redis's: all of its transactions, or nothing.
        (client.rolls_back, 'a'),
        // Nor this: its replies wait for nothing.
        (client.durability == Durability::Memory, 'm'),
    ] {
        if holds {
            out.push(letter);
        }
    }
    if out.is_empty() {
        out.push('N');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Peer;

    fn client() -> Client {
        let peer = Peer { addr: "1.2.3.4:5".into(), laddr: "1.2.3.4:6379".into(), is_local: false, fd: 9 };
        let user = std::sync::Arc::new(crate::acl::User::default_user());
        let mut client = Client::new(7, peer, user, Now { mono_ns: 0, unix_us: 0 });
        client.name = b"me".to_vec();
        client
    }

    #[test]
    fn a_line_has_the_fields_of_redis_in_their_order() {
        let mut out = String::new();
        write_line(&mut out, &client(), Now { mono_ns: 65_000_000_000, unix_us: 0 }, 10, 0);
        let names: Vec<&str> = out.trim_end().split(' ').map(|field| field.split('=').next().unwrap()).collect();
        let expect = "id addr laddr fd name age idle flags db sub psub ssub multi qbuf qbuf-free argv-mem multi-mem rbs rbp \
                      obl oll omem tot-mem events cmd user redir resp lib-name lib-ver";
        assert_eq!(names, expect.split_whitespace().collect::<Vec<_>>());
        assert!(out.starts_with("id=7 addr=1.2.3.4:5 laddr=1.2.3.4:6379 fd=9 name=me age=65 idle=65 flags=N db=0 "));
        assert!(out.ends_with(" resp=2 lib-name= lib-ver=\n"), "{out}");
    }

    #[test]
    fn flags_tell_what_a_client_has_asked_for() {
        let mut client = client();
        (client.no_evict, client.no_touch, client.is_readonly) = (true, true, true);
        assert_eq!(flags(&client), "reT");
        client.peer.addr = "/tmp/s:0".into();
        assert_eq!(flags(&client), "UreT");
        client.multi = Some(Box::default());
        assert_eq!(flags(&client), "xUreT");
        client.rolls_back = true;
        assert_eq!(flags(&client), "xUreTa");
        client.subscriptions = Some(Box::default());
        assert_eq!(flags(&client), "PxUreTa");
        assert_eq!(kind_of(&client), "pubsub");
    }

    #[test]
    fn all_conditions_of_a_filter_must_hold() {
        let client = client();
        let filter = |ids: &[u64], addr: Option<&str>, kind: Option<&str>| ClientFilter {
            ids: ids.to_vec(),
            addr: addr.map(str::to_owned),
            kind: kind.map(str::to_owned),
            ..ClientFilter::default()
        };
        for (filter, expect) in [
            (filter(&[], None, None), true),
            (filter(&[6, 7], Some("1.2.3.4:5"), Some("normal")), true),
            (filter(&[6], Some("1.2.3.4:5"), None), false),
            (filter(&[7], Some("1.2.3.4:6"), None), false),
            (filter(&[], None, Some("pubsub")), false),
        ] {
            assert_eq!(is_meant(&client, &filter), expect, "{filter:?}");
        }
    }
}
