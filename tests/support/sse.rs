//! A small, strict SSE client: what reached it, frame by frame.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// The `event:` line.
    pub event: String,
    /// The `id:` line, if the frame has one.
    pub id: Option<String>,
    /// The `data:` line as JSON.
    pub data: Value,
}

impl Frame {
    /// A field of the data as text; empty if it is absent or no text.
    pub fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }
}

/// Frames out of bytes, however these are cut.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// The last `retry:` seen, milliseconds.
    pub retry: Option<u64>,
}

impl Parser {
    /// Takes bytes, gives the frames that they complete. Anything that is not exactly the format panics: the tests want
    /// to know.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("frames are UTF-8");
            frames.extend(self.frame(block.trim_end_matches('\n')));
        }
        frames
    }

    fn frame(&mut self, block: &str) -> Option<Frame> {
        let (mut event, mut id, mut data) = (None, None, None);
        for line in block.split('\n') {
            let (field, value) = line.split_once(": ").unwrap_or_else(|| panic!("not a field: {line:?}"));
            let slot = match field {
                "event" => &mut event,
                "id" => &mut id,
                "data" => &mut data,
                "retry" => {
                    self.retry = Some(value.parse().expect("retry is a number"));
                    continue;
                }
                other => panic!("unknown field {other:?}"),
            };
            assert!(slot.replace(value.to_owned()).is_none(), "{field} twice in {block:?}");
        }
        let data = data?;
        let data = serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {data:?}"));
        Some(Frame { event: event.expect("every frame has an event name"), id, data })
    }
}

/// An open stream.
pub struct Sse {
    response: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: Parser,
    ready: std::collections::VecDeque<Frame>,
    /// The id of the last frame that had one: what a reconnect would send.
    pub last_id: Option<String>,
}

impl Sse {
    /// Reads the stream that `response` carries.
    pub fn new(response: reqwest::Response) -> Self {
        let response = response.bytes_stream().boxed();
        Self { response, parser: Parser::default(), ready: std::collections::VecDeque::new(), last_id: None }
    }

    /// The last `retry:` seen.
    pub fn retry(&self) -> Option<u64> {
        self.parser.retry
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                if frame.id.is_some() {
                    self.last_id.clone_from(&frame.id);
                }
                return Some(frame);
            }
            let bytes = self.response.next().await?.ok()?;
            self.ready.extend(self.parser.push(&bytes));
        }
    }

    /// Frames until `wanted` says so of one (which is the last of them).
    ///
    /// # Panics
    /// If that takes longer than `within`, or the stream ends.
    pub async fn until(&mut self, within: Duration, mut wanted: impl FnMut(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        let found = tokio::time::timeout(within, async {
            while let Some(frame) = self.next().await {
                frames.push(frame);
                if frames.last().is_some_and(&mut wanted) {
                    return true;
                }
            }
            false
        })
        .await;
        match found {
            Ok(true) => frames,
            Ok(false) => panic!("the stream ended after {frames:#?}"),
            Err(_) => panic!("not within {within:?}; seen: {frames:#?}"),
        }
    }
}

#[test]
fn frames_come_out_whole_however_the_bytes_are_cut() {
    let text = "retry: 2000\n\nid: a-1.0\nevent: status\ndata: {\"vm\":\"x\"}\n\nevent: heartbeat\ndata: {}\n\n";
    for cut in 1..text.len() {
        let mut parser = Parser::default();
        let frames: Vec<Frame> = text.as_bytes().chunks(cut).flat_map(|chunk| parser.push(chunk)).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].event.as_str(), frames[0].id.as_deref()), ("status", Some("a-1.0")));
        assert_eq!(parser.retry, Some(2000));
    }
}
