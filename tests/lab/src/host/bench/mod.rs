//! `cargo lab bench`: boots the guests that measure, collates what they leave,
//! and judges what the README claims.

pub mod charts;
pub mod claims;
pub mod results;
pub mod survival;
pub mod tables;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::machine::{Boot, Build, End, Event, Guest};
use super::{Host, checks, qemu};
use crate::args::Bench;
use crate::samples::Part;
use crate::size::Size;
use results::{Conditions, Results};

/// Room for a snapshot of 256 MiB written four times over, or a pool of 512.
const DISKS: [Size; 2] = [Size::gib(4), Size::gib(4)];
/// A thousand active volumes, and the page cache of LVM's programs.
const MEMORY: Size = Size::gib(3);
/// No part takes longer for each of its runs, on a busy, emulated machine; the
/// slow rates of the survival part take a tenth of the runs, of minutes each.
const PER_RUN: Duration = Duration::from_secs(600);
/// What does not depend on the runs: the boot, and a thousand volumes.
const AROUND: Duration = Duration::from_secs(3600);
/// The lines of a guest that are progress, not noise.
const PROGRESS: &str = "bench: ";

pub fn bench(bench: &Bench) -> Result<u8> {
    let folder = results::folder()?;
    if !bench.kept {
        measure_all(bench, &folder)?;
    }
    let results = Results::load(&folder)?;
    write_all(&results, &folder)?;
    println!("{}", tables::text(&results));
    let held = claims::tell(&claims::all(&results, &bench.parts));
    println!("results: {}", folder.display());
    if bench.save {
        save(&folder)?;
    }
    Ok(u8::from(!held))
}

fn measure_all(bench: &Bench, folder: &Path) -> Result<()> {
    let host = Host::prepare()?;
    checks::build_release()?;
    let conditions = Conditions::of(&host)?;
    let mut results = Results::load(folder)?;
    for parts in guests(&bench.parts) {
        let guest = measure(&host, bench.runs, &parts)?;
        for part in parts {
            results.take(part, &guest.run_dir.out(), &conditions)?;
        }
        // What took this long is kept even when the next guest fails.
        results.save(folder)?;
    }
    Ok(())
}

/// The parts of each guest: a herd of a thousand is made once.
fn guests(parts: &[Part]) -> Vec<Vec<Part>> {
    let mut guests: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        match (part, guests.last_mut()) {
            (Part::Footprint, Some(last)) if last.contains(&Part::Scrape) => last.push(*part),
            (Part::Survival | Part::Reaction | Part::Scrape | Part::Footprint, _) => {
                guests.push(vec![*part]);
            }
        }
    }
    guests
}

/// Boots one guest and waits until it has measured its parts.
fn measure(host: &Host, runs: u32, parts: &[Part]) -> Result<Guest> {
    let words: Vec<&str> = parts.iter().map(|part| part.word()).collect();
    let name = format!("bench-{}", words.join("-"));
    println!("==> {name}");
    let mut guest = Guest::boot(
        host,
        &Boot {
            name: &name,
            verb: &format!("bench {runs} {}", words.join(" ")),
            disks: &DISKS,
            processors: qemu::PROCESSORS,
            memory: MEMORY,
            forward: None,
            cowherd: Build::Release,
        },
    )?;
    let mut last = Vec::new();
    let deadline = AROUND + PER_RUN * runs;
    let end = guest.watch(&host.interrupt, Some(deadline), |event| match event {
        Event::Line(line) => match line.strip_prefix(PROGRESS) {
            Some(progress) => println!("    {progress}"),
            None => last = vec![line.to_owned()],
        },
        Event::Tick => {}
    })?;
    let console = guest.console_file.display();
    match (end, guest.exit_code()) {
        (End::PoweredOff, Some(0)) => Ok(guest),
        (End::PoweredOff, _) => bail!("the guest says: {}; its console: {console}", last.concat()),
        (End::Deadline, _) => bail!("the guest hangs; its console: {console}"),
        (End::Interrupted, _) => bail!("interrupted"),
    }
}

fn write_all(results: &Results, folder: &Path) -> Result<()> {
    fs::write(folder.join("table.md"), tables::markdown(results)).context("writing table.md")?;
    let survival = results
        .survival
        .as_ref()
        .map(|taken| charts::survival(&taken.samples));
    let reaction = results
        .reaction
        .as_ref()
        .map(|taken| charts::reacted(&taken.samples));
    let scrape = results
        .scrape
        .as_ref()
        .map(|taken| charts::scraped(&taken.samples));
    let pictures = [
        (Part::Survival, survival),
        (Part::Reaction, reaction),
        (Part::Scrape, scrape),
    ];
    for (part, picture) in pictures {
        let path = folder.join(format!("{}.svg", part.word()));
        if let Some(svg) = picture.transpose()? {
            fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Copies all of it to where it is kept with the source.
fn save(folder: &Path) -> Result<()> {
    let saved = results::saved_folder();
    fs::create_dir_all(&saved).with_context(|| format!("making {}", saved.display()))?;
    for entry in fs::read_dir(folder).context("reading the results")? {
        let path = entry.context("reading the results")?.path();
        let name = path.file_name().context("a file has a name")?;
        fs::copy(&path, saved.join(name)).with_context(|| format!("saving {}", path.display()))?;
    }
    ensure!(saved.join(Results::FILE).exists(), "nothing was saved");
    println!("saved: {}", saved.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrape_and_footprint_share_a_guest() {
        let together = [
            vec![Part::Survival],
            vec![Part::Reaction],
            vec![Part::Scrape, Part::Footprint],
        ];
        assert_eq!(guests(&Part::ALL), together);
        assert_eq!(guests(&[Part::Footprint]), [vec![Part::Footprint]]);
    }
}
