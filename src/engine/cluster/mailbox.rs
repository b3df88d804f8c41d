//! The way from the shards' threads to the one that runs the core: a queue with a bound for each kind of input.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::core::{Input, Outgoing};
use crate::protocol::Access;

/// Clients and questions that may wait to be taken; more are refused. Leaves have no bound of their own: each follows an entry.
const ASKING_MAX: usize = 65_536;

/// Inputs in the order in which they came.
pub(super) struct Mailbox<T> {
    waiting: Mutex<Waiting<T>>,
    filled: Notify,
}

/// Too many inputs wait to be taken.
pub(super) struct Full;

struct Waiting<T> {
    inputs: VecDeque<Input<'static, T>>,
    /// Those of them that ask for an answer.
    asking: usize,
    /// The number of the last event.
    number: u64,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                inputs: VecDeque::new(),
                asking: 0,
                number: 0,
            }),
            filled: Notify::new(),
        }
    }
}

/// A user who goes online waits for no answer and is never refused.
fn asks<T>(input: &Input<'_, T>) -> bool {
    match input {
        Input::Enter(enter) => enter.key.kind.access != Access::Online || enter.member.is_none(),
        Input::Ask(..) => true,
        _ => false,
    }
}

impl<T> Mailbox<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// [`Full`] when it asks for an answer and too many do; it is dropped.
    pub(super) fn push(&self, input: Input<'static, T>) -> Result<(), Full> {
        let mut waiting = self.lock();
        if asks(&input) {
            if waiting.asking >= ASKING_MAX {
                return Err(Full);
            }
            waiting.asking += 1;
        }
        waiting.inputs.push_back(input);
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Adds a message that `make` builds around its number; numbers rise in the order of sending.
    pub(super) fn publish(&self, make: impl FnOnce(u64) -> Outgoing) -> u64 {
        let mut waiting = self.lock();
        waiting.number += 1;
        let number = waiting.number;
        waiting.inputs.push_back(Input::Publish(make(number)));
        drop(waiting);
        self.filled.notify_one();
        number
    }

    /// Moves at most `max` inputs behind `taken`.
    pub(super) fn take(&self, max: usize, taken: &mut Vec<Input<'static, T>>) {
        let mut waiting = self.lock();
        let count = waiting.inputs.len().min(max);
        taken.extend(waiting.inputs.drain(..count));
        waiting.asking -= taken.iter().filter(|input| asks(input)).count();
        if waiting.inputs.is_empty() {
            if waiting.inputs.capacity() > 1024 {
                // Gives the memory of a rush back.
                waiting.inputs = VecDeque::new();
            }
        } else {
            self.filled.notify_one();
        }
    }

    /// Waits for an input.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }
}
