//! A front door without a file descriptor left: it waits, says so once, and goes on.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::net::TcpStream;

use crate::process::PATIENCE;
use crate::upstream::{self, echo};
use crate::world::{TestWorld, WorldRecipe};

const COMPLAINT: &str = "no room for more connections";

/// The descriptors that weappd holds.
fn held(world: &mut TestWorld) -> u64 {
    let folder = format!("/proc/{}/fd", world.process().id());
    fs::read_dir(folder).expect("weappd runs").count() as u64
}

/// Processor time that weappd has taken, in ticks of 10 ms.
fn ticks(world: &mut TestWorld) -> u64 {
    let file = format!("/proc/{}/stat", world.process().id());
    let stat = fs::read_to_string(file).expect("weappd runs");
    // Behind the name in parentheses: user and system time are the 12th and 13th.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let fields = rest.split_whitespace().skip(11).take(2);
    fields
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum()
}

fn limit(world: &mut TestWorld, most: u64) {
    let pid = i32::try_from(world.process().id()).expect("an id");
    let pid = rustix::process::Pid::from_raw(pid);
    // The hard limit stays as it is.
    let limit = Rlimit {
        current: Some(most),
        ..rustix::process::getrlimit(Resource::Nofile)
    };
    prlimit(pid, Resource::Nofile, limit).expect("a limit");
}

#[tokio::test]
async fn a_door_without_descriptors_waits_and_opens_again() {
    let app = upstream::serve(echo());
    let mut world = WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .edge("redirect = false")
        .serve();
    assert_eq!(world.site().get("/").send().await.status(), 200);
    let begun = Instant::now();
    let most = held(&mut world) + 6;
    limit(&mut world, most);

    // The system takes them into its queue; weappd cannot.
    let mut crowd = Vec::new();
    for _ in 0..24 {
        let knock = tokio::time::timeout(PATIENCE, TcpStream::connect(world.http));
        crowd.push(knock.await.expect("in time").expect("connected"));
    }
    world.says(COMPLAINT).await;
    let before = ticks(&mut world);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let spent = ticks(&mut world) - before;
    assert!(spent < 40, "it span: {spent} ticks in a second");

    drop(crowd);
    let deadline = Instant::now() + PATIENCE;
    while held(&mut world) + 4 > most {
        assert!(Instant::now() < deadline, "the descriptors came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.site().get("/").send().await.status(), 200);
    let complaints = world.transcript().matches(COMPLAINT).count();
    // At most twice a minute, however long a busy machine took for all this.
    let most = 1 + usize::try_from(begun.elapsed().as_secs() / 30).expect("few");
    assert!((1..=most).contains(&complaints), "{complaints} complaints");
}
