//! The suite: one binary for every test that needs more than one module and no real kernel.

mod alerts;
mod audit;
mod cadence;
mod cli;
mod common;
mod config;
mod dashboards;
mod everything;
mod fake_lvm;
mod faults;
mod fixtures;
mod front;
#[path = "../lab/src/kernel_facts.rs"]
mod kernel_facts;
mod metrics;
mod openmetrics;
mod page;
mod parsers;
mod passwords;
mod plan;
mod relief;
mod rules;
mod scale;
mod served;
mod setting;
mod simulation;
mod thin_volumes;
mod tls;
mod unit;
mod web_config;
mod worlds;
