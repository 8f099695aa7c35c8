//! How fast volumes are written to, from how much had been written to each at several moments.
//!
//! What is written twice to the same place counts twice, so it is no less than what changes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::names::VolumeId;
use super::time::Moment;
use super::units::Bytes;

/// More than any host has by far; what is written to more volumes than these is not kept.
const VOLUMES_MAX: usize = 4096;
/// What happened as long ago weighs about a third in the recent rate.
const RECENT: Duration = Duration::from_secs(3600);

/// What the kernel has counted for one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub volume: VolumeId,
    /// Major and minor number. A device that was made anew counts from 0.
    pub device: (u32, u32),
    /// Since it was made.
    pub total: Bytes,
}

/// The rates of all volumes that are active.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Writes {
    all: BTreeMap<VolumeId, Track>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Track {
    device: (u32, u32),
    first: Reading,
    last: Reading,
    recent: Recent,
}

/// An average in which the past fades.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Recent {
    /// Of bytes per second, each by its weight.
    sum: f64,
    weight: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Reading {
    at: Moment,
    total: Bytes,
}

impl Writes {
    /// Takes in one reading of all devices: what is not among them is forgotten.
    pub fn note(&mut self, written: Vec<Written>, now: Moment) {
        let mut known = std::mem::take(&mut self.all);
        let tracks = written.into_iter().take(VOLUMES_MAX).map(|written| {
            let reading = Reading {
                at: now,
                total: written.total,
            };
            let before = known.remove(&written.volume);
            let before = before.filter(|track| {
                track.device == written.device && track.last.total <= written.total
            });
            let track = match before {
                Some(track) => track.with(reading),
                None => Track {
                    device: written.device,
                    first: reading,
                    last: reading,
                    recent: Recent::default(),
                },
            };
            (written.volume, track)
        });
        self.all = tracks.collect();
    }

    /// In a second: the larger of the average since the first reading and of the recent past. Nothing before there are
    /// two readings.
    #[must_use]
    pub fn per_second(&self, volume: &VolumeId) -> Option<Bytes> {
        let track = self.all.get(volume)?;
        let average = track.first.rate_until(track.last)?;
        let recent = track.recent.sum / track.recent.weight;
        Some(Bytes::from_f64_ceil(average.max(recent)))
    }
}

impl Track {
    fn with(self, reading: Reading) -> Self {
        let Some(rate) = self.last.rate_until(reading) else {
            return self;
        };
        let span = reading.at.since(self.last.at).as_secs_f64();
        let old = (-span / RECENT.as_secs_f64()).exp();
        let faded = |before: f64, now: f64| before * old + now * (1.0 - old);
        Self {
            last: reading,
            recent: Recent {
                sum: faded(self.recent.sum, rate),
                weight: faded(self.recent.weight, 1.0),
            },
            ..self
        }
    }
}

impl Reading {
    /// Bytes per second; nothing where no time has passed.
    fn rate_until(self, later: Self) -> Option<f64> {
        let span = later.at.since(self.at);
        let more = later.total.saturating_sub(self.total);
        (!span.is_zero()).then(|| more.as_f64() / span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Uuid;
    use super::*;

    fn volume(letter: &str) -> VolumeId {
        let uuid = |letter: &str| Uuid::parse(&letter.repeat(32)).expect("a literal uuid");
        VolumeId {
            vg: uuid("v"),
            lv: uuid(letter),
        }
    }

    /// The rate after readings of one volume, each a minute after the one before: minor number and MiB.
    fn rate(readings: &[(u32, u64)]) -> Option<Bytes> {
        let mut writes = Writes::default();
        for (minute, (minor, mib)) in (0..).zip(readings) {
            let written = Written {
                volume: volume("o"),
                device: (253, *minor),
                total: Bytes::mib(*mib),
            };
            writes.note(vec![written], Moment(Duration::from_secs(60 * minute)));
        }
        writes.per_second(&volume("o"))
    }

    #[test]
    fn a_rate_is_known_after_two_readings_of_the_same_device() {
        for (readings, expected) in [
            (&[][..], None),
            (&[(1, 900)], None),
            (&[(1, 900), (1, 960)], Some(Bytes::mib(1))),
            (&[(1, 900), (1, 900)], Some(Bytes::ZERO)),
            // Another device, and one that counts from 0 again.
            (&[(1, 900), (2, 960)], None),
            (&[(1, 900), (1, 60)], None),
            (&[(1, 900), (1, 60), (1, 120)], Some(Bytes::mib(1))),
        ] {
            assert_eq!(rate(readings), expected, "{readings:?}");
        }
    }

    #[test]
    fn it_is_the_larger_of_average_and_recent_past() {
        // An hour at rest after a minute of 60 MiB/s: it fades from the recent past, and weighs in the average.
        let early: Vec<_> = [(1, 0)].into_iter().chain([(1, 3600); 61]).collect();
        let early = rate(&early).expect("it is known").as_f64() / Bytes::mib(1).as_f64();
        assert!((0.95..1.05).contains(&early), "{early}");
        // Four hours at rest, then a minute of 60 MiB/s, of which the average says a quarter.
        let late: Vec<_> = [(1, 0); 240].into_iter().chain([(1, 3600)]).collect();
        let late = rate(&late).expect("it is known").as_f64() / Bytes::mib(1).as_f64();
        assert!((0.95..1.05).contains(&late), "{late}");
    }

    #[test]
    fn what_is_gone_is_forgotten_and_no_more_are_kept_than_fit() {
        let mut writes = Writes::default();
        let written = |letter| Written {
            volume: volume(letter),
            device: (253, 1),
            total: Bytes::ZERO,
        };
        writes.note(vec![written("o")], Moment::default());
        let many = (0..=VOLUMES_MAX).map(|number| {
            let text = format!("{number:0>32}");
            let lv = Uuid::parse(&text).expect("32 digits");
            Written {
                volume: VolumeId { lv, ..volume("o") },
                ..written("o")
            }
        });
        writes.note(many.collect(), Moment(Duration::from_secs(60)));
        assert_eq!(writes.all.len(), VOLUMES_MAX);
        assert!(!writes.all.contains_key(&volume("o")));
    }
}
