//! The one integration binary.

#![expect(clippy::expect_used, reason = "a test says what it lacks and ends")]

// `weappd app ...` and the business servers it keeps alive.
mod api_security;
mod apps;
// The phone page in a real browser.
mod browser;
// A site without TLS behind a TLS proxy.
mod behind_proxy;
// What no honest phone sends.
mod bad_input;
// Certificates as vendors issue them.
mod cert;
// The mini program's own package against a real weappd.
mod clients;
// WeChat's cloud hosting: what apps written for it are told, and by whom.
mod cloud;
mod descriptors;
// `weappd dev`, from an empty directory to Ctrl-C.
mod dev;
// The documents, typed.
mod docs_run;
// kill -9 in the middle of everything.
mod durability;
// Who descends from a process, and whether they are gone.
mod family;
// Apps that ignore PORT, take long, or hold their output back.
mod elsewhere;
// The front door: TLS, redirects, the proxy, sessions on the way to apps.
mod edge;
// Disks, keys and databases that are not as they should be.
mod faults;
// wx.uploadFile and wx.downloadFile.
mod files;
// WeChat's two doors: pushed messages, calls without a token, and their commands.
mod gateway;
// Messages pushed to a weappd that is killed again and again.
mod inbox;
// The internal API: names it is called by, and wrong addresses told.
mod internal;
// A small HTTP client whose answers a test can take apart.
mod http;
// kill -9 under logins and revokes, whichever the database.
mod killed;
// A private MariaDB, for stores and for servers that bring their own tables.
mod mariadb;
// Several weappds on one database.
mod nodes;
// npm packages of the tests, installed once.
mod npm;
// The unchanged Wafer SDKs on both sides of the wire.
mod old_software;
// A database that is gone for half a minute.
mod outage;
// Child processes, read line by line.
mod process;
// Bytes on a socket, for what no HTTP client would send.
mod raw;
// A wire that can be cut.
mod relay;
mod reload;
// A site's own files, and the ways out of their folder.
mod root;
// The READMEs' files and the examples under `weappd serve`.
mod production;
// The README, taken by its word.
mod readme;
// `weappd status`, `logs`, `stop`, `version`.
mod running;
// What points old business servers at weappd.
mod sdk_config;
// A whole session, and not one secret in what weappd says.
mod secrets;
// A new user's way from init to serve; configurations that cannot be served.
mod serve;
// Several mini programs on one site, and the pictures of their users.
mod several;
// What kill, log rotation and closed terminals send.
mod signals;
// The simulated WeChat alone, as another stack's tests use it.
mod simulate;
// https://api.weixin.qq.com in programs that know no other address.
mod stand_in;
// No file descriptor left.
mod starved;
// Tunnels end to end, and phones that do not keep to the protocol.
mod tunnel;
// Business servers inside the test's own process.
mod upstream;
// Phone numbers and session keys, asked of WeChat; a user on the command line.
mod user_data;
// A real weappd, a simulated WeChat, phones with users.
mod world;
