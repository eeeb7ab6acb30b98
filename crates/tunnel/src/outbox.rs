//! Frames waiting for one phone.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// Frames in order. Owns no memory while it is empty, and none but the frame while it holds
/// one: the usual case of a push to many.
#[derive(Debug, Default)]
pub(crate) struct FrameOutbox {
    front: Bytes,
    rest: VecDeque<Bytes>,
    /// Bytes waiting.
    bytes: usize,
    /// Whether part of `front` is written, so that nothing may go before the rest of it.
    split: bool,
}

impl FrameOutbox {
    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Puts a frame behind all others.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if self.front.is_empty() {
            self.front = frame;
        } else {
            self.rest.push_back(frame);
        }
    }

    /// Puts a frame before all others, at the next frame boundary.
    pub(crate) fn push_ahead(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        if self.front.is_empty() {
            self.front = frame;
        } else if self.split {
            self.rest.push_front(frame);
        } else {
            let second = std::mem::replace(&mut self.front, frame);
            self.rest.push_front(second);
        }
    }

    /// Puts another outbox's frames behind all others.
    pub(crate) fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.bytes += other.bytes;
        if !other.front.is_empty() {
            self.rest.push_back(other.front);
        }
        self.rest.extend(other.rest);
    }

    /// The frame to write, if it is the only one.
    pub(crate) fn single(&self) -> Option<&Bytes> {
        (self.rest.is_empty() && !self.front.is_empty()).then_some(&self.front)
    }

    /// Fills `slices` with what to write next; says how many it filled.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let frames = std::iter::once(&self.front).chain(&self.rest);
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(frames) {
            *slice = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    /// The frames in order, the first perhaps begun.
    pub(crate) fn into_frames(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.front).chain(self.rest)
    }

    /// Forgets `count` bytes that were written.
    pub(crate) fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while count > 0 {
            if count < self.front.len() {
                self.front.advance(count);
                self.split = true;
                return;
            }
            count -= self.front.len();
            self.split = false;
            let Some(next) = self.rest.pop_front() else {
                *self = Self::default();
                return;
            };
            self.front = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outbox: &FrameOutbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn control_goes_ahead_but_never_into_a_frame() {
        let mut outbox = FrameOutbox::default();
        outbox.push(Bytes::from_static(b"one."));
        outbox.push(Bytes::from_static(b"two."));
        outbox.push_ahead(Bytes::from_static(b"!"));
        assert_eq!(all(&outbox), b"!one.two.");
        outbox.advance(3);
        outbox.push_ahead(Bytes::from_static(b"?"));
        assert_eq!(all(&outbox), b"e.?two.");
        assert_eq!(outbox.bytes(), 7);
        outbox.advance(2);
        outbox.push_ahead(Bytes::from_static(b"#"));
        assert_eq!(all(&outbox), b"#?two.");
        outbox.advance(6);
        assert!(outbox.is_empty());
        assert_eq!(outbox.rest.capacity(), 0);
    }

    #[test]
    fn boxes_join_in_order() {
        let mut first = FrameOutbox::default();
        let mut second = FrameOutbox::default();
        second.push(Bytes::from_static(b"a"));
        second.push(Bytes::from_static(b"b"));
        first.append(second);
        let mut third = FrameOutbox::default();
        third.push(Bytes::from_static(b"c"));
        first.append(third);
        first.append(FrameOutbox::default());
        assert_eq!((all(&first), first.bytes()), (b"abc".to_vec(), 3));
        assert!(first.single().is_none());
        first.advance(2);
        assert_eq!(first.single().map(|b| &b[..]), Some(&b"c"[..]));
    }
}
