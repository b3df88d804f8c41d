//! §6: who a connection is, what only he hears, and who hears that he is there.

mod presence;
mod server_to_user;
mod signin;
mod single_session;
mod terminate;
mod watchlist;
