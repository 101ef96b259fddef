//! Command line of the gateway, as typed. `Args` becomes a [`Config`] once, in `main`; nothing else knows it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use gateway::config::{Config, Limits, Rate, Timeouts};
use vm_api::WireDuration;

/// What was withdrawn must stop working within this.
const LONGEST_TTL: Duration = Duration::from_secs(10);
/// Streams of who was withdrawn must end within [`LONGEST_TTL`], the time for a review included.
const LONGEST_RECHECK: Duration = Duration::from_secs(5);
/// Data may flow without the API server for a while, and not for ever.
const LONGEST_GRACE: Duration = Duration::from_secs(600);
/// Less than this is too little for HTTP, more only helps attackers.
const HEADER_BYTES: RangeInclusive<u32> = 8 * 1024..=1024 * 1024;

/// The only door to the data plane of Lodge: authenticates, authorises, and forwards requests to workspaces.
#[derive(Debug, Parser)]
#[command(name = "lodge-gateway", version, max_term_width = 120)]
pub(crate) struct Args {
    /// Address of the HTTPS listener
    #[arg(long, default_value = "0.0.0.0:8443", value_name = "ADDR:PORT")]
    listen: SocketAddr,
    /// Address of /healthz and /readyz, plain HTTP
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "ADDR:PORT")]
    health_listen: SocketAddr,
    /// Address of /metrics, plain HTTP
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDR:PORT")]
    metrics_listen: SocketAddr,
    /// Namespace that Lodge is installed in; holds the Secret of `--tls-secret`
    #[arg(long, env = "POD_NAMESPACE", default_value = "lodge-system")]
    namespace: String,
    /// Secret with tls.crt, tls.key and ca.crt: the certificate shown to clients and to runners, and the CA of runners
    #[arg(long, default_value = "lodge-gateway-tls", value_name = "NAME")]
    tls_secret: String,
    /// Secret with tls.crt and tls.key, for instance of cert-manager: shown to clients that ask for one of its names, in place
    /// of the certificate of `--tls-secret`
    #[arg(long, value_name = "NAME")]
    serving_secret: Option<String>,
    /// Audience that bearer tokens must be meant for (repeatable); without it, the audience of the cluster's API server
    #[arg(long = "token-audience", value_name = "AUDIENCE")]
    token_audiences: Vec<String>,
    /// Label selector of the runners' pods
    #[arg(long, default_value = "app.kubernetes.io/name=lodge-runner", value_name = "SELECTOR")]
    runner_selector: String,
    /// Port of the runners' API
    #[arg(long, default_value_t = 7443, value_name = "PORT")]
    runner_port: u16,

    #[command(flatten, next_help_heading = "Timeouts")]
    timeouts: TimeoutArgs,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitArgs,

    /// What is logged, such as info or gateway=debug,audit=info
    #[arg(long, env = "LODGE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// Format of the log
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

/// How long things may take.
#[derive(Debug, clap::Args)]
struct TimeoutArgs {
    /// How long a request may wait for its workspace to be bound and its runner to answer
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    hold_timeout: WireDuration,
    /// How long a request may wait for a workspace that the gateway has not seen yet (created a moment ago)
    #[arg(long, default_value = "250ms", value_name = "DURATION")]
    unknown_grace: WireDuration,
    /// How long the identity behind a token is remembered (at most 10s)
    #[arg(long, default_value = "8s", value_name = "DURATION")]
    token_ttl: WireDuration,
    /// How long a refused token is remembered
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    refused_token_ttl: WireDuration,
    /// How long a granted permission is remembered (at most 10s)
    #[arg(long, default_value = "8s", value_name = "DURATION")]
    allowed_ttl: WireDuration,
    /// How long a denied permission is remembered
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    denied_ttl: WireDuration,
    /// How often the user of a stream (events, shells, uploads) is reviewed again; a stream of who may no longer ends within
    /// 10s (at most 5s)
    #[arg(long, default_value = "4s", value_name = "DURATION")]
    stream_recheck_interval: WireDuration,
    /// How long what the API server granted last still counts while it does not answer; 0s: not at all (at most 10m)
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    outage_grace: WireDuration,
    /// How long a review by the API server may take
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    review_timeout: WireDuration,
    /// How long a TLS handshake may take
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    handshake_timeout: WireDuration,
    /// How long a client may take to send the head of a request, and how long a kept-alive connection may be idle
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    header_timeout: WireDuration,
    /// How long a client may send or take nothing in the middle of a body; standard input and WebSockets may be quiet
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    stall_timeout: WireDuration,
    /// How long connections are still accepted after the signal to stop, until load balancers have noticed
    #[arg(long, default_value = "3s", value_name = "DURATION")]
    stop_delay: WireDuration,
    /// How long requests may go on after the signal to stop
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    drain_timeout: WireDuration,
}

/// How much of everything there may be.
#[derive(Debug, clap::Args)]
struct LimitArgs {
    /// Most connections of clients
    #[arg(long, default_value_t = 4096, value_name = "N")]
    max_connections: usize,
    /// Most connections of one client's address
    #[arg(long, default_value_t = 1024, value_name = "N")]
    max_connections_per_address: usize,
    /// Most requests at once
    #[arg(long, default_value_t = 4096, value_name = "N")]
    max_requests: usize,
    /// Most requests of one user at once, streams included
    #[arg(long, default_value_t = 1024, value_name = "N")]
    max_user_requests: usize,
    /// Most requests of one user in a second; 0: no limit
    #[arg(long, default_value_t = 2000, value_name = "N")]
    max_user_requests_per_second: u32,
    /// Most requests of one user at once after a quiet time
    #[arg(long, default_value_t = 4000, value_name = "N")]
    max_user_burst: u32,
    /// Most requests in a second of one client's address without credentials or with ones that are not known to be good;
    /// 0: no limit. Behind a proxy that hides addresses, all strangers share this
    #[arg(long, default_value_t = 20, value_name = "N")]
    max_strangers_per_second: u32,
    /// Most such requests at once after a quiet time
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_stranger_burst: u32,
    /// Most requests that wait for one workspace
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_held_per_workspace: usize,
    /// Most requests that wait for a workspace
    #[arg(long, default_value_t = 1024, value_name = "N")]
    max_held: usize,
    /// Most reviews of each kind (token, permission) asked of the API server at once; four times as many wait
    #[arg(long, default_value_t = 64, value_name = "N")]
    max_reviews: usize,
    /// Most identities and most permissions that are remembered
    #[arg(long, default_value_t = 16_384, value_name = "N")]
    max_cached_reviews: usize,
    /// Largest head of a request
    #[arg(long, default_value_t = 64 * 1024, value_name = "BYTES")]
    max_header_bytes: u32,
    /// Largest body of an exec, or of another request whose body is a JSON document
    #[arg(long, default_value_t = 16 * 1024 * 1024, value_name = "BYTES")]
    max_exec_body_bytes: u64,
    /// Largest body of an upload: a file, an archive, a batch of files, standard input
    #[arg(long, default_value_t = 16 * 1024 * 1024 * 1024, value_name = "BYTES")]
    max_file_body_bytes: u64,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line
    Json,
    /// For people
    Text,
}

/// What the log wants to know.
#[derive(Debug)]
pub(crate) struct LogConfig {
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

impl Args {
    /// Gives the arguments their meaning.
    pub(crate) fn into_config(self) -> anyhow::Result<(Config, LogConfig)> {
        let Self {
            listen,
            health_listen,
            metrics_listen,
            namespace,
            tls_secret,
            serving_secret,
            token_audiences,
            runner_selector,
            runner_port,
            timeouts,
            limits,
            log,
            log_format,
        } = self;
        let config = Config {
            listen,
            health_listen,
            metrics_listen,
            namespace,
            tls_secret,
            serving_secret: serving_secret.filter(|name| !name.is_empty()),
            token_audiences,
            runner_selector,
            runner_port,
            timeouts: timeouts.into_timeouts()?,
            limits: limits.into_limits()?,
        };
        Ok((config, LogConfig { filter: log, format: log_format }))
    }
}

impl TimeoutArgs {
    fn into_timeouts(self) -> anyhow::Result<Timeouts> {
        let Self {
            hold_timeout,
            unknown_grace,
            token_ttl,
            refused_token_ttl,
            allowed_ttl,
            denied_ttl,
            stream_recheck_interval,
            outage_grace,
            review_timeout,
            handshake_timeout,
            header_timeout,
            stall_timeout,
            stop_delay,
            drain_timeout,
        } = self;
        for (argument, ttl) in [("--token-ttl", token_ttl), ("--allowed-ttl", allowed_ttl)] {
            anyhow::ensure!(
                ttl.0 <= LONGEST_TTL,
                "{argument} {ttl} is too long: what was withdrawn must stop working within 10s"
            );
        }
        anyhow::ensure!(
            !stream_recheck_interval.0.is_zero() && stream_recheck_interval.0 <= LONGEST_RECHECK,
            "--stream-recheck-interval {stream_recheck_interval} is outside of 1ms to 5s: streams of who may no longer \
             must end within 10s"
        );
        anyhow::ensure!(
            outage_grace.0 <= LONGEST_GRACE,
            "--outage-grace {outage_grace} is too long: nothing can be withdrawn in that time; use at most 10m"
        );
        Ok(Timeouts {
            hold: hold_timeout.0,
            unknown_grace: unknown_grace.0,
            token: token_ttl.0,
            refused_token: refused_token_ttl.0,
            allowed: allowed_ttl.0,
            denied: denied_ttl.0,
            stream_recheck: stream_recheck_interval.0,
            outage_grace: outage_grace.0,
            review: review_timeout.0,
            handshake: handshake_timeout.0,
            header: header_timeout.0,
            stall: stall_timeout.0,
            stop_delay: stop_delay.0,
            drain: drain_timeout.0,
        })
    }
}

impl LimitArgs {
    fn into_limits(self) -> anyhow::Result<Limits> {
        let Self {
            max_connections,
            max_connections_per_address,
            max_requests,
            max_user_requests,
            max_user_requests_per_second,
            max_user_burst,
            max_strangers_per_second,
            max_stranger_burst,
            max_held_per_workspace,
            max_held,
            max_reviews,
            max_cached_reviews,
            max_header_bytes,
            max_exec_body_bytes,
            max_file_body_bytes,
        } = self;
        anyhow::ensure!(
            HEADER_BYTES.contains(&max_header_bytes),
            "--max-header-bytes {max_header_bytes} is outside of {} to {}",
            HEADER_BYTES.start(),
            HEADER_BYTES.end()
        );
        Ok(Limits {
            connections: max_connections,
            connections_per_address: max_connections_per_address,
            requests: max_requests,
            user_requests: max_user_requests,
            user_rate: Rate { per_second: max_user_requests_per_second, burst: max_user_burst },
            stranger_rate: Rate { per_second: max_strangers_per_second, burst: max_stranger_burst },
            held_per_workspace: max_held_per_workspace,
            held: max_held,
            reviews: max_reviews,
            cached_reviews: max_cached_reviews,
            header_bytes: max_header_bytes,
            exec_body_bytes: max_exec_body_bytes,
            file_body_bytes: max_file_body_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};
    use gateway::config::{Limits, Timeouts};

    use super::Args;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_of_the_command_line_are_those_of_the_configuration() {
        let (config, _) = Args::parse_from(["lodge-gateway"]).into_config().unwrap();
        assert_eq!(config.timeouts, Timeouts::default());
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.tls_secret, "lodge-gateway-tls");
    }

    #[test]
    fn a_token_cannot_be_remembered_for_long() {
        let args = Args::parse_from(["lodge-gateway", "--token-ttl", "5m"]);
        let error = args.into_config().unwrap_err().to_string();
        assert!(error.contains("--token-ttl 5m"), "{error}");
    }
}
