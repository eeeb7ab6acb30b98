//! Where a request leads: sites, routes, and the checks on the way.

pub(crate) mod app_handler;
pub(crate) mod challenge;
pub(crate) mod compiled_site;
pub(crate) mod path_guards;
pub(crate) mod path_spelling;
pub(crate) mod redirect;
pub(crate) mod request_screen;
pub(crate) mod reserved_paths;
pub(crate) mod room_router;
pub(crate) mod route_entry;
pub(crate) mod route_table;
pub(crate) mod router_call;
pub(crate) mod services;
pub(crate) mod shared_path;
pub(crate) mod site_compiler;
pub(crate) mod site_table;
