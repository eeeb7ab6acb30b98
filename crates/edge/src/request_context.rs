//! What every step of a request may need.

use weappd_base::request_id::RequestId;

use crate::caller::peer_role::PeerRole;
use crate::conn::conn_info::ConnInfo;
use crate::error_page::RefusalReader;
use crate::tables::ThreadTables;
use crate::worker::Worker;

/// What every step of a request may need.
pub(crate) struct RequestContext<'a> {
    pub(crate) worker: &'a Worker,
    /// What the request goes by until it is answered.
    pub(crate) tables: &'a ThreadTables,
    pub(crate) conn: &'a ConnInfo,
    /// What is believed of the connection's peer.
    pub(crate) role: PeerRole,
    pub(crate) id: &'a RequestId,
    /// Who reads it, should it be refused.
    pub(crate) reader: RefusalReader,
}
