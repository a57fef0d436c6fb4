//! What a parcel will make a machine do, read before it is handed over.

use super::checks::Args;
use cairn_core::command::strings::counters::Step;
use cairn_core::parcel::{Ask, Message, Parcel};

/// What a parcel will make a machine do, in order.
pub enum Task {
    Run { client: u64, hole: u64, part: u32, db: u8, args: Args },
    Ask { client: u64, hole: u64, part: u32, ask: Ask },
}

/// What a parcel says, read before it is handed over.
pub fn tasks(parcel: &Parcel) -> Vec<Task> {
    let task = |message: &Message| {
        vec![match message {
            Message::Run { request, db, args, bytes, .. } => {
                let mut start = bytes.start;
                let cut = |end: &u32| {
                    let arg = parcel.bytes[start as usize..*end as usize].to_vec();
                    start = *end;
                    arg
                };
                let args = parcel.args[args.start as usize..args.end as usize].iter().map(cut).collect();
                Task::Run { client: request.client, hole: request.hole, part: request.part, db: *db, args }
            }
            Message::Count { request, db, key, steps, .. } => {
                let key = &parcel.bytes[key.start as usize..key.end as usize];
                let steps = &parcel.steps[steps.start as usize..steps.end as usize];
                let task = |(hole, step): (u64, &Step)| {
                    let name: &[u8] = if step.is_blind { b"ADD" } else { b"INCRBY" };
                    let args = vec![name.to_vec(), key.to_vec(), step.amount.to_string().into_bytes()];
                    Task::Run { client: request.client, hole, part: request.part, db: *db, args }
                };
                return (request.hole..).zip(steps).map(task).collect();
            }
            Message::RunLong { request, db, input, ranges, .. } => {
                let args = ranges.iter().map(|&(start, end)| input[start as usize..end as usize].to_vec()).collect();
                Task::Run { client: request.client, hole: request.hole, part: request.part, db: *db, args }
            }
            Message::Ask { request, ask } => {
                Task::Ask { client: request.client, hole: request.hole, part: request.part, ask: (**ask).clone() }
            }
            Message::Ran { .. } | Message::RanLong { .. } | Message::Answer { .. } => return Vec::new(),
            // Only those whose histories are judged begin transactions, and nobody runs scripts or changes users.
            Message::Transaction { .. }
            | Message::Script { .. }
            | Message::ScriptIsWide { .. }
            | Message::WantScript(_)
            | Message::HaveScript(..)
            | Message::ToParticipant { .. }
            | Message::ToCoordinator { .. }
            | Message::Recovered
            | Message::Draining { .. }
            | Message::Hot(_)
            | Message::Cut(_)
            | Message::Wait(_)
            | Message::PubSub(_)
            | Message::Monitored(_)
            | Message::Acl(_)
            | Message::AclTaken { .. }
            | Message::Tracking(_)
            | Message::Unwatch { .. } => return Vec::new(),
        }]
    };
    parcel.messages.iter().flat_map(task).collect()
}
