//! A fake WeChat and a fake phone: the tests' only fake, and a tool we ship.

pub mod page;
