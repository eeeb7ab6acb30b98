//! Every setting of `[files]`: its change has an effect, or needs a restart.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, StatusCode, header};
use tower::ServiceExt as _;
use weappd_base::random::RandomSource;
use weappd_base::tasks::Work;

use super::*;
use crate::files::FilesParts;
use crate::http::{PublicBase, download_router, take_picture, upload_router};
use crate::picture_owner::PictureOwner;

const PNG: &[u8] = b"\x89PNG\r\n\x1A\n0123456789";

struct ReloadWorld {
    _dir: tempfile::TempDir,
    files: Files,
}

impl ReloadWorld {
    fn new(config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::open(FilesParts {
            config,
            data_dir: dir.path().to_owned(),
            random: RandomSource::system(),
            work: Work::current(),
        });
        Self {
            files: files.expect("a store"),
            _dir: dir,
        }
    }

    fn reload(&self, config: Config) {
        let staged = self.files.prepare(config).expect("good settings");
        self.files.commit(staged);
    }

    fn form(path: &str) -> Request<Body> {
        let head = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n";
        let body = [head.as_bytes(), PNG, b"\r\n--b--\r\n"].concat();
        Request::post(path)
            .header(header::HOST, "h")
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(Body::from(body))
            .expect("a request")
    }

    async fn upload(&self) -> (StatusCode, String) {
        let base = PublicBase::of_request(|_| true);
        let router = upload_router(self.files.clone(), base);
        let answer = router.oneshot(Self::form("/weapp/upload")).await;
        let (parts, body) = answer.expect("an answer").into_parts();
        let body = axum::body::to_bytes(body, 4096).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let url = body["data"]["imgUrl"].as_str().unwrap_or_default();
        let path = url.trim_start_matches("https://h").to_owned();
        (parts.status, path)
    }

    async fn picture(&self) -> Result<String, Error> {
        let (parts, body) = Self::form("/weapp/session/avatar").into_parts();
        let base = PublicBase::fixed("https://h");
        take_picture((&self.files, &base), PictureOwner("a"), &parts, body).await
    }

    async fn cache_control(&self, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = download_router(self.files.clone()).oneshot(request).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let value = answer.headers()[header::CACHE_CONTROL].to_str();
        value.expect("a text").to_owned()
    }
}

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

#[tokio::test]
async fn every_setting_is_reloaded_or_needs_a_restart() {
    // A new field breaks this line, and wants a line below.
    let Config {
        enabled: _,
        anonymous: _,
        dir: _,
        max_upload_bytes: _,
        max_avatar_bytes: _,
        max_total_bytes: _,
        allowed_types: _,
        upload_idle_secs: _,
        cache_secs: _,
    } = Config::default();
    let world = ReloadWorld::new(Config::default());
    let files = &world.files;
    let (status, path) = world.upload().await;
    assert_eq!(status, StatusCode::OK);

    world.reload(with(|config| config.enabled = false));
    assert!(!files.is_enabled());
    world.reload(with(|config| config.anonymous = true));
    assert!(files.is_enabled() && files.is_anonymous());

    world.reload(with(|config| config.max_upload_bytes = 10));
    assert_eq!(world.upload().await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.picture().await.is_ok(), "another limit");
    world.reload(with(|config| config.max_avatar_bytes = 10));
    assert!(matches!(
        world.picture().await,
        Err(Error::TooLarge { limit: 10 })
    ));
    world.reload(with(|config| {
        config.allowed_types = vec!["audio/mpeg".to_owned()];
    }));
    assert_eq!(world.upload().await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    world.reload(with(|config| config.upload_idle_secs = 7));
    assert_eq!(files.settings().config.upload_idle_secs, 7);
    world.reload(with(|config| config.cache_secs = 7));
    let told = world.cache_control(&path).await;
    assert_eq!(told, "public, max-age=7, immutable");

    // Three files are there, with as many bytes each.
    assert_eq!(world.upload().await.0, StatusCode::OK);
    let size = PNG.len() as u64;
    world.reload(with(|config| {
        (config.max_upload_bytes, config.max_total_bytes) = (size, 4 * size);
    }));
    assert_eq!(world.upload().await.0, StatusCode::OK, "the fourth");
    assert_eq!(world.upload().await.0, StatusCode::INSUFFICIENT_STORAGE);
    world.reload(Config::default());
    assert_eq!(world.upload().await.0, StatusCode::OK, "no limit again");
    world.reload(with(|config| {
        (config.max_upload_bytes, config.max_total_bytes) = (size, 6 * size);
    }));
    assert_eq!(world.upload().await.0, StatusCode::OK, "the sixth");
    assert_eq!(world.upload().await.0, StatusCode::INSUFFICIENT_STORAGE);

    let moved = with(|config| config.dir = PathBuf::from("elsewhere"));
    assert_eq!(Config::default().restart_keys(&moved), ["dir"]);
    world.reload(moved);
    let told = world.cache_control(&path).await;
    assert_eq!(told, "public, max-age=2592000, immutable", "still there");
    assert_eq!(
        Config::default().restart_keys(&with(|config| config.cache_secs = 1)),
        [""; 0]
    );
}

#[tokio::test]
async fn bad_settings_and_staged_ones_that_are_dropped_change_nothing() {
    let world = ReloadWorld::new(Config::default());
    let refused = world
        .files
        .prepare(with(|config| config.max_upload_bytes = 0));
    assert!(matches!(
        refused,
        Err(Error::Setting { field, .. }) if field == "max_upload_bytes"
    ));
    let before = world.files.settings();
    drop(
        world
            .files
            .prepare(with(|config| config.max_upload_bytes = 10)),
    );
    assert!(Arc::ptr_eq(&before, &world.files.settings()));
    assert_eq!(world.upload().await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_upload_under_way_keeps_the_settings_it_began_with() {
    let world = ReloadWorld::new(Config::default());
    let rules = crate::upload::UploadRules::of_files(&world.files);
    world.reload(with(|config| config.max_upload_bytes = 10));
    let head = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n";
    let body = [head.as_bytes(), PNG, b"\r\n--b--\r\n"].concat();
    let body = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(body))]);
    let kept = crate::upload::receive(&world.files, rules, "b".to_owned(), body).await;
    assert_eq!(kept.expect("kept").size, PNG.len() as u64);
    assert_eq!(world.upload().await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_hundred_reloads_leave_one_set_of_settings() {
    let world = ReloadWorld::new(Config::default());
    let first = Arc::downgrade(&world.files.settings());
    for n in 0..100 {
        world.reload(with(|config| config.cache_secs = n));
    }
    assert!(first.upgrade().is_none());
    assert_eq!(Arc::strong_count(&world.files.settings()), 2);
}
