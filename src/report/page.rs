//! The status page: one HTML document, whole in itself.
//!
//! It loads nothing from anywhere and runs no script, so it works where the browser has no network
//! and under a policy that forbids both. Everything that comes from a view is escaped. The body does
//! not depend on the time, so that it is made once for each view.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::units::Bytes;
use crate::model::view::{Event, View};

use super::figures::{self, Figures, Mood, Volume};
use super::{table, text};

/// Three times what the guard is silent for when nothing changes.
const SILENT_AFTER: Duration = Duration::from_secs(30);

const STYLE: &str = include_str!("page.css");

/// What changes with each request: document head, version, mode, age. Followed by `body`.
#[must_use]
pub fn head(view: &View, age: Duration, telemetry_path: &str) -> String {
    let mode = if view.policy.dry_run {
        "dry run: changes nothing"
    } else {
        "extending"
    };
    let mut html = opening();
    let _ = write!(
        html,
        "<header><h1>cowherd <small>{}</small></h1>\
         <p><b class=\"{}\">{mode}</b> &middot; seen {} &middot; running for {}</p>\
         <nav><a href=\"{}\">metrics</a> <a href=\"/status.json\">status.json</a></nav></header>",
        escaped(&view.build.version),
        if view.policy.dry_run { "odd" } else { "well" },
        text::ago(age),
        text::span((view.at.wall.0 - view.started.0).max(0.0) + age.as_secs_f64()),
        escaped(telemetry_path),
    );
    if age > SILENT_AFTER {
        let _ = write!(
            html,
            "<p class=\"alarm\">The guard has been silent for {}. What follows is old, \
             and nothing may be watching these volumes.</p>",
            text::span(age.as_secs_f64()),
        );
    }
    html
}

/// What a view says, whenever it is shown.
#[must_use]
pub fn body(view: &View) -> String {
    let mut html = String::from("<main>");
    plan(&mut html, view);
    stores(&mut html, &figures::all(view));
    groups(&mut html, view);
    events(&mut html, view);
    html.push_str("</main></body></html>\n");
    html
}

/// The page before the first view.
#[must_use]
pub fn waiting() -> String {
    let mut html = opening();
    html.push_str(
        "<header><h1>cowherd</h1></header>\
         <p class=\"alarm\">The guard has not published anything yet.</p></body></html>\n",
    );
    html
}

fn opening() -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"2\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>cowherd</title><style>{STYLE}</style></head><body>"
    )
}

fn plan(html: &mut String, view: &View) {
    let plan = &view.plan;
    if plan.extensions.is_empty() && plan.holds.is_empty() {
        return;
    }
    html.push_str("<h2>Now</h2><ul class=\"plan\">");
    for extension in &plan.extensions {
        let line = table::extension_line(extension);
        let _ = write!(html, "<li>{}</li>", escaped(&line));
    }
    for hold in &plan.holds {
        let class = if hold.needs_a_human() { "bad" } else { "odd" };
        let line = table::hold_line(hold);
        let _ = write!(html, "<li class=\"{class}\">{}</li>", escaped(&line));
    }
    html.push_str("</ul>");
}

fn stores(html: &mut String, all: &[Figures<'_>]) {
    html.push_str("<h2>Stores</h2>");
    if all.is_empty() {
        html.push_str("<p>No thin pool and no snapshot.</p>");
        return;
    }
    html.push_str(
        "<table><thead><tr><th>volume<th>store<th>used<th class=\"n\">size<th class=\"n\">free\
         <th>state<th class=\"n\">fills at<th class=\"n\">full in<th class=\"n\">can grow\
         <th class=\"n\">grown</tr></thead><tbody>",
    );
    for figures in all {
        store(html, figures);
    }
    html.push_str("</tbody></table>");
}

fn store(html: &mut String, figures: &Figures<'_>) {
    let state = figures.volume.state();
    let record = &figures.store.record;
    let _ = write!(
        html,
        "<tr><th>{}<td>{}<td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"{}\">{}\
         <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
        escaped(&figures.store.name.to_string()),
        kind(figures),
        bar(figures),
        text::size(figures.size),
        figures
            .free()
            .map_or_else(|| text::NOTHING.to_owned(), text::size),
        mood_class(state.mood),
        state.text,
        text::rate(figures.store.fill_bytes_per_second),
        text::forecast(figures.secs_to_full),
        text::size(figures.store.growable),
        grown(
            record.added,
            record.attempts,
            record.failures.values().sum()
        ),
    );
}

fn kind(figures: &Figures<'_>) -> String {
    match figures.volume {
        Volume::Pool(_) => format!("pool {}", figures.store.target.resource.label()),
        Volume::Snapshot(snapshot) => format!("snapshot of {}", escaped(&snapshot.origin)),
    }
}

/// How full it is, with a mark where the guard extends.
fn bar(figures: &Figures<'_>) -> String {
    let Some(ratio) = figures.ratio() else {
        return text::NOTHING.to_owned();
    };
    let class = if figures.is_past_threshold() {
        "bar past"
    } else {
        "bar"
    };
    format!(
        "<div class=\"{class}\"><i style=\"width:{:.1}%\"></i><b style=\"left:{}%\"></b>\
         <span>{}</span></div>",
        ratio * 100.0,
        figures.store.threshold_percent,
        text::percent(ratio),
    )
}

fn grown(added: Bytes, attempts: u64, failures: u64) -> String {
    let mut cell = match attempts.saturating_sub(failures) {
        0 => text::NOTHING.to_owned(),
        successes => format!("{successes}&times; {}", text::size(added)),
    };
    if failures > 0 {
        let _ = write!(cell, " <span class=\"bad\">{failures} failed</span>");
    }
    cell
}

fn groups(html: &mut String, view: &View) {
    html.push_str(
        "<h2>Volume groups</h2><table><thead><tr><th>volume group<th class=\"n\">size\
         <th class=\"n\">free<th class=\"n\">reserve<th>state</tr></thead><tbody>",
    );
    for group in &view.inventory.groups {
        let reserve = view.reserves.iter().find(|(name, _)| *name == group.name);
        let (class, state) = group
            .obstacle
            .map_or(("well", "ok"), |o| ("bad", o.label()));
        let _ = write!(
            html,
            "<tr><th>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}\
             <td class=\"{class}\">{state}</tr>",
            escaped(group.name.as_str()),
            text::size(group.size),
            text::size(group.free_bytes()),
            text::size(reserve.map_or(Bytes::ZERO, |(_, bytes)| *bytes)),
        );
    }
    html.push_str("</tbody></table>");
}

fn events(html: &mut String, view: &View) {
    html.push_str("<h2>Events</h2>");
    if view.events.is_empty() {
        html.push_str("<p>Nothing has happened yet.</p>");
        return;
    }
    html.push_str("<table class=\"events\"><tbody>");
    for event in view.events.iter().rev() {
        let past = view.at.moment.since(event.at.moment);
        let _ = write!(
            html,
            "<tr><td class=\"n\">{}<td>{}<td>{}</tr>",
            text::ago(past),
            escaped(&subject(event)),
            escaped(&event.text),
        );
    }
    html.push_str("</tbody></table>");
}

fn subject(event: &Event) -> String {
    let volume = event.volume.as_ref().map(ToString::to_string);
    let resource = event.resource.map(|resource| resource.label().to_owned());
    volume
        .into_iter()
        .chain(resource)
        .collect::<Vec<_>>()
        .join(" ")
}

const fn mood_class(mood: Mood) -> &'static str {
    match mood {
        Mood::Well => "well",
        Mood::Odd => "odd",
        Mood::Bad => "bad",
    }
}

/// Safe between tags and within a quoted attribute.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_its_tag_or_attribute() {
        assert_eq!(
            escaped("<a b=\"c\" d='e'>&"),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;"
        );
    }
}
