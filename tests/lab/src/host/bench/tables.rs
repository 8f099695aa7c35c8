//! The results as tables: aligned text for a terminal, Markdown for the README.
//! Pure.

use super::claims::{reaction, resident_mib};
use super::results::{Conditions, Results};
use super::survival::{self, Rate, Tally};
use crate::figures::figures;
use crate::samples::{By, Crossing, Footprint, Process, Scrapes, Store, SurvivalRun};

/// A title, a row of heads, and rows as wide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    title: String,
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

#[must_use]
pub fn text(results: &Results) -> String {
    tables(results).iter().map(Table::aligned).collect()
}

#[must_use]
pub fn markdown(results: &Results) -> String {
    tables(results).iter().map(Table::as_markdown).collect()
}

fn tables(results: &Results) -> Vec<Table> {
    let survival = results.survival.as_ref();
    let reaction = results.reaction.as_ref();
    let scrape = results.scrape.as_ref();
    let footprint = results.footprint.as_ref();
    [
        survival.map(|taken| survived(&taken.samples, &taken.conditions)),
        reaction.map(|taken| reacted(&taken.samples, &taken.conditions)),
        scrape.map(|taken| scraped(&taken.samples, &taken.conditions)),
        footprint.map(|taken| took(&taken.samples, &taken.conditions)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn survived(runs: &[SurvivalRun], conditions: &Conditions) -> Table {
    let rows = survival::all(runs).into_iter().map(|found| {
        vec![
            found.store.to_string(),
            found.guard.to_string(),
            found.highest.map_or("at none".to_owned(), told),
            found.beyond.map_or("-".to_owned(), told),
            found
                .worst_write_ms
                .map_or("-".to_owned(), |ms| format!("{ms:.0} ms")),
        ]
    });
    Table::new(
        "survival: the highest rate of a writer at which every run was saved",
        conditions,
        &[
            "store",
            "guard",
            "survived",
            "lost at",
            "worst write at unlimited, median",
        ],
        rows.collect(),
    )
}

fn told((rate, tally): (Rate, Tally)) -> String {
    let runs = format!("{} of {}", tally.survived, tally.runs);
    match rate {
        Some(mib) => format!("{mib} MiB/s ({runs})"),
        None => format!("unlimited, {:.0} MiB/s ({runs})", tally.mib_per_sec),
    }
}

fn reacted(crossings: &[Crossing], conditions: &Conditions) -> Table {
    let who = [
        (By::Cowherd, "cowherd"),
        (By::Dmeventd, "dmeventd"),
        (By::Lvextend, "a bare lvextend"),
    ];
    let mut rows = Vec::new();
    for store in [Store::Cow64, Store::PoolQueues] {
        for (by, name) in who {
            if let Some(figures) = reaction(crossings, store, by) {
                rows.push(vec![
                    store.to_string(),
                    name.to_owned(),
                    millis(figures.median),
                    millis(figures.least),
                    millis(figures.greatest),
                    figures.count.to_string(),
                ]);
            }
        }
    }
    Table::new(
        "reaction: from crossing the threshold to a larger store",
        conditions,
        &["store", "by", "median", "least", "most", "runs"],
        rows,
    )
}

fn scraped(scrapes: &[Scrapes], conditions: &Conditions) -> Table {
    let of = |samples: &[f64]| figures(samples.iter().copied()).map(|f| f.median);
    let cell = |figures: Option<f64>| figures.map_or("-".to_owned(), millis);
    let rows = scrapes.iter().map(|sample| {
        let scrape = figures(sample.scrapes_ms.iter().copied());
        let report = figures(sample.fullreports_ms.iter().copied());
        let ratio = scrape.zip(report).map(|(s, r)| r.median / s.median);
        vec![
            sample.volumes.to_string(),
            cell(scrape.map(|s| s.median)),
            cell(scrape.map(|s| s.p99)),
            cell(of(&sample.repeated_ms)),
            cell(of(&sample.answers_ms)),
            cell(report.map(|r| r.median)),
            cell(report.map(|r| r.p99)),
            ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.0} times")),
            format!("{} KiB", sample.exposition_bytes >> 10),
        ]
    });
    Table::new(
        "scrape: GET /metrics beside lvm fullreport",
        conditions,
        &[
            "thin volumes",
            "scrape, median",
            "p99",
            "repeated",
            "empty answer",
            "fullreport, median",
            "p99",
            "faster",
            "exposition",
        ],
        rows.collect(),
    )
}

fn took(footprints: &[Footprint], conditions: &Conditions) -> Table {
    let rows = footprints.iter().map(|sample| {
        let apart = |kib: fn(&Process) -> u64| -> String {
            let each = sample.processes.iter().map(|p| mib(kib(p)));
            each.collect::<Vec<_>>().join(" + ")
        };
        vec![
            sample.volumes.to_string(),
            sample.guard.to_string(),
            format!("{:.1} MiB", resident_mib(sample)),
            apart(|process| process.resident_kib),
            apart(|process| process.locked_kib),
            mib(sample.tmpfs_kib),
            format!("{:.2} %", sample.idle.percent()),
            format!("{:.1} %", sample.busy.percent()),
        ]
    });
    Table::new(
        "footprint: memory, and share of one processor",
        conditions,
        &[
            "thin volumes",
            "guard",
            "resident",
            "by process",
            "locked",
            "tmpfs",
            "idle",
            "under the writer",
        ],
        rows.collect(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "KiB of one guest's memory")]
fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// Milliseconds to three digits at least.
fn millis(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

impl Table {
    fn new(title: &str, conditions: &Conditions, heads: &[&str], rows: Vec<Vec<String>>) -> Self {
        let Conditions {
            date,
            kernel,
            lvm,
            cowherd,
            guest_processors,
            accelerator,
            host_processor,
        } = conditions;
        Self {
            title: format!(
                "{title} ({date}, {cowherd}, LVM {lvm}, Linux {kernel}, \
                 {guest_processors} processors of {accelerator} on {host_processor})"
            ),
            heads: heads.iter().map(ToString::to_string).collect(),
            rows,
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.heads).chain(&self.rows)
    }

    fn aligned(&self) -> String {
        let width = |column: usize| {
            self.lines()
                .map(|line| line[column].len())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        for line in self.lines() {
            let cells = line.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += format!("  {}", cells.join("  ")).trim_end();
            text += "\n";
        }
        text
    }

    fn as_markdown(&self) -> String {
        let row = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.heads.len()));
        let rows: String = self.rows.iter().map(row).collect();
        format!("{}:\n\n{}{rule}{rows}\n", self.title, row(&self.heads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table {
            title: "title".to_owned(),
            heads: vec!["a".to_owned(), "bb".to_owned()],
            rows: vec![vec!["long".to_owned(), "x".to_owned()]],
        }
    }

    #[test]
    fn columns_are_aligned_in_text() {
        assert_eq!(table().aligned(), "\ntitle\n  a     bb\n  long  x\n");
    }

    #[test]
    fn markdown_has_a_rule_below_the_heads() {
        let expected = "title:\n\n| a | bb |\n|---|---|\n| long | x |\n\n";
        assert_eq!(table().as_markdown(), expected);
    }

    #[test]
    fn what_was_not_measured_has_no_table() {
        assert_eq!(text(&Results::default()), "");
    }
}
