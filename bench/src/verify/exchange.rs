//! What one client says and hears: the request that is under way, the replies to it as far as they have come, and whose operation it is.
//! Whoever has the connection brings the bytes.

use super::workload::{Request, Workload};
use crate::sim::reply::{Frame, frame_len, parse, shown};

/// The exchange of one client with a server.
#[derive(Default)]
pub struct Exchange {
    pub request: Request,
    /// Whose operation is under way, and since when.
    pub busy: Option<(usize, u64)>,
    input: Vec<u8>,
    /// How many replies of `input` are whole, and where they end.
    whole: usize,
    whole_bytes: usize,
}

/// What came of the replies.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// They are not all there.
    Nothing,
    /// The operation goes on: `request` is to be sent.
    Asks,
    Over,
    /// One of them should not be. What the connection is in the middle of is not known.
    Wrong(Wrong),
}

/// Replies that a workload does not take.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    /// The errors among them.
    pub errors: Vec<Vec<u8>>,
}

impl Exchange {
    /// Some bytes have come.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.extend_from_slice(bytes);
        while self.whole_bytes < self.input.len() {
            let Some(len) = frame_len(&self.input[self.whole_bytes..])? else { break };
            self.whole += 1;
            self.whole_bytes += len;
        }
        Ok(())
    }

    /// Replies that are whole.
    pub fn whole(&self) -> usize {
        self.whole
    }

    pub fn is_answered(&self) -> bool {
        self.whole >= self.request.replies
    }

    /// Hands the replies to the workload once they are all there.
    pub fn take(&mut self, client: u32, now: u64, workloads: &mut [Box<dyn Workload>]) -> Result<Taken, String> {
        let Some((workload, _)) = self.busy.filter(|_| self.is_answered()) else { return Ok(Taken::Nothing) };
        let frames = self.frames()?;
        if frames.len() > self.request.replies {
            return Err(format!("a reply to no request: {:?}", frames.last()));
        }
        let mut next = Request::default();
        let judged = workloads[workload].on_replies(client, now, &frames, &mut next);
        let taken = match judged {
            Ok(()) if next.replies > 0 => Taken::Asks,
            Ok(()) => Taken::Over,
            Err(what) => {
                let mut errors = Vec::new();
                frames.iter().for_each(|frame| errors_of(frame, &mut errors));
                Taken::Wrong(Wrong { what, errors })
            }
        };
        self.reset();
        self.request = next;
        Ok(taken)
    }

    /// The errors among the replies that are there.
    pub fn errors(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut errors = Vec::new();
        self.frames()?.iter().for_each(|frame| errors_of(frame, &mut errors));
        Ok(errors)
    }

    /// Nothing is under way, or what was is not talked about any more. Answers whose operation it was.
    pub fn lose(&mut self) -> Option<usize> {
        self.reset();
        self.busy.take().map(|(workload, _)| workload)
    }

    pub fn reset(&mut self) {
        self.request.clear();
        self.input.clear();
        (self.whole, self.whole_bytes) = (0, 0);
    }

    fn frames(&self) -> Result<Vec<Frame<'_>>, String> {
        let mut frames = Vec::with_capacity(self.whole);
        let mut rest = &self.input[..];
        for _ in 0..self.whole {
            let len = frame_len(rest)?.expect("so many replies are whole");
            frames.push(parse(&rest[..len]).ok_or_else(|| format!("no reply: {}", shown(rest)))?);
            rest = &rest[len..];
        }
        Ok(frames)
    }
}

fn errors_of(frame: &Frame, errors: &mut Vec<Vec<u8>>) {
    match frame {
        Frame::Line(line) if line.starts_with(b"-") => errors.push(line.to_vec()),
        Frame::Array(frames) => frames.iter().for_each(|frame| errors_of(frame, errors)),
        _ => {}
    }
}
