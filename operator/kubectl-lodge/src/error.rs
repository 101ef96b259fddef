//! What can go wrong before a command has run, in words that name the thing and the way out; and the exit codes.

use std::path::PathBuf;

use vm_api::{Problem, ProblemCode};

/// The command ran into its time limit; the code that timeout(1) has for it.
pub(crate) const TIMED_OUT: u8 = 124;
/// Lodge could not do it; the code that env(1) and timeout(1) have for their own failures.
pub(crate) const OWN_FAILURE: u8 = 125;
/// The command cannot be run; a shell's code.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no such command; a shell's code.
pub(crate) const NOT_FOUND: u8 = 127;
/// Ended by SIGPIPE; a shell's code.
pub(crate) const UNREAD: u8 = 128 + 13;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error with what is behind it, which libraries often leave out; each once.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Why a command of the plugin failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No kubeconfig, or one that cannot be used.
    #[error(
        "no access to a cluster: {0}; see `kubectl config view`, or choose with --kubeconfig and --context"
    )]
    Kubeconfig(#[source] BoxError),
    /// The credential plugin of the kubeconfig failed.
    #[error("the credential plugin {command:?} of the kubeconfig {what}{hint}")]
    Plugin {
        /// Its program.
        command: String,
        /// What it did.
        what: String,
        /// How to install it, if the kubeconfig says.
        hint: String,
    },
    /// The kubeconfig impersonates, which the gateway does not do.
    #[error(
        "the kubeconfig acts as another user (as: {0}), which the gateway does not support: use credentials of that user"
    )]
    Impersonation(String),
    /// The kubeconfig has credentials that only the API server takes.
    #[error(
        "the kubeconfig has a user name and a password, which the gateway does not take: use a token or a certificate"
    )]
    BasicAuth,
    /// The API server said no.
    #[error("{0}")]
    Api(String),
    /// Lodge is not there.
    #[error(
        "Lodge is not installed in namespace {0} (there is no ConfigMap lodge-gateway): install its chart, or name its \
         namespace with --lodge-namespace"
    )]
    NotInstalled(String),
    /// The gateway's ConfigMap is of no use.
    #[error(
        "ConfigMap {0}/lodge-gateway has no ca.crt yet: is the operator running? `kubectl -n {0} get pods`"
    )]
    NoCa(String),
    /// A CA that cannot be used.
    #[error("the gateway's CA {from} is not usable: {why}")]
    Ca {
        /// Where it comes from.
        from: String,
        /// Why.
        why: String,
    },
    /// An address that cannot be used.
    #[error("the gateway's address {0:?} is not usable: write https://HOST or https://HOST:PORT")]
    Address(String),
    /// There is no pod to forward to.
    #[error(
        "no pod of the gateway is ready in namespace {0}: see `kubectl -n {0} get pods -l app.kubernetes.io/name=lodge-gateway`"
    )]
    NoGatewayPod(String),
    /// The gateway cannot be reached.
    #[error("the gateway cannot be reached at {at}: {why}; {}", way_to_gateway(.why))]
    Unreachable {
        /// Where it should be.
        at: String,
        /// Why not.
        why: String,
    },
    /// The gateway or the runner said no.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// Something answered that is not a gateway.
    #[error("{at} does not answer like a gateway of Lodge (status {status}): is this its address?")]
    Foreign {
        /// Where.
        at: String,
        /// What it answered.
        status: u16,
    },
    /// An answer that this version cannot read.
    #[error("the gateway's answer cannot be understood: {0}")]
    Answer(String),
    /// Standard input cannot be read.
    #[error("standard input cannot be read: {0}")]
    Input(std::io::Error),
    /// Standard output cannot be written.
    #[error("output cannot be written: {0}")]
    Output(std::io::Error),
    /// Nobody reads standard output any more.
    #[error("nobody reads the output any more")]
    Unread,
    /// The command wrote faster than it was read.
    #[error("{0} bytes of the command's output are lost: it wrote them while nobody could read them")]
    OutputLost(u64),
    /// The stream of a command broke, and could not be taken up again.
    #[error("the connection to the command broke, and what became of it is not known: {0}")]
    CommandLost(String),
    /// What was typed may have arrived, or not.
    #[error(
        "the connection broke while standard input was sent, and how much of it arrived is not known: {0}"
    )]
    InputLost(String),
    /// The connection to a shell broke.
    #[error("the connection to shell {id} broke and did not come back within {patience}: {why}; {hint}")]
    ShellLost {
        /// Which.
        id: String,
        /// How long it was tried.
        patience: String,
        /// The last failure.
        why: String,
        /// How to go on.
        hint: String,
    },
    /// The terminal here cannot be used.
    #[error("this terminal cannot be used: {0}")]
    Tty(std::io::Error),
    /// A file here.
    #[error("{}: {what}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The command line asks for something that there is not.
    #[error("{0}")]
    Usage(String),
    /// A transfer that did not come to its end.
    #[error("{0}")]
    Transfer(String),
    /// An archive that would write where it must not.
    #[error("the archive of the workspace is refused: {0}; what came before is in place")]
    Archive(String),
    /// A signal ended the plugin.
    #[error("interrupted")]
    Interrupted(u8),
}

/// What one can do where the gateway cannot be reached.
fn way_to_gateway(why: &str) -> &'static str {
    if why.contains("certificate") {
        "name its CA with --gateway-ca if it has one of its own"
    } else {
        "see `kubectl get pods -A -l app.kubernetes.io/name=lodge-gateway`, or name its address with --gateway"
    }
}

impl Error {
    /// The exit code of the plugin.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) if problem.is(ProblemCode::CommandNotFound) => NOT_FOUND,
            Self::Problem(problem) if problem.is(ProblemCode::CommandNotExecutable) => NOT_EXECUTABLE,
            Self::Unread => UNREAD,
            Self::Interrupted(signal) => 128_u8.saturating_add(*signal),
            _ => OWN_FAILURE,
        }
    }

    /// Whether the user is told: who closed the output, or sent a signal, knows.
    pub(crate) fn is_news(&self) -> bool {
        !matches!(self, Self::Unread | Self::Interrupted(_))
    }

    /// Whether this is a problem of the kind `code`.
    pub(crate) fn is(&self, code: ProblemCode) -> bool {
        matches!(self, Self::Problem(problem) if problem.is(code))
    }

    /// Whether it would be the same again: a refusal that time does not change.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status < 500 && problem.status != 429)
    }

    /// Something that failed with a file here.
    pub(crate) fn file(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, what, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_what_is_behind_it() {
        let inner = Error::Input(std::io::Error::other("on fire"));
        assert_eq!(causes(&inner), "standard input cannot be read: on fire");
        let outer = Error::Kubeconfig(Box::new(Error::Api("no way".to_owned())));
        assert!(causes(&outer).starts_with("no access to a cluster: no way;"), "{}", causes(&outer));
        let hidden = std::io::Error::other(Hidden(std::io::Error::other("refused")));
        assert_eq!(causes(&hidden), "cannot connect: refused");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Hidden(#[source] std::io::Error);

    #[test]
    fn a_command_that_is_not_there_has_the_exit_code_of_a_shell() {
        let problem = |code| Error::Problem(Box::new(Problem::new(code, "…")));
        assert_eq!(problem(ProblemCode::CommandNotFound).exit_code(), 127);
        assert_eq!(problem(ProblemCode::CommandNotExecutable).exit_code(), 126);
        assert_eq!(problem(ProblemCode::Forbidden).exit_code(), 125);
        assert_eq!(Error::BasicAuth.exit_code(), 125);
        assert_eq!(Error::Interrupted(2).exit_code(), 130);
        assert!(!Error::Unread.is_news() && Error::Unread.exit_code() == 141);
    }
}
