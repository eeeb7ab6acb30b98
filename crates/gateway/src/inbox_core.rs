//! What of the inbox outlives a reload: the queue, the pushes that wait for an answer, and
//! by what deliveries go now.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::config::InboxConfig;
use crate::deliver::DeliverMessage;
use crate::queue::MessageQueue;
use crate::replies::ReplyTable;

/// What of the inbox outlives a reload.
pub(crate) struct InboxCore {
    pub(crate) queue: MessageQueue,
    pub(crate) replies: ReplyTable,
    /// Something waits that did not, or goes by other settings.
    pub(crate) wake: Notify,
    pub(crate) delivery: ArcSwap<DeliverySettings>,
}

/// By what messages are delivered; a delivery keeps what it began with.
pub(crate) struct DeliverySettings {
    pub(crate) config: InboxConfig,
    pub(crate) deliver: Arc<dyn DeliverMessage>,
    /// The mini programs there are. What waits for another one stays where it is.
    pub(crate) appids: Vec<String>,
}

impl InboxCore {
    pub(crate) fn new(queue: MessageQueue, delivery: Arc<DeliverySettings>) -> Arc<Self> {
        Arc::new(Self {
            queue,
            replies: ReplyTable::default(),
            wake: Notify::new(),
            delivery: ArcSwap::new(delivery),
        })
    }

    /// Deliveries to come go by this.
    pub(crate) fn deliver_by(&self, delivery: Arc<DeliverySettings>) {
        self.queue.set_max_waiting(delivery.config.max_waiting);
        self.delivery.store(delivery);
        self.wake.notify_one();
    }
}
