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
mod metrics;
mod page;
mod parsers;
mod plan;
mod relief;
mod rules;
mod scale;
mod served;
mod simulation;
mod thin_volumes;
mod unit;
mod worlds;
