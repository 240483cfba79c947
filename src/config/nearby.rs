//! The files that commands of this machine read without being told: `socket2me.toml` in the current folder, and then the one in
//! the person's own configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Command;

use super::file::{ConfigFile, SERVER};
use super::folders::configuration_folder;
use super::settings::{Owner, Settings};

/// The name of both files.
const NAME: &str = "socket2me.toml";

/// Where the two files are, if they are there.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The one in the current folder.
    pub(super) here: Option<PathBuf>,
    /// The person's own.
    pub(super) own: Option<PathBuf>,
}

impl Places {
    /// Returns the places of this process. In the folder of the person's own file there is no other.
    pub(super) fn of_this_process() -> Self {
        let own = configuration_folder().map(|folder| folder.join(NAME));
        let real = |path: &Path| path.canonicalize().ok();
        let is_own = |here: &PathBuf| own.as_deref().and_then(real).is_some_and(|own| real(here) == Some(own));
        let here = Some(PathBuf::from(NAME)).filter(|here| !is_own(here));
        Self { here, own }
    }
}

/// The two files.
#[derive(Debug)]
pub(super) struct Nearby {
    here: Option<ConfigFile>,
    own: Option<ConfigFile>,
    places: Places,
}

/// A tunnel of a file.
#[derive(Debug)]
pub(super) struct FileTunnel {
    /// What the file calls it.
    pub(super) name: String,
    /// Its settings.
    pub(super) settings: Settings,
    /// The folder of the person's own file. `None` where the file is in the current folder.
    pub(super) folder: Option<PathBuf>,
}

impl Nearby {
    /// Reads the files that there are.
    ///
    /// # Errors
    /// When one cannot be read, or has what is no setting.
    pub(super) fn read(places: Places, command: &Command) -> Result<Self, String> {
        let read = |path: Option<&PathBuf>, owner| {
            let path = path.filter(|path| !matches!(path.try_exists(), Ok(false)));
            path.map(|path| ConfigFile::read(path, owner, command)).transpose()
        };
        let here = read(places.here.as_ref(), Owner::Project)?;
        let own = read(places.own.as_ref(), Owner::Person)?;
        Ok(Self { here, own, places })
    }

    /// Returns what the files say to a command whose tunnel is told by its flags: the server.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        for file in self.here.iter().chain(&self.own) {
            file.server.iter().for_each(|server| settings.add(SERVER, server.clone()));
        }
        settings
    }

    /// Returns the servers that the person's own file names.
    pub(super) fn own_servers(&self) -> Vec<String> {
        let Some(own) = &self.own else { return Vec::new() };
        let of_tunnels = own.tunnels.iter().filter_map(|(_, settings)| settings.get(SERVER));
        own.server.iter().chain(of_tunnels).flat_map(|server| server.texts.clone()).collect()
    }

    /// Returns the tunnels of these names; without names, those of the first file that has any.
    ///
    /// # Errors
    /// When there are none.
    pub(super) fn tunnels(&self, names: &[String]) -> Result<Vec<FileTunnel>, String> {
        let of = |file: &Option<ConfigFile>, owner| {
            let tunnels = file.iter().flat_map(|file| &file.tunnels);
            tunnels.map(|(name, settings)| self.tunnel(name, settings, owner)).collect::<Vec<_>>()
        };
        let (here, own) = (of(&self.here, Owner::Project), of(&self.own, Owner::Person));
        if here.is_empty() && own.is_empty() {
            let own = self.places.own.as_ref().map(|own| format!(", nor in {}", own.display())).unwrap_or_default();
            return Err(format!(
                "there are no tunnels in {NAME} in this folder{own}: write a line [tunnels.web], and target = 5173 below it"
            ));
        }
        if names.is_empty() {
            return Ok(if here.is_empty() { own } else { here });
        }
        if let Some(name) = names.iter().enumerate().find_map(|(at, name)| names[..at].contains(name).then_some(name)) {
            return Err(format!("`{}` is named twice", name.escape_debug()));
        }
        let mut all: Vec<_> = here.into_iter().chain(own).collect();
        let known: BTreeSet<_> = all.iter().map(|tunnel| tunnel.name.clone()).collect();
        let take = |name: &String| {
            let position = all.iter().position(|tunnel| tunnel.name == *name);
            position.map(|position| all.remove(position)).ok_or_else(|| {
                let known: Vec<_> = known.iter().map(String::as_str).collect();
                format!("`{}` is no tunnel of {NAME}: there are {}", name.escape_debug(), known.join(", "))
            })
        };
        names.iter().map(take).collect()
    }

    /// Returns a tunnel of one of the files. Its server, if it has none, is the file's; a project's may be the person's.
    fn tunnel(&self, name: &str, settings: &Settings, owner: Owner) -> FileTunnel {
        let mut settings = settings.clone();
        let project = self.here.iter().filter(|_| owner == Owner::Project);
        for file in project.chain(&self.own) {
            file.server.iter().for_each(|server| settings.add(SERVER, server.clone()));
        }
        let folder = match owner {
            Owner::Project => None,
            Owner::Person => self.places.own.as_deref().and_then(Path::parent).map(Path::to_owned),
        };
        FileTunnel { name: name.to_owned(), settings, folder }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::{Cli, Command, ForwardConfig, NamedBy, UpTunnel};
    use super::*;

    /// Folders with the two files, whose texts these are; `None` is no file.
    struct Folders(PathBuf);

    impl Folders {
        fn with(here: Option<&str>, own: Option<&str>) -> Self {
            static FOLDERS: AtomicUsize = AtomicUsize::new(0);
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folders = Self(std::env::temp_dir().join(format!("socket2me-nearby-{}-{number}", std::process::id())));
            for (name, text) in [("here", here), ("own", own)] {
                fs::create_dir_all(folders.0.join(name)).unwrap();
                text.iter().for_each(|text| fs::write(folders.file(name), text).unwrap());
            }
            folders
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name).join(NAME)
        }

        fn short(&self, text: &str) -> String {
            text.replace(&format!("{}/", self.0.display()), "")
        }
    }

    impl Drop for Folders {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Reads a command line where the two files have these texts. In what it says of them, their folders are `here` and `own`.
    fn read(here: Option<&str>, own: Option<&str>, given: &[&str]) -> Result<Cli, String> {
        let folders = Folders::with(here, own);
        let places = Places { here: Some(folders.file("here")), own: Some(folders.file("own")) };
        let given = ["socket2me"].iter().chain(given).map(OsString::from).collect();
        Cli::read_from(given, places).map_err(|error| folders.short(&error.to_string()))
    }

    fn forward(here: Option<&str>, own: Option<&str>, given: &[&str]) -> ForwardConfig {
        match read(here, own, given).unwrap().command {
            Command::Forward(config) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn up(here: Option<&str>, own: Option<&str>, given: &[&str]) -> Result<Vec<UpTunnel>, String> {
        match read(here, own, given)?.command {
            Command::Up(config) => Ok(config.tunnels),
            other => panic!("{other:?}"),
        }
    }

    const HERE: &str = "server = 'https://here.example'";
    const OWN: &str = "server = 'https://own.example'";

    #[test]
    fn the_server_is_that_of_a_flag_or_of_the_nearest_file() {
        for (here, own, flags, server) in [
            (None, None, &[][..], "http://127.0.0.1:3000"),
            (None, Some(OWN), &[], "https://own.example"),
            (Some(HERE), Some(OWN), &[], "https://here.example"),
            (Some("[serve]\nport = 1"), Some(OWN), &[], "https://own.example"),
            (Some(HERE), Some(OWN), &["--server=https://flag.example"], "https://flag.example"),
        ] {
            let given = [&["forward", "5173"], flags].concat();
            assert_eq!(forward(here, own, &given).tunnel.at.server, server, "{here:?} {own:?} {flags:?}");
        }
        for command in ["respond", "dump", "url", "doctor"] {
            let shown = format!("{:?}", read(Some(HERE), None, &[command]).unwrap().command);
            assert!(shown.contains("https://here.example"), "{command}: {shown}");
        }
    }

    #[test]
    fn who_chose_the_server_is_known() {
        let of_tunnel = "[tunnels.a]\ntarget = 1\nserver = 'https://other.example'";
        let both = format!("{OWN}\n{of_tunnel}");
        for (here, own, flags, expected) in [
            (None, None, &[][..], None),
            (None, Some(OWN), &[], None),
            (Some(HERE), None, &[], Some(vec![])),
            (Some(HERE), Some(&*both), &[], Some(vec!["https://own.example", "https://other.example"])),
            (Some(HERE), None, &["--server=https://here.example"], None),
        ] {
            for command in [&["forward", "5173"][..], &["respond"], &["dump"]] {
                let at = match read(here, own, &[command, flags].concat()).unwrap().command {
                    Command::Forward(config) => config.tunnel.at,
                    Command::Respond(config) => config.tunnel.at,
                    Command::Dump(config) => config.tunnel.at,
                    other => panic!("{other:?}"),
                };
                assert_eq!(own_servers(&at.named_by, "`server` in"), expected, "{here:?} {own:?} {flags:?}");
            }
        }
        let here = format!("{HERE}\n[tunnels.a]\ntarget = 1\n{of_tunnel}").replacen("[tunnels.a]", "[tunnels.b]", 1);
        let tunnels = up(Some(&here), Some(OWN), &["up"]).unwrap();
        let of = |place: &str, tunnel: &UpTunnel| own_servers(&tunnel.config.tunnel.at.named_by, place).is_some();
        assert!(of("`server` in", &tunnels[0]) && of("`server` of [tunnels.a] in", &tunnels[1]));
        for (here, own, flags) in [
            (Some("[tunnels.a]\ntarget = 1"), Some(OWN), &["up"][..]),
            (Some(HERE), Some("server = 'https://own.example'\n[tunnels.a]\ntarget = 1"), &["up"]),
            (Some(&here), None, &["up", "--server=https://flag.example"]),
        ] {
            for tunnel in up(here, own, flags).unwrap() {
                assert_eq!(tunnel.config.tunnel.at.named_by, NamedBy::Person, "{here:?} {own:?} {flags:?}");
                assert!(!tunnel.config.tunnel.at.server.contains("here"), "{tunnel:?}");
            }
        }
    }

    /// The servers that the person names, if a project names the one that is used, in a setting which begins so.
    fn own_servers<'n>(named_by: &'n NamedBy, begin: &str) -> Option<Vec<&'n str>> {
        let NamedBy::Project { setting, own } = named_by else { return None };
        assert!(setting.starts_with(begin) && setting.ends_with("here/socket2me.toml"), "{setting}");
        Some(own.iter().map(String::as_str).collect())
    }

    #[test]
    fn tunnels_are_what_forward_would_be_told() {
        let here = "server = 'https://here.example'\n[tunnels.web]\ntarget = 5173\nhost-header = 'full'\nttl = '1h'\n\
                    [tunnels.docs]\ntarget = './dist'\nname = 'my-docs'\nephemeral = true\nserver = 'https://other.example'";
        let tunnels = up(Some(here), None, &["up"]).unwrap();
        let as_flags = [
            &["forward", "5173", "--host-header=full", "--ttl=1h", "--server=https://here.example"][..],
            &["forward", "./dist", "--name=my-docs", "--ephemeral", "--server=https://other.example"],
        ];
        assert_eq!(tunnels.len(), as_flags.len());
        for ((tunnel, name), flags) in tunnels.into_iter().zip(["web", "docs"]).zip(as_flags) {
            let mut config = tunnel.config;
            config.tunnel.at.named_by = NamedBy::Person;
            assert_eq!((&*tunnel.name, format!("{config:?}")), (name, format!("{:?}", forward(None, None, flags))));
        }
        let [tunnel] = <[_; 1]>::try_from(up(Some(here), None, &["up", "web", "--insecure"]).unwrap()).unwrap();
        assert!(tunnel.config.tunnel.at.insecure && tunnel.config.tunnel.ttl == Some(Duration::from_secs(3600)));
    }

    #[test]
    fn the_tunnels_of_the_nearest_file_are_opened_unless_others_are_named() {
        let (here, own) =
            ("[tunnels.a]\ntarget = 1\n[tunnels.b]\ntarget = 2", "[tunnels.a]\ntarget = 3\n[tunnels.c]\ntarget = 4");
        for (here, own, names, expected) in [
            (Some(here), Some(own), &[][..], &[("a", "1"), ("b", "2")][..]),
            (None, Some(own), &[], &[("a", "3"), ("c", "4")]),
            (Some(HERE), Some(own), &[], &[("a", "3"), ("c", "4")]),
            (Some(here), Some(own), &["c", "a"], &[("c", "4"), ("a", "1")]),
        ] {
            let tunnels = up(here, own, &[&["up"], names].concat()).unwrap();
            let found: Vec<_> = tunnels.iter().map(|tunnel| (&*tunnel.name, &*tunnel.config.target)).collect();
            assert_eq!(found, expected, "{here:?} {own:?} {names:?}");
            // The person's own are the same wherever they are opened.
            for UpTunnel { config, .. } in &tunnels {
                let folder = config.tunnel.folder.as_ref().map(|folder| folder.ends_with("own"));
                assert_eq!(folder, ["3", "4"].contains(&&*config.target).then_some(true));
            }
        }
        for (here, own, names, words) in [
            (None, None, &[][..], "there are no tunnels in socket2me.toml in this folder, nor in own/socket2me.toml"),
            (Some(HERE), Some(OWN), &["a"], "there are no tunnels"),
            (Some(here), Some(own), &["d"], "`d` is no tunnel of socket2me.toml: there are a, b, c"),
            (Some(here), None, &["a", "a"], "`a` is named twice"),
            (Some("[tunnels.a]\ntarget = 1\nttl = 'x'"), None, &[], "for `ttl` of [tunnels.a] in here/socket2me.toml"),
        ] {
            let message = up(here, own, &[&["up"], names].concat()).unwrap_err();
            assert!(message.contains(words), "{names:?}: {message}");
        }
    }

    #[test]
    fn the_examples_in_the_readme_and_in_the_help_are_files() {
        let (_, after) = include_str!("../../README.md").split_once("```toml\nserver = ").unwrap();
        let of_readme = format!("server = {}", after.split("```").next().unwrap());
        let of_help: Vec<_> = super::super::up::EXAMPLES.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        for example in [of_readme, of_help.join("\n")] {
            let names: Vec<_> =
                up(Some(&example), None, &["up"]).unwrap().into_iter().map(|tunnel| tunnel.name).collect();
            assert_eq!(names, ["web", "docs"], "{example}");
        }
    }

    #[test]
    fn a_wrong_file_stops_every_command_that_reads_it() {
        for command in [&["up"][..], &["forward", "1"], &["respond"], &["dump"], &["url"], &["doctor"]] {
            for (here, own) in [(Some("x = 1"), None), (None, Some("x = 1"))] {
                let message = read(here, own, command).unwrap_err();
                let place = if here.is_some() { "here" } else { "own" };
                assert!(message.contains(&format!("`x` in {place}/{NAME} is no setting")), "{command:?}: {message}");
            }
        }
        // The server reads the file that it is told.
        assert!(read(Some("x = 1"), Some("x = 1"), &["serve"]).is_ok());
    }
}
