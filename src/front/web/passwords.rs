//! Passwords of basic authentication, each compared with its bcrypt hash.
//!
//! A comparison is made to take long. So one thread makes them, one after the other, and only so many wait for it:
//! a flood of wrong passwords takes no second processor, and nobody who was let in before, because what was right
//! once is known by a keyed digest. Who asks for a user that does not exist waits as long as for one that does.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use ring::{hmac, rand};
use tokio::sync::oneshot;

use super::start_thread;

/// Of cost 10 these take about two seconds; who comes later is told to come again.
const WAITING_MAX: usize = 32;

/// Hashes by name.
pub(super) type Users = BTreeMap<String, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// Too many wait already.
    Busy,
}

pub(super) struct Passwords {
    jobs: SyncSender<Job>,
    key: hmac::Key,
    accepted: Mutex<BTreeMap<String, Accepted>>,
}

/// The last password of a user that was right.
struct Accepted {
    hash: String,
    digest: hmac::Tag,
}

struct Job {
    password: Vec<u8>,
    hash: String,
    verdict: oneshot::Sender<bool>,
}

#[derive(Debug, PartialEq, Eq)]
struct Credentials {
    name: String,
    password: Vec<u8>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords")
    }
}

impl Passwords {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(WAITING_MAX);
        start_thread("passwords", move || compare_for_ever(&queue))?;
        // Of this process alone: nothing outlives it.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new());
        Ok(Self {
            jobs,
            key: key.map_err(|_| io::Error::other("no random numbers"))?,
            accepted: Mutex::default(),
        })
    }

    /// Whether a request with these headers comes from one of the users.
    pub(super) async fn check(&self, users: &Users, headers: &HeaderMap) -> Verdict {
        let Some(credentials) = Credentials::of(headers) else {
            return Verdict::Denied;
        };
        let hash = users.get(&credentials.name);
        if hash.is_some_and(|hash| self.was_accepted(&credentials, hash)) {
            return Verdict::Allowed;
        }
        // Of the costliest hash it cannot be told from the time that there is no such user.
        let Some(compared) = hash.or_else(|| users.values().max_by_key(|hash| cost(hash))) else {
            return Verdict::Denied;
        };
        let (verdict, told) = oneshot::channel();
        let job = Job {
            password: credentials.password.clone(),
            hash: compared.clone(),
            verdict,
        };
        if self.jobs.try_send(job).is_err() {
            return Verdict::Busy;
        }
        let is_right = told.await.unwrap_or(false);
        match hash {
            Some(hash) if is_right => {
                self.accept(credentials, hash, users);
                Verdict::Allowed
            }
            Some(_) | None => Verdict::Denied,
        }
    }

    fn was_accepted(&self, credentials: &Credentials, hash: &str) -> bool {
        self.accepted().get(&credentials.name).is_some_and(|last| {
            let digest = last.digest.as_ref();
            last.hash == hash && hmac::verify(&self.key, &credentials.password, digest).is_ok()
        })
    }

    fn accept(&self, credentials: Credentials, hash: &str, users: &Users) {
        let digest = hmac::sign(&self.key, &credentials.password);
        let hash = hash.to_owned();
        let mut accepted = self.accepted();
        accepted.retain(|name, _| users.contains_key(name));
        accepted.insert(credentials.name, Accepted { hash, digest });
    }

    fn accepted(&self) -> MutexGuard<'_, BTreeMap<String, Accepted>> {
        // Whoever panicked left whole entries behind.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials {
    /// RFC 7617: the name ends at the first colon.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = STANDARD.decode(encoded.trim()).ok()?;
        let colon = text.iter().position(|byte| *byte == b':')?;
        Some(Self {
            name: String::from_utf8(text[..colon].to_vec()).ok()?,
            password: text[colon + 1..].to_vec(),
        })
    }
}

/// Two digits of a hash that was checked.
fn cost(hash: &str) -> Option<&str> {
    hash.split('$').nth(2)
}

fn compare_for_ever(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        // Nobody waits for the answer to a request that was given up.
        if !job.verdict.is_closed() {
            let is_right = bcrypt::verify(&job.password, &job.hash).unwrap_or(false);
            let _ = job.verdict.send(is_right);
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn of(header: &str) -> Option<Credentials> {
        let value = HeaderValue::from_str(header).expect("a header's text");
        Credentials::of(&HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    #[test]
    fn credentials_are_read_or_refused() {
        let read = of("basic YWxpY2U6YTpi").expect("alice:a:b");
        assert_eq!(
            (read.name.as_str(), read.password.as_slice()),
            ("alice", b"a:b".as_slice())
        );
        for header in [
            "",
            "Basic",
            "Basic !!!",
            "Basic YWxpY2U=",
            "Bearer YWxpY2U6YTpi",
            "Basic /zph",
        ] {
            assert_eq!(of(header), None, "{header}");
        }
    }
}
