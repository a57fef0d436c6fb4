//! CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO: client-side caching.

use super::{Call, Flow};
use crate::command::args::{Args, parse_integer};
use crate::error::{Refusal, Stop};
use crate::event::ConnId;
use crate::limits::TRACKING_PREFIXES_MAX;
use crate::machine::Machine;
use crate::parcel::{Answer, Ask};
use crate::resp::encode::Reply;
use crate::tracking::{Tracker, Tracking};
use cairn_storage::units::ShardId;

const NO_SUCH_CLIENT: &str = "ERR The client ID you want redirect to does not exist";

/// What CLIENT TRACKING says.
struct Wanted {
    is_on: bool,
    tracking: Tracking,
    prefixes: Vec<Vec<u8>>,
    redirect: Option<u64>,
}

pub fn tracking(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let mut wanted = parse(machine, call.args)?;
    let Some(id) = wanted.redirect else { return Ok(apply(machine, conn, wanted, reply)?) };
    if let Some(to) = machine.find_told(id) {
        wanted.tracking.redirect = Some(Tracker { client: id, shard: machine.identity.shard, conn: to });
        return Ok(apply(machine, conn, wanted, reply)?);
    }
    // A connection may have gone from the core that has accepted it.
    machine.ask_all(
        conn,
        Ask::ClientConn { id },
        Box::new(move |machine, conn, answers, reply| {
            let found = answers.iter().zip(0..).find_map(|(answer, shard)| match answer {
                Answer::Count(to @ 0..) => Some((ShardId(shard), ConnId(*to as u32))),
                _ => None,
            });
            let Some((shard, to)) = found else { return reply.error(NO_SUCH_CLIENT) };
            wanted.tracking.redirect = Some(Tracker { client: id, shard, conn: to });
            if let Err(refusal) = apply(machine, conn, wanted, reply) {
                reply.refusal(&refusal);
            }
        }),
    )
}

fn parse(machine: &Machine, args: &Args<'_>) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted { is_on: false, tracking: Tracking::default(), prefixes: Vec::new(), redirect: None };
    let mut at = 3;
    while at < args.len() {
        let has_more = at + 1 < args.len();
        if args.is(at, "redirect") && has_more {
            at += 1;
            if wanted.redirect.is_some() {
                return Err(Refusal::text("ERR A client can only redirect to a single other client"));
            }
            let id = parse_integer(&args[at]).ok_or(Refusal::NotInteger)?;
            let id = u64::try_from(id).ok().filter(|id| *id > 0).ok_or(Refusal::text(NO_SUCH_CLIENT))?;
            if machine.identity.shards == 1 && machine.find_client(id).is_none() {
                return Err(Refusal::text(NO_SUCH_CLIENT));
            }
            wanted.redirect = Some(id);
        } else if args.is(at, "bcast") {
            wanted.tracking.is_broadcast = true;
        } else if args.is(at, "optin") {
            wanted.tracking.is_opt_in = true;
        } else if args.is(at, "optout") {
            wanted.tracking.is_opt_out = true;
        } else if args.is(at, "noloop") {
            wanted.tracking.is_no_loop = true;
        } else if args.is(at, "prefix") && has_more {
            at += 1;
            wanted.prefixes.push(args[at].to_vec());
        } else {
            return Err(Refusal::Syntax);
        }
        at += 1;
    }
    wanted.is_on = args.is(2, "on");
    if wanted.is_on || args.is(2, "off") { Ok(wanted) } else { Err(Refusal::Syntax) }
}

/// Does it, or refuses what does not fit together.
fn apply(machine: &mut Machine, conn: ConnId, wanted: Wanted, reply: &mut Reply<'_>) -> Result<Flow, Refusal> {
    let Wanted { is_on, mut tracking, mut prefixes, .. } = wanted;
    if !is_on {
        let former = machine.client_mut(conn).tracking.take();
        machine.end_tracking(conn, former);
        reply.ok();
        return Ok(Flow::Done);
    }
    let former = machine.client(conn).tracking.as_deref();
    admit(&tracking, &prefixes, former)?;
    if tracking.is_broadcast {
        if prefixes.is_empty() {
            prefixes.push(Vec::new());
        }
        tracking.prefixes.extend(former.into_iter().flat_map(|former| former.prefixes.iter().cloned()));
        tracking.prefixes.extend(prefixes);
        if tracking.prefixes.len() > TRACKING_PREFIXES_MAX {
            return Err(Refusal::text(format!("ERR a connection has {TRACKING_PREFIXES_MAX} prefixes at most")));
        }
    }
    let new = machine.track(conn, tracking);
    let Some(ask) = machine.note_prefixes(conn, &new, true) else {
        reply.ok();
        return Ok(Flow::Done);
    };
    // All cores are to know before it is answered.
    machine.ask_others(ask, Box::new(|_, _, _, reply| reply.ok()));
    Ok(Flow::Later)
}

/// Whether the options fit each other, and what the connection has asked for before.
fn admit(wanted: &Tracking, prefixes: &[Vec<u8>], former: Option<&Tracking>) -> Result<(), Refusal> {
    let refuse = |text: &str| Err(Refusal::text(text.to_owned()));
    if !wanted.is_broadcast && !prefixes.is_empty() {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if former.is_some_and(|former| former.is_broadcast != wanted.is_broadcast) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a \
             different mode.",
        );
    }
    if wanted.is_broadcast && (wanted.is_opt_in || wanted.is_opt_out) {
        return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if wanted.is_opt_in && wanted.is_opt_out {
        return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    let switches = |former: &Tracking| wanted.is_opt_in && former.is_opt_out || wanted.is_opt_out && former.is_opt_in;
    if former.is_some_and(switches) {
        return refuse(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a \
             different mode.",
        );
    }
    let overlap = |one: &[u8], what: &str, other: &[u8]| {
        let (one, other) = (String::from_utf8_lossy(one), String::from_utf8_lossy(other));
        Err(Refusal::text(format!(
            "ERR Prefix '{one}' overlaps with {what} prefix '{other}'. Prefixes for a single client must not overlap."
        )))
    };
    for (at, one) in prefixes.iter().enumerate() {
        let overlaps = |other: &&Vec<u8>| one.starts_with(other) || other.starts_with(one);
        if let Some(other) = former.into_iter().flat_map(|former| &former.prefixes).find(overlaps) {
            return overlap(one, "an existing", other);
        }
        if let Some(other) = prefixes[at + 1..].iter().find(overlaps) {
            return overlap(one, "another provided", other);
        }
    }
    Ok(())
}

pub fn caching(machine: &mut Machine, conn: ConnId, call: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let refuse = |text: &str| Err(Refusal::text(text.to_owned()).into());
    let Some(tracking) = &mut machine.client_mut(conn).tracking else {
        return refuse(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        );
    };
    if call.args.is(2, "yes") {
        if !tracking.is_opt_in {
            return refuse("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
        }
    } else if call.args.is(2, "no") {
        if !tracking.is_opt_out {
            return refuse("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
        }
    } else {
        return Err(Refusal::Syntax.into());
    }
    tracking.is_caching = true;
    reply.ok();
    Ok(Flow::Done)
}

/// Whom a connection has redirected to: 0 if to nobody, -1 if it does not track.
pub fn redirect_of(tracking: Option<&Tracking>) -> i64 {
    tracking.map_or(-1, |tracking| tracking.redirect.map_or(0, |to| to.client as i64))
}

pub fn getredir(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    reply.integer(redirect_of(machine.client(conn).tracking.as_deref()));
    Ok(Flow::Done)
}

pub fn trackinginfo(machine: &mut Machine, conn: ConnId, _: &Call<'_>, reply: &mut Reply<'_>) -> Result<Flow, Stop> {
    let tracking = machine.client(conn).tracking.as_deref();
    let flags = tracking.map_or(vec!["off"], Tracking::flags);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect_of(tracking));
    reply.bulk(b"prefixes");
    reply.array(tracking.map_or(0, |tracking| tracking.prefixes.len()));
    tracking.into_iter().flat_map(|tracking| &tracking.prefixes).for_each(|prefix| reply.bulk(prefix));
    Ok(Flow::Done)
}
