//! Files of a directory: what is served, which part of it, and what never is.

pub(crate) mod file_body;
pub(crate) mod protected;
pub(crate) mod static_files;
