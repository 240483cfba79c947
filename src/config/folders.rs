//! The folders of a person: for what this program keeps, and for its configuration.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// What the folder in those of a system is called.
const NAME: &str = "socket2me";

/// A system, for where it has such folders.
#[derive(Debug, Clone, Copy)]
pub(super) enum System {
    /// The XDG Base Directory Specification holds.
    Unix,
    /// `Library/Application Support` in the folder of the person.
    MacOs,
    /// `%LOCALAPPDATA%` for what is kept, and `%APPDATA%` for what goes to the person's other machines.
    Windows,
}

impl System {
    /// The system that this program is built for.
    pub(super) const OF_THIS: Self = if cfg!(windows) {
        Self::Windows
    } else if cfg!(target_os = "macos") {
        Self::MacOs
    } else {
        Self::Unix
    };

    /// Returns the folder for what this program keeps.
    pub(super) fn state(self, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        self.folder(variable, "LOCALAPPDATA", ("XDG_STATE_HOME", ".local/state"))
    }

    /// Returns the folder for its configuration.
    fn configuration(self, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        self.folder(variable, "APPDATA", ("XDG_CONFIG_HOME", ".config"))
    }

    fn folder(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
        of_windows: &str,
        (of_xdg, below_home): (&str, &str),
    ) -> Option<PathBuf> {
        // A relative path would be another folder wherever the program is started (XDG Base Directory Specification).
        let folder = |name| variable(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let parent = match self {
            Self::Unix => folder(of_xdg).or_else(|| Some(folder("HOME")?.join(below_home)))?,
            Self::MacOs => folder("HOME")?.join("Library/Application Support"),
            Self::Windows => folder(of_windows)?,
        };
        Some(parent.join(NAME))
    }
}

/// Returns the folder for what this program keeps for a person. `None` where the environment names none.
#[must_use]
pub fn state_folder() -> Option<PathBuf> {
    System::OF_THIS.state(|name| env::var_os(name))
}

/// Returns the folder for a person's configuration. `None` where the environment names none.
pub(super) fn configuration_folder() -> Option<PathBuf> {
    System::OF_THIS.configuration(|name| env::var_os(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_folders() {
        let all = [
            ("HOME", "/h"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "/s"),
            ("APPDATA", "/r"),
            ("LOCALAPPDATA", "/l"),
        ];
        let of_macos = "/h/Library/Application Support/socket2me";
        for (system, variables, state, configuration) in [
            (System::Unix, &all[..], Some("/s/socket2me"), Some("/c/socket2me")),
            (System::Unix, &all[..1], Some("/h/.local/state/socket2me"), Some("/h/.config/socket2me")),
            (System::MacOs, &all, Some(of_macos), Some(of_macos)),
            (System::Windows, &all, Some("/l/socket2me"), Some("/r/socket2me")),
            (System::Windows, &all[..3], None, None),
            (System::Unix, &[("HOME", "h"), ("XDG_CONFIG_HOME", "c")], None, None),
            (System::MacOs, &[], None, None),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value));
            assert_eq!(system.state(variable), state.map(PathBuf::from), "{system:?} {variables:?}");
            assert_eq!(system.configuration(variable), configuration.map(PathBuf::from), "{system:?} {variables:?}");
        }
    }
}
