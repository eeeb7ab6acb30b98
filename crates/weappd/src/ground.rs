//! What every room stands on: the base crate's things, made once.

use weappd_base::clock::Clock;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_base::token::Tokens;
use weappd_base::wiretap::Wiretap;

/// What every room gets.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) clock: Clock,
    pub(crate) tokens: Tokens,
    pub(crate) tasks: Tasks,
    /// The tunnels' and their callbacks', which end before the apps do.
    pub(crate) tunnel_tasks: Tasks,
    pub(crate) work: Work,
    pub(crate) wiretap: Wiretap,
    /// Ends the public doors and the tunnels.
    pub(crate) front: Stop,
    /// Ends the doors on loopback, after everybody who uses them.
    pub(crate) inner: Stop,
    /// Ends the apps and the control socket.
    pub(crate) back: Stop,
}

impl Ground {
    /// A system clock, system randomness, and a wiretap if somebody is to hear.
    pub(crate) fn new(heard: bool) -> Self {
        let clock = Clock::system();
        Self {
            wiretap: if heard {
                Wiretap::on(clock.clone())
            } else {
                Wiretap::off()
            },
            clock,
            tokens: Tokens::system(),
            tasks: Tasks::new(),
            tunnel_tasks: Tasks::new(),
            work: Work::current(),
            front: Stop::new(),
            inner: Stop::new(),
            back: Stop::new(),
        }
    }
}
