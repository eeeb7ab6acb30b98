//! WeChat's two doors: the tokenless API proxy and token centre (out), the message inbox (in).
