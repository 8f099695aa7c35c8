//! How many changes each caller may ask for: a bucket of tokens for each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::action::{Caller, Who};
use crate::model::bucket::{Bucket, RateLimit};

/// Twenty in a second, and twice as many at once: more than any script needs.
const OTHERS: RateLimit = RateLimit {
    interval: Duration::from_millis(50),
    burst: 40,
};
/// Two hundred: a host's own tools act on a whole herd.
const ROOT: RateLimit = RateLimit {
    interval: Duration::from_millis(5),
    burst: 400,
};
/// Callers with a bucket. Each is full again after two seconds without a request, and then no longer needed.
const CALLERS_MAX: usize = 128;
const REFILLED: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<BTreeMap<Who, User>>);

#[derive(Debug)]
struct User {
    bucket: Bucket,
    last: Instant,
    /// The request before was one too many as well.
    is_spent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Token,
    /// The first one too many, which is worth a record.
    Spent,
    SpentBefore,
}

impl Buckets {
    pub(super) fn take(&self, caller: &Caller, now: Instant) -> Taken {
        let who = caller.who();
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= CALLERS_MAX && !users.contains_key(&who) {
            users.retain(|_, user| now.saturating_duration_since(user.last) < REFILLED);
        }
        let limit = if caller.is_root() { ROOT } else { OTHERS };
        let user = users.entry(who).or_insert_with(|| User {
            bucket: Bucket::new(limit, now),
            last: now,
            is_spent: false,
        });
        user.last = now;
        let was_spent = user.is_spent;
        user.is_spent = !user.bucket.take(now);
        match (user.is_spent, was_spent) {
            (false, _) => Taken::Token,
            (true, false) => Taken::Spent,
            (true, true) => Taken::SpentBefore,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn user(uid: u32) -> Caller {
        Caller::Peer { uid, gid: uid }
    }

    #[test]
    fn each_user_has_tokens_of_its_own_and_root_more() {
        let buckets = Buckets::default();
        let now = Instant::now();
        let take = |uid, count| {
            let taken: Vec<Taken> = (0..count).map(|_| buckets.take(&user(uid), now)).collect();
            taken
                .into_iter()
                .filter(|taken| *taken == Taken::Token)
                .count()
        };
        assert_eq!(
            (take(1000, 100), take(1001, 10), take(0, 500)),
            (40, 10, 400)
        );
        assert_eq!(buckets.take(&user(1000), now), Taken::SpentBefore);
        let later = now + Duration::from_millis(60);
        assert_eq!(buckets.take(&user(1000), later), Taken::Token);
        assert_eq!(buckets.take(&user(1000), later), Taken::Spent);
    }

    #[test]
    fn users_that_ask_no_more_are_forgotten() {
        let buckets = Buckets::default();
        let now = Instant::now();
        for uid in 0..1000 {
            buckets.take(&user(uid), now + REFILLED * uid);
        }
        let users = buckets.0.lock().expect("nobody panicked").len();
        assert!(users <= CALLERS_MAX, "{users}");
    }
}
