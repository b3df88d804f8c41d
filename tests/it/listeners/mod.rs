//! How connections come in besides by a TCP port of this process' own.

mod activation;
mod proxy_protocol;
mod unix;
