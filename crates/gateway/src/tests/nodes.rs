//! Several nodes and one token: one asks, all know; and each alone where nothing is shared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use serde_json::json;
use weappd_base::clock::{Clock, ManualClock};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;

use super::support::{Setting, Wechat, World, until};
use crate::config::{Config, TokenMode};
use crate::lease_store::{LeaseStore, LeaseStoreError, LeasedValue};

/// A shelf in memory, as a database would keep it, with a clock of its own.
#[derive(Debug)]
struct Board {
    clock: Clock,
    hand: ManualClock,
    rows: Mutex<HashMap<String, Row>>,
    is_down: AtomicBool,
    /// Until when a record nobody has touched is held by a node that died.
    held_until: AtomicI64,
    looks: AtomicUsize,
}

#[derive(Debug, Default)]
struct Row {
    value: Option<Secret>,
    fence: i64,
    held_until: UnixMillis,
}

impl Board {
    fn new() -> Arc<Self> {
        // An hour behind the nodes: nobody compares clocks.
        let (clock, hand) = Clock::manual(1_714_112_445 - 3600);
        Arc::new(Self {
            clock,
            hand,
            rows: Mutex::default(),
            is_down: AtomicBool::new(false),
            held_until: AtomicI64::new(0),
            looks: AtomicUsize::new(0),
        })
    }

    fn with<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Row, UnixMillis) -> T,
    ) -> BoxFuture<'static, Result<T, LeaseStoreError>>
    where
        T: Send + 'static,
    {
        let answer = if self.is_down.load(Ordering::SeqCst) {
            Err(LeaseStoreError("the board is down".to_owned()))
        } else {
            let mut rows = self.rows.lock();
            let row = rows.entry(name.to_owned()).or_insert_with(|| Row {
                held_until: UnixMillis::new(self.held_until.load(Ordering::SeqCst)),
                ..Row::default()
            });
            Ok(change(row, self.clock.unix_millis()))
        };
        std::future::ready(answer).boxed()
    }

    fn text(&self) -> String {
        let rows = self.rows.lock();
        let values = rows.values().filter_map(|row| row.value.as_ref());
        values.map(Secret::expose).collect()
    }
}

impl LeaseStore for Board {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<LeasedValue, LeaseStoreError>> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.with(name, |row, now| LeasedValue {
            value: row.value.clone(),
            now,
        })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<Option<(i64, LeasedValue)>, LeaseStoreError>> {
        self.with(name, move |row, now| {
            if now < row.held_until {
                return None;
            }
            row.fence += 1;
            row.held_until = now + time;
            let value = row.value.clone();
            Some((row.fence, LeasedValue { value, now }))
        })
    }

    fn put<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<bool, LeaseStoreError>> {
        let value = value.clone();
        self.with(name, move |row, _| {
            let is_mine = row.fence == fence;
            if is_mine {
                row.value = Some(value);
                row.held_until = UnixMillis::default();
            }
            is_mine
        })
    }

    fn release<'a>(
        &'a self,
        name: &'a str,
        fence: i64,
    ) -> BoxFuture<'a, Result<(), LeaseStoreError>> {
        self.with(name, move |row, _| {
            if row.fence == fence {
                row.held_until = UnixMillis::default();
            }
        })
    }
}

/// Nodes that talk to one WeChat over one board.
async fn nodes(board: &Arc<Board>, mode: TokenMode, count: usize) -> Vec<World> {
    let wechat = Wechat::served();
    let node = |_| {
        World::of(Setting {
            config: Config {
                token: mode,
                ..Config::default()
            },
            leases: Some(Arc::clone(board) as Arc<dyn LeaseStore>),
            wechat: Some(wechat.clone()),
            ..Setting::default()
        })
    };
    join_all((0..count).map(node)).await
}

#[tokio::test]
async fn three_nodes_with_fifty_callers_each_ask_once() {
    for mode in [TokenMode::Stable, TokenMode::Classic] {
        let board = Board::new();
        let nodes = nodes(&board, mode, 3).await;
        let calls = nodes
            .iter()
            .flat_map(|node| (0..50).map(|_| node.call("/wxa/x")));
        let said = join_all(calls).await;
        assert!(said.iter().all(|said| said.status == 200));
        let wechat = &nodes[0].wechat;
        assert_eq!(wechat.questions(), 1, "{mode:?}");
        assert_eq!(wechat.used(), ["t1"; 150].map(str::to_owned));
        // From then on no call asks the board either.
        let looks = board.looks.load(Ordering::SeqCst);
        nodes[1].call("/wxa/x").await;
        assert_eq!(board.looks.load(Ordering::SeqCst), looks);
    }
}

#[tokio::test]
async fn one_node_renews_ahead_for_all() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 3).await;
    for node in &nodes {
        node.call("/wxa/x").await;
    }
    board.hand.advance(6900);
    for node in &nodes {
        node.hand.advance(6900);
        node.call("/wxa/x").await;
        until("the flight landed", || node.tasks.is_empty()).await;
    }
    let wechat = &nodes[0].wechat;
    assert_eq!(wechat.questions(), 2);
    for node in &nodes {
        node.call("/wxa/x").await;
    }
    let used = wechat.used();
    assert_eq!(used[used.len() - 3..], ["t2"; 3].map(str::to_owned));
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once_for_all_nodes() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 3).await;
    for node in &nodes {
        node.call("/wxa/x").await;
    }
    nodes[0].wechat.rejects("t1", 40001);
    for node in &nodes {
        assert_eq!(node.call("/wxa/x").await.status, 200);
    }
    assert_eq!(nodes[0].wechat.questions(), 2, "one more for all");
}

#[tokio::test]
async fn while_another_node_renews_the_board_is_left_in_peace() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 1).await;
    nodes[0].call("/wxa/x").await;
    board.hand.advance(6900);
    nodes[0].hand.advance(6900);
    let now = board.clock.unix_millis();
    for row in board.rows.lock().values_mut() {
        row.held_until = now + Duration::from_secs(25);
    }
    let (begun, before) = (Instant::now(), board.looks.load(Ordering::SeqCst));
    for _ in 0..200 {
        assert_eq!(nodes[0].call("/wxa/x").await.status, 200);
    }
    let looks = board.looks.load(Ordering::SeqCst) - before;
    let most = begun.elapsed().as_millis() / 60 + 1;
    assert!((1..=most).contains(&(looks as u128)), "{looks} of {most}");
    assert_eq!(nodes[0].wechat.questions(), 1, "the other one asks");
}

#[tokio::test]
async fn what_was_shared_before_a_silence_is_no_answer_to_a_later_rejection() {
    for mode in [TokenMode::Stable, TokenMode::Classic] {
        let board = Board::new();
        let nodes = nodes(&board, mode, 2).await;
        for node in &nodes {
            node.call("/wxa/x").await;
        }
        let wechat = &nodes[0].wechat;
        let pass = || {
            board.hand.advance(60);
            for node in &nodes {
                node.hand.advance(60);
            }
        };
        pass();
        board.is_down.store(true, Ordering::SeqCst);
        wechat.rejects("t1", 40001);
        assert_eq!(nodes[0].call("/wxa/x").await.errcode(), 0);
        pass();
        board.is_down.store(false, Ordering::SeqCst);
        assert!(board.text().contains("t1"));
        wechat.rejects("t2", 40001);
        for node in &nodes {
            assert_eq!(node.call("/wxa/x").await.errcode(), 0, "{mode:?}");
        }
        assert_eq!(wechat.questions(), 3, "{mode:?}");
        assert!(board.text().contains("t3"));
    }
}

#[tokio::test]
async fn a_node_that_dies_with_the_hold_stops_nobody_for_long() {
    for mode in [TokenMode::Stable, TokenMode::Classic] {
        let board = Board::new();
        let died_at = board.clock.unix_millis().get();
        board.held_until.store(died_at + 25_000, Ordering::SeqCst);
        let nodes = nodes(&board, mode, 1).await;
        let call = nodes[0].call("/wxa/x");
        let wait = async {
            until("the node waits", || board.looks.load(Ordering::SeqCst) > 3).await;
            assert_eq!(nodes[0].wechat.questions(), 0, "{mode:?}");
            // A stable token is asked for without the hold. A classic one waits for its end.
            if mode == TokenMode::Classic {
                board.hand.advance(26);
            }
        };
        let (said, ()) = tokio::join!(call, wait);
        assert_eq!(said.status, 200, "{mode:?}");
        assert_eq!(nodes[0].wechat.questions(), 1);
        assert_eq!(board.text().contains("t1"), mode == TokenMode::Classic);
    }
}

#[tokio::test]
async fn what_a_dead_node_writes_late_is_refused() {
    let board = Board::new();
    let (first, _) = board
        .lease("x", Duration::from_secs(25))
        .await
        .expect("a board")
        .expect("the hold");
    board.hand.advance(26);
    let second = board
        .lease("x", Duration::from_secs(25))
        .await
        .expect("a board");
    assert!(second.is_some_and(|(fence, _)| fence > first));
    let put = board.put("x", first, &Secret::new("late")).await;
    assert!(!put.expect("a board"));
    assert_eq!(board.text(), "");
}

#[tokio::test]
async fn without_the_board_each_node_asks_itself_and_later_they_share_again() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 2).await;
    board.is_down.store(true, Ordering::SeqCst);
    for node in &nodes {
        assert_eq!(node.call("/wxa/x").await.status, 200);
    }
    let wechat = &nodes[0].wechat;
    assert_eq!(wechat.questions(), 2);
    assert_eq!(board.text(), "");
    board.is_down.store(false, Ordering::SeqCst);
    for node in &nodes {
        node.hand.advance(8000);
        assert_eq!(node.call("/wxa/x").await.status, 200);
    }
    assert_eq!(wechat.questions(), 3, "one for both");
    assert!(board.text().contains("t3"));
}

#[tokio::test]
async fn the_limits_of_forcing_hold_over_all_nodes() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 2).await;
    let wechat = &nodes[0].wechat;
    for token in ["a", "a", "b", "b"] {
        wechat.next_token(token, 7200);
    }
    // WeChat calls the token current that it rejects.
    wechat.rejects("a", 40001);
    assert_eq!(nodes[0].call("/wxa/x").await.status, 200);
    wechat.rejects("b", 40001);
    assert_eq!(nodes[1].call("/wxa/y").await.errcode(), 40001);
    let asked = wechat.asked.lock();
    let forced = asked.iter().map(|(_, body)| &body["force_refresh"]);
    assert_eq!(forced.collect::<Vec<_>>(), [false, false, true, false]);
}

#[tokio::test]
async fn another_nodes_no_is_not_this_ones() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 2).await;
    let no = json!({"errcode": 40164, "errmsg": "invalid ip"});
    nodes[0].wechat.tokens.lock().push_back(no);
    assert_eq!(nodes[0].call("/wxa/x").await.errcode(), 40164);
    assert_eq!(nodes[1].call("/wxa/x").await.status, 200);
}

#[tokio::test]
async fn what_nobody_can_read_is_asked_for_anew() {
    let board = Board::new();
    let nodes = nodes(&board, TokenMode::Stable, 2).await;
    nodes[0].call("/wxa/x").await;
    for rubbish in [
        "",
        "{}",
        "[1]",
        r#"{"token":{"text":7}}"#,
        r#"{"token":{"text":"x","renew_at":9223372036854775807,"expires_at":-9223372036854775808}}"#,
    ] {
        for row in board.rows.lock().values_mut() {
            row.value = Some(Secret::new(rubbish));
        }
        let before = nodes[0].wechat.questions();
        let node = World::of(Setting {
            leases: Some(Arc::clone(&board) as Arc<dyn LeaseStore>),
            wechat: Some((Arc::clone(&nodes[0].wechat), nodes[0].endpoint.clone())),
            ..Setting::default()
        });
        assert_eq!(node.await.call("/wxa/x").await.status, 200, "{rubbish}");
        assert_eq!(nodes[0].wechat.questions(), before + 1, "{rubbish}");
    }
}
