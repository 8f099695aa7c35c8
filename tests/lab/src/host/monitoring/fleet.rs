//! `cargo lab fleet`: what a fleet costs its one Prometheus. The hosts are recorded expositions, with their times
//! moved to now; the Prometheus, the rules and the queries are real.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{packages, workspace};
use super::queries::{self, Query};
use super::servers::{self, Server};
use super::{list, now};
use crate::figures;
use crate::wait::wait_until;

/// Of a host on which all is well, and of one on which everything has happened; reviewed with the metrics.
const ORDINARY: &str = "tests/suite/golden/ordinary.txt";
const TROUBLED: &str = "tests/suite/golden/metrics.txt";
/// One host of fifty is in trouble.
const IN_TROUBLE: &str = "host-..(00|50)";
/// Where the recording's time stands.
const RECORDED_AT: &str = "cowherd_view_timestamp_seconds ";
const SCRAPED: Duration = Duration::from_secs(180);
/// Of rules that look back, and of dashboards.
const SETTLED: Duration = Duration::from_secs(90);
/// All rules, evaluated once.
const EVALUATED: Duration = Duration::from_secs(5);
const QUERIED: usize = 3;
const EVALUATIONS: usize = 5;
/// So many, of groups that are evaluated every quarter of a minute.
const EVALUATED_IN: Duration = Duration::from_secs(240);
/// The dashboard that looks at all hosts at once.
const FLEET: &str = "fleet.json";
const ONE_HOST: &str = "host-0050";
/// Where the figures are kept.
const KEPT: &str = "tests/lab/bench/fleet.md";

pub fn fleet(hosts: u32, is_saved: bool) -> Result<u8> {
    packages::install_missing()?;
    let folder = servers::folder("fleet")?;
    let [well, troubled] = [ORDINARY, TROUBLED].map(|file| serve(Arc::new(Recorded::read(file)?)));
    let (well, troubled) = (well?, troubled?);
    for file in ["cowherd.rules.yml", "recording.rules.yml"] {
        fs::write(
            folder.join(file),
            servers::adapted(&format!("alerts/{file}"), &[])?,
        )?;
    }
    fs::create_dir_all(folder.join("targets"))?;
    let names: Vec<String> = (1..=hosts)
        .map(|host| format!("'host-{host:04}'"))
        .collect();
    fs::write(
        folder.join("targets/fleet.yml"),
        format!("- targets: [{}]\n", names.join(", ")),
    )?;
    let relabel = format!(
        "relabel_configs:\n      - source_labels: [__address__]\n        target_label: instance\n      \
         - target_label: __address__\n        replacement: 127.0.0.1:{well}\n      \
         - source_labels: [instance]\n        regex: {IN_TROUBLE}\n        target_label: __address__\n        \
         replacement: 127.0.0.1:{troubled}\n    relabel_configs_of_example:"
    );
    let config = servers::adapted("alerts/prometheus.yml", &[("relabel_configs:", &relabel)])?;
    let (config, _) = config
        .split_once("    relabel_configs_of_example:")
        .context("the example's end")?;
    let prometheus = servers::prometheus(&folder, config)?;
    println!("lab: Prometheus scrapes {hosts} hosts ...");
    let up = || scalar(&prometheus, "sum(up)");
    wait_until("every host is scraped", SCRAPED, || {
        up().is_ok_and(|up| up >= f64::from(hosts))
    })?;
    // Of rules that have whole minutes to look back on, and share the processors with scrapes alone.
    let settled = Instant::now();
    wait_until("the rules have looked back", SETTLED * 2, || {
        settled.elapsed() > SETTLED
    })?;
    let groups = evaluations(&prometheus)?;
    // What waits for its time costs as much as what fires.
    let odd =
        format!("count(ALERTS{{instance=~\"host-.*\",instance!~\"{IN_TROUBLE}\"}}) or vector(0)");
    let odd = scalar(&prometheus, &odd)?;
    ensure!(odd < 1.0, "{odd} alerts of hosts on which all is well");
    let figures = figures(&prometheus, hosts, &groups)?;
    println!("{}", figures.text);
    if is_saved {
        fs::write(workspace::root().join(KEPT), &figures.text)
            .with_context(|| format!("writing {KEPT}"))?;
    }
    ensure!(
        figures.evaluation < EVALUATED,
        "all rules take {:.2} s, more than {} s",
        figures.evaluation.as_secs_f64(),
        EVALUATED.as_secs()
    );
    Ok(0)
}

struct Figures {
    evaluation: Duration,
    text: String,
}

fn figures(prometheus: &Server, hosts: u32, groups: &[(String, f64)]) -> Result<Figures> {
    let evaluation: f64 = groups.iter().map(|(_, took)| took).sum();
    let series = scalar(prometheus, "sum(scrape_samples_scraped)")?;
    let scrape = scalar(prometheus, "quantile(0.99, scrape_duration_seconds)")?;
    let firing = scalar(prometheus, r#"count(ALERTS{alertstate="firing"})"#)?;
    let mut text = format!(
        "{hosts} hosts in one Prometheus, each with {:.0} series, on {} processors. On one of fifty everything has \
         happened at once, on the others all is well:\n\n\
         | what | figure |\n|---|---|\n\
         | all rules evaluated once, the sum of each group's median | {evaluation:.2} s |\n\
         | a scrape, 99th percentile | {:.0} ms |\n\
         | alerts that fire meanwhile | {firing:.0} |\n\
         | memory of Prometheus | {:.0} MiB |\n",
        series / f64::from(hosts),
        thread::available_parallelism()?,
        scrape * 1000.0,
        prometheus.resident_mib()?,
    );
    for (name, took) in groups {
        writeln!(text, "| rules of {name} | {took:.3} s |")?;
    }
    for (dashboard, took) in dashboards(prometheus)? {
        writeln!(
            text,
            "| {dashboard}, slowest query, an hour | {:.0} ms |",
            took * 1000.0
        )?;
    }
    Ok(Figures {
        evaluation: Duration::from_secs_f64(evaluation),
        text,
    })
}

/// The slowest query of each dashboard, the fleet's of every host and the others of one: the median of several times.
fn dashboards(prometheus: &Server) -> Result<Vec<(String, f64)>> {
    let is_of_fleet = |query: &Query| query.dashboard == FLEET;
    let mut all = queries::of_dashboards(queries::EVERY_HOST)?;
    all.retain(is_of_fleet);
    let one = queries::of_dashboards(ONE_HOST)?;
    all.extend(one.into_iter().filter(|query| !is_of_fleet(query)));
    let mut slowest: Vec<(String, f64)> = Vec::new();
    for query in all {
        let mut took = Vec::new();
        for _ in 0..QUERIED {
            let to = now();
            let (from, to) = ((to - 3600.0).to_string(), to.to_string());
            let start = Instant::now();
            prometheus.api(
                "/api/v1/query_range",
                &[
                    ("query", &query.expr),
                    ("start", &from),
                    ("end", &to),
                    ("step", queries::STEP),
                ],
            )?;
            took.push(start.elapsed().as_secs_f64());
        }
        let took = figures::figures(took).context("a time")?.median;
        match slowest
            .iter_mut()
            .find(|(dashboard, _)| *dashboard == query.dashboard)
        {
            Some((_, most)) => *most = most.max(took),
            None => slowest.push((query.dashboard, took)),
        }
    }
    Ok(slowest)
}

/// Each group of rules with the seconds that an evaluation took: the median of some, one after the other.
fn evaluations(prometheus: &Server) -> Result<Vec<(String, f64)>> {
    let mut seen: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    wait_until("each group is evaluated often enough", EVALUATED_IN, || {
        for (name, at, took) in last_evaluations(prometheus).unwrap_or_default() {
            seen.entry(name).or_default().insert(at, took);
        }
        !seen.is_empty() && seen.values().all(|times| times.len() >= EVALUATIONS)
    })?;
    let medians = seen.into_iter().map(|(name, times)| {
        let figures = figures::figures(times.into_values()).context("an evaluation")?;
        Ok((name, figures.median))
    });
    medians.collect()
}

/// Each group of rules, when it was last evaluated, and the seconds that it took.
fn last_evaluations(prometheus: &Server) -> Result<Vec<(String, String, f64)>> {
    let data = prometheus.api("/api/v1/rules", &[])?;
    let group = |group: &Value| {
        let word = |key| group[key].as_str().map(str::to_owned);
        let took = group["evaluationTime"].as_f64()?;
        Some((word("name")?, word("lastEvaluation")?, took))
    };
    Ok(list(&data["groups"]).iter().filter_map(group).collect())
}

fn scalar(prometheus: &Server, query: &str) -> Result<f64> {
    let data = prometheus.api("/api/v1/query", &[("query", query)])?;
    let value = &data["result"][0]["value"][1];
    let value = value
        .as_str()
        .with_context(|| format!("{query}: no value"))?;
    Ok(value.parse()?)
}

/// An exposition whose times move with the clock, by whole seconds.
struct Recorded {
    lines: Vec<Line>,
    at: f64,
    /// Made for so many scrapes of the same second: what is measured shares the processors.
    latest: Mutex<(f64, Arc<str>)>,
}

enum Line {
    Plain(String),
    /// A time, and the series before it.
    Time(String, f64),
}

impl Recorded {
    fn read(file: &'static str) -> Result<Self> {
        let text = fs::read_to_string(workspace::root().join(file)).context(file)?;
        let at = text
            .lines()
            .find_map(|line| line.strip_prefix(RECORDED_AT))
            .context("the time of the recording")?;
        let lines = text.lines().map(|line| match line.rsplit_once(' ') {
            Some((series, value))
                if !line.starts_with('#') && series.contains("_timestamp_seconds") =>
            {
                match value.parse::<f64>() {
                    Ok(time) if time.is_finite() && time > 0.0 => {
                        Line::Time(series.to_owned(), time)
                    }
                    Ok(_) | Err(_) => Line::Plain(line.to_owned()),
                }
            }
            Some(_) | None => Line::Plain(line.to_owned()),
        });
        Ok(Self {
            at: at.parse()?,
            lines: lines.collect(),
            latest: Mutex::new((0.0, Arc::default())),
        })
    }

    fn text(&self) -> Arc<str> {
        let now = now().floor();
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0 < now {
            *latest = (now, self.text_at(now).into());
        }
        Arc::clone(&latest.1)
    }

    fn text_at(&self, now: f64) -> String {
        let mut text = String::new();
        for line in &self.lines {
            match line {
                Line::Plain(line) => text.push_str(line),
                Line::Time(series, time) => {
                    write!(text, "{series} {}", time + now - self.at).expect("a string takes all");
                }
            }
            text.push('\n');
        }
        text
    }
}

/// Serves the recording on the loopback; the port.
fn serve(recorded: Arc<Recorded>) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for scrapes")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let recorded = Arc::clone(&recorded);
            thread::spawn(move || answer(&stream, &recorded));
        }
    });
    Ok(port)
}

/// As long as Prometheus keeps the connection.
fn answer(stream: &TcpStream, recorded: &Recorded) -> Result<()> {
    let mut reader = BufReader::new(stream.take(u64::MAX));
    loop {
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let body = recorded.text();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
    }
}
