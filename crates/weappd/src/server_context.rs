//! What every room stands on: the base crate's things, made once.

use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

/// What every room gets.
#[derive(Clone)]
pub(crate) struct ServerContext {
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    pub(crate) tasks: Tasks,
    /// The tunnels' and their callbacks', which end before the apps do.
    pub(crate) tunnel_tasks: Tasks,
    pub(crate) work: Work,
    pub(crate) tap: TrafficTap,
    /// Ends the public doors and the tunnels.
    pub(crate) front: Stop,
    /// Ends the doors on loopback, after everybody who uses them.
    pub(crate) inner: Stop,
    /// Ends the apps and the control socket.
    pub(crate) back: Stop,
}

impl ServerContext {
    /// A system clock, system randomness, and a tap if somebody is to hear.
    pub(crate) fn new(heard: bool) -> Self {
        let clock = Clock::system();
        Self {
            tap: if heard {
                TrafficTap::on(clock.clone())
            } else {
                TrafficTap::off()
            },
            clock,
            random: RandomSource::system(),
            tasks: Tasks::new(),
            tunnel_tasks: Tasks::new(),
            work: Work::current(),
            front: Stop::new(),
            inner: Stop::new(),
            back: Stop::new(),
        }
    }
}
