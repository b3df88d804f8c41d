//! §2.4 and §4.4: who is in a presence channel, and who is told when.

mod interleaving;
mod leaving;
mod limits;
mod members;
mod returns;
