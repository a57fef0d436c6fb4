//! Passwords: hashed with Argon2id when they are read, checked off the data cores.
//!
//! What the shards hold is a PHC string (`$argon2id$v=19$...`). A check costs some 20 ms and 19 MiB, so a thread of
//! its own makes it, one at a time, from a bounded queue; a password that was right lately is known by a digest with
//! a key of this process, and then the answer is immediate: connection storms do not queue.

use crate::apart::Then;
use crate::limits::{KNOWN_PASSWORDS_MAX, PASSWORD_QUEUE_MAX};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use cairn_core::event::PasswordStep;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

const PHC_PREFIX: &str = "$argon2id$";

/// What `requirepass` is kept as: empty (no password) and PHC strings as they are, anything else hashed.
pub fn stored_form(password: &str) -> Result<String, String> {
    if password.is_empty() || password.starts_with(PHC_PREFIX) && PasswordHash::new(password).is_ok() {
        return Ok(password.to_string());
    }
    hash(password.as_bytes())
}

/// A new salt, and the PHC string.
pub fn hash(password: &[u8]) -> Result<String, String> {
    let mut salt = [0u8; 16];
    random(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = Argon2::default().hash_password(password, &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

fn is_right(hash: &str, password: &[u8]) -> bool {
    if hash.starts_with(PHC_PREFIX) {
        return PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok());
    }
    // As Redis writes it. Takes the same time whatever both have in common.
    let digest: String = Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect();
    digest.len() == hash.len() && digest.bytes().zip(hash.bytes()).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

/// Random bytes in hexadecimal.
pub fn random_hex(bytes: usize) -> Result<String, String> {
    let mut drawn = vec![0u8; bytes];
    random(&mut drawn)?;
    Ok(drawn.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What becomes of the hashes of a user: a line for each password that is added or taken away.
fn settle(mut hashes: Vec<String>, steps: Vec<PasswordStep>) -> Result<String, String> {
    let mut lines = Vec::new();
    for step in steps {
        match step {
            PasswordStep::Clear => hashes.clear(),
            PasswordStep::AddHash(hash) => hashes.push(hash),
            PasswordStep::RemoveHash(hash) => hashes.retain(|known| *known != hash),
            PasswordStep::Add(password) => {
                let known = hashes.iter().find(|hash| is_right(hash, &password)).cloned();
                let hash = known.map_or_else(|| hash(&password), Ok)?;
                hashes.push(hash.clone());
                lines.push(hash);
            }
            PasswordStep::Remove(password) => {
                let known = hashes.iter().find(|hash| is_right(hash, &password)).cloned();
                hashes.retain(|hash| Some(hash) != known.as_ref());
                lines.push(known.unwrap_or_default());
            }
        }
    }
    Ok(lines.join("\n"))
}

/// Random bytes of the operating system.
pub fn random(bytes: &mut [u8]) -> Result<(), String> {
    let mut source = File::open("/dev/urandom").map_err(|error| format!("/dev/urandom: {error}"))?;
    source.read_exact(bytes).map_err(|error| format!("/dev/urandom: {error}"))
}

enum Job {
    Check { hashes: Vec<String>, password: Vec<u8>, then: Then },
    Hash { password: Vec<u8>, then: Then },
    Settle { hashes: Vec<String>, steps: Vec<PasswordStep>, then: Then },
}

/// The thread that hashes.
pub struct Passwords {
    jobs: SyncSender<Job>,
    known: Arc<Mutex<Known>>,
}

impl Passwords {
    pub fn start() -> Result<Passwords, String> {
        let mut key = [0u8; 32];
        random(&mut key)?;
        let known = Arc::new(Mutex::new(Known { key, digests: VecDeque::new() }));
        let (jobs, inbox) = sync_channel::<Job>(PASSWORD_QUEUE_MAX);
        let learned = Arc::clone(&known);
        let decoy = hash(&key)?;
        let work = move || {
            for job in inbox {
                match job {
                    Job::Check { hashes, password, then } => {
                        // Others may have asked for the same while this one waited.
                        let known = lock(&learned).has_any(&hashes, &password);
                        let right = known.or_else(|| hashes.iter().find(|hash| is_right(hash, &password)));
                        if let Some(hash) = right {
                            lock(&learned).add(hash, &password);
                        } else if !hashes.iter().any(|hash| hash.starts_with(PHC_PREFIX)) {
                            // As long as for a user who has such a hash.
                            is_right(&decoy, &password);
                        }
                        then(if right.is_some() { Ok(String::new()) } else { Err(String::new()) });
                    }
                    Job::Hash { password, then } => then(hash(&password)),
                    Job::Settle { hashes, steps, then } => then(settle(hashes, steps)),
                }
            }
        };
        std::thread::Builder::new().name("cairn-password".into()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Passwords { jobs, known })
    }

    /// `then` gets `Ok("")` or `Err("")`. With too many checks waiting the answer is no, at once.
    pub fn check(&self, hashes: Vec<String>, password: Vec<u8>, then: Then) {
        if lock(&self.known).has_any(&hashes, &password).is_some() {
            return then(Ok(String::new()));
        }
        self.offer(Job::Check { hashes, password, then });
    }

    /// `then` gets the hashes that are added and taken away, one in a line.
    pub fn settle(&self, hashes: Vec<String>, steps: Vec<PasswordStep>, then: Then) {
        self.offer(Job::Settle { hashes, steps, then });
    }

    /// `then` gets the PHC string.
    pub fn hash(&self, password: Vec<u8>, then: Then) {
        self.offer(Job::Hash { password, then });
    }

    fn offer(&self, job: Job) {
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
            let (Job::Check { then, .. } | Job::Hash { then, .. } | Job::Settle { then, .. }) = job;
            then(Err("too many passwords wait to be hashed, try again".into()));
        }
    }
}

fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().expect("nothing panics while it holds this lock")
}

/// Digests of the pairs of hash and password that were found to match.
struct Known {
    key: [u8; 32],
    digests: VecDeque<[u8; 32]>,
}

impl Known {
    fn digest(&self, hash: &str, password: &[u8]) -> [u8; 32] {
        // Two passes with the key, so that a digest cannot be extended by who does not have it.
        let inner = Sha256::new()
            .chain_update(self.key)
            .chain_update((hash.len() as u64).to_le_bytes())
            .chain_update(hash)
            .chain_update(password)
            .finalize();
        Sha256::new().chain_update(self.key).chain_update(inner).finalize().into()
    }

    /// Takes the same time whatever the digests have in common.
    fn has(&self, hash: &str, password: &[u8]) -> bool {
        let digest = self.digest(hash, password);
        self.digests.iter().fold(false, |found, known| {
            let difference = known.iter().zip(digest).fold(0, |bits, (a, b)| bits | (a ^ b));
            found | (difference == 0)
        })
    }

    /// The first of the hashes that is known to match.
    fn has_any<'a>(&self, hashes: &'a [String], password: &[u8]) -> Option<&'a String> {
        hashes.iter().find(|hash| self.has(hash, password))
    }

    fn add(&mut self, hash: &str, password: &[u8]) {
        let digest = self.digest(hash, password);
        self.digests.retain(|known| *known != digest);
        self.digests.push_back(digest);
        if self.digests.len() > KNOWN_PASSWORDS_MAX {
            self.digests.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn ask(passwords: &Passwords, hash: &str, password: &str) -> bool {
        let (tell, told) = channel();
        passwords.check(vec![hash.into()], password.into(), Box::new(move |answer| tell.send(answer.is_ok()).unwrap()));
        told.recv().unwrap()
    }

    #[test]
    fn right_and_wrong_passwords_are_told_apart() {
        let stored = stored_form("open sesame").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$") && !stored.contains("sesame"));
        assert_eq!(stored_form(&stored).unwrap(), stored);
        assert_ne!(stored_form("open sesame").unwrap(), stored, "every hash has its own salt");
        assert_eq!(stored_form("").unwrap(), "");
        let passwords = Passwords::start().unwrap();
        assert!(!ask(&passwords, &stored, "open"));
        assert!(lock(&passwords.known).digests.is_empty());
        assert!(ask(&passwords, &stored, "open sesame"));
        assert!(lock(&passwords.known).has(&stored, b"open sesame"));
        assert!(ask(&passwords, &stored, "open sesame"));
        assert!(!ask(&passwords, &stored, "open sesame "));
        assert!(!ask(&passwords, &stored_form("other").unwrap(), "open sesame"));
    }

    #[test]
    fn hashes_of_redis_are_known_too() {
        let sha256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";
        assert!(is_right(sha256, b"password"));
        assert!(!is_right(sha256, b"passwort") && !is_right(&sha256[1..], b"password") && !is_right("", b""));
    }

    #[test]
    fn passwords_are_added_once_and_taken_away_by_their_text() {
        let one = hash(b"one").unwrap();
        let add = |text: &str| PasswordStep::Add(text.into());
        let remove = |text: &str| PasswordStep::Remove(text.into());
        let steps = vec![add("one"), add("two"), remove("two"), remove("two"), remove("one"), remove("one")];
        let lines = settle(vec![one.clone()], steps).unwrap();
        let lines: Vec<&str> = lines.split('\n').collect();
        assert_eq!((lines[0], lines[3], lines[4], lines[5]), (one.as_str(), "", one.as_str(), ""));
        assert!(lines[1] != one && lines[1] == lines[2] && is_right(lines[1], b"two"));
        assert_eq!(settle(vec![one], vec![PasswordStep::Clear, remove("one")]).unwrap(), "");
    }

    #[test]
    fn random_bytes_are_not_the_same_twice() {
        let (one, two) = (random_hex(32).unwrap(), random_hex(32).unwrap());
        assert!(one.len() == 64 && one != two);
    }

    #[test]
    fn known_passwords_are_bounded() {
        let mut known = Known { key: [7; 32], digests: VecDeque::new() };
        for n in 0..2 * KNOWN_PASSWORDS_MAX {
            known.add("hash", n.to_string().as_bytes());
            known.add("hash", n.to_string().as_bytes());
        }
        assert_eq!(known.digests.len(), KNOWN_PASSWORDS_MAX);
        assert!(!known.has("hash", b"0") && known.has("hash", (2 * KNOWN_PASSWORDS_MAX - 1).to_string().as_bytes()));
    }
}
