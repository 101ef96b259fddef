//! Paths in a VM, as requests name them.

use vm_api::{Problem, ProblemCode, route};

/// The guest path in the route of a request for a file.
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
    fn a_path_with_nul_is_refused() {
        let problem = guest_path("files/a%00b").unwrap_err();
        assert!(problem.is(ProblemCode::InvalidPath));
        assert!(problem.detail.contains("NUL"), "{}", problem.detail);
    }
}
