//! Both doors, tried over real sockets.
