//! Mistakes in the core. Original and replacement are each a whole expression, or whole statements, so that one build has all of them.

use super::Mutant;

const ARRIVALS: &str = "src/engine/cluster/core/arrivals.rs";
const BATCH: &str = "src/engine/cluster/core/batch.rs";
const SETTLE: &str = "src/engine/cluster/core/settle.rs";
const BUCKET: &str = "src/engine/cluster/core/bucket.rs";
const CHANNEL: &str = "src/engine/cluster/core/channel.rs";
const CORE: &str = "src/engine/cluster/core/mod.rs";
const DEPARTURES: &str = "src/engine/cluster/core/departures.rs";
const FLOW: &str = "src/engine/cluster/core/flow.rs";
const LINK: &str = "src/engine/cluster/core/link.rs";
const MEMBERSHIP: &str = "src/engine/cluster/core/membership.rs";
const OUTGOING: &str = "src/engine/cluster/core/outgoing.rs";

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "a waiter is admitted before the mirror has its sequence",
        file: CHANNEL,
        original: "matches!(waiter.stage, Stage::Written(sequence) if sequence <= reached)",
        replacement: "matches!(waiter.stage, Stage::Written(_))",
    },
    Mutant {
        name: "a user's first connection to go takes the seat along",
        file: CHANNEL,
        original: "seat.sockets.retain(|other| *other != socket);",
        replacement: "seat.sockets.clear();",
    },
    Mutant {
        name: "a lost link leaves channels listened to",
        file: LINK,
        original: "self.listening = Listening::No;",
        replacement: "",
    },
    Mutant {
        name: "a lost link leaves the mirror in step",
        file: LINK,
        original: "shared.sync.doubted()",
        replacement: "shared.sync",
    },
    Mutant {
        name: "a batch whose answer was lost is forgotten",
        file: LINK,
        original: "self.buckets[id].batch = Batching::Unanswered(batch);",
        replacement: "self.buckets[id].batch = Batching::Idle;",
    },
    Mutant {
        name: "a new link looks at no channel",
        file: LINK,
        original: "self.touch_all(now);",
        replacement: "",
    },
    Mutant {
        name: "a new link goes on with no dead node",
        file: LINK,
        original: "self.resume_reaping(now, out);",
        replacement: "",
    },
    Mutant {
        name: "a repeated event is delivered twice",
        file: ARRIVALS,
        original: "at.is_some_and(|at| self.0[at].1 >= number)",
        replacement: "at.is_some_and(|at| self.0[at].1 > number)",
    },
    Mutant {
        name: "an event overtakes those that wait",
        file: OUTGOING,
        original: "self.batch.extend(app.events.pop_front());",
        replacement: "self.batch.extend(app.events.pop_back());",
    },
    Mutant {
        name: "messages whose answer was lost are not sent again",
        file: OUTGOING,
        original: "self.sending = Sending::Doubtful;",
        replacement: "self.sending = Sending::Nothing; self.batch.clear();",
    },
    Mutant {
        name: "an app that was held back gets no turn after an answer",
        file: OUTGOING,
        original: "self.give_turn(app_id);",
        replacement: "",
    },
    Mutant {
        name: "answered events take up room",
        file: FLOW,
        original: "self.marked.events -= round.amount.events;",
        replacement: "",
    },
    Mutant {
        name: "a client is refused while others wait",
        file: CORE,
        original: "!self.waiting.has_room(&key.app_id)",
        replacement: "self.waiting.len() > 0",
    },
    Mutant {
        name: "a batch of a lost epoch is executed",
        file: BATCH,
        original: "Arc::make_mut(&mut batch).too_late = true;",
        replacement: "",
    },
    Mutant {
        name: "departures of a batch that was not executed are not claimed",
        file: SETTLE,
        original: "chores.claims.extend(batch.claims.iter().cloned());",
        replacement: "",
    },
    Mutant {
        name: "claimed marks are still waited for",
        file: SETTLE,
        original: "bucket.marks = bucket.marks.saturating_sub(batch.claims.len());",
        replacement: "",
    },
    Mutant {
        name: "the number of the last answered batch is not kept",
        file: BUCKET,
        original: "self.acked = if batch.close { 0 } else { batch.number };",
        replacement: "self.acked = if batch.close { 0 } else { 1 };",
    },
    Mutant {
        name: "a departure is claimed at once",
        file: DEPARTURES,
        original: "self.next_due().is_some_and(|due| due <= now)",
        replacement: "self.next_due().is_some_and(|due| due <= now + DEPARTURE_DELAY)",
    },
    Mutant {
        name: "a departure that is due is not claimed",
        file: DEPARTURES,
        original: "bucket.chores.claims.push_back(claim);",
        replacement: "drop(claim);",
    },
    Mutant {
        name: "a dead node's channels are listed but not removed",
        file: MEMBERSHIP,
        original: "reap.names = names;",
        replacement: "drop(names);",
    },
    Mutant {
        name: "a lost lease is not noticed",
        file: MEMBERSHIP,
        original: "!lease.was_held && !request.begins",
        replacement: "false",
    },
    Mutant {
        name: "a former epoch is not remembered",
        file: MEMBERSHIP,
        original: "self.formers.push(Arc::clone(&former));",
        replacement: "",
    },
];
