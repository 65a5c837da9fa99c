//! gatewatch stands between a fleet of benchmark VMs and the people who watch them.
//!
//! Rooms in the order in which data flows; `docs/ARCHITECTURE.md` has the picture and who may import whom:
//! probe → tracker → event → journal → hub → api, joined by [`fleet`], wrapped by [`edge`] and [`server`].

pub mod model;

pub mod config;
pub mod lifecycle;
pub mod telemetry;

pub mod event;
pub mod probe;
pub mod tracker;

pub mod journal;
pub mod replicas;

pub mod fleet;
pub mod hub;

pub mod api;
pub mod edge;
pub mod server;

pub mod app;
pub mod cli;
