//! Both doors, tried over real sockets.

mod calls;
mod deeds;
mod inbox;
mod limits;
mod nodes;
mod proxy;
mod reload;
mod sealed;
mod streams;
mod support;
mod tokens;
