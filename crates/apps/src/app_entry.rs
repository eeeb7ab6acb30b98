//! An app that the supervisor keeps: its settings, and the way to each of its instances.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weappd_base::unix_time::UnixMillis;

use crate::app::{AppView, InstanceState, InstanceStatus, InstanceView, millis};
use crate::app_spec::AppSpec;
use crate::context::InstanceCommand;
use crate::procfs::ProcessEntry;

/// One app. Cheap to clone; a clone with other instances is the same app.
#[derive(Clone, Debug)]
pub(crate) struct AppEntry {
    /// The settings of now; instances take them when they start.
    pub(crate) specs: Arc<watch::Sender<Arc<AppSpec>>>,
    pub(crate) instances: Vec<Arc<InstanceHandle>>,
    /// Held while instances are renewed one after the other; whether those that rest are to
    /// start, as `autostart` was turned on.
    pub(crate) renewal: Arc<tokio::sync::Mutex<()>>,
    pub(crate) wants_start: Arc<AtomicBool>,
}

/// The way to one instance.
#[derive(Debug)]
pub(crate) struct InstanceHandle {
    pub(crate) commands: mpsc::Sender<InstanceCommand>,
    pub(crate) status: watch::Receiver<InstanceStatus>,
    pub(crate) life: InstanceLife,
    /// The last look at the processor time: (pid, when, milliseconds).
    seen: Mutex<Option<(u32, Instant, u64)>>,
    spent: Mutex<CpuTotal>,
}

/// The processor time of all processes of an instance, one after the other.
#[derive(Debug, Default)]
struct CpuTotal {
    pid: Option<u32>,
    /// Of this process and what it started, as far as those live.
    last_ms: u64,
    total_ms: u64,
}

impl CpuTotal {
    /// After a look that saw `now_ms` of `pid`; never less than before.
    fn after(&mut self, pid: Option<u32>, now_ms: u64) -> Duration {
        let before = if pid == self.pid { self.last_ms } else { 0 };
        self.total_ms += now_ms.saturating_sub(before);
        (self.pid, self.last_ms) = (pid, now_ms);
        Duration::from_millis(self.total_ms)
    }
}

/// What an instance's processes take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessUse {
    pub(crate) cpu: Duration,
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u64,
}

/// The two ends of an instance's life.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstanceLife {
    /// Cancelled: weappd.toml no longer has it, and it is to end.
    pub(crate) removed: CancellationToken,
    /// Cancelled: it has ended.
    pub(crate) ended: CancellationToken,
}

impl InstanceHandle {
    pub(crate) fn new(
        commands: mpsc::Sender<InstanceCommand>,
        status: watch::Receiver<InstanceStatus>,
        life: InstanceLife,
    ) -> Self {
        Self {
            commands,
            status,
            life,
            seen: Mutex::default(),
            spent: Mutex::default(),
        }
    }
}

impl AppEntry {
    /// The settings of now.
    pub(crate) fn spec(&self) -> Arc<AppSpec> {
        Arc::clone(&self.specs.borrow())
    }
}

impl AppEntry {
    pub(crate) fn view(&self, table: &[ProcessEntry], now: UnixMillis) -> AppView {
        let views = self.instances.iter().enumerate();
        let instances: Vec<_> = views
            .map(|(at, one)| one.view(u16::try_from(at).unwrap_or(u16::MAX), table, now))
            .collect();
        let worst = instances.iter().max_by_key(|view| severity(&view.state));
        let spec = self.spec();
        AppView {
            name: spec.name.clone(),
            program: spec.words.first().cloned().unwrap_or_default(),
            summary: worst.map(|view| view.summary.clone()).unwrap_or_default(),
            instances,
            log: spec.log.path().to_owned(),
        }
    }
}

fn severity(state: &InstanceState) -> u8 {
    match state {
        InstanceState::Ready => 0,
        InstanceState::Stopped => 1,
        InstanceState::Stopping => 2,
        InstanceState::Starting => 3,
        InstanceState::Waiting { .. } => 4,
        InstanceState::Down { .. } => 5,
    }
}

impl InstanceHandle {
    fn view(&self, index: u16, table: &[ProcessEntry], now: UnixMillis) -> InstanceView {
        let status = self.status.borrow().clone();
        let uptime_ms = (status.started_at).map(|at| millis(now.since(at)));
        // The group has the pid of its leader.
        let group = status.pid.and_then(|pid| i32::try_from(pid).ok());
        let members: Vec<&ProcessEntry> = (table.iter())
            .filter(|entry| Some(entry.group) == group && !entry.zombie)
            .collect();
        let sum = |of: fn(&ProcessEntry) -> u64| {
            (!members.is_empty()).then(|| members.iter().map(|&entry| of(entry)).sum::<u64>())
        };
        let cpu_ms = sum(|entry| entry.cpu_ms);
        InstanceView {
            index,
            summary: status.summary(now),
            restarts: status.tries.saturating_sub(1),
            uptime_ms,
            memory_bytes: sum(|entry| entry.memory_bytes),
            cpu_percent: self.cpu_percent(status.pid, cpu_ms, uptime_ms),
            processes: sum(|_| 1).and_then(|count| u32::try_from(count).ok()),
            state: status.state,
            pid: status.pid,
            port: status.port,
            address: status.address,
            started_at: status.started_at,
            ready_after_ms: status.ready_after_ms,
            last_ending: status.last_ending,
        }
    }

    /// What its processes take, by this table of all processes.
    pub(crate) fn process_use(&self, table: &[ProcessEntry]) -> ProcessUse {
        let pid = self.status.borrow().pid;
        let group = pid.and_then(|pid| i32::try_from(pid).ok());
        let members = || {
            let of_group = |entry: &&ProcessEntry| Some(entry.group) == group && !entry.zombie;
            table.iter().filter(of_group)
        };
        let cpu_ms = members().map(|entry| entry.cpu_ms).sum();
        ProcessUse {
            cpu: self.spent.lock().after(pid, cpu_ms),
            memory_bytes: members().map(|entry| entry.memory_bytes).sum(),
            processes: members().count() as u64,
        }
    }

    fn cpu_percent(
        &self,
        pid: Option<u32>,
        cpu_ms: Option<u64>,
        uptime_ms: Option<u64>,
    ) -> Option<f32> {
        let (pid, cpu_ms) = (pid?, cpu_ms?);
        let now = Instant::now();
        let before = self.seen.lock().replace((pid, now, cpu_ms));
        let (used, time) = match before {
            Some((same, at, used)) if same == pid => {
                let time = now.duration_since(at).as_secs_f32() * 1_000.0;
                (cpu_ms.saturating_sub(used), time)
            }
            _ => (
                cpu_ms,
                Duration::from_millis(uptime_ms?).as_secs_f32() * 1_000.0,
            ),
        };
        let used = Duration::from_millis(used).as_secs_f32() * 1_000.0;
        (time >= 1.0).then(|| used / time * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_never_goes_back() {
        let mut total = CpuTotal::default();
        let mut after = |pid, ms| total.after(pid, ms).as_millis();
        assert_eq!(after(None, 0), 0);
        assert_eq!(after(Some(7), 100), 100);
        assert_eq!(after(Some(7), 150), 150);
        assert_eq!(after(Some(7), 90), 150, "a child of it ended");
        assert_eq!(after(Some(7), 95), 155);
        assert_eq!(after(None, 0), 155);
        assert_eq!(after(Some(8), 20), 175, "another process");
    }
}
