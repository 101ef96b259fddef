//! The part of a workspace's API that a request is about. Supervisor and vm process read it alike, so that a request
//! that nobody can serve never wakes a workspace.

use http::Method;
use vm_api::{Problem, ProblemCode, WakeCause, route};

use crate::http::route_not_found;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    Exec,
    File,
    Mkdir,
    Move,
    Health,
}

/// Why a request is about nothing.
#[derive(Debug)]
pub(crate) enum AreaError {
    /// There is no such route.
    NotFound(Problem),
    /// The route takes these methods.
    Method(&'static str),
}

impl Area {
    /// Reads the area and checks the method. `path` is the whole path, for messages.
    pub(crate) fn parse(area: &str, method: &Method, path: &str) -> Result<Self, AreaError> {
        let (area, allowed) = match area {
            route::EXEC => (Self::Exec, "POST"),
            route::MKDIR => (Self::Mkdir, "POST"),
            route::MOVE => (Self::Move, "POST"),
            route::HEALTH => (Self::Health, "GET"),
            route::FILES => (Self::File, "GET, HEAD, PUT, DELETE"),
            _ if area.strip_prefix(route::FILES).is_some_and(|rest| rest.starts_with('/')) => {
                (Self::File, "GET, HEAD, PUT, DELETE")
            }
            _ => return Err(AreaError::NotFound(route_not_found(path))),
        };
        if allowed.split(", ").any(|name| name == method.as_str()) {
            Ok(area)
        } else {
            Err(AreaError::Method(allowed))
        }
    }

    /// What a boot for such a request is counted as.
    pub(crate) fn wake_cause(self) -> WakeCause {
        match self {
            Self::Exec => WakeCause::Exec,
            Self::File | Self::Mkdir | Self::Move | Self::Health => WakeCause::File,
        }
    }

    /// Name for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::File | Self::Mkdir | Self::Move => "files",
            Self::Health => "health",
        }
    }
}

/// The guest path in the route of a [`Area::File`] request.
pub(crate) fn guest_path(area: &str) -> Result<Vec<u8>, Problem> {
    let path = route::guest_path(area).unwrap_or_else(|| b"/".to_vec());
    check_path(&path)?;
    Ok(path)
}

/// Refuses bytes that cannot be an absolute path in a VM.
pub(crate) fn check_path(path: &[u8]) -> Result<(), Problem> {
    if path.contains(&0) {
        return Err(Problem::new(
            ProblemCode::InvalidPath,
            format!("the path {:?} contains a NUL byte", String::from_utf8_lossy(path)),
        ));
    }
    if path.first() != Some(&b'/') {
        return Err(Problem::new(
            ProblemCode::InvalidPath,
            format!("the path {:?} is not absolute", String::from_utf8_lossy(path)),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_serves_is_not_an_area() {
        for area in ["", "execs", "filesystem", "files:copy", "exec/x"] {
            assert!(matches!(Area::parse(area, &Method::POST, "/p"), Err(AreaError::NotFound(_))), "{area}");
        }
    }

    #[test]
    fn each_area_has_its_methods() {
        assert!(matches!(Area::parse("exec", &Method::GET, "/p"), Err(AreaError::Method("POST"))));
        assert_eq!(Area::parse("files/a/b", &Method::PUT, "/p").unwrap(), Area::File);
        assert_eq!(Area::parse("files:mkdir", &Method::POST, "/p").unwrap(), Area::Mkdir);
    }

    #[test]
    fn a_path_with_nul_is_refused() {
        let problem = guest_path("files/a%00b").unwrap_err();
        assert!(problem.is(ProblemCode::InvalidPath));
        assert!(problem.detail.contains("NUL"), "{}", problem.detail);
    }
}
