//! A node that was told to be one of many comes up with them or not at all.

use super::setup;
use crate::support::{
    process::{ConfigFile, Finished, Process},
    redis::{RedisServer, free_port},
};

fn refused(url: &str) -> Finished {
    let config = ConfigFile::new(&setup(url).toml());
    let finished = Process::run(&["--config", config.path()], &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(!finished.stdout.contains("Listening"), "{finished:?}");
    assert!(finished.stderr.contains("Redis"), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    finished
}

#[test]
fn an_address_where_nothing_listens_is_an_error() {
    let port = free_port();
    let finished = refused(&format!("redis://:s3cr3t@127.0.0.1:{port}"));
    assert!(
        finished.stderr.contains(&format!("127.0.0.1:{port}")),
        "the message names the address: {}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("s3cr3t"), "{}", finished.stderr);
}

#[test]
fn a_name_that_does_not_resolve_is_an_error() {
    refused("redis://redis.invalid:6379");
}

#[test]
fn a_redis_that_does_not_answer_is_an_error() {
    let mut redis = RedisServer::start();
    redis.freeze();
    refused(&redis.url());
    redis.thaw();
}

#[test]
fn a_wrong_password_is_an_error() {
    let mut redis = RedisServer::launch_with_password("right");
    redis.wait_until_it_answers();
    let finished = refused(&format!("redis://:wr0ng-one@127.0.0.1:{}", redis.port));
    assert!(
        !finished.stderr.contains("wr0ng-one"),
        "{}",
        finished.stderr
    );
    refused(&redis.url());
}

#[test]
fn a_single_redis_taken_for_a_cluster_is_an_error() {
    let redis = RedisServer::start();
    let config = ConfigFile::new(&setup(&redis.url()).set("redis.mode", "cluster").toml());
    let finished = Process::run(&["--config", config.path()], &[]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
}
