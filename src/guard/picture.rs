//! The picture of everything that the front shows: what is in it, and when a new one is due. How it is
//! shown belongs to `report`.

use std::time::Duration;

use crate::decide::{self, Situation, store};
use crate::model::time::{Moment, Now};
use crate::model::units::Bytes;
use crate::model::view::{StoreView, View};

use super::engine::Engine;
use super::message::Order;

/// The front needs no more pictures than people and scrapes can look at, and none is asked to show more:
/// these three are no keys.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// While nothing changes but the time a picture says little more than that the guard lives.
const PUBLISH_IDLE: Duration = Duration::from_secs(10);
/// After something happened a picture follows at once, but a storm of events is not a storm of pictures.
const PUBLISH_SOON: Duration = Duration::from_millis(100);
/// The first picture waits for LVM's metadata, but not for an lvm that hangs.
const FIRST_REPORT: Duration = Duration::from_secs(5);

/// What there is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    OnlyTime,
    Change,
    /// Something happened that people wait to see.
    Awaited,
}

impl Engine {
    pub(super) fn note_news(&mut self, news: News) {
        self.news = self.news.max(news);
    }

    pub(super) fn publish(&mut self, now: Now, orders: &mut Vec<Order>) {
        if now.moment < self.next_publish() {
            return;
        }
        self.published = Some(now.moment);
        self.news = News::OnlyTime;
        orders.push(Order::Publish(Box::new(self.view(now))));
    }

    /// A picture of nothing would look like a host with nothing on it: the first waits for a report.
    pub(super) fn next_publish(&self) -> Moment {
        match self.published {
            None if self.report.was_read => self.started.moment,
            None => self.started.moment.after(FIRST_REPORT),
            Some(at) => at.after(match self.news {
                News::Awaited => PUBLISH_SOON,
                News::Change => PUBLISH_EVERY,
                News::OnlyTime => PUBLISH_IDLE,
            }),
        }
    }

    /// The present state as the front gets it.
    #[must_use]
    pub fn view(&self, now: Now) -> View {
        let situation = self.situation(now);
        let reserves = self
            .inventory
            .groups
            .iter()
            .map(|group| (group.name.clone(), self.policy.reserve(group)));
        View {
            at: now,
            started: self.started.wall,
            policy: self.policy.clone(),
            inventory: self.inventory.clone(),
            stores: store_views(&situation),
            plan: self.plan.clone(),
            reserves: reserves.collect(),
            tally: self.tally.clone(),
            events: self.events.iter().cloned().collect(),
            build: self.build.clone(),
        }
    }
}

fn store_views(situation: &Situation<'_>) -> Vec<StoreView> {
    store::all(situation.inventory)
        .map(|store| StoreView {
            name: store.name.clone(),
            record: situation.history.record(&store.target),
            growable: decide::forecast::growable(situation, &store),
            fill_bytes_per_second: situation.history.trend(&store.target),
            useful_max: useful_max(&store),
            enabled: store.growth(situation.policy).enabled,
            threshold_percent: decide::threshold_percent(&store, &store.growth(situation.policy)),
            target: store.target,
        })
        .collect()
}

fn useful_max(store: &store::Store<'_>) -> Bytes {
    store.useful_max.bytes(store.group.extent)
}
