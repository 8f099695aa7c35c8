//! The results as SVG pictures, on a light ground of their own so that they can
//! be read on a dark page, too. Pure: samples in, text out.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea, IntoLogRange, PathElement, RGBColor,
    Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, TextStyle};

use super::claims::reaction;
use super::survival::{self, Survived};
use crate::figures::figures;
use crate::samples::{By, Crossing, Guard, Scrapes, Store, SurvivalRun};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 860;
const GROUND: RGBColor = RGBColor(252, 252, 250);
const INK: RGBColor = RGBColor(31, 41, 55);
const FAINT: RGBColor = RGBColor(222, 224, 228);
const COWHERD: RGBColor = RGBColor(29, 99, 201);
const DMEVENTD: RGBColor = RGBColor(205, 104, 8);
const PLAIN: RGBColor = RGBColor(110, 118, 129);
const FONT: &str = "sans-serif";
/// Left of the plot: who each row is of.
const NAMES: i32 = 150;
/// Right of the plot: what a bar's end says.
const ENDS: i32 = 230;
const TITLE: i32 = 62;
const ROW: i32 = 26;
/// Above each group, for its name.
const GAP: i32 = 34;
const SCALE: i32 = 52;

/// A bar or a row of points, and what stands at its end.
struct Row {
    name: String,
    color: RGBColor,
    /// The first of its group is named.
    group: Option<String>,
    mark: Mark,
    told: String,
}

enum Mark {
    Bar(f64),
    /// Each sample, and their median.
    Points(Vec<f64>, f64),
}

/// A horizontal chart of rows over a logarithmic scale.
struct Rows<'a> {
    title: &'a str,
    below: &'a str,
    unit: &'a str,
    ticks: &'a [f64],
    lines: Vec<Row>,
}

pub fn survival(runs: &[SurvivalRun]) -> Result<String> {
    let rows = survival::all(runs).into_iter().map(|found| Row {
        name: found.guard.to_string(),
        color: color(found.guard),
        group: (found.guard == Guard::Cowherd).then(|| found.store.to_string()),
        mark: Mark::Bar(reached(&found)),
        told: told(&found),
    });
    Rows {
        title: "The fastest writer that a store survives",
        below: "extended at 70 % by 20 %; four times the store's size is written",
        unit: "MiB/s",
        ticks: &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
        lines: rows.collect(),
    }
    .drawn()
}

const fn color(guard: Guard) -> RGBColor {
    match guard {
        Guard::Cowherd => COWHERD,
        Guard::Dmeventd => DMEVENTD,
    }
}

/// What the writer was held to, or reached where nothing held it.
fn reached(found: &Survived) -> f64 {
    found.highest.map_or(0.0, |(rate, tally)| {
        rate.map_or(tally.mib_per_sec, f64::from)
    })
}

fn told(found: &Survived) -> String {
    match (found.highest, found.beyond) {
        (Some((None, tally)), _) => format!(
            "unlimited: {:.0} MiB/s ({} of {})",
            tally.mib_per_sec, tally.survived, tally.runs
        ),
        (Some((Some(rate), _)), Some((Some(beyond), _))) => {
            format!("{rate} MiB/s; lost at {beyond}")
        }
        (Some((Some(rate), _)), Some((None, _)) | None) => {
            format!("{rate} MiB/s; lost at unlimited")
        }
        (None, _) => "lost at every rate".to_owned(),
    }
}

pub fn reacted(crossings: &[Crossing]) -> Result<String> {
    let who = [
        (By::Cowherd, "cowherd", COWHERD),
        (By::Dmeventd, "dmeventd", DMEVENTD),
        (By::Lvextend, "a bare lvextend", PLAIN),
    ];
    let mut rows = Vec::new();
    for store in [Store::Cow64, Store::PoolQueues] {
        for (by, name, color) in who {
            let Some(figures) = reaction(crossings, store, by) else {
                continue;
            };
            let chosen = crossings.iter().filter(|c| c.store == store && c.by == by);
            rows.push(Row {
                name: name.to_owned(),
                color,
                group: (by == By::Cowherd).then(|| store.to_string()),
                mark: Mark::Points(chosen.map(|c| c.millis).collect(), figures.median),
                told: format!(
                    "median {:.0} ms, most {:.0} ms",
                    figures.median, figures.greatest
                ),
            });
        }
    }
    Rows {
        title: "From crossing the threshold to a larger store",
        below: "each point is one crossing; the line is their median",
        unit: "ms",
        ticks: &[100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0],
        lines: rows,
    }
    .drawn()
}

impl Rows<'_> {
    fn drawn(&self) -> Result<String> {
        let groups = self.lines.iter().filter(|row| row.group.is_some()).count();
        let plot = ROW * count(self.lines.len()) + GAP * count(groups);
        let height = u32::try_from(TITLE + plot + SCALE)?;
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
            self.draw(&area, plot)
                .map_err(|error| anyhow!("drawing: {error}"))?;
            area.present()
                .map_err(|error| anyhow!("drawing: {error}"))?;
        }
        Ok(svg)
    }

    fn draw(&self, area: &Area, plot: i32) -> Result<()> {
        head(area, self.title, self.below)?;
        for tick in self.ticks {
            let x = self.x(*tick);
            let label = short(*tick);
            write(
                area,
                &label,
                (x, TITLE + plot + 8),
                13,
                INK,
                (HPos::Center, VPos::Top),
            )?;
        }
        let (x, y) = (NAMES - 14, TITLE + plot + 8);
        write(area, self.unit, (x, y), 13, INK, (HPos::Right, VPos::Top))?;
        let mut y = TITLE;
        for row in &self.lines {
            if let Some(group) = &row.group {
                y += GAP;
                write(
                    area,
                    group,
                    (16, y - 10),
                    14,
                    INK,
                    (HPos::Left, VPos::Center),
                )?;
            }
            self.draw_row(area, row, y)?;
            y += ROW;
        }
        Ok(())
    }

    fn draw_row(&self, area: &Area, row: &Row, y: i32) -> Result<()> {
        let middle = y + ROW / 2;
        for tick in self.ticks {
            let x = self.x(*tick);
            area.draw(&PathElement::new(vec![(x, y), (x, y + ROW)], FAINT))?;
        }
        let name_at = (NAMES - 10, middle);
        write(
            area,
            &row.name,
            name_at,
            13,
            row.color,
            (HPos::Right, VPos::Center),
        )?;
        let end = match &row.mark {
            Mark::Bar(value) => {
                let end = self.x(*value);
                let corners = [(NAMES, y + 4), (end, y + ROW - 4)];
                area.draw(&Rectangle::new(corners, row.color.filled()))?;
                end
            }
            Mark::Points(values, median) => {
                for value in values {
                    let at = (self.x(*value), middle);
                    area.draw(&Circle::new(at, 4, row.color.mix(0.35).filled()))?;
                }
                let x = self.x(*median);
                let line = vec![(x, y + 3), (x, y + ROW - 3)];
                area.draw(&PathElement::new(line, row.color.stroke_width(3)))?;
                WIDTH.cast_signed() - ENDS
            }
        };
        write(
            area,
            &row.told,
            (end + 8, middle),
            13,
            INK,
            (HPos::Left, VPos::Center),
        )
    }

    /// Where a value lies between the first tick and the last.
    #[expect(clippy::cast_possible_truncation, reason = "a place on the picture")]
    fn x(&self, value: f64) -> i32 {
        let (Some(first), Some(last)) = (self.ticks.first(), self.ticks.last()) else {
            return NAMES;
        };
        let share = (value.clamp(*first, *last) / first).ln() / (last / first).ln();
        let width = f64::from(WIDTH.cast_signed() - ENDS - NAMES);
        NAMES + (share * width).round() as i32
    }
}

/// Name, colour and samples of a curve.
type Curve = (&'static str, RGBColor, fn(&Scrapes) -> &[f64]);

/// Scrape and fullreport by the number of volumes, both scales logarithmic.
pub fn scraped(scrapes: &[Scrapes]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 420)).into_drawing_area();
        draw_scrapes(&area, scrapes).map_err(|error| anyhow!("drawing: {error}"))?;
        area.present()
            .map_err(|error| anyhow!("drawing: {error}"))?;
    }
    Ok(svg)
}

fn draw_scrapes(area: &Area, scrapes: &[Scrapes]) -> Result<()> {
    head(
        area,
        "GET /metrics beside lvm fullreport",
        "medians; the thin line reaches to the slowest of 100",
    )?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(TITLE)
        .margin_left(16)
        .margin_bottom(8)
        .margin_right(ENDS)
        .x_label_area_size(48)
        .y_label_area_size(74)
        .build_cartesian_2d((8.0..1300.0).log_scale(), (1.0..20_000.0).log_scale())
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .light_line_style(GROUND)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style((FONT, 13).into_font().color(&INK))
        .x_desc("thin volumes")
        .y_desc("ms")
        .x_label_formatter(&|value| short(*value))
        .y_label_formatter(&|value| short(*value))
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    let lines: [Curve; 2] = [
        ("lvm fullreport", PLAIN, |s| &s.fullreports_ms),
        ("cowherd", COWHERD, |s| &s.scrapes_ms),
    ];
    for (name, color, samples) in lines {
        let points: Vec<(f64, f64, f64)> = scrapes
            .iter()
            .filter_map(|s| {
                let figures = figures(samples(s).iter().copied())?;
                Some((f64::from(s.volumes), figures.median, figures.p99))
            })
            .collect();
        let line: Vec<(f64, f64)> = points.iter().map(|(x, y, _)| (*x, *y)).collect();
        chart
            .draw_series([PathElement::new(line, color.stroke_width(3))])
            .map_err(|error| anyhow!("{error}"))?;
        let whiskers = points
            .iter()
            .map(|(x, median, p99)| PathElement::new(vec![(*x, *median), (*x, *p99)], color));
        chart
            .draw_series(whiskers)
            .map_err(|error| anyhow!("{error}"))?;
        let dots = points
            .iter()
            .map(|(x, y, _)| Circle::new((*x, *y), 4, color.filled()));
        chart
            .draw_series(dots)
            .map_err(|error| anyhow!("{error}"))?;
        if let Some((x, median, _)) = points.last() {
            let (x, y) = chart.backend_coord(&(*x, *median));
            let told = format!("{name}: {median:.0} ms at {}", points_at(scrapes));
            write(
                area,
                &told,
                (x + 12, y),
                13,
                color,
                (HPos::Left, VPos::Center),
            )?;
        }
    }
    Ok(())
}

fn points_at(scrapes: &[Scrapes]) -> u32 {
    scrapes.last().map_or(0, |sample| sample.volumes)
}

fn head(area: &Area, title: &str, below: &str) -> Result<()> {
    area.fill(&GROUND)?;
    let left_top = (HPos::Left, VPos::Top);
    write(area, title, (16, 12), 18, INK, left_top)?;
    write(area, below, (16, 37), 13, PLAIN, left_top)
}

fn write(
    area: &Area,
    text: &str,
    at: (i32, i32),
    size: i32,
    color: RGBColor,
    (h_pos, v_pos): (HPos, VPos),
) -> Result<()> {
    let style = TextStyle::from((FONT, size).into_font())
        .color(&color)
        .pos(Pos::new(h_pos, v_pos));
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}

fn short(value: f64) -> String {
    if value >= 1000.0 {
        format!("{} {:03}", (value / 1000.0).floor(), value % 1000.0)
    } else {
        format!("{value}")
    }
}

fn count(many: usize) -> i32 {
    i32::try_from(many).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_its_own_ground_and_every_row() {
        let crossing = |by, millis| Crossing {
            store: Store::Cow64,
            by,
            millis,
        };
        let samples = [crossing(By::Cowherd, 600.0), crossing(By::Dmeventd, 5000.0)];
        let svg = reacted(&samples).unwrap();
        for part in [
            "<svg",
            "#FCFCFA",
            "cowherd",
            "dmeventd",
            "median 5000 ms",
            "ms",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("a bare lvextend"), "{svg}");
    }

    #[test]
    fn a_scale_is_logarithmic_and_keeps_to_its_ends() {
        let rows = Rows {
            title: "",
            below: "",
            unit: "",
            ticks: &[1.0, 100.0],
            lines: Vec::new(),
        };
        let right = WIDTH.cast_signed() - ENDS;
        assert_eq!(
            [0.0, 1.0, 100.0, 900.0].map(|v| rows.x(v)),
            [NAMES, NAMES, right, right]
        );
        assert_eq!(rows.x(10.0), i32::midpoint(NAMES, right));
    }
}
