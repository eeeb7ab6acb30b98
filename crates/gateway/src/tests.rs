//! Both doors, tried over real sockets.

mod inbox;
mod limits;
mod proxy;
mod streams;
mod support;
mod tokens;
