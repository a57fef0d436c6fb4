//! Work that a shard waits for, on a thread of its own: who asked is always answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

/// Takes the answer to a question of a shard.
pub type Then = Box<dyn FnOnce(Result<String, String>) + Send>;

/// Does the work on a thread and answers with what came of it. Without a thread the answer is an error that begins with `failed`.
pub fn apart(name: &str, failed: &str, then: Then, work: impl FnOnce() -> Result<String, String> + Send + 'static) {
    // Whoever answers takes it: the thread, or nobody else if there is none.
    let waiting = Arc::new(Mutex::new(Some(then)));
    let take = |waiting: &Mutex<Option<Then>>| waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    let answered = Arc::clone(&waiting);
    let work = move || {
        let result = work();
        if let Some(then) = take(&answered) {
            then(result);
        }
    };
    if let Err(error) = Builder::new().name(name.into()).spawn(work)
        && let Some(then) = take(&waiting)
    {
        then(Err(format!("{failed}: {error}")));
    }
}
