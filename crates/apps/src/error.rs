//! What can go wrong when keeping apps alive.

use std::io;
use std::path::PathBuf;

/// A failure of the supervisor itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A section of weappd.toml cannot work.
    #[error("app {app}: {field} {message}")]
    Config {
        /// The app.
        app: String,
        /// The setting.
        field: String,
        /// What is wrong with it.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A directory of the supervisor cannot be made.
    #[error("make the directory {path}")]
    MakeDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another weappd uses the same data directory.
    #[error("another weappd keeps its apps in {path}")]
    DataDirInUse {
        /// The data directory.
        path: PathBuf,
    },
    /// The data directory cannot be locked.
    #[error("lock the data directory {path}")]
    LockDataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A log file cannot be opened.
    #[error("open the log {path}")]
    OpenLog {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A log file cannot be read.
    #[error("read the log {path}")]
    ReadLog {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that starts processes cannot be made.
    #[error("start the thread that starts processes")]
    MakeSpawner(#[source] io::Error),
    /// No app has this name.
    #[error("there is no app named \"{name}\"")]
    UnknownApp {
        /// The name asked for.
        name: String,
    },
    /// The supervisor has ended.
    #[error("the apps are shut down")]
    Closed,
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            Self::Config { hint, .. } => hint,
            Self::MakeDirectory { .. }
            | Self::LockDataDir { .. }
            | Self::OpenLog { .. }
            | Self::ReadLog { .. } => {
                "it is in the data directory: weappd's user must be able to write there"
            }
            Self::DataDirInUse { .. } => "end the other one, or give this one another `data_dir`",
            Self::UnknownApp { .. } => "`weappd app list` shows every app",
            Self::MakeSpawner(_) | Self::Closed => "",
        }
    }
}

/// Why a process never started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is in no directory of `PATH`.
    #[error("the program \"{program}\" is in no directory of PATH")]
    NotInPath {
        /// As it stands in `run`.
        program: String,
        /// What to install.
        hint: &'static str,
    },
    /// The program's file does not exist.
    #[error("there is no program {file}")]
    NoSuchProgram {
        /// Where it was looked for.
        file: PathBuf,
    },
    /// The program's file is not executable.
    #[error("{file} is not executable")]
    NotExecutable {
        /// Which.
        file: PathBuf,
    },
    /// The directory to start in does not exist.
    #[error("there is no directory {dir}")]
    NoSuchDirectory {
        /// Which.
        dir: PathBuf,
    },
    /// Another program listens on the port.
    #[error("port {port} is taken by another program")]
    PortTaken {
        /// Which.
        port: u16,
    },
    /// No port is free.
    #[error("find a free port")]
    FindPort(#[source] io::Error),
    /// The operating system refused.
    #[error("start {file}")]
    Spawn {
        /// What.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that starts processes is gone.
    #[error("the apps are shut down")]
    Closed,
}

impl StartError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotInPath { hint, .. } => Some(hint),
            Self::NoSuchProgram { .. } => Some("check the path in run; it is relative to dir"),
            Self::NotExecutable { .. } => {
                Some("make it executable with chmod +x, or start it through its interpreter")
            }
            Self::NoSuchDirectory { .. } => Some("check dir"),
            Self::PortTaken { .. } => {
                Some("end that program, or leave port out so that weappd chooses a free one")
            }
            Self::FindPort(_) | Self::Spawn { .. } | Self::Closed => None,
        }
    }
}
