//! What one client pushes, the other pulls, byte by byte, whatever happens to the registry meanwhile.

use crate::registry::{Image, Login, PASSWORD, Registry, USER, ready};
use oci::{
    Credentials, Platform, Secret,
    manifest::media,
    registry::{Client, Download, RegistryError},
};
use std::{cell::RefCell, fs, io::Cursor, path::Path};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn platform() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn oci(folder: &Path) -> String {
    format!("oci:{}:tag", folder.display())
}

/// Gets everything of an image and compares it with what it was made of.
async fn pull(registry: &Registry, client: &Client, name: &str, image: &Image) {
    let reference = registry.reference(name);
    let resolved = client.resolve(&reference, &platform()).await.unwrap();
    assert_eq!((&resolved.bytes, &resolved.digest), (&image.bytes, &image.digest()));
    let pinned = client.resolve(&reference.pinned(resolved.top().clone()), &platform()).await.unwrap();
    assert_eq!(pinned.bytes, image.bytes);
    assert_eq!(client.digest(&reference).await.unwrap(), Some(image.digest()));
    let (bytes, config) = client.config(&reference, &resolved.manifest).await.unwrap();
    assert_eq!(bytes, image.blob(&resolved.manifest.config.digest));
    assert_eq!(config.config.cmd, ["/file0"]);
    let layers = resolved.manifest.layers.iter();
    let mut downloads: Vec<_> = layers.map(|layer| Download::new(layer, Cursor::new(Vec::new()))).collect();
    client.blobs(&reference, &mut downloads, &|_| {}).await.unwrap();
    for download in downloads {
        let digest = download.digest().clone();
        assert!(download.into_inner().into_inner() == image.blob(&digest), "{digest}");
    }
}

/// Pushes an image whose first layer is in another repository already.
async fn push(registry: &Registry, client: &Client, name: &str, from: &str, image: &Image) {
    let reference = registry.reference(name);
    let layers = &image.manifest.layers;
    assert!(client.mount(&reference, &layers[0].digest, from).await.unwrap());
    for descriptor in layers[1..].iter().chain([&image.manifest.config]) {
        assert!(!client.has_blob(&reference, &descriptor.digest).await.unwrap());
        let seen = RefCell::new(0);
        let mut source = Cursor::new(image.blob(&descriptor.digest));
        client.push_blob(&reference, descriptor, &mut source, &|done| *seen.borrow_mut() = done).await.unwrap();
        assert_eq!(seen.into_inner(), descriptor.size);
        assert!(client.has_blob(&reference, &descriptor.digest).await.unwrap());
    }
    let digest = client.push_manifest(&reference, media::OCI_MANIFEST, &image.bytes).await.unwrap();
    assert_eq!(digest, image.digest());
}

fn both_ways(tls: bool, login: Login) {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = Image::make(&folder.path().join("image"), &[10, 3_000_000, 100_000, 0, 5000, 70_000]);
    let registry = Registry::start(tls, login);
    registry.skopeo(&oci(&image.folder), &format!("docker://{}", registry.reference("there/image:tag")));
    let client = registry.client();
    block_on(async {
        pull(&registry, &client, "there/image:tag", &image).await;
        push(&registry, &client, "back/whole:tag", "there/image", &image).await;
        let mut settings = registry.settings(registry.credentials());
        settings.chunk = Some(64 << 10);
        push(&registry, &Client::new(settings), "back/parts:tag", "there/image", &image).await;
        client.push_manifest(&registry.reference("back/parts:more"), media::OCI_MANIFEST, &image.bytes).await.unwrap();
        assert_eq!(client.tags(&registry.reference("back/parts")).await.unwrap(), ["more", "tag"]);
    });
    for name in ["back/whole:tag", "back/parts:tag"] {
        let back = folder.path().join(name.replace(['/', ':'], "-"));
        registry.skopeo(&format!("docker://{}", registry.reference(name)), &oci(&back));
        let all = image.manifest.layers.iter().chain([&image.manifest.config]).map(|descriptor| &descriptor.digest);
        for digest in all.chain([&image.digest()]) {
            let path = back.join("blobs/sha256").join(digest.hex());
            assert!(fs::read(&path).unwrap() == image.blob(digest), "{}", path.display());
        }
    }
    let version = if tls { "HTTP/2.0" } else { "HTTP/1.1" };
    let ours: Vec<String> =
        registry.requests().lines().filter(|line| line.contains("agentkernel/")).map(str::to_owned).collect();
    assert!(!ours.is_empty() && ours.iter().all(|line| line.contains(version)), "{ours:#?}");
}

#[test]
fn in_clear_on_loopback() {
    both_ways(false, Login::None);
}

#[test]
fn in_tls() {
    both_ways(true, Login::None);
}

#[test]
fn in_tls_with_a_password() {
    both_ways(true, Login::Password);
}

#[test]
fn in_tls_with_tokens() {
    both_ways(true, Login::Token);
}

#[test]
fn in_clear_with_tokens() {
    both_ways(false, Login::Token);
}

#[test]
fn who_may_not_in_is_told_so() {
    if !ready() {
        return;
    }
    for login in [Login::Password, Login::Token] {
        let registry = Registry::start(true, login);
        let reference = registry.reference("a/b");
        block_on(async {
            let nobody = Client::new(registry.settings(Credentials::None));
            let error = nobody.resolve(&reference, &platform()).await.unwrap_err();
            assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }), "{error}");
            let wrong = Credentials::Basic { user: USER.into(), password: Secret::new("guess".into()) };
            let error = Client::new(registry.settings(wrong)).check(&reference).await.unwrap_err();
            assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
            assert!(!error.to_string().contains(PASSWORD));
            registry.client().check(&reference).await.unwrap();
            let error = registry.client().resolve(&reference, &platform()).await.unwrap_err();
            assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
            // Nobody vouches for it but the test's own authority.
            let mut settings = registry.settings(registry.credentials());
            settings.registries.values_mut().for_each(|known| known.authorities.clear());
            let error = Client::new(settings).check(&reference).await.unwrap_err();
            assert!(matches!(error, RegistryError::UnknownAuthority(_)), "{error}");
        });
    }
}

#[test]
fn a_registry_that_is_killed_in_the_middle_goes_on_where_it_was() {
    if !ready() {
        return;
    }
    for tls in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let image = Image::make(folder.path(), &[40 << 20]);
        let registry = RefCell::new(Registry::start(tls, Login::None));
        let reference = registry.borrow().reference("a/b:tag");
        registry.borrow().skopeo(&oci(&image.folder), &format!("docker://{reference}"));
        let layer = &image.manifest.layers[0];
        let client = registry.borrow().client();
        let file = tempfile::tempfile().unwrap();
        let seen = RefCell::new((0, 0));
        let progress = |done: u64| {
            let (kills, last) = *seen.borrow();
            assert!(done > last, "nothing comes twice");
            let kill = done > layer.size / 3 * (kills + 1) && kills < 2;
            *seen.borrow_mut() = (kills + u64::from(kill), done);
            if kill {
                registry.borrow_mut().restart();
            }
        };
        let mut download = Download::new(layer, &file);
        block_on(client.blob(&reference, &mut download, &progress)).unwrap();
        assert_eq!(*seen.borrow(), (2, layer.size));
        let found = |status: &str| {
            let get = format!("\"GET /v2/a/b/blobs/{} ", layer.digest);
            let requests = registry.borrow().requests();
            requests.lines().filter(|line| line.contains(&get) && line.contains(status)).count()
        };
        // It tells of what it has ended only.
        assert!(found("\" 206 ") >= 1, "{}", registry.borrow().requests());

        // The same over two lives of ours: half of it is there already.
        let before = found("\" 206 ");
        file.set_len(layer.size / 2).unwrap();
        let mut download = Download::resume(layer, &file).unwrap();
        assert_eq!(download.done(), layer.size / 2);
        block_on(registry.borrow().client().blob(&reference, &mut download, &|_| {})).unwrap();
        assert_eq!(found("\" 206 "), before + 1);
        let mut bytes = vec![0; usize::try_from(layer.size).unwrap()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
        assert!(bytes == image.blob(&layer.digest));
    }
}
