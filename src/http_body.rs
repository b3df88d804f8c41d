//! How the body of a request arrives: whole, within a time and a number of bytes, or not at all.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    error::PayloadError,
    http::header::{CONTENT_LENGTH, HeaderMap},
    web::{Bytes, BytesMut, Payload},
};
use futures_util::StreamExt;
use tokio::time::{Sleep, sleep_until};

use crate::address::{Gate, Held, NoRoom};

/// Bytes of a request that must arrive in each second beyond the time for its head. A slow mobile network brings more.
pub const MIN_BYTES_PER_SECOND: usize = 16 << 10;

/// The time that a request of so many bytes may take, if it never rests for longer than `timeout`.
#[must_use]
pub fn request_time(timeout: Duration, bytes: usize) -> Duration {
    timeout + Duration::from_secs((bytes / MIN_BYTES_PER_SECOND) as u64)
}

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Its bytes.
    pub max_bytes: usize,
    /// The time that it may take, if it is short.
    pub timeout: Duration,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum BodyError {
    /// It has more bytes than this. `Content-Length` says how many; a body in chunks doesn't.
    TooLarge {
        /// Bytes that were declared.
        declared: Option<usize>,
        /// Bytes that are allowed.
        max: usize,
    },
    /// It broke off, or its encoding is wrong.
    Unreadable(PayloadError),
    /// It did not arrive in time.
    TooSlow,
    /// Too many bodies arrive at the moment.
    NoRoom(NoRoom),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge {
                declared: Some(size),
                max,
            } => write!(f, "the body has {size} bytes, at most {max} are allowed"),
            Self::TooLarge {
                declared: None,
                max,
            } => write!(
                f,
                "the body has more than {max} bytes, the most that are allowed"
            ),
            Self::Unreadable(error) => write!(f, "the body could not be read: {error}"),
            Self::TooSlow => f.write_str("the body did not arrive in time"),
            Self::NoRoom(_) => f.write_str("too many requests arrive; try again in a second"),
        }
    }
}

/// A body that may not have arrived yet.
pub struct Body {
    payload: Payload,
    progress: Progress,
    /// What was read of it, if that was all.
    whole: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Arriving,
    Whole,
}

impl From<Payload> for Body {
    fn from(payload: Payload) -> Self {
        Self {
            payload,
            progress: Progress::Arriving,
            whole: None,
        }
    }
}

impl Body {
    /// Reads all of it, whatever its content type. `held` counts what is kept of it meanwhile, and is asked for only if it comes in
    /// several pieces.
    ///
    /// # Errors
    /// [`BodyError`]. The rest may still be under way.
    pub async fn read(
        &mut self,
        headers: &HeaderMap,
        limits: BodyLimits,
        held: impl FnOnce() -> Held,
    ) -> Result<Bytes, BodyError> {
        let max = limits.max_bytes;
        let too_large = |declared| BodyError::TooLarge { declared, max };
        if let Some(declared) = declared_length(headers).filter(|length| *length > max) {
            return Err(too_large(Some(declared)));
        }
        let mut arrival = Arrival::new(limits.timeout);
        // A body usually comes in one piece, which needs no copy.
        let Some(first) = arrival.next(self, 0).await? else {
            return Ok(Bytes::new());
        };
        if first.len() > max {
            return Err(too_large(None));
        }
        let mut joined = BytesMut::new();
        let (mut held, mut is_counted) = (Some(held), None);
        while let Some(piece) = arrival.next(self, first.len() + joined.len()).await? {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
                is_counted = held.take().map(|held| held());
            }
            if joined.len() + piece.len() > max {
                return Err(too_large(None));
            }
            if let Some(held) = &mut is_counted {
                Gate::grow_body(held, piece.len()).map_err(BodyError::NoRoom)?;
            }
            joined.extend_from_slice(&piece);
        }
        let whole = if joined.is_empty() {
            first
        } else {
            joined.freeze()
        };
        self.whole = Some(whole.clone());
        Ok(whole)
    }

    /// All of it, if it was read.
    #[must_use]
    pub fn seen(&self) -> Option<&[u8]> {
        self.whole.as_deref()
    }

    /// Throws away what has come already, without waiting for more.
    pub async fn discard(&mut self) {
        let mut waits = 0;
        poll_fn(|cx| {
            loop {
                match self.poll_piece(cx) {
                    Poll::Ready(Ok(Some(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending if waits > 0 => return Poll::Ready(()),
                    Poll::Pending => {
                        // The parser may have read it, but is asked for it only after this.
                        waits += 1;
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
    }

    /// Has the connection closed after the response, if the rest of the body is still under way: nobody will read it.
    ///
    /// actix-http closes while there is somebody who could read the body. Without, it would read on for as long as chunks come.
    #[must_use]
    pub fn settle(self, response: HttpResponse) -> HttpResponse {
        match self.progress {
            Progress::Whole => response,
            Progress::Arriving => response.map_body(|_, answer| {
                BoxBody::new(Answer {
                    answer,
                    _rest: self,
                })
            }),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let piece = ready!(self.payload.poll_next_unpin(cx));
        if piece.is_none() {
            self.progress = Progress::Whole;
        }
        Poll::Ready(piece.transpose().map_err(BodyError::Unreadable))
    }
}

/// The body of a response, and the rest of the request's.
struct Answer {
    answer: BoxBody,
    _rest: Body,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.answer).poll_next(cx)
    }
}

/// The time that is left for a body.
struct Arrival {
    timeout: Duration,
    deadline: Option<(Instant, Pin<Box<Sleep>>)>,
    waits: usize,
}

impl Arrival {
    fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            deadline: None,
            waits: 0,
        }
    }

    async fn next(&mut self, body: &mut Body, received: usize) -> Result<Option<Bytes>, BodyError> {
        let (timeout, time) = (self.timeout, request_time(self.timeout, received));
        let deadline = |began: Instant| (began + time).min(Instant::now() + timeout);
        if let Some((began, sleep)) = &mut self.deadline {
            sleep.as_mut().reset(deadline(*began).into());
        }
        poll_fn(|cx| {
            if let Poll::Ready(piece) = body.poll_piece(cx) {
                return Poll::Ready(piece);
            }
            self.waits += 1;
            if self.waits == 1 {
                // The parser has read the body in most cases, and is asked for it next.
                return Poll::Pending;
            }
            let (_, sleep) = self.deadline.get_or_insert_with(|| {
                let began = Instant::now();
                (began, Box::pin(sleep_until(deadline(began).into())))
            });
            sleep.as_mut().poll(cx).map(|()| Err(BodyError::TooSlow))
        })
        .await
    }
}

fn declared_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
