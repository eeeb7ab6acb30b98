//! Where the access log goes.

/// Takes lines that are to be written.
pub type AccessSink = dyn FnMut(&[u8]) + Send;

/// Where the access log goes. Each call of `write` brings whole lines, as many as there are.
pub struct AccessLog {
    /// JSON objects instead of text.
    pub json: bool,
    /// Takes the lines; called on the log's own thread.
    pub write: Box<AccessSink>,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog")
            .field("json", &self.json)
            .finish_non_exhaustive()
    }
}
