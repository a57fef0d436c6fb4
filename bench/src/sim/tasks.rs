//! What a parcel will make a machine do, read before it is handed over.

use super::checks::Args;
use cairn_core::parcel::{Ask, Message, Parcel};

/// What a parcel will make a machine do, in order.
pub enum Task {
    Run { client: u64, hole: u64, part: u32, db: u8, args: Args },
    Ask { client: u64, hole: u64, part: u32, ask: Ask },
}

/// What a parcel says, read before it is handed over.
pub fn tasks(parcel: &Parcel) -> Vec<Task> {
    let task = |message: &Message| {
        Some(match message {
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
            Message::RunLong { request, db, input, ranges, .. } => {
                let args = ranges.iter().map(|&(start, end)| input[start as usize..end as usize].to_vec()).collect();
                Task::Run { client: request.client, hole: request.hole, part: request.part, db: *db, args }
            }
            Message::Ask { request, ask } => {
                Task::Ask { client: request.client, hole: request.hole, part: request.part, ask: (**ask).clone() }
            }
            Message::Ran { .. } | Message::RanLong { .. } | Message::Answer { .. } => return None,
            // Only those whose histories are judged begin transactions, and nobody runs scripts.
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
            | Message::Unwatch { .. } => return None,
        })
    };
    parcel.messages.iter().filter_map(task).collect()
}
