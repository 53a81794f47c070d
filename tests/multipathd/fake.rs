//! A multipathd that does as it is told, or not.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The answer to what this version does not know.
const UNKNOWN: &str = "Your command:\nis not one of these:\n";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Does as it is told.
    #[default]
    Obedient,
    /// Answers `fail` to `setprstatus`, as under a suspended map.
    NoStatus,
    /// Takes commands and never answers.
    Hanging,
    /// Closes the connection instead of answering.
    Dropping,
}

/// Which words it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 0.9.4: `0`, `1`, no holders.
    #[default]
    Old,
    /// 0.13: `unset`, `set`, holders.
    New,
}

#[derive(Debug, Default)]
pub struct Memory {
    pub manner: Manner,
    pub version: Version,
    pub key: Option<String>,
    pub armed: bool,
    pub holds: bool,
    /// What `show config local` shows; without it, that command is unknown.
    pub configuration: Option<String>,
    pub commands: VecDeque<String>,
}

/// The daemon; ends with this.
#[derive(Debug)]
pub struct Fake {
    socket: PathBuf,
    memory: Arc<Mutex<Memory>>,
    task: Option<JoinHandle<()>>,
}

impl Fake {
    /// Not running yet.
    pub fn new(socket: &Path) -> Self {
        Fake {
            socket: socket.to_owned(),
            memory: Arc::default(),
            task: None,
        }
    }

    /// Starts it, with an empty memory.
    pub fn start(&mut self) {
        let mut memory = self.memory();
        *memory = Memory {
            manner: memory.manner,
            version: memory.version,
            ..Default::default()
        };
        drop(memory);
        let listener = UnixListener::bind(&self.socket).unwrap();
        let memory = Arc::clone(&self.memory);
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(attend(stream, Arc::clone(&memory)));
            }
        }));
    }

    /// Ends it: nobody listens.
    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            std::fs::remove_file(&self.socket).unwrap();
        }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// Commands since the last call.
    pub fn commands(&self) -> Vec<String> {
        self.memory().commands.drain(..).collect()
    }
}

async fn attend(mut stream: UnixStream, memory: Arc<Mutex<Memory>>) {
    let mut length = [0; size_of::<usize>()];
    while stream.read_exact(&mut length).await.is_ok() {
        let mut text = vec![0; usize::from_ne_bytes(length)];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(text.pop(), Some(0), "a NUL is counted and sent");
        let text = String::from_utf8(text).unwrap();
        let manner = memory.lock().unwrap().manner;
        match manner {
            Manner::Hanging => return std::future::pending().await,
            Manner::Dropping => return,
            Manner::Obedient | Manner::NoStatus => {}
        }
        let mut reply = memory.lock().unwrap().answer(&text).into_bytes();
        reply.push(0);
        // Two writes, as multipathd makes them.
        let length = reply.len().to_ne_bytes();
        if stream.write_all(&length).await.is_err() || stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

impl Memory {
    fn answer(&mut self, command: &str) -> String {
        self.commands.push_back(command.to_owned());
        if command == "show config local"
            && let Some(configuration) = &self.configuration
        {
            return configuration.clone();
        }
        let words: Vec<_> = command.split(' ').collect();
        if words[0] == "show" {
            return UNKNOWN.into();
        }
        assert_eq!(words[1..3], ["map", "mpatha"]);
        let flag = |set: bool| match (self.version, set) {
            (Version::Old, false) => "0",
            (Version::Old, true) => "1",
            (Version::New, false) => "unset\n",
            (Version::New, true) => "set\n",
        };
        let new = self.version == Version::New;
        match words[0] {
            "getprkey" => format!("{}\n", self.key.as_deref().unwrap_or("none")),
            "setprkey" => {
                self.key = Some(words[4].to_owned());
                "ok\n".into()
            }
            "unsetprkey" => {
                self.key = None;
                "ok\n".into()
            }
            "getprstatus" => flag(self.armed).into(),
            "setprstatus" if self.manner == Manner::NoStatus => "fail\n".into(),
            "setprstatus" | "unsetprstatus" => {
                self.armed = words[0] == "setprstatus";
                "ok\n".into()
            }
            "getprhold" if new => flag(self.holds).into(),
            "setprhold" | "unsetprhold" if new => {
                self.holds = words[0] == "setprhold";
                "ok\n".into()
            }
            _ => UNKNOWN.into(),
        }
    }
}
