//! Certificate files as people have them.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why")]

mod chains;
