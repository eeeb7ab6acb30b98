//! A user's own pictures: whose they are, and when they go.

use super::*;

impl FilesWorld {
    /// Takes a picture for `owner` and gives its name.
    async fn picture(&self, owner: &str, body: Vec<u8>) -> Result<String, Error> {
        let (parts, body) = form(body).into_parts();
        let base = PublicBase::of_request(|_| true);
        let url = take_picture((&self.files, &base), PictureOwner(owner), &parts, body).await?;
        let name = url.strip_prefix("https://www.example.com:8443/weapp/files/");
        Ok(name.unwrap_or_else(|| panic!("{url}")).to_owned())
    }
}

#[tokio::test]
async fn a_picture_belongs_to_its_owner_and_nobody_else_removes_it() {
    let room = FilesWorld::new();
    let name = room
        .picture("wx1 alice", one_file("a.png", PNG))
        .await
        .expect("kept");
    let url = format!("https://elsewhere.example/weapp/files/{name}");
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::OK);

    // Not a stranger's, nor one of the same name in another mini program.
    for stranger in ["wx1 bob", "wx2 alice", ""] {
        let removed = room
            .files
            .remove_picture(PictureOwner(stranger), &url)
            .await;
        assert!(!removed.expect("looked"), "{stranger}");
    }
    // Not what was uploaded as any file, whoever says it is theirs.
    let plain = room.keep(PNG).await;
    for other in [
        format!("/weapp/files/{plain}"),
        format!("/weapp/files/{name}/.."),
        format!("/weapp/files/../{name}"),
        name.clone(),
        "https://thirdwx.qlogo.cn/mmopen/a/132".to_owned(),
        String::new(),
    ] {
        let removed = room
            .files
            .remove_picture(PictureOwner("wx1 alice"), &other)
            .await;
        assert!(!removed.expect("looked"), "{other}");
    }
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::OK);

    let alice = PictureOwner("wx1 alice");
    assert!(
        room.files
            .remove_picture(alice, &url)
            .await
            .expect("removed")
    );
    assert_eq!(room.get(&name, &[]).await.status, StatusCode::NOT_FOUND);
    let again = room.files.remove_picture(alice, &url).await;
    assert!(!again.expect("looked"), "there is none left");
    assert_eq!(room.get(&plain, &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_an_owner_left_behind_is_swept_once_it_is_old() {
    let room = FilesWorld::new();
    let alice = PictureOwner("wx1 alice");
    let url = |name: &str| format!("/weapp/files/{name}?v=1");
    let mut names = Vec::new();
    for _ in 0..4 {
        let kept = room.picture("wx1 alice", one_file("a.png", PNG)).await;
        names.push(kept.expect("kept"));
    }
    let kept = room.picture("wx2 alice", one_file("a.png", PNG)).await;
    let stranger = kept.expect("kept");
    let plain = room.keep(PNG).await;
    assert!(
        names.iter().all(|name| name[..2] == names[0][..2]),
        "{names:?}"
    );
    let age = |name: &str| {
        let path = room.dir.path().join("files").join(&name[..2]).join(name);
        let file = std::fs::File::options()
            .append(true)
            .open(path)
            .expect("a file");
        let came = file
            .metadata()
            .expect("a state")
            .modified()
            .expect("a time");
        let hour = std::time::Duration::from_hours(1);
        file.set_modified(came - hour).expect("set");
    };
    let tidied = room.files.tidy_pictures(alice, Some(&url(&names[0]))).await;
    assert_eq!(tidied.expect("tidied"), 0, "they may be on their way");
    for name in names.iter().take(3).chain([&stranger, &plain]) {
        age(name);
    }
    let tidied = room.files.tidy_pictures(alice, Some(&url(&names[0]))).await;
    assert_eq!(tidied.expect("tidied"), 2);
    for (name, there) in [
        (&names[0], true),
        (&names[1], false),
        (&names[2], false),
        (&names[3], true),
        (&stranger, true),
        (&plain, true),
    ] {
        let found = room.get(name, &[]).await.status == StatusCode::OK;
        assert_eq!(found, there, "{name}");
    }
    let nobody = room
        .files
        .tidy_pictures(PictureOwner("wx1 nobody"), None)
        .await;
    assert_eq!(nobody.expect("tidied"), 0);
    let rest = room.files.tidy_pictures(alice, None).await;
    assert_eq!(rest.expect("tidied"), 1);
}

#[tokio::test]
async fn a_picture_has_a_bound_of_its_own_and_must_be_one() {
    let room = FilesWorld::with(Config {
        max_avatar_bytes: 1000,
        ..Config::default()
    });
    let sized = |size: usize| {
        let mut png = PNG.to_vec();
        png.resize(size, 0);
        one_file("a.png", &png)
    };
    room.picture("alice", sized(1000)).await.expect("fits");
    let large = room.picture("alice", sized(1001)).await;
    assert!(
        matches!(large, Err(Error::TooLarge { limit: 1000 })),
        "{large:?}"
    );
    let far = room.picture("alice", sized(2_000_000)).await;
    assert!(
        matches!(far, Err(Error::TooLarge { limit: 1000 })),
        "{far:?}"
    );
    let sound = room
        .picture("alice", one_file("a.png", b"ID3\x04\0sound"))
        .await;
    assert!(
        matches!(
            sound,
            Err(Error::TypeRefused {
                found: "audio/mpeg"
            })
        ),
        "a sound is a file, but no picture: {sound:?}"
    );
    let (status, _) = room.upload(one_file("a.mp3", b"ID3\x04\0sound")).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_removed_makes_room() {
    let room = FilesWorld::with(Config {
        max_total_bytes: 150_000,
        ..Config::default()
    });
    let mut png = PNG.to_vec();
    png.resize(90_000, 0);
    let first = room
        .picture("alice", one_file("a.png", &png))
        .await
        .expect("fits");
    let second = room.picture("alice", one_file("a.png", &png)).await;
    assert!(
        matches!(second, Err(Error::TotalReached { .. })),
        "{second:?}"
    );
    let url = format!("/weapp/files/{first}");
    let removed = room.files.remove_picture(PictureOwner("alice"), &url).await;
    assert!(removed.expect("removed"));
    room.picture("alice", one_file("a.png", &png))
        .await
        .expect("fits now");
}
