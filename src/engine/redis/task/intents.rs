//! What the rest of the server wants, taken in the order in which it was said.

use std::{sync::Arc, time::Instant};

use redis::RedisResult;
use tokio::sync::oneshot;
use tracing::debug;

use super::{
    super::{
        envelope::{self, Event, Kind},
        intent::{Intent, Keeping},
        link::{Keep, Link, Message},
        post::{self, Errand},
        query,
        record::{Record, Stage, Waiter},
    },
    Done, Task,
    closing::{Closing, Resignation},
    outgoing::Outgoing,
};
use crate::{
    engine::{EnterError, Unavailable, channels::Key},
    hub::Channel,
    presence::Member,
    protocol::{Frame, SocketId},
};

impl Task {
    pub(super) fn on_intent(&mut self, intent: Intent) {
        match intent {
            Intent::Enter {
                channel,
                socket,
                member,
                max_members,
                reply,
            } => {
                self.enter(&channel, socket, member, max_members, reply);
            }
            Intent::Leave {
                channel,
                socket,
                user_id,
            } => {
                let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
                if let Some(record) = self.records.get_mut(&key) {
                    record.leave(socket, user_id.as_deref());
                    self.enqueue(key);
                }
            }
            Intent::Missed { channel } => self.miss(&channel),
            Intent::Recount { channel } => {
                self.enqueue((Arc::clone(&channel.app_id), Arc::clone(&channel.name)));
            }
            Intent::Publish {
                key,
                frame,
                except,
                keeping,
            } => self.publish(&key, &frame, except, keeping),
            Intent::Terminate { app_id, user_id } => {
                let text = envelope::terminate(self.sender, &app_id, &user_id);
                self.outgoing.push_back(Outgoing {
                    message: Message::publish(self.keys.control(), text),
                    held: 0,
                    number: 0,
                    cached: None,
                    recorded: None,
                    tries: 0,
                });
            }
            Intent::Channel {
                key,
                kind,
                wanted,
                reply,
            } => {
                self.ask(reply, |link, parts| {
                    query::channel(link, parts, key, kind, wanted)
                });
            }
            Intent::Users { key, reply } => {
                self.ask(reply, |link, parts| query::users(link, parts, key));
            }
            Intent::Occupied {
                app_id,
                prefix,
                reply,
            } => {
                self.ask(reply, |link, parts| {
                    query::occupied(link, parts, app_id, prefix)
                });
            }
            Intent::Connections { app_id, reply } => {
                let here = (
                    self.epoch.clone(),
                    self.states.hub().app(&app_id).connections(),
                );
                self.ask(reply, |link, parts| {
                    query::connections(link, parts, app_id, here)
                });
            }
            Intent::Nodes { reply } => {
                let here = (self.epoch.clone(), self.states.hub().connections());
                self.ask(reply, |link, parts| query::nodes(link, parts, here));
            }
            Intent::Post(errand) => self.run_errand(errand),
            Intent::Close { reply } => {
                self.closing = Some(Closing {
                    since: Instant::now(),
                    reply,
                    resignation: Resignation::NotYet,
                });
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        let node = self.sender;
        match errand {
            Errand::Hold {
                name,
                instead_of,
                reply,
            } => self.ask(reply, |link, parts| {
                post::hold(link, parts, name, node, instead_of)
            }),
            Errand::Holder { name, reply } => {
                self.ask(reply, |link, parts| post::holder(link, parts, name));
            }
            Errand::Release { name, reply } => {
                self.ask(reply, |link, parts| post::release(link, parts, name, node));
            }
            Errand::Letter { to, text, reply } => {
                self.ask(reply, |link, parts| post::letter(link, parts, to, text));
            }
        }
    }

    pub(super) fn enter(
        &mut self,
        channel: &Channel,
        socket: SocketId,
        member: Option<Member>,
        max_members: usize,
        reply: oneshot::Sender<Result<(), EnterError>>,
    ) {
        let key = (Arc::clone(&channel.app_id), Arc::clone(&channel.name));
        let is_away = self.link.is_none();
        let record = self
            .records
            .entry(key.clone())
            .or_insert_with(|| Record::new(channel.kind));
        record.tells_count = channel.tells_count;
        if record.replay != channel.replay {
            record.replay = channel.replay;
            record.synced = false;
        }
        record.max_members = max_members;
        let user_id = member.as_ref().map(|member| Arc::clone(&member.user_id));
        record.enter(
            socket,
            member.map(|member| (member.user_id, member.user_info)),
        );
        record.waiting.push(Waiter {
            socket,
            user_id,
            reply,
            stage: Stage::Queued,
        });
        if is_away {
            record.answer_without_redis();
        }
        self.enqueue(key);
    }

    pub(super) fn publish(
        &mut self,
        key: &Key,
        frame: &Frame,
        except: Option<SocketId>,
        keeping: Option<Keeping>,
    ) {
        self.number += 1;
        let event = Event {
            sender: self.sender,
            number: self.number,
            except,
            ttl_s: match keeping {
                Some(Keeping::Last { ttl_s }) => ttl_s,
                _ => 0,
            },
            frame: frame.bytes().clone(),
        };
        let topic = self.keys.topic(key);
        let held = frame.bytes().len();
        let (sender, number) = (self.sender, self.number);
        let message = match keeping {
            None => Message::publish(topic, event.encode(Kind::Passing)),
            Some(Keeping::History(rule)) => Message {
                topic,
                envelope: event.encode(Kind::Recorded),
                keep: Some(Keep::History {
                    keys: self.keys.history(key),
                    rule,
                    sender,
                    number,
                }),
            },
            Some(Keeping::Last { ttl_s }) => Message {
                topic,
                envelope: event.encode(Kind::Cached),
                keep: Some(Keep::Last {
                    keys: self.keys.cache(key),
                    ttl_s,
                    sender,
                    number,
                }),
            },
        };
        let (mut cached, mut recorded) = (None, None);
        match keeping {
            None => {}
            Some(Keeping::Last { .. }) => {
                self.states.number_own(key, number);
                cached = Some(key.clone());
            }
            Some(Keeping::History(_)) => {
                self.states.name_own(key, (sender, number));
                recorded = Some(key.clone());
            }
        }
        self.outgoing.push_back(Outgoing {
            message,
            held,
            number,
            cached,
            recorded,
            tries: 0,
        });
    }

    /// Has a query answered by Redis, or says at once that it is away.
    pub(super) fn ask<T: 'static, F>(
        &mut self,
        reply: oneshot::Sender<Result<T, Unavailable>>,
        query: impl FnOnce(Link, query::Parts) -> F,
    ) where
        F: Future<Output = RedisResult<T>> + 'static,
    {
        let Some(link) = self.link.clone() else {
            let _ = reply.send(Err(Unavailable));
            return;
        };
        let parts = query::Parts {
            keys: self.keys.clone(),
            scripts: Arc::clone(&self.scripts),
        };
        let answering = query(link, parts);
        self.begin(async move {
            let answer = answering.await.map_err(|error| {
                debug!(%error, "a query failed");
                Unavailable
            });
            let _ = reply.send(answer);
            Done::Awake
        });
    }
}
