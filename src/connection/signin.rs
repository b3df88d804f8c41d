//! `pusher:signin`: who the client is, and whom they watch.

use std::{sync::Arc, time::Instant};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{About, Connection, session::session_in, to_sign};
use crate::{
    engine::EnterError,
    hub::Farewell,
    node::{Online, Subscribing},
    protocol::{
        ErrorCode, InvalidUserId,
        channel::{USER_PREFIX, session_name},
        check_user_id,
        message::{self, Signin},
        signature::{self, Unsigned},
    },
};

/// Users that one client may watch (Pusher's documented limit).
const WATCHLIST_MAX: usize = 100;

/// Who a client signed in as.
pub(super) struct User {
    pub(super) id: Arc<str>,
    /// JSON; becomes the member info of presence channels joined without `channel_data`.
    pub(super) info: Arc<str>,
    /// Keeps the user online for those who watch them, if the app has watchlists.
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

/// A sign-in that was found to be signed, and waits for its session's place.
pub(super) struct SigningIn {
    id: Arc<str>,
    info: Arc<str>,
    session: Option<Arc<str>>,
    watchlist: Vec<String>,
    user_data: String,
}

/// Why a sign-in is refused.
enum SigninError {
    /// What a right signature would have signed.
    Unsigned(Unsigned, String),
    UserData,
    UserId(InvalidUserId),
    Watchlist,
    OtherUser,
    OtherSession,
    Unavailable,
}

impl From<EnterError> for SigninError {
    fn from(error: EnterError) -> Self {
        match error {
            EnterError::Full => Self::OtherSession,
            EnterError::Unavailable => Self::Unavailable,
        }
    }
}

impl std::fmt::Display for SigninError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UserId(invalid) => return write!(f, "{invalid}."),
            Self::Unsigned(why, _) => return write!(f, "{why}."),
            Self::UserData => "user_data must be a JSON object with a string \"id\".",
            Self::Watchlist => "\"watchlist\" must be an array of user ids, which are strings.",
            Self::OtherUser => "already signed in as another user.",
            Self::OtherSession => "this user is signed in elsewhere.",
            Self::Unavailable => "the cluster's state is out of reach; try again in a second.",
        })
    }
}

impl Connection {
    pub(super) fn sign_in(&mut self, request: &Signin, now: Instant) {
        if let Err(error) = self.try_sign_in(request, now) {
            let mut about = About::default();
            if let SigninError::Unsigned(_, to_sign) = &error {
                let incidents = &self.worker.node.incidents;
                incidents.auth_failures.increment("signin");
                about.to_sign = Some(to_sign);
            }
            let text = format!("Sign-in refused: {error}");
            self.error_about(None, &text, about);
        }
    }

    fn try_sign_in(&mut self, request: &Signin, now: Instant) -> Result<(), SigninError> {
        let socket_id = self.subscriber.id.to_string();
        let Signin { auth, user_data } = request;
        signature::verify_user(|key| self.secret_of(key), auth, &socket_id, user_data).map_err(
            |why| SigninError::Unsigned(why, to_sign(&format!("{socket_id}::user::{user_data}"))),
        )?;
        // serde also reads structs from arrays; user_data is an object.
        if !user_data.trim_start().starts_with('{') {
            return Err(SigninError::UserData);
        }
        let user: UserData<'_> =
            serde_json::from_str(user_data).map_err(|_| SigninError::UserData)?;
        let max_length = self.app.limits.max_presence_user_id_length.get();
        check_user_id(&user.id, max_length).map_err(SigninError::UserId)?;
        let watchlist: Vec<String> = match user.watchlist.filter(|_| self.app.watchlists) {
            Some(ids) => serde_json::from_str(ids.get()).map_err(|_| SigninError::Watchlist)?,
            None => Vec::new(),
        };
        let known = self.user.as_deref().map(|user| &user.id);
        let known = known.or(self.signing_in.as_deref().map(|pending| &pending.id));
        if known.is_some_and(|id| **id != *user.id) {
            return Err(SigninError::OtherUser);
        }
        if self.user.is_some() {
            self.send(&message::signin_success(user_data));
            return Ok(());
        }
        if self.signing_in.is_some() {
            // The first request is still on its way; its answer serves for this one too.
            return Ok(());
        }
        let session = self.session_of(user_data);
        let signing_in = SigningIn {
            id: user.id.into(),
            info: user.user_info.map_or("null", RawValue::get).into(),
            session,
            watchlist,
            user_data: user_data.clone(),
        };
        self.begin_session(signing_in, now)
    }

    /// Who the session is, where a user may have only one: a member of `user_data` or of its `user_info`.
    fn session_of(&self, user_data: &str) -> Option<Arc<str>> {
        self.app.single_session.newest()?;
        let data: Value = serde_json::from_str(user_data).unwrap_or_default();
        let session = session_in(&data, &self.app.session_key);
        Some(session.unwrap_or_else(|| self.subscriber.id.to_string().into()))
    }

    fn begin_session(&mut self, signing_in: SigningIn, now: Instant) -> Result<(), SigninError> {
        let (Some(newest), Some(session)) = (self.app.single_session.newest(), &signing_in.session)
        else {
            self.finish_sign_in(signing_in, now);
            return Ok(());
        };
        let (node, client) = (&self.worker.node, self.client());
        let sessions = session_name(&signing_in.id);
        match node.join_session(client, &sessions, session, newest, now) {
            Ok(Subscribing::Seated(_)) => self.finish_sign_in(signing_in, now),
            Ok(Subscribing::Waiting(entrance)) => {
                self.entrances.push(entrance);
                self.signing_in = Some(Box::new(signing_in));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The answer about the session has come.
    pub(super) fn on_session(&mut self, answer: Result<(), EnterError>, now: Instant) {
        let Some(signing_in) = self.signing_in.take() else {
            return;
        };
        match answer {
            Ok(()) => self.finish_sign_in(*signing_in, now),
            Err(error) => {
                let text = format!("Sign-in refused: {}", SigninError::from(error));
                self.error(None, &text);
            }
        }
    }

    fn finish_sign_in(&mut self, signing_in: SigningIn, now: Instant) {
        let SigningIn {
            id,
            info,
            session,
            watchlist,
            user_data,
        } = signing_in;
        self.worker
            .shard
            .sign_in(self.channels.app_id(), &id, &self.subscriber);
        let watched = self.app.watchlists;
        let online = watched.then(|| self.worker.node.go_online(self.client(), &id, now));
        self.subscriber.authorized();
        self.send(&message::signin_success(&user_data));
        if let Some(session) = session {
            let channel = format!("{USER_PREFIX}{id}");
            let frame = message::session_replaced(&self.app.session_event, &channel);
            let sessions = session_name(&id);
            self.subscriber.prepare_farewell(Farewell {
                sessions: sessions.as_str().into(),
                frame,
                grace: self.app.session_grace_s.get(),
            });
            self.worker
                .node
                .let_go_if_replaced(self.client(), &sessions, &session);
        }
        self.user = Some(Box::new(User { id, info, online }));
        self.watch(watchlist, now);
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
