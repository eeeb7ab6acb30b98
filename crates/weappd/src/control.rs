//! The control socket: how `weappd app …` speaks to the weappd that runs.
//!
//! HTTP over a Unix socket in the data directory. Whoever may open the socket may command:
//! the directory is private to its owner.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use weappd_base::language::{Language, pick};
use weappd_base::words;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use weappd_base::tasks::{Stop, Tasks};

use crate::data_dir::DataDir;
use crate::exit::ExitFailure;

/// Longest path a Unix socket may have.
const SOCKET_PATH_LIMIT: usize = 107;

/// Opens the socket; a stale one of an earlier run is replaced (the caller holds the data
/// directory's lock, so nobody serves it).
pub(crate) fn open(data_dir: &Path) -> io::Result<UnixListener> {
    let path = DataDir::control_socket(data_dir);
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            words!(
                "the path {} is too long for a Unix socket",
                "路径 {} 太长，不能用作 Unix 域套接字",
                path.display()
            ),
        ));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves commands until stopped.
pub(crate) async fn serve(listener: UnixListener, router: Router, tasks: Tasks, stop: Stop) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.asked() => return,
        };
        let Ok((socket, _)) = accepted else {
            // Out of descriptors: commands can wait a moment.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let stop = stop.clone();
        tasks.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                _ = connection => {}
                () = stop.asked() => {}
            }
        });
    }
}

/// Sends one command to the weappd that runs on `data_dir`.
pub(crate) async fn ask(
    data_dir: &Path,
    method: Method,
    path_and_query: &str,
) -> Result<Response<hyper::body::Incoming>, ExitFailure> {
    let socket = DataDir::control_socket(data_dir);
    let not_running = |error: &io::Error| {
        ExitFailure::say(
            words!(
                "no weappd answers on {} ({error})",
                "{} 上没有 weappd 响应（{error}）",
                socket.display()
            ),
            pick(
                "start it with `weappd serve` (or `weappd dev`); if it runs already, run this command in its \
             directory, or name its file with --config, or the data directory it was started with \
             with --data-dir",
                "用 `weappd serve`（或 `weappd dev`）启动它；如果已经在运行，请在它的目录里执行这个命令，或用 --config 指定它的配置文件，或用 --data-dir 指定它启动时用的数据目录",
            ),
        )
    };
    let stream = UnixStream::connect(&socket)
        .await
        .map_err(|error| not_running(&error))?;
    let failed = |error: hyper::Error| {
        ExitFailure::new(
            &error,
            pick(
                "ask again; is weappd stopping?",
                "请再试一次；weappd 是不是正在停止？",
            ),
        )
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let tasks = Tasks::new();
    tasks.spawn(async move { drop(connection.await) });
    let request = Request::builder()
        .method(method)
        .uri(path_and_query)
        .header("host", "control")
        .header("accept-language", Language::current().tag())
        .body(Body::empty())
        .map_err(|error| ExitFailure::new(&error, ""))?;
    sender.send_request(request).await.map_err(failed)
}

/// The whole body of a short answer.
pub(crate) async fn body(response: Response<hyper::body::Incoming>) -> Result<Bytes, ExitFailure> {
    response
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            ExitFailure::new(
                &error,
                pick("weappd ended while it answered", "weappd 在响应途中退出了"),
            )
        })
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn a_command_reaches_the_running_weappd_and_a_stale_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let listener = open(dir.path()).unwrap();
        let (tasks, stop) = (Tasks::new(), Stop::new());
        let router = Router::new().route("/apps", get(|| async { "none" }));
        tasks.spawn(serve(listener, router, tasks.clone(), stop.clone()));
        let answer = ask(dir.path(), Method::GET, "/apps").await.unwrap();
        assert_eq!(body(answer).await.unwrap(), "none");
        stop.ask();
        assert!(tasks.finish(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn nobody_there_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let words = format!(
            "{:?}",
            ask(dir.path(), Method::GET, "/apps").await.unwrap_err()
        );
        assert!(words.contains("no weappd answers"), "{words}");
        assert!(words.contains("weappd serve"), "{words}");
    }
}
