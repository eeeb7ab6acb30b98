//! The codec against its own rules, against itself in pieces, and against another codec.

use futures_util::{SinkExt as _, StreamExt as _};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_websockets::{ClientBuilder, Message};

use super::*;

const MOST: usize = 4096;

/// A client's frame.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ 0..=125), _) => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0xfe);
            out.extend(len.to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

fn owned(event: FrameEvent<'_>) -> FrameEvent<'static> {
    match event {
        FrameEvent::Text(text) => FrameEvent::Text(Cow::Owned(text.into_owned())),
        FrameEvent::Ping(payload) => FrameEvent::Ping(Cow::Owned(payload.into_owned())),
        FrameEvent::Binary => FrameEvent::Binary,
        FrameEvent::Pong => FrameEvent::Pong,
        FrameEvent::Close(code) => FrameEvent::Close(code),
    }
}

/// Feeds pieces; gives the events, the violation if any, and whether nothing is held.
fn feed(pieces: &[&[u8]]) -> (Vec<FrameEvent<'static>>, Option<FrameError>, bool) {
    let mut decoder = FrameDecoder::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        while !rest.is_empty() {
            let left = rest.len();
            match decoder.step(rest, MOST) {
                Ok(DecodeStep { used, event }) => {
                    assert!(used > 0 && used <= left, "a step must use something");
                    events.extend(event.map(owned));
                    rest = &mut rest[used..];
                }
                Err(violation) => return (events, Some(violation), decoder.is_idle()),
            }
        }
    }
    (events, None, decoder.is_idle())
}

fn text_event(text: &str) -> FrameEvent<'static> {
    FrameEvent::Text(Cow::Owned(text.to_owned()))
}

#[test]
fn a_whole_frame_is_lent_and_nothing_is_kept() {
    let mut input = masked(0x81, b"ping", [1, 2, 3, 4]);
    let mut decoder = FrameDecoder::default();
    let step = decoder.step(&mut input, MOST).expect("a good frame");
    assert!(matches!(
        &step.event,
        Some(FrameEvent::Text(Cow::Borrowed("ping")))
    ));
    assert_eq!(step.used, 10);
    assert!(decoder.is_idle());
    assert_eq!(size_of::<FrameDecoder>(), size_of::<usize>());
}

#[test]
fn fragments_join_around_control_frames() {
    let mut bytes = masked(0x01, "你".as_bytes(), [9; 4]);
    bytes.extend(masked(0x89, b"beat", [7; 4]));
    bytes.extend(masked(0x00, b"", [7; 4]));
    bytes.extend(masked(0x80, "好".as_bytes(), [1, 2, 3, 4]));
    let (events, violation, idle) = feed(&[&bytes]);
    let ping = FrameEvent::Ping(Cow::Owned(b"beat".to_vec()));
    assert_eq!(events, [ping, text_event("你好")]);
    assert_eq!((violation, idle), (None, true));
}

#[test]
fn utf8_may_break_between_fragments_but_not_in_a_message() {
    let bytes = "好".as_bytes();
    let mut split = masked(0x01, &bytes[..1], [0; 4]);
    split.extend(masked(0x80, &bytes[1..], [0; 4]));
    assert_eq!(feed(&[&split]).0, [text_event("好")]);
    let broken = masked(0x81, &bytes[..2], [3; 4]);
    assert_eq!(feed(&[&broken]).1, Some(FrameError::NotUtf8));
    assert_eq!(feed(&[&broken]).1.map(FrameError::code), Some(1007));
}

#[test]
fn what_no_client_may_send() {
    let mask = [5; 4];
    let protocol: [Vec<u8>; 13] = [
        vec![0x81, 0x04, b'p', b'i', b'n', b'g'],
        masked(0xc1, b"x", mask),
        masked(0x83, b"x", mask),
        masked(0x8b, b"x", mask),
        masked(0x80, b"x", mask),
        masked(0x09, b"x", mask),
        masked(0x89, &[0; 126], mask),
        [masked(0x01, b"x", mask), masked(0x81, b"y", mask)].concat(),
        masked(0x88, &[3], mask),
        masked(0x88, &999u16.to_be_bytes(), mask),
        masked(0x88, &1005u16.to_be_bytes(), mask),
        masked(0x88, &5000u16.to_be_bytes(), mask),
        [&[0x81, 0xff][..], &[0xff; 12]].concat(),
    ];
    for bytes in protocol {
        let violation = feed(&[&bytes]).1;
        assert_eq!(violation.map(FrameError::code), Some(1002), "{bytes:x?}");
    }
    let reason = masked(0x88, &[3, 0xe8, 0xff], mask);
    assert_eq!(feed(&[&reason]).1, Some(FrameError::NotUtf8));
}

#[test]
fn a_message_too_big_is_refused_by_its_header() {
    let huge = [
        &[0x81, 0xff][..],
        &100_000_000u64.to_be_bytes(),
        &[1, 2, 3, 4],
    ]
    .concat();
    assert_eq!(feed(&[&huge]).1, Some(FrameError::TooBig));
    let mut grown = masked(0x01, &[b'a'; MOST], [0; 4]);
    assert_eq!(feed(&[&grown]).1, None);
    grown.extend(masked(0x80, b"b", [0; 4]));
    assert_eq!(feed(&[&grown]).1, Some(FrameError::TooBig));
    let fits = masked(0x81, &[b'a'; MOST], [0; 4]);
    assert_eq!(feed(&[&fits]).0.len(), 1);
}

#[test]
fn frames_for_phones_have_the_shortest_length() {
    assert_eq!(&text(b"ab", b"c")[..], b"\x81\x03abc");
    assert_eq!(&text(&[b'a'; 126], b"")[..4], &[0x81, 126, 0, 126]);
    assert_eq!(text(&vec![b'a'; 70_000], b"").len(), 70_010);
    assert_eq!(&close(1001, "bye")[..], b"\x88\x05\x03\xe9bye");
    assert_eq!(&pong(b"x")[..], b"\x8a\x01x");
    assert_eq!(close(1000, &"x".repeat(500)).len(), 127);
}

/// One message of a client: fragments of text, or a control frame.
fn message() -> impl Strategy<Value = (Vec<u8>, FrameEvent<'static>)> {
    let mask = any::<[u8; 4]>();
    prop_oneof![
        (
            "\\PC{0,400}",
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            mask
        )
            .prop_map(|(text, cuts, mask)| {
                let bytes = text.as_bytes();
                let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
                cuts.sort_unstable();
                cuts.insert(0, 0);
                cuts.push(bytes.len());
                let mut out = Vec::new();
                for (at, pair) in cuts.windows(2).enumerate() {
                    let fin = if at + 2 == cuts.len() { 0x80 } else { 0 };
                    let opcode = u8::from(at == 0);
                    out.extend(masked(fin | opcode, &bytes[pair[0]..pair[1]], mask));
                }
                (out, text_event(&text))
            }),
        (prop::collection::vec(any::<u8>(), 0..=125), mask).prop_map(|(payload, mask)| {
            let frame = masked(0x89, &payload, mask);
            (frame, FrameEvent::Ping(Cow::Owned(payload)))
        }),
        mask.prop_map(|mask| (masked(0x8a, b"", mask), FrameEvent::Pong)),
        (prop::collection::vec(any::<u8>(), 0..300), mask)
            .prop_map(|(payload, mask)| (masked(0x82, &payload, mask), FrameEvent::Binary)),
        (3000..=4999u16, mask).prop_map(|(code, mask)| {
            (
                masked(0x88, &code.to_be_bytes(), mask),
                FrameEvent::Close(Some(code)),
            )
        }),
    ]
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_messages(
        messages in prop::collection::vec(message(), 1..8),
        sizes in prop::collection::vec(1..40usize, 1..20),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, later) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        let (events, violation, idle) = feed(&pieces);
        prop_assert_eq!(violation, None);
        prop_assert!(idle);
        let expected: Vec<_> = messages.into_iter().map(|(_, event)| event).collect();
        prop_assert_eq!(events, expected);
    }

    #[test]
    fn no_bytes_upset_the_decoder_and_chunking_changes_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = feed(&[&bytes]);
        let cut = cut.index(bytes.len() + 1);
        let halves = feed(&[&bytes[..cut], &bytes[cut..]]);
        prop_assert_eq!(whole.0, halves.0);
        prop_assert_eq!(whole.1, halves.1);
    }
}

#[tokio::test]
async fn another_codec_understands_ours_and_we_understand_it() {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (mut reader, mut writer) = tokio::io::split(ours);
    let mut client = ClientBuilder::new().take_over(theirs);
    let lengths = [0, 1, 4, 125, 126, 127, 1000, 4000, MOST];
    for len in lengths {
        let sent: String = "x".repeat(len);
        client
            .send(Message::text(sent.clone()))
            .await
            .expect("room");
        let mut decoder = FrameDecoder::default();
        let got = 'got: loop {
            let mut chunk = vec![0; 1000];
            let read = reader.read(&mut chunk).await.expect("open");
            let mut rest = &mut chunk[..read];
            while !rest.is_empty() {
                let DecodeStep { used, event } = decoder.step(rest, MOST).expect("a good client");
                if let Some(FrameEvent::Text(text)) = event {
                    break 'got text.into_owned();
                }
                rest = &mut rest[used..];
            }
        };
        assert_eq!(got, sent);
        writer
            .write_all(&text(b"message:", sent.as_bytes()))
            .await
            .expect("room");
        let heard = client.next().await.expect("open").expect("a good frame");
        assert_eq!(heard.as_text(), Some(format!("message:{sent}").as_str()));
    }
    writer.write_all(&close(1013, "slow")).await.expect("room");
    let heard = client.next().await.expect("open").expect("a good frame");
    let (code, reason) = heard.as_close().expect("a close frame");
    assert_eq!((u16::from(code), reason), (1013, "slow"));
}
