//! Passwords: hashed with Argon2id when they are read, checked off the data cores.
//!
//! What the shards hold is a PHC string (`$argon2id$v=19$...`). A check costs some 20 ms and 19 MiB, so a thread of
//! its own makes it, one at a time, from a bounded queue; a password that was right lately is known by a digest with
//! a key of this process, and then the answer is immediate: connection storms do not queue.

use crate::limits::{KNOWN_PASSWORDS_MAX, PASSWORD_QUEUE_MAX};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
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
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

/// Random bytes of the operating system.
pub fn random(bytes: &mut [u8]) -> Result<(), String> {
    let mut source = File::open("/dev/urandom").map_err(|error| format!("/dev/urandom: {error}"))?;
    source.read_exact(bytes).map_err(|error| format!("/dev/urandom: {error}"))
}

/// What to do with the outcome.
type Then = Box<dyn FnOnce(Result<String, String>) + Send>;

enum Job {
    Check { hash: String, password: Vec<u8>, then: Then },
    Hash { password: Vec<u8>, then: Then },
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
        let work = move || {
            for job in inbox {
                match job {
                    Job::Check { hash, password, then } => {
                        // Others may have asked for the same while this one waited.
                        let right = lock(&learned).has(&hash, &password) || is_right(&hash, &password);
                        if right {
                            lock(&learned).add(&hash, &password);
                        }
                        then(if right { Ok(String::new()) } else { Err(String::new()) });
                    }
                    Job::Hash { password, then } => then(hash(&password)),
                }
            }
        };
        std::thread::Builder::new().name("cairn-password".into()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Passwords { jobs, known })
    }

    /// `then` gets `Ok("")` or `Err("")`. With too many checks waiting the answer is no, at once.
    pub fn check(&self, hash: String, password: Vec<u8>, then: Then) {
        if lock(&self.known).has(&hash, &password) {
            return then(Ok(String::new()));
        }
        self.offer(Job::Check { hash, password, then });
    }

    /// `then` gets the PHC string.
    pub fn hash(&self, password: Vec<u8>, then: Then) {
        self.offer(Job::Hash { password, then });
    }

    fn offer(&self, job: Job) {
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.jobs.try_send(job) {
            let (Job::Check { then, .. } | Job::Hash { then, .. }) = job;
            then(Err(String::new()));
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
        passwords.check(hash.into(), password.into(), Box::new(move |answer| tell.send(answer.is_ok()).unwrap()));
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
