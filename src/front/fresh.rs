//! What is made of files, and made again when one of them changes.
//!
//! Whenever somebody connects, a thread looks whether a file has changed, so that certificates can be exchanged at
//! any time. What is broken by then does not come into force: the last good one stays. Nobody waits long for that
//! thread, which may hang with the host's storage.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::files::Files;
use super::start_thread;
use super::tls::now;
use super::web::WebError;

/// Some stats of files in memory; who takes longer waits for storage, and nobody waits for that.
const LOOK_LIMIT: Duration = Duration::from_millis(250);
/// As many connections as may be open at once.
const LOOKS_MAX: usize = 256;

/// How it is made, and how it is told.
pub(super) trait Recipe: Send + 'static {
    type Made: Send + Sync;
    /// Of the thread that looks.
    const THREAD: &'static str;

    fn make(&self, files: &mut Files) -> Result<Self::Made, WebError>;
    /// It has come into force in place of another one.
    fn tell_changed(&self);
    fn tell_broken(&self, error: &WebError);
}

/// Somebody waits for it.
type Look = oneshot::Sender<()>;

#[derive(Debug)]
pub(super) struct Fresh<T> {
    state: Arc<Mutex<State<T>>>,
    looks: SyncSender<Look>,
    /// The last look has not come back in time.
    is_late: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) made: Arc<T>,
    /// Whether it is what the files say now.
    pub(super) is_current: bool,
    /// When it came into force, in seconds since 1970.
    pub(super) since: f64,
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// Makes it, and starts the thread that looks after it.
    pub(super) fn start(mut files: Files, recipe: impl Recipe<Made = T>) -> Result<Self, WebError> {
        let made = remade(&mut files, &recipe)?;
        let state = Arc::new(Mutex::new(made));
        let (looks, queue) = sync_channel(LOOKS_MAX);
        let fresh = Self {
            state: Arc::clone(&state),
            looks,
            is_late: Arc::default(),
        };
        let is_late = Arc::clone(&fresh.is_late);
        start_thread(thread_of(&recipe), move || {
            look_for_ever(&queue, &mut files, &recipe, &state, &is_late);
        })
        .map_err(WebError::Thread)?;
        Ok(fresh)
    }

    /// What is in force, after a look at the files.
    pub(super) async fn get(&self) -> Arc<T> {
        let (look, done) = oneshot::channel();
        let is_asked = self.looks.try_send(look).is_ok();
        let is_late = self.is_late.load(Ordering::Relaxed);
        if is_asked && !is_late && timeout(LOOK_LIMIT, done).await.is_err() {
            // Until the thread is there again, it is asked and not waited for.
            self.is_late.store(true, Ordering::Relaxed);
        }
        Arc::clone(&self.state().made)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

const fn thread_of<R: Recipe>(_: &R) -> &'static str {
    R::THREAD
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    // Whoever panicked left plain values behind.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remade<R: Recipe>(files: &mut Files, recipe: &R) -> Result<State<R::Made>, WebError> {
    files.forget();
    Ok(State {
        made: Arc::new(recipe.make(files)?),
        is_current: true,
        since: now().as_secs_f64(),
    })
}

/// One look serves all who wait for one when it begins.
fn look_for_ever<R: Recipe>(
    looks: &Receiver<Look>,
    files: &mut Files,
    recipe: &R,
    state: &Mutex<State<R::Made>>,
    is_late: &AtomicBool,
) {
    while let Ok(first) = looks.recv() {
        let waiting: Vec<Look> = std::iter::once(first).chain(looks.try_iter()).collect();
        if files.have_changed() {
            match remade(files, recipe) {
                Ok(new) => {
                    *lock(state) = new;
                    recipe.tell_changed();
                }
                Err(error) => {
                    lock(state).is_current = false;
                    recipe.tell_broken(&error);
                }
            }
        }
        is_late.store(false, Ordering::Relaxed);
        for look in waiting {
            // It may have been waited for long enough.
            let _ = look.send(());
        }
    }
}
