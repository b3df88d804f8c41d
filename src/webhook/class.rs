//! Which events share room and turns.

use crate::{
    app::WebhookKind,
    protocol::{ChannelKind, channel::Access},
};

/// Events that share room and turns. A class takes neither from another one, so that a flood of one sort of events leaves the
/// delivery of the others as it was.
///
/// Kinds that any client can cause come twice: once for public channels, which anyone may enter, and once for channels whose
/// subscribers the backend has authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    PublicChannels,
    PublicMisses,
    PublicCounts,
    Channels,
    Misses,
    Counts,
    Members,
    ClientEvents,
    Sessions,
}

const MIB: usize = 1 << 20;

impl Class {
    /// All classes, in the order of their turns.
    pub(super) const ALL: [Self; 9] = [
        Self::PublicChannels,
        Self::Members,
        Self::PublicMisses,
        Self::Channels,
        Self::PublicCounts,
        Self::ClientEvents,
        Self::Misses,
        Self::Sessions,
        Self::Counts,
    ];

    /// The class of an event.
    pub(super) fn of(kind: WebhookKind, channel: &str) -> Self {
        let is_public = ChannelKind::of(channel).access == Access::Public;
        match kind {
            WebhookKind::ChannelOccupied | WebhookKind::ChannelVacated if is_public => {
                Self::PublicChannels
            }
            WebhookKind::ChannelOccupied | WebhookKind::ChannelVacated => Self::Channels,
            WebhookKind::MemberAdded | WebhookKind::MemberRemoved => Self::Members,
            WebhookKind::ClientEvent => Self::ClientEvents,
            WebhookKind::CacheMiss if is_public => Self::PublicMisses,
            WebhookKind::CacheMiss => Self::Misses,
            WebhookKind::SubscriptionCount if is_public => Self::PublicCounts,
            WebhookKind::SubscriptionCount => Self::Counts,
            WebhookKind::SessionReplaced | WebhookKind::SessionRefused => Self::Sessions,
        }
    }

    /// Bytes of memory for the events of this class that wait for one endpoint. Those of authorized channels have the most, because
    /// all of an app's users may come at once: there is room for about 30,000 channels and as many members.
    pub(super) const fn room_bytes(self) -> usize {
        match self {
            Self::Channels | Self::Members => 16 * MIB,
            Self::PublicChannels | Self::ClientEvents => 8 * MIB,
            Self::PublicMisses
            | Self::Misses
            | Self::PublicCounts
            | Self::Counts
            | Self::Sessions => 4 * MIB,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anyone_can_cause_is_apart_from_what_the_backend_has_authorized() {
        use WebhookKind::{CacheMiss, ChannelOccupied, ChannelVacated, SubscriptionCount};
        for (kind, public, authorized) in [
            (ChannelOccupied, Class::PublicChannels, Class::Channels),
            (ChannelVacated, Class::PublicChannels, Class::Channels),
            (CacheMiss, Class::PublicMisses, Class::Misses),
            (SubscriptionCount, Class::PublicCounts, Class::Counts),
        ] {
            for channel in ["orders", "cache-a", "privateer"] {
                assert_eq!(Class::of(kind, channel), public, "{channel}");
            }
            for channel in ["private-a", "presence-a", "private-encrypted-cache-a"] {
                assert_eq!(Class::of(kind, channel), authorized, "{channel}");
            }
        }
    }

    #[test]
    fn each_class_has_its_turn() {
        let mut all = Class::ALL;
        all.sort_unstable();
        for (index, class) in all.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }
}
