//! §1: the way from an upgrade request to an established connection, and how it stays alive or ends.

mod close_notices;
mod drain;
mod established;
mod liveness;
mod origins;
mod protocols;
mod rejections;
mod stop;
mod upgrade;
