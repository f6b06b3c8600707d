//! Where the parts around the engine are, unless the configuration says otherwise.

use std::ffi::OsString;
use std::path::PathBuf;

/// The media worker's program: beside this one.
pub fn media_worker(configured: Option<PathBuf>) -> PathBuf {
    configured
        .or_else(|| Some(std::env::current_exe().ok()?.parent()?.join(MEDIA_WORKER)))
        .unwrap_or_else(|| MEDIA_WORKER.into())
}

/// Where OBS plugins connect; `frame_ipc::default_socket_path` looks in the same places.
pub fn obs_socket(configured: Option<PathBuf>) -> PathBuf {
    configured
        .unwrap_or_else(|| socket_in(|name| std::env::var_os(name), rustix::process::geteuid().as_raw()))
}

fn socket_in(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> PathBuf {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (absolute("GREENROOM_OBS_SOCKET"), absolute("XDG_RUNTIME_DIR")) {
        (Some(path), _) => path,
        (None, Some(folder)) => folder.join("greenroom/obs.sock"),
        (None, None) => format!("/tmp/greenroom-{uid}/obs.sock").into(),
    }
}

const MEDIA_WORKER: &str = "greenroom-media";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_plugin_looks() {
        let check = |socket: Option<&str>, runtime: Option<&str>, expected: &str| {
            let env = |name: &str| match name {
                "GREENROOM_OBS_SOCKET" => socket.map(OsString::from),
                _ => runtime.map(OsString::from),
            };
            assert_eq!(socket_in(env, 1000), PathBuf::from(expected));
        };
        check(Some("/a/b.sock"), Some("/run/user/1000"), "/a/b.sock");
        check(Some("relative"), Some("/run/user/1000"), "/run/user/1000/greenroom/obs.sock");
        check(None, None, "/tmp/greenroom-1000/obs.sock");
    }
}
