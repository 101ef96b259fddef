//! The Lodge operator: makes runners for namespaces that have Workspaces, binds each Workspace to a runner, tells the runner
//! what the Workspace shall be, and keeps its status true. Begins the runs of CronJobs, each at most once.
//!
//! ```text
//!                    ┌────────────── Kubernetes API ──────────────┐
//!                    │ watch                                      │ apply, patch
//!                 [store] ──▶ [runner]: a namespace's objects ────┤
//!                    │  ╲                                         │
//!                    │   ╲──▶ [workspace]: one Workspace ─────────┤
//!                    │    ╲─▶ [cron_job]: one CronJob ────────────┘
//!                    │              │ push, runs     ▲ what runners told
//!                    └──▶ [follow]: one task per pod ─┴─▶ [roster]
//!                                   │ HTTP/2, mTLS ([runner_client])
//!                                   ▼
//!                               vm-runner pods
//! ```
//! Key types: [`args::Config`] (what it was told), [`context::Context`] (what reconciles share), [`workspace::Error`] (why a
//! Workspace is not as it shall be). Neighbours: `lodge-crds` for the kinds, `vm-api` for what goes over the wire. Sessions
//! are accepted by the API; their controller comes later.
//!
//! This crate must never know what a VM is made of, never be on the way of a request, never write a spec, and never let the
//! value of a Secret get into a status, an Event or the log.
//!
//! # Lock order
//! Every lock is a leaf: [`roster`], [`ledger`], [`trigger`], [`runner::outlook`], [`runner::occupancy`], [`runner::roll`], [`rush`], [`cron_job::register`],
//! [`cron_job::schedule::zone`], [`context::AuthorityCell`] and the TLS settings in
//! [`runner_client`] each guard their own map or cell; none is held while another is taken, across an await, or while calling
//! anything of another module.

pub mod app;
pub mod apply;
pub mod args;
pub mod certificate;
pub mod clock;
pub mod context;
pub mod cron_job;
pub mod event;
pub mod follow;
pub mod http;
pub mod kube_client;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod roster;
pub mod runner;
pub mod runner_client;
pub mod rush;
pub mod spawn;
pub mod store;
pub mod telemetry;
pub mod trigger;
mod unreadable;
pub mod workspace;
