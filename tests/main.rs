//! One binary, one file per promise. `lab` builds the real test VM; `support` starts gateways and clients.

// Helpers of tests fail by panicking; clippy allows that only inside test functions themselves.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
// A test owns its tasks by holding their handles; nothing here is anybody's API.
#![allow(clippy::disallowed_methods, unreachable_pub, reason = "this is a test binary")]

mod faults;
mod fleet;
mod lab;
mod support;

mod alerts;
mod bad_input;
mod browser;
mod browser_login;
mod browser_origins;
mod canary;
mod chaos;
mod command_line;
mod disk_full;
mod drain;
mod exports;
mod haproxy;
mod history;
mod idle_proxy;
mod image;
mod journal_files;
mod jwt;
mod keys;
mod kills;
mod kubernetes;
mod lab_faults;
mod lab_run;
mod layering;
mod limits;
mod metrics;
mod nats_gateways;
mod nats_journal;
mod nats_secured;
mod nats_shared;
mod nats_user;
mod openapi;
mod pages;
mod polling_routes;
mod problems;
mod prometheus;
mod promises;
mod registration;
mod reload;
mod replicas;
mod replicas_up;
mod resets;
mod resume_race;
mod scanners;
mod security_model;
mod service;
mod shutdown;
mod slow_clients;
mod slow_readers;
mod snapshots;
mod stack;
mod stream_contract;
mod timeline;
mod traces;
