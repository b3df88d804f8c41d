//! §9: the HTTP transports of pusher-js, by hand: every rule of a session, right and wrong.

mod channels;
mod cors;
mod endings;
mod receiving;
mod rejections;
mod sending;
mod time;
