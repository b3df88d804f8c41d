//! What is heard of the apps, which the nodes' store has. Counted, so that any number of announcements is one piece of news.

use tokio::sync::watch;

use super::core::Apps;

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    changed: u64,
    doubted: u64,
}

/// Takes what the core says of the apps.
pub(super) struct AppsHeard(watch::Sender<Heard>);

/// Gives it to whoever keeps the apps.
#[derive(Clone, Debug)]
pub struct AppsNews {
    heard: watch::Receiver<Heard>,
    known: Heard,
}

/// Both ends.
pub(super) fn apps_news() -> (AppsHeard, AppsNews) {
    let (sender, heard) = watch::channel(Heard::default());
    let known = Heard::default();
    (AppsHeard(sender), AppsNews { heard, known })
}

impl AppsHeard {
    pub(super) fn take(&self, apps: Apps) {
        self.0.send_modify(|heard| match apps {
            Apps::Changed => heard.changed += 1,
            Apps::Doubted => heard.doubted += 1,
        });
    }
}

impl AppsNews {
    /// Why the apps may have changed since the last call, once they may; `None` when the node has left the cluster.
    pub async fn next(&mut self) -> Option<Apps> {
        self.heard.changed().await.ok()?;
        let known = std::mem::replace(&mut self.known, *self.heard.borrow_and_update());
        Some(match known.changed == self.known.changed {
            true => Apps::Doubted,
            false => Apps::Changed,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_flood_is_one_piece_of_news_and_a_change_counts_more_than_a_doubt() {
        let (heard, mut news) = apps_news();
        let mut next = || news.next().now_or_never();
        assert_eq!(next(), None);
        for apps in [Apps::Doubted, Apps::Changed, Apps::Changed, Apps::Doubted] {
            heard.take(apps);
        }
        assert_eq!(next(), Some(Some(Apps::Changed)));
        assert_eq!(next(), None);
        heard.take(Apps::Doubted);
        assert_eq!(next(), Some(Some(Apps::Doubted)));
        drop(heard);
        assert_eq!(next(), Some(None));
    }
}
