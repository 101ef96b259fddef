//! The Lodge operator: reconciles Workspaces, Sessions and CronJobs.
