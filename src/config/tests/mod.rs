//! Tests of the configuration as a whole; each file beside this one is a view from outside.

mod addresses;
mod embedding;
mod environment;
mod files;
mod mistakes;
mod reference;
mod values;
mod vhosts;

use std::path::{Path, PathBuf};

use super::{Config, Vhost};

/// Reads a text without an environment.
fn load(text: &str) -> Result<Config, String> {
    Config::from_yaml(text, "live.yaml", std::iter::empty()).map_err(|errors| errors.to_string())
}

fn good(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn errors(text: &str) -> String {
    match load(text) {
        Ok(_) => panic!("was accepted:\n{text}"),
        Err(errors) => errors,
    }
}

fn default_vhost(config: &Config) -> &Vhost {
    &config.live.vhosts["__defaultVhost__"]
}

/// A file of the project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    let path = project(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("pingora-live-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Folder(path)
    }

    /// Writes a file and returns its path as text.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind in the system's temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
