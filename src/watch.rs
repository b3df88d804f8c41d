//! Notices that files have changed: writes, replacements, and changes of the links that lead to them.
//!
//! Whatever happens in their folders counts; who reads the files decides by their content.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::Notify, time::timeout};

/// A file that was not written to for this long is complete.
const SETTLED: Duration = Duration::from_millis(200);
/// Writes in the folders for which it is waited; beyond them others are busy there.
const SETTLING_MAX: u32 = 100;
/// Links that are followed from one file.
const LINKS_MAX: usize = 8;

/// A watch over some files.
pub struct Watch {
    events: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system can't watch one of the folders.
    pub fn begin<'a>(files: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let events = Arc::new(Notify::new());
        let noticed = Arc::clone(&events);
        let on_event = move |event: notify::Result<notify::Event>| {
            if !event.is_ok_and(|event| event.kind.is_access()) {
                noticed.notify_one();
            }
        };
        let mut watcher = notify::recommended_watcher(on_event).map_err(io::Error::other)?;
        let folders: BTreeSet<_> = files.into_iter().flat_map(folders).collect();
        for folder in folders {
            let mode = RecursiveMode::NonRecursive;
            watcher.watch(&folder, mode).map_err(io::Error::other)?;
        }
        Ok(Self {
            events,
            _watcher: watcher,
        })
    }

    /// Ends when something happened and then nothing more for a while.
    pub async fn settled(&self) {
        self.events.notified().await;
        for _ in 0..SETTLING_MAX {
            if timeout(SETTLED, self.events.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// The folder of a file, and those of the files that it is a link to.
fn folders(file: &Path) -> Vec<PathBuf> {
    let (mut folders, mut file) = (Vec::new(), file.to_path_buf());
    for _ in 0..LINKS_MAX {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let next = fs::read_link(&file).map(|target| folder.join(target));
        folders.push(folder);
        match next {
            Ok(next) => file = next,
            Err(_) => break,
        }
    }
    folders
}
