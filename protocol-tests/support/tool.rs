//! Programs that tests run beside the server.

use std::path::{Path, PathBuf};

/// Finds a program: the one that `scripts/test` names in this variable, the system's, or the one that
/// `script` has fetched into this place of `target/tools`. Without one a test is skipped, but in CI it fails.
pub(crate) fn find(program: &str, variable: &str, script: &str, fetched: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|name| !name.is_empty()).map(PathBuf::from);
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(fetched);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&paths).map(|folder| folder.join(program));
    let found = named.or_else(|| on_path.chain([fetched]).find(|program| program.is_file()));
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "there is no {program}: {script} fetches one");
        eprintln!("skipped: there is no {program}. {script} fetches one");
    }
    found
}
