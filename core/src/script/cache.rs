//! The scripts that a shard knows. Those that only EVAL has brought make room for newer ones, as in Redis 7.4; those of SCRIPT LOAD
//! stay until SCRIPT FLUSH.

use super::source::{Script, Sha};
use crate::limits::{SCRIPT_CACHE_BYTES_MAX, SCRIPTS_EVALED_MAX};
use hashbrown::HashMap;
use std::sync::Arc;

#[derive(Default)]
pub struct Cache {
    scripts: HashMap<Sha, Known>,
    evaled: usize,
    bytes: usize,
    uses: u64,
    evicted: u64,
    /// EVAL is mostly given the same script again: it is compared, not hashed.
    last: Option<Arc<Script>>,
}

struct Known {
    script: Arc<Script>,
    is_loaded: bool,
    /// When it was used last, counted in uses.
    used: u64,
}

impl Cache {
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Scripts that have made room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The script of that name, which is used now.
    pub fn find(&mut self, sha: Sha) -> Option<&Arc<Script>> {
        self.uses += 1;
        let known = self.scripts.get_mut(&sha)?;
        known.used = self.uses;
        Some(&known.script)
    }

    /// The script with that text, if it is known.
    pub fn find_text(&mut self, body: &[u8]) -> Option<Arc<Script>> {
        if let Some(last) = self.last.as_ref().filter(|last| last.body == body) {
            let last = Arc::clone(last);
            self.find(last.sha);
            return Some(last);
        }
        let found = self.find(Sha::of(body)).cloned();
        self.last.clone_from(&found);
        found
    }

    pub fn contains(&self, sha: Sha) -> bool {
        self.scripts.contains_key(&sha)
    }

    /// Whether SCRIPT LOAD may bring a text of that length.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= SCRIPT_CACHE_BYTES_MAX
    }

    /// Keeps a script; `is_loaded`: until it is flushed. Whichever have to go for it.
    pub fn keep(&mut self, script: &Arc<Script>, is_loaded: bool) -> Vec<Sha> {
        self.uses += 1;
        let used = self.uses;
        if let Some(known) = self.scripts.get_mut(&script.sha) {
            self.evaled -= usize::from(is_loaded && !known.is_loaded);
            known.is_loaded |= is_loaded;
            known.used = used;
            return Vec::new();
        }
        self.bytes += script.body.len();
        self.evaled += usize::from(!is_loaded);
        self.scripts.insert(script.sha, Known { script: Arc::clone(script), is_loaded, used });
        let mut gone = Vec::new();
        while self.evaled > SCRIPTS_EVALED_MAX || (self.bytes > SCRIPT_CACHE_BYTES_MAX && self.evaled > 1) {
            let evaled = self.scripts.iter().filter(|(_, known)| !known.is_loaded);
            let oldest = evaled.min_by_key(|(_, known)| known.used).map(|(sha, _)| *sha);
            let oldest = oldest.expect("some are counted");
            let known = self.scripts.remove(&oldest).expect("it was just there");
            self.bytes -= known.script.body.len();
            self.evaled -= 1;
            self.evicted += 1;
            gone.push(oldest);
        }
        if !gone.is_empty() {
            self.last = None;
        }
        gone
    }

    /// All are forgotten.
    pub fn flush(&mut self) {
        *self = Cache { evicted: self.evicted, ..Cache::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_eval_has_brought_goes_first() {
        let mut cache = Cache::default();
        let script = |number: usize| Script::new(format!("return {number}").as_bytes()).unwrap();
        let loaded = script(1_000_000);
        assert!(cache.keep(&loaded, true).is_empty());
        let first = script(0);
        for number in 0..SCRIPTS_EVALED_MAX {
            assert!(cache.keep(&script(number), false).is_empty());
        }
        assert!(cache.find_text(b"return 0").is_some() && cache.find_text(b"return 0").is_some());
        assert_eq!(cache.keep(&script(500_000), false), [Sha::of(b"return 1")]);
        assert!(cache.contains(first.sha) && cache.contains(loaded.sha) && cache.find_text(b"return 1").is_none());
        assert_eq!((cache.len(), cache.evicted()), (SCRIPTS_EVALED_MAX + 1, 1));
        // From now on it stays.
        cache.keep(&first, true);
        assert!(cache.keep(&script(600_000), false).is_empty());
        cache.flush();
        assert!(cache.is_empty() && cache.find_text(b"return 0").is_none() && cache.bytes() == 0);
    }
}
