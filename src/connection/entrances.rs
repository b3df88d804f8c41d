//! Subscriptions that wait for the engine, found by channel name in constant time. Only those whose answer has come are looked at.

use std::{
    cell::RefCell,
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use crate::{engine::EnterError, node::Entrance, protocol::ChannelKind};

/// What the engine says of an entrance.
pub(super) type EntranceAnswer = Result<(), EnterError>;

/// A connection's entrances. Without memory of its own while there are none.
#[derive(Default)]
pub(super) struct Entrances(Option<Box<Waiting>>);

#[derive(Default)]
struct Waiting {
    answers: FuturesUnordered<Slot>,
    by_channel: HashMap<Box<str>, Slot, ahash::RandomState>,
    asked_for: usize,
}

/// One entrance, until its answer comes or the client does not want it any more.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<State>>);

#[derive(Default)]
enum State {
    Waiting(Entrance, Option<Waker>),
    #[default]
    Taken,
}

impl Entrances {
    pub(super) fn push(&mut self, entrance: Entrance) {
        let waiting = self.0.get_or_insert_default();
        waiting.asked_for += usize::from(is_asked_for(entrance.channel()));
        let channel = entrance.channel().into();
        let slot = Slot(Rc::new(RefCell::new(State::Waiting(entrance, None))));
        waiting.by_channel.insert(channel, slot.clone());
        waiting.answers.push(slot);
    }

    pub(super) fn contains(&self, channel: &str) -> bool {
        let waiting = self.0.as_ref();
        waiting.is_some_and(|waiting| waiting.by_channel.contains_key(channel))
    }

    /// Removes the entrance to this channel, whose answer is not wanted any more.
    pub(super) fn remove(&mut self, channel: &str) -> Option<Entrance> {
        let slot = self.forget(channel)?;
        slot.take()
    }

    /// Removes and returns all of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entrance> + use<> {
        let waiting = self.0.take();
        let slots = waiting.into_iter().flat_map(|waiting| waiting.by_channel);
        slots.filter_map(|(_, slot)| slot.take())
    }

    /// How many of them the client asked for; the server makes others for itself.
    pub(super) fn asked_for(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.asked_for)
    }

    /// Removes an entrance whose answer has come; `None` when no answer is there.
    pub(super) fn poll_answered(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Entrance, EntranceAnswer)> {
        loop {
            let answers = &mut self.0.as_mut()?.answers;
            let Poll::Ready(Some(answered)) = answers.poll_next_unpin(cx) else {
                return None;
            };
            if let Some((entrance, answer)) = answered {
                self.forget(entrance.channel());
                return Some((entrance, answer));
            }
        }
    }

    fn forget(&mut self, channel: &str) -> Option<Slot> {
        let waiting = self.0.as_mut()?;
        let slot = waiting.by_channel.remove(channel)?;
        waiting.asked_for -= usize::from(is_asked_for(channel));
        Some(slot)
    }
}

fn is_asked_for(channel: &str) -> bool {
    !ChannelKind::of(channel).is_internal()
}

impl Slot {
    fn take(&self) -> Option<Entrance> {
        match self.0.take() {
            State::Waiting(entrance, waker) => {
                // So that the answers lose the slot, too.
                waker.into_iter().for_each(Waker::wake);
                Some(entrance)
            }
            State::Taken => None,
        }
    }
}

impl Future for Slot {
    /// `None` for an entrance that was removed.
    type Output = Option<(Entrance, EntranceAnswer)>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.borrow_mut();
        let State::Waiting(entrance, waker) = &mut *state else {
            return Poll::Ready(None);
        };
        *waker = Some(cx.waker().clone());
        let answer = ready!(entrance.poll_answer(cx));
        match std::mem::take(&mut *state) {
            State::Waiting(entrance, _) => Poll::Ready(Some((entrance, answer))),
            State::Taken => Poll::Ready(None),
        }
    }
}
