//! OBS on this machine: is it there, is it running, and the plugin's place in the user's own configuration.
//!
//! Linux paths only; each of the three questions is one function, so that other systems can answer them elsewhere.

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
    /// `$XDG_CONFIG_HOME/obs-studio/plugins/greenroom`, or the same below `~/.config`.
    target: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum InstallError {
    #[error(
        "the OBS plugin was not built: libgreenroom_obs.so is missing beside the program; run `cargo xtask run` or set `obs.plugin`"
    )]
    NotBuilt,
    #[error("cannot tell where OBS keeps plugins: the environment has no HOME")]
    NoHome,
    #[error("cannot install the OBS plugin to {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl ObsInstall {
    /// Looks for the library where the configuration says, or beside the running program.
    pub fn new(library: Option<PathBuf>) -> Self {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join("libgreenroom_obs.so"));
        Self {
            library: library.or_else(beside).filter(|path| path.is_file()),
            target: config_home().map(|c| c.join(PLUGIN)),
        }
    }

    /// How what is installed compares with what this app would install.
    pub fn plugin_state(&self) -> PluginState {
        let Some(target) = &self.target else { return PluginState::Missing };
        if !target.join(LIBRARY).is_file() {
            return PluginState::Missing;
        }
        let installed = fs::read_to_string(target.join(VERSION)).unwrap_or_default();
        let same =
            installed.trim() == env!("CARGO_PKG_VERSION") && self.is_same_library(&target.join(LIBRARY));
        if same { PluginState::Installed } else { PluginState::Outdated }
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

    /// Copies the plugin into the user's OBS configuration. The library is replaced by renaming, so a running OBS keeps
    /// its old copy until it restarts.
    pub fn install(&self) -> Result<PathBuf, InstallError> {
        let library = self.library.as_ref().ok_or(InstallError::NotBuilt)?;
        let target = self.target.as_ref().ok_or(InstallError::NoHome)?;
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
        let version = target.join(VERSION);
        fs::write(&version, env!("CARGO_PKG_VERSION")).map_err(failed(&version))?;
        Ok(installed)
    }
}

/// Whether an OBS program is on this machine: in the search path, or as a Flatpak.
pub fn is_obs_installed() -> bool {
    let in_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|d| d.join("obs").is_file()));
    let flatpak =
        ["/var/lib/flatpak", &format!("{}/.local/share/flatpak", std::env::var("HOME").unwrap_or_default())]
            .iter()
            .any(|root| Path::new(root).join("app/com.obsproject.Studio").is_dir());
    in_path || flatpak
}

/// Whether this user runs OBS right now.
pub fn is_obs_running() -> bool {
    let me = rustix::process::getuid().as_raw();
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        is_process
            && entry.metadata().is_ok_and(|meta| meta.uid() == me)
            && fs::read(entry.path().join("comm")).is_ok_and(|name| name.trim_ascii() == b"obs")
    })
}

fn config_home() -> Option<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|v| v.as_os_str() != OsStr::new("")).map(PathBuf::from);
    set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))
}

const PLUGIN: &str = "obs-studio/plugins/greenroom";
const LIBRARY: &str = "bin/64bit/greenroom.so";
const VERSION: &str = "data/VERSION";

/// The plugin's data, carried inside the app so that installing needs one file beside it.
const DATA: &[(&str, &str)] = &[
    ("locale/en-US.ini", include_str!("../../../obs-plugin/data/locale/en-US.ini")),
    ("manifest.json", include_str!("../../../obs-plugin/data/manifest.json")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_makes_an_outdated_plugin_current() {
        let dir = std::env::temp_dir().join(format!("greenroom-install-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let library = dir.join("libgreenroom_obs.so");
        fs::write(&library, b"a library").unwrap();
        let install = ObsInstall { library: Some(library.clone()), target: Some(dir.join("obs")) };
        assert_eq!(install.plugin_state(), PluginState::Missing);
        install.install().unwrap();
        assert_eq!(install.plugin_state(), PluginState::Installed);
        fs::write(&library, b"a newer library").unwrap();
        assert_eq!(install.plugin_state(), PluginState::Outdated);
        install.install().unwrap();
        assert_eq!(install.plugin_state(), PluginState::Installed);
        let missing = ObsInstall { library: None, target: Some(dir.join("obs")) };
        assert!(matches!(missing.install(), Err(InstallError::NotBuilt)));
        fs::remove_dir_all(&dir).unwrap();
    }
}
