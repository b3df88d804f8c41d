//! §6: who a connection is, what only he hears, and who hears that he is there.

pub(crate) mod ids;
mod presence;
mod server_to_user;
mod signin;
mod single_session;
mod terminate;
mod watchlist;
