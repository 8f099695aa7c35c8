//! The API: a front in this process, asked over a unix socket, with this test as its guard.

mod crowds;
mod documented;
mod fuzzed;
mod handed;
mod refused;
mod remote;
mod remote_client;
mod remote_crowds;
mod routes;

use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use cowherd::link::{self, FromFront, FromGuard, Json};
use cowherd::model::action::{
    Act, Answered, Ask, Confirmation, Job, JobResult, JobState, JobTarget, OriginView, Owner,
    Planned, Progress, Question, Reply, Verb, VolumeState, VolumeView,
};
use cowherd::model::refusal::{Code, Refusal};
use cowherd::model::time::UnixSeconds;
use cowherd::model::units::Bytes;
use cowherd::model::volume::VolumeKind;
use serde_json::Value;

use super::common::name;
use super::served::{Answer, Guard, PATIENCE, read, spawn_with_api, wait_for};

const ORIGIN: &str = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4";
const SNAPSHOT: &str = "SnApsh-0000-1111-2222-3333-4444-555555";
const JOB: &str = "01JD4M7Q2ZK8V5T3X9W6R1B0NC";

/// What the guard says to a question; nothing when it stays silent.
type Script = Box<dyn FnMut(&Question) -> Option<Result<Reply, Refusal>> + Send>;

struct Api {
    guard: Guard,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Ask>>>,
}

impl Api {
    fn start() -> Self {
        Self::with(Box::new(|question| Some(usual(question))))
    }

    fn with(mut script: Script) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = format!("cowherd-api-{}-{number}.sock", std::process::id());
        let socket = std::env::temp_dir().join(file);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a temporary socket can be bound");
        let guard = Guard::listening(spawn_with_api(listener));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut link = guard.link.try_clone().expect("a socket can be shared");
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            while let Ok(Some(FromFront::Ask(ask))) = link::receive(&mut link) {
                let ask: Ask = ask.read().expect("the front asks");
                let answer = script(&ask.question);
                let number = ask.number;
                seen.lock().expect("nobody panics").push(ask);
                let Some(answer) = answer else { continue };
                let answered = Json::of(&Answered { number, answer }).expect("it can be encoded");
                if link::send(&mut link, &FromGuard::Answer(answered)).is_err() {
                    return;
                }
            }
        });
        Self {
            guard,
            socket,
            asked,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the front listens");
        let patience = Some(PATIENCE);
        stream
            .set_read_timeout(patience)
            .expect("a socket takes a timeout");
        stream
    }

    /// Sends all of a request and reads all of what comes back.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may be refused while it is still talking.
        let _ = stream.write_all(request);
        read(&mut BufReader::new(stream))
    }

    fn request(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        self.raw(text(line, headers, body).as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.request(&format!("GET {path}"), &[], "")
    }

    /// With a key and, if there is one, a body in JSON.
    fn change(&self, line: &str, body: &str) -> Answer {
        let headers = ["Idempotency-Key: k1", "Content-Type: application/json"];
        self.request(line, &headers, body)
    }

    fn questions(&self) -> Vec<Question> {
        let asked = self.asked.lock().expect("nobody panics");
        asked.iter().map(|ask| ask.question.clone()).collect()
    }

    fn acts(&self) -> Vec<Act> {
        let acts = self.questions().into_iter();
        acts.filter_map(|question| {
            let Question::Act(act) = question else {
                return None;
            };
            Some(act)
        })
        .collect()
    }

    /// Waits until that many refusals are on record.
    fn await_refusals(&self, count: usize) -> Vec<Refusal> {
        let refusals = || {
            let questions = self.questions().into_iter();
            let refusals = questions.filter_map(|question| {
                let Question::Refused(refusal) = question else {
                    return None;
                };
                Some(refusal)
            });
            refusals.collect::<Vec<_>>()
        };
        wait_for("refusals on record", || refusals().len() >= count);
        refusals()
    }

    /// As if the guard had died.
    fn hang_up(&self) {
        let link = &self.guard.link;
        link.shutdown(Shutdown::Both).expect("it was connected");
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.guard.link.shutdown(Shutdown::Both);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A request that ends its connection.
fn text(line: &str, headers: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let mut lines = vec!["Host: localhost", "Connection: close"];
    lines.extend(headers);
    lines.extend((!body.is_empty()).then_some(length.as_str()));
    let head = lines.join("\r\n");
    format!("{line} HTTP/1.1\r\n{head}\r\n\r\n{body}")
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {:?}", answer.body))
}

/// Holds an answer against everything that a problem is.
fn assert_problem(what: &str, answer: &Answer, code: Code) {
    let problem = json(answer);
    assert_eq!(answer.status, code.status(), "{what}: {problem}");
    let kind = Some("application/problem+json");
    assert_eq!(answer.header("content-type"), kind, "{what}");
    assert_eq!(problem["code"], code.label(), "{what}: {problem}");
    let expected = format!("urn:cowherd:problem:{}", code.label());
    assert_eq!(problem["type"], expected, "{what}");
    assert_eq!(problem["title"], code.title(), "{what}");
    assert_eq!(problem["status"], code.status(), "{what}");
    assert_eq!(problem["retryable"], code.is_retryable(), "{what}");
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!((1..400).contains(&detail.len()), "{what}: {detail}");
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    assert!(detail.chars().all(is_plain), "{what}: {detail:?}");
}

fn usual(question: &Question) -> Result<Reply, Refusal> {
    Ok(match question {
        Question::Volumes => Reply::Volumes(volumes()),
        Question::Jobs => Reply::Jobs(vec![job(JobState::Running)]),
        Question::Job(id) if id == JOB => new(job(JobState::Succeeded), true),
        Question::Job(id) => return Err(Refusal::new(Code::NotFound, format!("no job {id}"))),
        Question::Act(act) if act.dry_run => Reply::Plan(planned()),
        Question::Act(_) => new(job(JobState::Queued), true),
        Question::Confirm(_) => Reply::Confirmation(confirmation()),
        Question::Admit(_) | Question::Refused(_) => Reply::Noted,
    })
}

fn new(job: Job, is_new: bool) -> Reply {
    let job = Box::new(job);
    Reply::Job { job, is_new }
}

/// A thick volume, a snapshot of it, a thin volume of the same name elsewhere, and a snapshot of what is gone.
fn volumes() -> Vec<VolumeView> {
    let origin = volume("vg0", "vm101", ORIGIN, VolumeKind::Thick);
    let of = |uuid: &str, lv: Option<&str>| {
        let uuid = uuid.to_owned();
        let name = lv.map(name);
        Some(OriginView { uuid, name })
    };
    let snapshot = VolumeView {
        origin: of(ORIGIN, Some("vm101")),
        used_percent: Some(12.5),
        ..volume("vg0", "s1", SNAPSHOT, VolumeKind::Cow)
    };
    let other = volume(
        "vg1",
        "vm101",
        &SNAPSHOT.replace('5', "6"),
        VolumeKind::Thin,
    );
    let orphan = VolumeView {
        origin: of(&ORIGIN.replace('1', "9"), None),
        ..volume("vg1", "s2", &SNAPSHOT.replace('5', "7"), VolumeKind::Thin)
    };
    vec![origin, snapshot, other, orphan]
}

fn volume(vg: &str, lv: &str, uuid: &str, kind: VolumeKind) -> VolumeView {
    VolumeView {
        uuid: uuid.to_owned(),
        vg: name(vg),
        name: name(lv),
        kind,
        size_bytes: Bytes::mib(64),
        state: VolumeState::Active,
        read_only: false,
        origin: None,
        pool: None,
        used_percent: None,
        merged_percent: None,
        created: Some(UnixSeconds(1_800_000_000.0)),
        expires: None,
        expendable: false,
        protected: false,
        skip_activation: false,
        owner: Owner::Cowherd,
        open: false,
        tags: vec!["nightly".to_owned()],
    }
}

fn job(state: JobState) -> Job {
    let target = |lv: &str, uuid: &str| JobTarget {
        vg: name("vg0"),
        lv: name(lv),
        uuid: uuid.to_owned(),
    };
    let made = (state == JobState::Succeeded).then(|| JobResult {
        snapshot: Some(target("s1", SNAPSHOT)),
        ..JobResult::default()
    });
    let why = || Refusal::new(Code::PoolTooFull, "vg0/data is 91 % full");
    Job {
        id: JOB.to_owned(),
        verb: Verb::Create,
        state,
        created: UnixSeconds(1_800_000_000.0),
        ended: None,
        target: target("vm101", ORIGIN),
        progress: Progress::default(),
        result: made,
        error: (state == JobState::Failed).then(why),
    }
}

fn planned() -> Planned {
    Planned {
        summary: "vg0/s1 is removed".to_owned(),
        loses: vec!["what is in it".to_owned()],
        needs_confirmation: true,
    }
}

fn confirmation() -> Confirmation {
    Confirmation {
        token: "t0ken".to_owned(),
        expires: UnixSeconds(1_800_000_120.0),
        plan: planned(),
    }
}
