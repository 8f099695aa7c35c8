//! The page and the text tables.

use std::time::Duration;

use cowherd::model::plan::Plan;
use cowherd::report::{page, table};

use super::common::Herd;
use super::everything::everything;
use super::metrics::golden;

fn page_at(view: &cowherd::model::view::View, age: Duration) -> String {
    page::head(view, age, "/metrics") + &page::body(view)
}

#[test]
fn the_table_of_everything_is_as_reviewed() {
    golden(
        "tests/suite/golden/status.txt",
        &table::status(&everything()),
    );
}

#[test]
fn the_table_fits_a_terminal() {
    let status = table::status(&Herd::small().view);
    for line in status.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[test]
fn a_plan_is_one_line_for_each_extension_and_hold() {
    let plan = table::plan(&everything());
    assert!(plan.starts_with(
        "extend pve/data data by 128 MiB to 628 MiB: more than 80 % used (256 MiB wanted, limited to"
    ));
    assert!(plan.contains("\nhold pve/sick metadata: the pool needs a metadata check"));
    assert_eq!(plan.lines().count(), 7);
}

#[test]
fn an_empty_plan_says_so() {
    let mut view = everything();
    view.plan = Plan::default();
    assert!(table::plan(&view).starts_with("nothing to do: "));
}

#[test]
fn a_host_without_pools_is_told_in_a_sentence() {
    let status = table::status(&Herd::new().view);
    assert!(
        status.contains("no volume group has a thin pool or a snapshot"),
        "{status}"
    );
}

#[test]
fn text_from_outside_cannot_steer_the_terminal() {
    let status = table::status(&everything());
    assert!(status.contains("unreadable Odd_+.-name/lost"));
    assert!(status.chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn the_page_escapes_everything_and_runs_nothing() {
    let page = page_at(&everything(), Duration::ZERO);
    assert!(page.contains("&lt;b&gt;no&lt;/b&gt; &amp; &quot;none&quot;"));
    assert!(page.contains("quoted &quot;and\\\nbroken"));
    for foreign in ["<script", "http://", "https://", "url(", "@import", "<b>no"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn the_page_warns_of_a_silent_guard() {
    let view = everything();
    assert!(!page_at(&view, Duration::from_secs(9)).contains("silent"));
    assert!(page_at(&view, Duration::from_secs(90)).contains("silent for 1.5 min"));
}

#[test]
fn the_page_shows_every_store_hold_and_event() {
    let view = everything();
    let page = page_at(&view, Duration::ZERO);
    for store in &view.stores {
        assert!(page.contains(&store.name.to_string()), "{}", store.name);
    }
    assert!(page.contains("add a physical volume or free extents"));
    assert!(page.contains("extended: by 128 MiB"));
}
