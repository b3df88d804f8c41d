//! Subscriptions that wait for the engine, found by channel name in constant time. Only those whose answer has come are looked at, and
//! only when it is the client's turn: the engine answers very many clients at once.

use std::{
    cell::RefCell,
    collections::HashMap,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::turnstile::{Passage, Turnstile};
use crate::{engine::EnterError, node::Entrance, protocol::ChannelKind};

/// What the engine says of an entrance.
pub(super) type EntranceAnswer = Result<(), EnterError>;

/// A connection's entrances. Without memory of its own while there are none.
#[derive(Default)]
pub(super) struct Entrances {
    waiting: Option<Box<Waiting>>,
    /// Begun when an answer has come.
    passage: Passage,
}

#[derive(Default)]
struct Waiting {
    answers: FuturesUnordered<Slot>,
    /// One whose answer has come, until the client's turn comes.
    answered: Option<Slot>,
    by_channel: HashMap<Box<str>, Slot, ahash::RandomState>,
    asked_for: usize,
}

/// One entrance, until its answer is taken or the client does not want it any more.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<State>>);

#[derive(Default)]
enum State {
    Waiting(Entrance, Option<Waker>),
    Answered(Entrance, EntranceAnswer),
    #[default]
    Taken,
}

impl Entrances {
    pub(super) fn push(&mut self, entrance: Entrance) {
        let waiting = self.waiting.get_or_insert_default();
        waiting.asked_for += usize::from(is_asked_for(entrance.channel()));
        let channel = entrance.channel().into();
        let slot = Slot(Rc::new(RefCell::new(State::Waiting(entrance, None))));
        waiting.by_channel.insert(channel, slot.clone());
        waiting.answers.push(slot);
    }

    pub(super) fn contains(&self, channel: &str) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.by_channel.contains_key(channel))
    }

    /// Removes the entrance to this channel, whose answer is not wanted any more.
    pub(super) fn remove(&mut self, channel: &str) -> Option<Entrance> {
        let slot = self.forget(channel)?;
        slot.take()
    }

    /// Removes and returns all of them.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entrance> + use<> {
        let waiting = self.waiting.take();
        let slots = waiting.into_iter().flat_map(|waiting| waiting.by_channel);
        slots.filter_map(|(_, slot)| slot.take())
    }

    /// How many of them the client asked for; the server makes others for itself.
    pub(super) fn asked_for(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.asked_for)
    }

    /// Ready when an answer has come and it is the client's turn to take it. [`Entrances::end_turn`] follows.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, turnstile: &Turnstile) -> Poll<()> {
        ready!(self.passage.poll(cx));
        let Some(waiting) = &mut self.waiting else {
            self.passage.pass_on();
            return Poll::Pending;
        };
        if !self.passage.is_open() {
            waiting.answered = Some(ready!(waiting.poll_answered(cx)));
            self.passage.queue(turnstile);
            ready!(self.passage.poll(cx));
        }
        Poll::Ready(())
    }

    /// Removes an entrance whose answer has come; `None` when no answer is there.
    pub(super) fn take_answered(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<(Entrance, EntranceAnswer)> {
        loop {
            let waiting = self.waiting.as_mut()?;
            let slot = match waiting.answered.take() {
                Some(slot) => slot,
                None => match waiting.poll_answered(cx) {
                    Poll::Ready(slot) => slot,
                    Poll::Pending => return None,
                },
            };
            // The client may have left since the answer came.
            if let Some((entrance, answer)) = slot.take_answered() {
                self.forget(entrance.channel());
                return Some((entrance, answer));
            }
        }
    }

    /// Ends the client's turn. Says whether others are to have theirs now.
    #[must_use]
    pub(super) fn end_turn(&mut self, turnstile: &Turnstile, now: Instant) -> bool {
        self.waiting
            .take_if(|waiting| waiting.by_channel.is_empty());
        self.passage.use_up(turnstile, now)
    }

    fn forget(&mut self, channel: &str) -> Option<Slot> {
        let waiting = self.waiting.as_mut()?;
        let slot = waiting.by_channel.remove(channel)?;
        waiting.asked_for -= usize::from(is_asked_for(channel));
        Some(slot)
    }
}

impl Waiting {
    /// One whose answer has come, or that was removed.
    fn poll_answered(&mut self, cx: &mut Context<'_>) -> Poll<Slot> {
        match ready!(self.answers.poll_next_unpin(cx)) {
            Some(slot) => Poll::Ready(slot),
            None => Poll::Pending,
        }
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
            State::Answered(entrance, _) => Some(entrance),
            State::Taken => None,
        }
    }

    fn take_answered(&self) -> Option<(Entrance, EntranceAnswer)> {
        match self.0.take() {
            State::Answered(entrance, answer) => Some((entrance, answer)),
            _ => None,
        }
    }
}

impl Future for Slot {
    /// The slot itself, with the answer, or without its entrance if that was removed.
    type Output = Self;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self> {
        let mut state = self.0.borrow_mut();
        if let State::Waiting(entrance, waker) = &mut *state {
            *waker = Some(cx.waker().clone());
            let answer = ready!(entrance.poll_answer(cx));
            if let State::Waiting(entrance, _) = std::mem::take(&mut *state) {
                *state = State::Answered(entrance, answer);
            }
        }
        drop(state);
        Poll::Ready(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        hub::{ChannelSettings, Hub, Shard, ShardSettings},
        protocol::ChannelName,
    };

    /// Entrances to these channels, of which all are answered.
    fn answered(channels: &[&str]) -> Entrances {
        let hub = Arc::new(Hub::new(1));
        let settings = ShardSettings {
            activity_timeout_ticks: 30,
            pong_timeout_ticks: 30,
        };
        let shard = Shard::claim(&hub, settings).expect("there is one");
        let mut entrances = Entrances::default();
        for name in channels {
            let (name, settings) = (ChannelName::of_checked(name), ChannelSettings::default);
            let channel = hub.app("1").attach(name, shard.id(), settings, |_| {});
            let (reply, answer) = oneshot::channel();
            reply.send(Ok(())).expect("it is awaited");
            let answer = Box::pin(async { answer.await.expect("it was sent") });
            entrances.push(Entrance::waiting(channel, answer));
        }
        entrances
    }

    fn is_turn(entrances: &mut Entrances, turnstile: &Turnstile) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        entrances.poll_turn(&mut cx, turnstile).is_ready()
    }

    fn take(entrances: &mut Entrances) -> Option<String> {
        let mut cx = Context::from_waker(Waker::noop());
        let taken = entrances.take_answered(&mut cx);
        taken.map(|(entrance, _)| entrance.channel().to_owned())
    }

    #[test]
    fn what_a_round_leaves_is_taken_when_the_others_have_had_their_turn() {
        let turnstile = Turnstile::default();
        let (mut one, mut other) = (answered(&["a", "b", "c"]), answered(&["d"]));
        assert!(is_turn(&mut one, &turnstile));
        assert!(take(&mut one).is_some());
        let later = Instant::now() + Duration::from_secs(1);
        assert!(one.end_turn(&turnstile, later), "the round is over");
        assert!(!is_turn(&mut other, &turnstile));
        assert!(!is_turn(&mut one, &turnstile), "the other is first");
        assert!(is_turn(&mut other, &turnstile));
        assert_eq!(take(&mut other).as_deref(), Some("d"));
        assert_eq!(take(&mut other), None);
        assert!(!other.end_turn(&turnstile, later), "another round");
        assert!(other.waiting.is_none(), "it needs no memory any more");
        assert!(is_turn(&mut one, &turnstile));
        assert!(take(&mut one).is_some() && take(&mut one).is_some());
        assert_eq!(take(&mut one), None);
    }

    #[test]
    fn an_entrance_that_is_given_up_before_its_turn_is_not_answered() {
        let (began, turnstile) = (Instant::now(), Turnstile::default());
        let (mut one, mut other) = (answered(&["a"]), answered(&["b"]));
        assert!(is_turn(&mut one, &turnstile));
        assert!(!is_turn(&mut other, &turnstile));
        assert!(other.contains("b"));
        assert!(other.remove("b").is_some());
        assert!(!one.end_turn(&turnstile, began), "the round goes on");
        assert!(is_turn(&mut other, &turnstile));
        assert_eq!(take(&mut other), None);
        assert!(take(&mut one).is_some(), "one that was there is kept");
    }
}
