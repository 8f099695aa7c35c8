//! A guard's socket that answers what a test tells it to, and the command line asked against it.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

/// What is done with one connection, once its request is read.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    Answer(u16, String),
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// As many mebibytes of JSON.
    Mebibytes(usize),
    Nothing,
}

/// Ends when it is dropped.
pub(crate) struct FakeGuard {
    folder: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The request's line and headers, without the empty line.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl FakeGuard {
    /// One step for each connection; the last is for all that follow, too.
    pub(crate) fn that(steps: Vec<Does>) -> Self {
        let folder = folder("guard");
        let listener = UnixListener::bind(folder.join("api.sock")).expect("a socket can be made");
        let (asked, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (asked, stopped) = (Arc::clone(&asked), Arc::clone(&stopped));
            move || serve(&listener, &steps, &asked, &stopped)
        });
        Self {
            folder,
            asked,
            stopped,
            thread: Some(thread),
        }
    }

    pub(crate) fn answering(status: u16, body: &Value) -> Self {
        Self::that(vec![answer(status, body)])
    }

    pub(crate) fn socket(&self) -> String {
        self.folder.join("api.sock").display().to_string()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics with it").clone()
    }

    /// The only request.
    pub(crate) fn asked_once(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = cowherd(arguments);
        command.arg("--socket").arg(self.socket());
        command
    }

    pub(crate) fn told(&self, arguments: &[&str]) -> Told {
        Told::of(&mut self.command(arguments))
    }
}

impl Drop for FakeGuard {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = UnixStream::connect(self.folder.join("api.sock"));
        let ended = self.thread.take().map(JoinHandle::join);
        std::fs::remove_dir_all(&self.folder).expect("it was made by `that`");
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking());
    }
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        fields
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a body is JSON")
    }
}

/// What the command line said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.stdin(Stdio::null()).output();
        let Output {
            status,
            stdout,
            stderr,
        } = output.expect("it was built");
        Self {
            code: status.code(),
            out: String::from_utf8(stdout).expect("UTF-8"),
            err: String::from_utf8(stderr).expect("UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!(
            (self.code, self.out.as_str(), self.err.as_str()),
            (Some(code), out, err)
        );
    }
}

pub(crate) fn cowherd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cowherd"));
    command.args(arguments);
    command
}

/// An empty folder of this test's own.
pub(crate) fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::SeqCst);
    let name = format!("cowherd-{name}-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the temporary folder is writable");
}

pub(crate) fn answer(status: u16, body: &Value) -> Does {
    Does::Answer(status, body.to_string())
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Does {
    let body = json!({"type": format!("urn:cowherd:problem:{code}"), "title": "T", "status": status,
        "detail": detail, "code": code, "retryable": false});
    answer(status, &body)
}

/// A job on `vg0/snap`, in this state, without an end.
pub(crate) fn job(verb: &str, state: &str) -> Value {
    json!({"id": "01J0000000000000000000000A", "verb": verb, "state": state, "created": 1_790_000_000.5,
        "ended": null, "target": {"vg": "vg0", "lv": "snap", "uuid": "u"},
        "progress": {"phase": "", "percent": null}, "result": null, "error": null})
}

fn serve(listener: &UnixListener, steps: &[Does], asked: &Mutex<Vec<Asked>>, stopped: &AtomicBool) {
    let last = steps.last().expect("a step").clone();
    // Whoever is told nothing is held on to.
    let mut held = Vec::new();
    let all = steps.iter().chain(std::iter::repeat(&last));
    for (stream, step) in listener.incoming().zip(all) {
        if stopped.load(Ordering::SeqCst) {
            return;
        }
        let mut stream = stream.expect("a connection is accepted");
        let Ok(request) = read(&mut stream) else {
            continue;
        };
        asked.lock().expect("no test panics with it").push(request);
        // Whoever goes away early is what some tests are about.
        let _ = step.done(&mut stream);
        if matches!(step, Does::Nothing) {
            held.push(stream);
        }
    }
}

impl Does {
    fn done(&self, stream: &mut UnixStream) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Bytes(bytes) => stream.write_all(bytes),
            Self::Answer(status, body) => {
                let length = body.len();
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
            Self::Mebibytes(count) => {
                let chunk = vec![b' '; 1 << 20];
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    count << 20
                )?;
                (0..*count).try_for_each(|_| stream.write_all(&chunk))
            }
        }
    }
}

fn read(stream: &mut UnixStream) -> io::Result<Asked> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (head, body) = (head.to_owned(), body.to_owned());
            let asked = Asked { head, body };
            let length = asked
                .header("content-length")
                .map_or(0, |length| length.parse().expect("a length is a number"));
            if asked.body.len() >= length {
                return Ok(asked);
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(&chunk[..length]),
        }
    }
}
