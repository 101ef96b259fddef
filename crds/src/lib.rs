//! The custom resources of Lodge as data.
//!
//! Key types: [`Workspace`], [`Session`] and [`CronJob`] with what they are made of, [`definitions`] for installing them, and the
//! names that everybody has to agree on ([`condition`], [`label`]). Each kind has one file; its doc comments are what
//! `kubectl explain` shows; its validation is in the schema, so that the API server refuses what is wrong and says the way
//! out. What the server lets pass is decoded into types that can't hold anything else ([`Duration`], [`Quantity`],
//! [`name`]). A watch should wrap the kinds in `kube::core::DeserializeGuard` all the same, so that one object written by a
//! newer version never blinds an older operator.
//!
//! Neighbours: the operator, the gateway, the kubectl plugin and the end-to-end tests. This crate never talks to a server and
//! never knows how anything is carried out.

pub mod condition;
pub mod label;
pub mod name;

mod cron_job;
mod duration;
mod env;
mod limits;
mod mount;
mod network;
mod permission;
mod quantity;
mod reference;
mod sandbox;
mod schema;
mod session;
mod software;
mod text;
mod tool;
mod workspace;
mod yaml;

pub use cron_job::*;
pub use duration::Duration;
pub use env::*;
pub use limits::Limits;
pub use mount::*;
pub use name::{
    DataKey, EnvName, HttpUrl, ItemName, ObjectName, PromptId, SessionName, UserName, WorkspaceName,
};
pub use network::*;
pub use permission::*;
pub use quantity::Quantity;
pub use reference::to_reference;
pub use sandbox::*;
pub use schema::definitions;
pub use session::*;
pub use software::*;
pub use text::InvalidText;
pub use tool::*;
pub use workspace::*;
pub use yaml::to_yaml;
