//! The columns of tables of apps: our own, one per key, and soketi's.

use crate::{
    app::App,
    config::{Layout, Reading},
    settings::{Settings, Takes, ValueKind, fields, find},
};

/// A column, and the key that its values become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) key: &'static str,
    pub(super) takes: Takes,
    pub(super) reading: Reading,
}

/// soketi's columns, by the names of its SQL app manager. It has others that mean nothing here.
const SOKETI: [(&str, &str, Reading); 17] = [
    ("id", "id", Reading::Same),
    ("key", "key", Reading::Same),
    ("secret", "secret", Reading::Same),
    ("max_connections", "max_connections", Reading::NoLimit),
    ("enable_client_messages", "client_events", Reading::Same),
    ("enabled", "enabled", Reading::Same),
    (
        "max_backend_events_per_sec",
        "max_backend_events_per_second",
        Reading::NoLimit,
    ),
    (
        "max_client_events_per_sec",
        "max_client_events_per_second",
        Reading::AnyRate,
    ),
    (
        "max_read_req_per_sec",
        "max_read_requests_per_second",
        Reading::NoLimit,
    ),
    ("webhooks", "webhooks", Reading::Webhooks),
    (
        "max_presence_members_per_channel",
        "max_presence_members",
        Reading::AnyRate,
    ),
    (
        "max_presence_member_size_in_kb",
        "max_presence_user_info_bytes",
        Reading::Kilobytes,
    ),
    (
        "max_channel_name_length",
        "max_channel_name_length",
        Reading::AnyRate,
    ),
    (
        "max_event_channels_at_once",
        "max_event_channels",
        Reading::AnyRate,
    ),
    (
        "max_event_name_length",
        "max_event_name_length",
        Reading::AnyRate,
    ),
    (
        "max_event_payload_in_kb",
        "max_event_data_bytes",
        Reading::Kilobytes,
    ),
    ("max_event_batch_size", "max_batch_events", Reading::AnyRate),
];

impl Column {
    /// All columns of a layout.
    pub(super) fn all(layout: Layout) -> Vec<Self> {
        let column = |name, key, reading| {
            let field = find(App::FIELDS, key).expect("a test looks every column up");
            Self {
                name,
                key: field.name,
                takes: field.takes,
                reading,
            }
        };
        match layout {
            Layout::Loudhailer => fields(App::FIELDS)
                .map(|field| column(field.name, field.name, Reading::Same))
                .collect(),
            Layout::Soketi => SOKETI
                .into_iter()
                .map(|(name, key, reading)| column(name, key, reading))
                .collect(),
        }
    }

    /// Whether rows are found by it, and no two have the same.
    pub(super) fn is_indexed(self) -> bool {
        matches!(self.name, "id" | "key")
    }

    /// The value of the key, from the column's.
    pub(super) fn read(self, text: &str, origin: &str) -> ValueKind {
        self.reading.value(self.takes, text, origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_column_and_every_column_a_key() {
        let ours = Column::all(Layout::Loudhailer);
        assert_eq!(ours.len(), fields(App::FIELDS).count());
        assert_eq!(Column::all(Layout::Soketi).len(), SOKETI.len());
    }
}
