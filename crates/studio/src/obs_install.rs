//! The plugin's place in the user's own OBS configuration: installed, updated, removed, and never made older.
//!
//! Linux paths only; each question is one function, so that other systems can answer them elsewhere.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use wire::dashboard::PluginState;

/// Where the plugin comes from and where it goes.
#[derive(Clone, Debug)]
pub struct ObsInstall {
    /// The built `libgreenroom_obs.so`.
    library: Option<PathBuf>,
    /// A folder `…/obs-studio/plugins/greenroom` for each OBS of this user, first the system's, then the Flatpak's.
    targets: Vec<PathBuf>,
}

#[derive(Debug, Error)]
pub enum InstallError {
    #[error(
        "the OBS plugin was not built: libgreenroom_obs.so is missing beside the program; run `cargo xtask run` or set `obs.plugin`"
    )]
    NotBuilt,
    #[error("cannot tell where OBS keeps plugins: the environment has no HOME")]
    NoHome,
    #[error(
        "OBS has a newer Greenroom plugin ({installed}) than this app ({VERSION}) brings: update the app"
    )]
    Newer { installed: String },
    #[error("cannot change the OBS plugin at {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl ObsInstall {
    /// Looks for the library where the configuration says, or beside the running program.
    pub fn new(library: Option<PathBuf>) -> Self {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("libgreenroom_obs.so"));
        let library = library.or_else(beside).filter(|path| path.is_file());
        Self { library, targets: targets(is_system_obs_installed(), &config_folders()) }
    }

    /// How what is installed compares with what this app would install; of several OBS the one that needs most.
    pub fn plugin_state(&self) -> PluginState {
        let states = self.targets.iter().map(|target| self.state_at(target));
        states.max_by_key(|state| urgency(*state)).unwrap_or_default()
    }

    fn state_at(&self, target: &Path) -> PluginState {
        let library = target.join(LIBRARY);
        if !library.is_file() {
            return PluginState::Missing;
        }
        let installed = installed_version(target);
        if number(&installed) > number(VERSION) {
            PluginState::Newer
        } else if installed == VERSION && self.is_same_library(&library) {
            PluginState::Installed
        } else {
            PluginState::Outdated
        }
    }

    /// A build of the same version may still differ; size and time of change tell without reading it all.
    fn is_same_library(&self, installed: &Path) -> bool {
        let Some(built) = &self.library else { return true };
        match (fs::metadata(built), fs::metadata(installed)) {
            (Ok(built), Ok(installed)) => {
                built.len() == installed.len() && built.mtime() <= installed.mtime()
            }
            _ => false,
        }
    }

    /// Copies the plugin to every OBS of this user; says where. A newer one stops it before anything is changed.
    pub fn install(&self) -> Result<Vec<PathBuf>, InstallError> {
        let library = self.library.as_ref().ok_or(InstallError::NotBuilt)?;
        if self.targets.is_empty() {
            return Err(InstallError::NoHome);
        }
        if let Some(newer) = self.targets.iter().find(|target| self.state_at(target) == PluginState::Newer) {
            return Err(InstallError::Newer { installed: installed_version(newer) });
        }
        self.targets.iter().map(|target| install_at(library, target)).collect()
    }

    /// Takes the plugin away from every OBS of this user. A running one keeps what it has loaded until it ends.
    pub fn remove(&self) -> Result<(), InstallError> {
        for target in &self.targets {
            match fs::remove_dir_all(target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(InstallError::Write { path: target.clone(), source: error });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The library is replaced by renaming, so a running OBS keeps its old copy until it restarts.
fn install_at(library: &Path, target: &Path) -> Result<PathBuf, InstallError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InstallError::Write { path, source }
    };
    let installed = target.join(LIBRARY);
    let staged = installed.with_extension("so.new");
    for (name, text) in DATA {
        let path = target.join("data").join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed(folder))?;
        }
        fs::write(&path, text).map_err(failed(&path))?;
    }
    if let Some(folder) = installed.parent() {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    fs::copy(library, &staged).map_err(failed(&staged))?;
    fs::rename(&staged, &installed).map_err(failed(&installed))?;
    let version = target.join(VERSION_FILE);
    fs::write(&version, VERSION).map_err(failed(&version))?;
    Ok(installed)
}

/// The system's OBS reads the first folder; the Flatpak's is there once the Flatpak ran. Without either, the first: an
/// OBS may be installed later.
fn targets(is_system: bool, folders: &[PathBuf]) -> Vec<PathBuf> {
    let ran = |folder: &&PathBuf| folder.ancestors().nth(2).is_some_and(Path::is_dir);
    let flatpak = folders.get(1).filter(ran);
    let system = folders.first().filter(|_| is_system || flatpak.is_none());
    system.into_iter().chain(flatpak).map(|folder| folder.join(PLUGIN)).collect()
}

/// Whether an OBS program is on this machine: in the search path, or as a Flatpak.
pub fn is_obs_installed() -> bool {
    let home = std::env::var("HOME").unwrap_or_default();
    let flatpak = ["/var/lib/flatpak", &format!("{home}/.local/share/flatpak")]
        .iter()
        .any(|root| Path::new(root).join("app/com.obsproject.Studio").is_dir());
    is_system_obs_installed() || flatpak
}

fn is_system_obs_installed() -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("obs").is_file()))
}

/// Where OBS keeps this user's settings: its own, then the Flatpak's.
pub fn config_folders() -> Vec<PathBuf> {
    let flatpak = set("HOME").map(|home| home.join(".var/app/com.obsproject.Studio/config"));
    let own = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
    [own, flatpak].into_iter().flatten().map(|config| config.join("obs-studio")).collect()
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| value.as_os_str() != OsStr::new("")).map(PathBuf::from)
}

fn installed_version(target: &Path) -> String {
    fs::read_to_string(target.join(VERSION_FILE)).unwrap_or_default().trim().chars().take(40).collect()
}

/// For comparing; what is no version is older than any.
fn number(version: &str) -> Option<[u64; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

fn urgency(state: PluginState) -> u8 {
    match state {
        PluginState::Installed => 0,
        PluginState::Outdated => 1,
        PluginState::Missing => 2,
        // Nothing can be done here until the app is updated.
        PluginState::Newer => 3,
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PLUGIN: &str = "plugins/greenroom";
/// Where the library lies in the plugin's folder; also how it is known among what OBS has loaded.
pub const LIBRARY: &str = "bin/64bit/greenroom.so";
const VERSION_FILE: &str = "data/VERSION";

/// The plugin's data, carried inside the app so that installing needs one file beside it.
const DATA: &[(&str, &str)] = &[
    ("locale/en-US.ini", include_str!("../../../obs-plugin/data/locale/en-US.ini")),
    ("manifest.json", include_str!("../../../obs-plugin/data/manifest.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("greenroom-install-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_plugin_is_installed_updated_and_removed_but_never_made_older() {
        let dir = folder("life");
        let library = dir.join("libgreenroom_obs.so");
        fs::write(&library, b"a library").unwrap();
        let targets = vec![dir.join("own/plugins/greenroom"), dir.join("flatpak/plugins/greenroom")];
        let install = ObsInstall { library: Some(library.clone()), targets: targets.clone() };
        assert_eq!(install.plugin_state(), PluginState::Missing);
        assert_eq!(install.install().unwrap().len(), 2);
        assert_eq!(install.plugin_state(), PluginState::Installed);

        fs::write(&library, b"a newer library").unwrap();
        assert_eq!(install.plugin_state(), PluginState::Outdated);
        install.install().unwrap();
        assert_eq!(install.plugin_state(), PluginState::Installed);

        for (version, state) in [
            ("0.0.9", PluginState::Outdated),
            ("nonsense", PluginState::Outdated),
            ("99.0.0", PluginState::Newer),
        ] {
            fs::write(targets[1].join(VERSION_FILE), version).unwrap();
            assert_eq!(install.plugin_state(), state, "{version}");
        }
        fs::write(&library, b"an old library").unwrap();
        let refused = install.install();
        assert!(matches!(&refused, Err(InstallError::Newer { installed }) if installed == "99.0.0"));
        assert_eq!(fs::read(targets[0].join(LIBRARY)).unwrap(), b"a newer library", "nothing was changed");

        install.remove().unwrap();
        assert_eq!(install.plugin_state(), PluginState::Missing);
        assert!(targets.iter().all(|target| !target.exists() && target.parent().unwrap().exists()));
        install.remove().unwrap();
        let missing = ObsInstall { library: None, targets };
        assert!(matches!(missing.install(), Err(InstallError::NotBuilt)));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn each_obs_of_the_user_has_its_place() {
        let dir = folder("places");
        let folders = [dir.join("config/obs-studio"), dir.join("com.obsproject.Studio/config/obs-studio")];
        let (own, flatpak) = (folders[0].join(PLUGIN), folders[1].join(PLUGIN));
        assert_eq!(targets(true, &folders), std::slice::from_ref(&own));
        assert_eq!(targets(false, &folders), std::slice::from_ref(&own));
        fs::create_dir_all(dir.join("com.obsproject.Studio")).unwrap();
        assert_eq!(targets(true, &folders), [own, flatpak.clone()]);
        assert_eq!(targets(false, &folders), [flatpak]);
        assert!(targets(true, &[]).is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
}
