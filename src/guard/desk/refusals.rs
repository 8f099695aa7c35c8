//! Which refusals are put on record: all of a few, and of many one now and then, for each caller.
//!
//! Whoever may open the socket can be refused twenty times in a second, and the journal is two files of a bounded
//! size: without a bound here anybody could push out of it within the hour what is on record of others. All that is
//! refused passes here, whether the front refused it or the desk, and is answered as ever when it is not recorded.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::action::{Ask, Caller, Question, Reference, Who};
use crate::model::bucket::{Bucket, RateLimit};
use crate::model::journal::{RecordKind, RecordTarget};
use crate::model::refusal::Refusal;

use super::super::clock;
use super::journal::{Journal, Line};

/// Forty show what a script does wrong. A day of one in each interval is 6 MiB where lines are as long as they get: who
/// asks for nonsense day and night leaves what is on record of others there for five days.
const EACH: RateLimit = RateLimit {
    interval: Duration::from_secs(15),
    burst: 40,
};
/// As many as the front takes of root at once: a host's own tools act on a whole herd, and what they were refused is
/// looked for here. Root may write to the journal itself, so this is no bound for an attacker but for a script that
/// has gone wild, which leaves the rest there for three days.
const ROOT: RateLimit = RateLimit {
    interval: Duration::from_secs(10),
    burst: 400,
};
/// Callers with a bucket of their own. Each is in the configuration or has a token, so there are as many as somebody
/// has made; those for whom there is no room share one.
const CALLERS_MAX: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<Whose, Refused>>);

/// Whose refusals are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Caller(Who),
    /// Who came over the network and is not known: addresses cost them nothing.
    Strangers,
    /// Users whom the configuration does not name: whoever has one may have thousands.
    Others,
}

#[derive(Debug)]
struct Refused {
    bucket: Bucket,
    /// Since it was last asked how many.
    left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Recorded,
    /// What follows at once will not be; with what says so.
    Last(String),
    LeftOut,
}

impl Refusals {
    /// Puts it on record if there is room for it. `is_known` is whether its caller may see anything at all.
    pub(super) fn record(
        &self,
        journal: &Journal,
        ask: &Ask,
        refusal: &Refusal,
        is_known: bool,
    ) -> Result<(), Refusal> {
        let whose = Whose::of(&ask.caller, is_known);
        let mut line = line(ask, refusal);
        match self.take(whose, Instant::now()) {
            Fate::Recorded => {}
            Fate::Last(note) => line.record.detail.push_str(&note),
            Fate::LeftOut => return Ok(()),
        }
        journal.write(line)
    }

    /// Whose refusals were left out since this was last asked, and how many.
    pub(super) fn left_out(&self) -> Vec<(String, u64)> {
        let mut all = self.lock();
        let counts = all
            .iter_mut()
            .map(|(whose, refused)| (whose.to_string(), mem::take(&mut refused.left_out)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn take(&self, whose: Whose, now: Instant) -> Fate {
        let mut all = self.lock();
        if all.len() >= CALLERS_MAX && !all.contains_key(&whose) {
            all.retain(|_, refused| refused.left_out > 0 || !refused.bucket.is_full(now));
        }
        let whose = match whose {
            Whose::Caller(_) if all.len() >= CALLERS_MAX && !all.contains_key(&whose) => {
                Whose::Others
            }
            Whose::Caller(_) | Whose::Strangers | Whose::Others => whose,
        };
        let limit = whose.limit();
        let note = format!(
            " (of what else is refused to {whose} one in {} s is on record)",
            limit.interval.as_secs()
        );
        let refused = all.entry(whose).or_insert_with(|| Refused {
            bucket: Bucket::new(limit, now),
            left_out: 0,
        });
        if !refused.bucket.take(now) {
            refused.left_out += 1;
            return Fate::LeftOut;
        }
        if refused.bucket.has(now) {
            Fate::Recorded
        } else {
            Fate::Last(note)
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Whose, Refused>> {
        // Whoever panicked left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Whose {
    fn of(caller: &Caller, is_known: bool) -> Self {
        match caller {
            Caller::Stranger { .. } => Self::Strangers,
            Caller::Peer { .. } if !is_known => Self::Others,
            // Whoever shows a token or a certificate has been let in by the guard.
            Caller::Peer { .. } | Caller::Token { .. } | Caller::Certificate { .. } => {
                Self::Caller(caller.who())
            }
        }
    }

    const fn limit(&self) -> RateLimit {
        match self {
            Self::Caller(Who::User(0)) => ROOT,
            Self::Caller(_) | Self::Strangers | Self::Others => EACH,
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller(Who::User(uid)) => write!(f, "user {uid}"),
            Self::Caller(Who::Token(id)) => write!(f, "token {id}"),
            Self::Caller(Who::Certificate(name)) => write!(f, "certificate {name}"),
            Self::Caller(Who::Stranger(_)) | Self::Strangers => {
                f.write_str("whoever is not known over the network")
            }
            Self::Others => f.write_str("users whom the configuration does not name"),
        }
    }
}

/// Which volume it was is known where the request says so; of an uuid the reason tells the name, where there is one.
fn line(ask: &Ask, refusal: &Refusal) -> Line {
    let act = match &ask.question {
        Question::Act(act) | Question::Confirm(act) => Some(act),
        Question::Volumes
        | Question::Jobs
        | Question::Job(_)
        | Question::Admit(_)
        | Question::Refused(_) => None,
    };
    let named = act.map(|act| format!("{}: ", act.target));
    let named = named.filter(|named| !refusal.detail.starts_with(named.as_str()));
    let detail = named.unwrap_or_default() + &refusal.detail;
    let now = clock::now().wall;
    let line = Line::of(RecordKind::Refused, now, &ask.caller, &ask.line);
    let verb = act.map(|act| act.action.verb());
    let mut line = line.with(verb, detail, Some(refusal.code));
    line.record.target = act.and_then(|act| match &act.target {
        Reference::Name(name) => Some(RecordTarget::named(name)),
        Reference::Uuid(_) => None,
    });
    line
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{IpAddr, Ipv4Addr};

    use crate::model::action::{Act, Action};
    use crate::model::journal::Record;
    use crate::model::names::{Name, Uuid, VolumeName};
    use crate::model::refusal::Code;

    use super::*;

    fn user(uid: u32) -> Whose {
        Whose::of(&Caller::Peer { uid, gid: uid }, true)
    }

    fn count(refusals: &Refusals, whose: &Whose, tries: usize, now: Instant) -> usize {
        let fates = (0..tries).map(|_| refusals.take(whose.clone(), now));
        fates.filter(|fate| *fate != Fate::LeftOut).count()
    }

    fn ask(uid: u32, question: Question) -> Ask {
        Ask {
            number: 1,
            caller: Caller::Peer { uid, gid: uid },
            line: "DELETE /api/v1/snapshots/x".to_owned(),
            question,
        }
    }

    fn remove(target: Reference) -> Question {
        Question::Act(Act {
            target,
            action: Action::Remove,
            key: None,
            if_match: None,
            dry_run: false,
            confirm: None,
        })
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn protected() -> Refusal {
        Refusal::new(Code::Protected, "vg0/s1: it is protected")
    }

    #[test]
    fn each_caller_has_forty_on_record_then_one_in_fifteen_seconds_and_root_more() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let of = |uid, tries| count(&refusals, &user(uid), tries, now);
        assert_eq!((of(1000, 1000), of(1001, 10), of(0, 1000)), (40, 10, 400));
        let later = now + Duration::from_secs(15);
        assert_eq!(count(&refusals, &user(1000), 1000, later), 1);
        assert_eq!(count(&refusals, &user(0), 1000, later), 1);
        let mut left_out = refusals.left_out();
        left_out.sort();
        let expected = [("user 0", 1599), ("user 1000", 1959)];
        assert_eq!(
            left_out,
            expected.map(|(whose, count)| (whose.to_owned(), count))
        );
        assert_eq!(refusals.left_out(), []);
    }

    #[test]
    fn whoever_is_not_known_shares_with_others_of_the_kind() {
        let refusals = Refusals::default();
        let now = Instant::now();
        let mut recorded = (0, 0);
        for number in 0..1000 {
            let caller = Caller::Peer {
                uid: number,
                gid: 0,
            };
            recorded.0 += count(&refusals, &Whose::of(&caller, false), 1, now);
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            let caller = Caller::Stranger { address };
            recorded.1 += count(&refusals, &Whose::of(&caller, false), 1, now);
        }
        assert_eq!(recorded, (40, 40));
    }

    #[test]
    fn callers_with_a_bucket_are_bounded_and_forgotten_when_it_is_full() {
        let refusals = Refusals::default();
        let now = Instant::now();
        for uid in 0..1000 {
            refusals.take(user(uid), now);
        }
        assert!(refusals.lock().len() <= CALLERS_MAX + 2);
        assert_eq!(count(&refusals, &user(9999), 1, now), 0, "they share");
        let told = refusals.left_out();
        assert_eq!(told.len(), 1);
        let later = now + Duration::from_secs(4000);
        assert_eq!(count(&refusals, &user(9999), 40, later), 40);
        assert_eq!(refusals.lock().len(), 1);
    }

    #[test]
    fn a_flood_is_recorded_in_part_and_the_last_line_says_so() {
        let folder = std::env::temp_dir().join(format!("cowherd-refusals-{}", std::process::id()));
        let path = folder.join("journal.jsonl");
        let (journal, left) = Journal::start(None, path.clone()).expect("a thread can be started");
        assert_eq!(left.recv(), Ok(Ok(Vec::new())));
        let refusals = Refusals::default();
        let record = |uid| {
            let ask = ask(uid, Question::Refused(protected()));
            refusals.record(&journal, &ask, &protected(), true)
        };
        for _ in 0..100 {
            assert_eq!(record(1000), Ok(()));
        }
        assert_eq!(record(1001), Ok(()));
        let text = fs::read_to_string(&path).expect("it was written");
        fs::remove_dir_all(&folder).expect("it was made by the journal");
        let lines = text.lines().map(serde_json::from_str);
        let lines: Vec<Record> = lines.collect::<Result<_, _>>().expect("records");
        let details = |uid| {
            let of = Caller::Peer { uid, gid: uid };
            let lines = lines.iter().filter(move |line| line.caller == of);
            lines.map(|line| line.detail.as_str()).collect::<Vec<_>>()
        };
        // A slow machine may have given a token back meanwhile.
        assert!((40..45).contains(&details(1000).len()), "{text}");
        let note = "vg0/s1: it is protected (of what else is refused to user 1000 one in 15 s is on record)";
        assert_eq!(details(1000)[38..40], ["vg0/s1: it is protected", note]);
        assert_eq!(details(1001), ["vg0/s1: it is protected"]);
    }

    #[test]
    fn a_refusal_tells_the_group_of_a_volume_that_was_named() {
        let (vg, lv) = (name("vg0"), name("s1"));
        let by_name = remove(Reference::Name(VolumeName { vg, lv }));
        let uuid = Uuid::parse("HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4").expect("a uuid");
        let by_uuid = remove(Reference::Uuid(uuid));
        let recorded = |question| line(&ask(1000, question), &protected()).record;
        let record = recorded(by_name);
        let target = record.target.expect("it is named");
        assert_eq!((target.vg.as_str(), target.lv.as_str()), ("vg0", "s1"));
        assert_eq!(target.uuid, None);
        assert_eq!(record.detail, "vg0/s1: it is protected");
        let record = recorded(by_uuid);
        assert_eq!(record.target, None);
        let detail = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4: vg0/s1: it is protected";
        assert_eq!(record.detail, detail);
    }
}
