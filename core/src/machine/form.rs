//! What the reply to a statement of an open transaction is made of.

use super::Machine;
use super::ask::Merge;
use super::remote::Spreading;
use crate::event::ConnId;
use crate::parcel::Answer;
use crate::resp::encode::Reply;
use crate::resp::replies::Replies;
use crate::tx::Worked;

pub(super) enum Form {
    Single,
    /// Of each shard, which of all parts it is.
    Parts(Spreading, Vec<usize>),
    /// LOCK: the keys at each shard, with their places among all; if those that are locked are told.
    Lock {
        keys: Vec<Vec<(usize, Vec<u8>)>>,
        is_told: bool,
    },
    /// What shards have said of a whole database.
    Answers {
        merge: Merge,
        is_resp3: bool,
    },
}

impl Form {
    /// The reply, from what the shards have said in their order.
    pub fn write(self, machine: &mut Machine, worked: Vec<Worked>) -> Replies {
        let mut replies = Replies::default();
        match self {
            Form::Single => {
                if let Some(Worked::Reply(reply)) = worked.into_iter().next() {
                    return reply;
                }
            }
            Form::Parts(mut spreading, numbers) => {
                for (number, worked) in numbers.into_iter().zip(worked) {
                    if let Worked::Reply(reply) = worked {
                        spreading.set(number, reply);
                    }
                }
                return spreading.join();
            }
            Form::Lock { is_told: false, .. } => Reply::new(&mut replies, false).ok(),
            Form::Lock { keys, is_told: true } => {
                let mut locked: Vec<(usize, Vec<u8>)> = Vec::new();
                for (keys, worked) in keys.into_iter().zip(worked) {
                    let Worked::Locked(are_locked) = worked else { continue };
                    locked.extend(
                        keys.into_iter().zip(are_locked).filter(|(_, is_locked)| *is_locked).map(|(key, _)| key),
                    );
                }
                locked.sort_unstable();
                let mut reply = Reply::new(&mut replies, false);
                reply.array(locked.len());
                locked.iter().for_each(|(_, key)| reply.bulk(key));
            }
            Form::Answers { merge, is_resp3 } => {
                let answers = worked.into_iter().filter_map(Worked::into_answer).collect();
                merge(machine, ConnId(u32::MAX), answers, &mut Reply::new(&mut replies, is_resp3));
            }
        }
        replies
    }
}

impl Worked {
    pub(super) fn error_line(&self) -> Option<String> {
        match self {
            Worked::Reply(reply) => super::exec::error_line(reply, 0),
            Worked::Answer(Answer::Refused(line)) => Some(line.clone()),
            Worked::Answer(_) | Worked::Calm | Worked::Locked(_) | Worked::Apart { .. } => None,
        }
    }

    fn into_answer(self) -> Option<Answer> {
        if let Worked::Answer(answer) = self { Some(answer) } else { None }
    }
}
