//! What an edge thread does: serves the connections dealt to it until it is stopped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use weappd_base::tasks::Stop;

use crate::conn::connection;
use crate::conn::listener::AcceptedConn;
use crate::worker::Worker;

/// How often idle upstream connections and access log lines are looked after.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);

/// Runs an edge thread until it is stopped and its connections are gone.
pub(crate) fn run(
    worker: Worker,
    arrivals: UnboundedReceiver<AcceptedConn>,
    stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()?;
    runtime.block_on(work(Arc::new(worker), arrivals, stop));
    // Tasks that still run were asked to end, and the grace period is over.
    runtime.shutdown_background();
    Ok(())
}

async fn work(worker: Arc<Worker>, mut arrivals: UnboundedReceiver<AcceptedConn>, stop: Stop) {
    let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut active = false;
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => {
                    active = true;
                    worker.tasks.spawn(connection::serve(Arc::clone(&worker), arrival));
                }
                None => break,
            },
            // Nothing ticks while there is no connection.
            _ = tick.tick(), if active => active = do_housekeeping(&worker),
            () = stop.asked() => break,
        }
    }
    drain(&worker, arrivals, stop).await;
    do_housekeeping(&worker);
}

/// Says whether there will be something to do again.
fn do_housekeeping(worker: &Worker) -> bool {
    let logged = worker
        .log_buffer()
        .is_some_and(|log_buffer| log_buffer.flush());
    let pooled = worker.pool.sweep(&worker.tables().pool_limits);
    // A connection that was just dealt is not counted yet, and its stream may end after it.
    logged || pooled || worker.conn_count.count() > 0 || !worker.tasks.is_empty()
}

/// Finishes what was begun: connections that were dealt but not begun, requests under
/// way, tunnels; until the grace period is over.
async fn drain(worker: &Arc<Worker>, mut arrivals: UnboundedReceiver<AcceptedConn>, stop: Stop) {
    // Ends when the acceptors, which are stopping too, have dropped their senders.
    while let Some(arrival) = arrivals.recv().await {
        worker
            .tasks
            .spawn(connection::serve(Arc::clone(worker), arrival));
    }
    worker.stop.ask();
    tokio::select! {
        () = worker.conn_count.below(1) => {}
        () = stop.forced() => worker.stop.force(),
    }
    // Answers are out; the last writes of tasks that just ended their connection.
    tokio::task::yield_now().await;
}
