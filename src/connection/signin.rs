//! `pusher:signin`: who the client is, and whom he watches.

use std::{sync::Arc, time::Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Connection;
use crate::{
    node::{Online, Subscribing},
    protocol::{
        ErrorCode,
        message::{self, Signin},
        signature,
    },
};

/// Users that one client may watch (Pusher's documented limit).
const WATCHLIST_MAX: usize = 100;

/// Who a client signed in as.
pub(super) struct User {
    pub(super) id: Arc<str>,
    /// JSON; becomes the member info of presence channels joined without `channel_data`.
    pub(super) info: Arc<str>,
    /// Keeps the user online for those who watch him, if the app has watchlists.
    pub(super) online: Option<Online>,
}

/// What is known of the watched users, until it is known of all.
#[derive(Default)]
pub(super) struct FirstLook {
    waiting: usize,
    online: Vec<String>,
    offline: Vec<String>,
}

#[derive(Deserialize)]
struct UserData<'a> {
    id: String,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    watchlist: Option<&'a RawValue>,
}

/// Why a sign-in is refused.
enum SigninError {
    Signature,
    UserData,
    Watchlist,
    OtherUser,
}

impl std::fmt::Display for SigninError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Signature => "invalid signature.",
            Self::UserData => "user_data must be a JSON object with a non-empty string \"id\".",
            Self::Watchlist => "\"watchlist\" must be an array of user ids, which are strings.",
            Self::OtherUser => "already signed in as another user.",
        })
    }
}

impl Connection {
    pub(super) fn sign_in(&mut self, request: &Signin, now: Instant) {
        if let Err(error) = self.try_sign_in(request, now) {
            let text = format!("Sign-in refused: {error}");
            self.error(Some(ErrorCode::Unauthorized), &text);
        }
    }

    fn try_sign_in(&mut self, request: &Signin, now: Instant) -> Result<(), SigninError> {
        let socket_id = self.subscriber.id.to_string();
        let Signin { auth, user_data } = request;
        let (key, secret) = (&self.app.key, self.app.secret.expose());
        if !signature::verify_user(key, secret, auth, &socket_id, user_data) {
            return Err(SigninError::Signature);
        }
        // serde also reads structs from arrays; user_data is an object.
        if !user_data.trim_start().starts_with('{') {
            return Err(SigninError::UserData);
        }
        let user: UserData<'_> =
            serde_json::from_str(user_data).map_err(|_| SigninError::UserData)?;
        if user.id.is_empty() {
            return Err(SigninError::UserData);
        }
        let watchlist: Vec<String> = match user.watchlist.filter(|_| self.app.watchlists) {
            Some(ids) => serde_json::from_str(ids.get()).map_err(|_| SigninError::Watchlist)?,
            None => Vec::new(),
        };
        match &self.user {
            Some(signed_in) if *signed_in.id != user.id => return Err(SigninError::OtherUser),
            Some(_) => {
                self.send(&message::signin_success(user_data));
                return Ok(());
            }
            None => {}
        }
        let id: Arc<str> = user.id.into();
        let info = user.user_info.map_or("null", RawValue::get).into();
        self.worker
            .shard
            .sign_in(self.channels.app_id(), &id, &self.subscriber);
        let watched = self.app.watchlists;
        let online = watched.then(|| self.worker.node.go_online(self.client(), &id, now));
        self.user = Some(Box::new(User { id, info, online }));
        self.subscriber.authorized();
        self.send(&message::signin_success(user_data));
        self.watch(watchlist, now);
        Ok(())
    }

    /// Tells who of the watched is online, now and from now on.
    fn watch(&mut self, mut ids: Vec<String>, now: Instant) {
        let given = ids.len();
        ids.truncate(WATCHLIST_MAX);
        ids.sort_unstable();
        ids.dedup();
        self.first_look = (!ids.is_empty()).then(Box::default);
        for user_id in ids {
            match self.worker.node.watch(self.client(), &user_id, now) {
                Ok(Subscribing::Seated(_)) => self.look(user_id),
                Ok(Subscribing::Waiting(entrance)) => {
                    self.entrances.push(entrance);
                    if let Some(first) = &mut self.first_look {
                        first.waiting += 1;
                    }
                }
                Err(_) => {}
            }
        }
        self.tell_first_look();
        if given > WATCHLIST_MAX {
            let text = format!(
                "The watchlist has {given} users; the first {WATCHLIST_MAX} are watched, which is the limit."
            );
            self.error(Some(ErrorCode::WatchlistTooLong), &text);
        }
    }

    /// The way to one of the watched users is open, or (`None`) will not be.
    pub(super) fn looked(&mut self, user_id: Option<String>) {
        if let Some(first) = &mut self.first_look {
            first.waiting -= 1;
        }
        if let Some(user_id) = user_id {
            self.look(user_id);
        }
        self.tell_first_look();
    }

    fn look(&mut self, user_id: String) {
        let is_online = self.worker.node.is_online(self.client(), &user_id);
        if let Some(first) = &mut self.first_look {
            let list = if is_online {
                &mut first.online
            } else {
                &mut first.offline
            };
            list.push(user_id);
        }
    }

    fn tell_first_look(&mut self) {
        if let Some(first) = self.first_look.take_if(|first| first.waiting == 0) {
            let online: Vec<&str> = first.online.iter().map(String::as_str).collect();
            let offline: Vec<&str> = first.offline.iter().map(String::as_str).collect();
            self.send(&message::watchlist_events(&online, &offline));
        }
    }
}
