//! What a real registry never does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use casemate_model::{Classify, ErrorClass, chain};
use casemate_registry::{Credentials, Secret, Settings};
use proptest::prelude::*;
use serde_json::json;

use super::server::{Asked, Body, INDEX, MANIFEST, Reply, Server, partial};
use super::{Home, of_layer};
use crate::fixture::{SampleImage, descriptor, directory, file, gzip, index, manifest_descriptor, not_root, tar, zstd};
use crate::hash::digest_of;
use crate::platform::Platform;
use crate::pull::PullRequest;

/// Two layers, of which the second is too large to come in one piece.
fn sample(seed: u8) -> SampleImage {
    let noise: Vec<u8> =
        (0..300_000_u32).flat_map(|n| (n ^ u32::from(seed)).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let base = tar(&[directory("dir"), file("dir/base", b"base")]);
    SampleImage::new(&[base, tar(&[file("noise", &noise), file("seed", &[seed])])], gzip)
}

fn usual(_: &Asked) -> Option<Reply> {
    None
}

fn is_for(asked: &Asked, bytes: &[u8]) -> bool {
    asked.path.ends_with(&digest_of(bytes).to_string())
}

#[test]
fn an_image_comes_with_its_progress_and_comes_once() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let server = home.block_on(Server::start(usual));
    let image = sample(1);
    server.put("app", "1", &image);
    let name = server.name("app:1");
    let (pulled, told) = home.pull(&name);
    let pulled = pulled.unwrap();
    assert_eq!((pulled.id.clone(), pulled.is_new), (image.id(), true));
    assert_eq!(told[0], "1: Pulling from app");
    let states = of_layer(&told, &image.layers[1].1);
    let expected =
        ["Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"];
    assert_eq!(states, expected);
    let last = [format!("Digest: {}", pulled.digest), format!("Status: Downloaded newer image for {name}")];
    assert_eq!(told[told.len() - 2..], last);
    assert_eq!(pulled.digest, digest_of(&image.manifest()));
    let stored = home.store.resolve(&name).unwrap();
    assert_eq!(stored.digests, [format!("{}@{}", server.name("app"), pulled.digest).parse().unwrap()]);
    assert_eq!(stored.layers, [image.diff_id(0), image.diff_id(1)]);
    assert_eq!(std::fs::read(home.store.layer_dir(&image.diff_id(1)).join("seed")).unwrap(), [1]);

    // Again: the registry is asked for the digest alone.
    let before = server.asked().len();
    let (again, told) = home.pull(&name);
    let expected = [
        "1: Pulling from app".to_owned(),
        format!("Digest: {}", pulled.digest),
        format!("Status: Image is up to date for {name}"),
    ];
    assert_eq!(told, expected);
    assert!(!again.unwrap().is_new);
    let asked: Vec<String> = server.asked()[before..].iter().map(|a| format!("{} {}", a.method, a.path)).collect();
    assert_eq!(asked, ["GET /v2/", "HEAD /v2/app/manifests/1"]);

    // By digest, and by the same name with another image behind it.
    let by_digest = format!("{}@{}", server.name("app"), pulled.digest);
    let (pulled_again, told) = home.pull(&by_digest);
    assert!(!pulled_again.unwrap().is_new);
    assert_eq!(told[0], format!("{by_digest}: Pulling from app"));
    let other = sample(2);
    server.put("app", "1", &other);
    let (pulled, told) = home.pull(&name);
    assert!(pulled.unwrap().is_new);
    assert_eq!(of_layer(&told, &other.layers[0].1), ["Already exists"]);
    assert_eq!(server.asked_for(&image.layers[0].1).len(), 1, "the base was there");
    assert_eq!(home.store.resolve(&name).unwrap().id, other.id());
    assert_eq!(home.store.resolve(&by_digest).unwrap().id, image.id());

    // With its last tag an image's digests go, and the image; one that has a
    // digest only goes by that.
    let remove = |reference: &str| {
        let removed = home.store.remove(reference, false, &crate::Users::default()).unwrap();
        (removed.untagged.iter().map(ToString::to_string).collect::<Vec<_>>(), removed.deleted)
    };
    let digest = format!("{}@{}", server.name("app"), digest_of(&other.manifest()));
    assert_eq!(remove(&name), (vec![name.clone(), digest], Some(other.id())));
    let rows = home.store.images().unwrap();
    assert_eq!((rows[0].repository.clone(), rows[0].tag.clone()), (Some(server.name("app")), None));
    assert_eq!(remove(&by_digest), (vec![by_digest.clone()], Some(image.id())));
    assert!(home.store.images().unwrap().is_empty());
}

#[test]
fn a_layer_that_came_in_another_form_is_not_fetched() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let server = home.block_on(Server::start(usual));
    let layers = [tar(&[file("a", b"a")]), tar(&[file("b", b"b")])];
    let (as_gzip, as_zstd) = (SampleImage::new(&layers[..1], gzip), SampleImage::new(&layers, zstd));
    server.put("one", "latest", &as_gzip);
    server.put("two", "latest", &as_zstd);
    home.pull(&server.name("one")).0.unwrap();
    let (pulled, told) = home.pull(&server.name("two"));
    pulled.unwrap();
    assert_eq!(of_layer(&told, &as_zstd.layers[0].1), ["Already exists"]);
    assert!(server.asked_for(&as_zstd.layers[0].1).is_empty());
    // Saved and loaded elsewhere it is whole.
    let mut archive = Vec::new();
    home.store.save(&[&server.name("two")], &mut archive).unwrap();
    let elsewhere = Home::new();
    elsewhere.store.load(archive.as_slice(), &mut |_| {}).unwrap();
    assert_eq!(elsewhere.store.resolve(&server.name("two")).unwrap().id, as_zstd.id());
}

#[test]
fn a_broken_transfer_is_taken_up_where_it_broke() {
    if not_root() {
        return;
    }
    let image = sample(3);
    let layer = image.layers[1].1.clone();
    let half = layer.len() / 2;
    let tries = AtomicUsize::new(0);
    let served = layer.clone();
    let home = Home::new();
    let server = home.block_on(Server::start(move |asked| {
        let first = is_for(asked, &served) && tries.fetch_add(1, Ordering::Relaxed) == 0;
        first.then(|| Reply::new(200, Body::Cut { bytes: served[..half].to_vec(), of: served.len() }))
    }));
    server.put("app", "latest", &image);
    let (pulled, told) = home.pull(&server.name("app"));
    pulled.unwrap();
    let ranges: Vec<usize> = server.asked_for(&layer).iter().map(Asked::range).collect();
    assert_eq!(ranges, [0, half]);
    let states = of_layer(&told, &layer);
    let retries: Vec<&&str> = states.iter().filter(|state| state.starts_with("Retrying")).collect();
    assert_eq!(retries.len(), 5, "{states:?}");
    assert_eq!((*retries[0], *retries[4]), ("Retrying in 5 seconds", "Retrying in 1 second"));
    assert_eq!(states.last(), Some(&"Pull complete"));
}

#[test]
fn a_range_that_is_ignored_or_false_does_not_spoil_the_layer() {
    if not_root() {
        return;
    }
    let image = sample(4);
    let layer = image.layers[1].1.clone();
    let half = layer.len() / 2;
    let cut = move |served: &[u8]| Reply::new(200, Body::Cut { bytes: served[..half].to_vec(), of: served.len() });
    let whole = |served: &[u8]| Reply::ok(served);
    let wrong = move |served: &[u8]| {
        let mut other = served.to_vec();
        other[half + 1] ^= 1;
        partial(&other, half)
    };
    let refused = |_: &[u8]| Reply::new(416, Body::Whole(Vec::new()));
    type Answer = Box<dyn Fn(&[u8]) -> Reply + Send + Sync>;
    let answers: [(&str, Vec<Answer>, usize); 3] = [
        ("ignored", vec![Box::new(cut), Box::new(whole)], 2),
        ("refused", vec![Box::new(cut), Box::new(refused), Box::new(whole)], 3),
        ("false", vec![Box::new(cut), Box::new(wrong), Box::new(whole)], 3),
    ];
    for (what, answers, requests) in answers {
        let home = Home::new();
        let (served, tries) = (layer.clone(), AtomicUsize::new(0));
        let server = home.block_on(Server::start(move |asked| {
            is_for(asked, &served).then(|| answers[tries.fetch_add(1, Ordering::Relaxed)](&served))
        }));
        server.put("app", "latest", &image);
        let (pulled, _) = home.pull(&server.name("app"));
        assert_eq!(pulled.map(|pulled| pulled.id).map_err(|e| chain(&e)), Ok(image.id()), "{what}");
        assert_eq!(server.asked_for(&layer).len(), requests, "{what}");
    }
}

/// A pull of an image for which some requests get other answers. Whatever comes
/// of it, a pull that fails leaves the store as it was.
fn refused(
    image: &SampleImage,
    answer: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
) -> (String, ErrorClass, Vec<Asked>) {
    let mut home = Home::new();
    let before = home.files();
    let server = home.block_on(Server::start(answer));
    server.put("app", "latest", image);
    let error = home.pull(&server.name("app")).0.unwrap_err();
    assert_eq!(home.files(), before, "{error}");
    (chain(&error).replace(&server.registry(), "HOST"), error.class(), server.asked())
}

#[test]
fn what_is_not_what_its_digest_says_is_refused() {
    if not_root() {
        return;
    }
    let image = sample(5);
    let (config, layer) = (image.config.clone(), image.layers[0].1.clone());
    let digest = digest_of(&image.manifest());
    let asked = digest.to_string();
    let (error, class, _) =
        refused(&image, move |a| (a.method == "GET" && a.path.ends_with(&asked)).then(|| Reply::ok(b"{}")));
    assert_eq!((error, class), (format!("manifest verification failed for digest {digest}"), ErrorClass::Protocol));

    let other = vec![b' '; config.len()];
    let wanted = digest_of(&config);
    let (error, ..) = refused(&image, move |a| is_for(a, &config).then(|| Reply::ok(&other)));
    assert_eq!(error, format!("image config verification failed for digest {wanted}"));

    let (other, wanted) = (vec![0; layer.len()], digest_of(&layer));
    let (error, _, asked) = refused(&image, move |a| is_for(a, &layer).then(|| Reply::ok(&other)));
    assert_eq!(error, format!("filesystem layer verification failed for digest {wanted}"));
    let tries = asked.iter().filter(|asked| asked.path.ends_with(&wanted.to_string())).count();
    assert_eq!(tries, 1, "a whole answer is not asked for again");

    // The blob is what the manifest says, but not the layer that the
    // configuration means.
    let mut swapped = sample(5);
    swapped.layers[1].1 = gzip(&tar(&[file("other", b"x")]));
    let (error, class, _) = refused(&swapped, usual);
    assert!(error.starts_with("failed to register layer: the layer "), "{error}");
    assert_eq!(class, ErrorClass::Protocol);
}

#[test]
fn lengths_that_are_not_kept_are_noticed() {
    if not_root() {
        return;
    }
    let image = sample(6);
    let (layer, config) = (image.layers[1].1.clone(), image.config.clone());
    let (digest, length) = (digest_of(&layer), layer.len());
    let served = layer.clone();
    let (error, ..) =
        refused(&image, move |a| is_for(a, &served).then(|| Reply::new(200, Body::Endless(served.clone()))));
    assert_eq!(error, format!("the registry sends more than the {length} bytes of {digest}"));

    let served = layer.clone();
    let (error, _, asked) = refused(&image, move |a| is_for(a, &served).then(|| Reply::ok(&served[..100])));
    assert_eq!(error, format!("the registry sends 100 of the {length} bytes of {digest}"));
    assert_eq!(asked.iter().filter(|asked| asked.path.ends_with(&digest.to_string())).count(), 5);

    let limit = config.len();
    let wanted = digest_of(&config);
    let (error, ..) =
        refused(&image, move |a| is_for(a, &config).then(|| Reply::new(200, Body::Endless(vec![b' '; 1 << 16]))));
    assert_eq!(error, format!("the registry sends more than the {limit} bytes of {wanted}"));

    let is_manifest = |a: &Asked| a.path.contains("/manifests/");
    let endless = move |a: &Asked| is_manifest(a).then(|| Reply::new(200, Body::Endless(vec![b' '; 1 << 16])));
    let (error, class, _) = refused(&image, endless);
    assert_eq!(error, "Get \"http://HOST/v2/app/manifests/latest\": the answer is larger than 4194304 bytes");
    assert_eq!(class, ErrorClass::Protocol);
    // An error may be as long as a manifest.
    let endless = move |a: &Asked| {
        let reply = Reply::new(404, Body::Endless(vec![b'x'; 1 << 16])).with("Content-Type", "text/plain");
        (is_manifest(a)).then_some(reply)
    };
    assert!(refused(&image, endless).0.contains("the answer is larger than 65536 bytes"));
}

#[test]
fn a_registry_that_hangs_is_left_and_asked_again() {
    if not_root() {
        return;
    }
    let home = Home::with(Settings { patience: Duration::from_secs(3), ..Settings::default() });
    let image = sample(7);
    let (layer, tries) = (image.layers[1].1.clone(), AtomicUsize::new(0));
    let server = home.block_on(Server::start(move |asked| {
        if asked.path.ends_with("/manifests/silent") {
            return Some(Reply::new(200, Body::Silence));
        }
        let bytes = layer[..10].to_vec();
        let stalls = is_for(asked, &layer) && tries.fetch_add(1, Ordering::Relaxed) == 0;
        stalls.then(|| Reply::new(200, Body::Stall { bytes, of: layer.len() }))
    }));
    server.put("app", "latest", &image);
    let error = home.pull(&server.name("app:silent")).0.unwrap_err();
    let words = "net/http: request canceled (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(chain(&error), format!("Get \"{}\": {words}", server.url("/v2/app/manifests/silent")));
    assert_eq!(error.class(), ErrorClass::Timeout);
    let (pulled, told) = home.pull(&server.name("app"));
    pulled.unwrap();
    assert!(of_layer(&told, &image.layers[1].1).contains(&"Retrying in 5 seconds"));
    assert_eq!(server.asked_for(&image.layers[1].1)[1].range(), 10);
}

#[test]
fn documents_that_ask_for_too_much_are_refused() {
    if not_root() {
        return;
    }
    let image = sample(8);
    let manifest = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest()).unwrap();
        edit(&mut manifest);
        serde_json::to_vec(&manifest).unwrap()
    };
    let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", b"x");
    let v1 = json!({"schemaVersion": 1, "fsLayers": []}).to_string().into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (manifest(&|m| m["layers"] = vec![layer.clone(); 5000].into()), "the image has 5000 layers, more than 500"),
        (manifest(&|m| m["layers"][0]["size"] = json!(1_u64 << 50)), "layer of 1125899906842624 bytes is larger than"),
        (manifest(&|m| m["layers"][0]["size"] = json!(-1)), "cannot parse the manifest of the image"),
        (manifest(&|m| m["config"]["size"] = json!(1 << 30)), "configuration of 1073741824 bytes is larger than"),
        (manifest(&|m| m["layers"][0]["digest"] = json!("sha512:00")), "cannot parse the manifest of the image"),
        (manifest(&|m| m["layers"] = json!([])), "layers from manifest don't match image configuration"),
        (manifest(&|m| m["config"]["mediaType"] = json!("application/vnd.example.chart")), "unsupported media type"),
        (manifest(&|m| m["manifests"] = json!([])), "unsupported manifest format"),
        (manifest(&|m| m["mediaType"] = json!(INDEX)), "unsupported manifest format"),
        (v1, "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed."),
        (b"<html>".to_vec(), "cannot parse the manifest of the image"),
        (b"{}".to_vec(), "unsupported manifest format"),
    ];
    for (bytes, words) in cases {
        let mut home = Home::new();
        let before = home.files();
        let server = home.block_on(Server::start(usual));
        server.put("app", "good", &image);
        server.put_manifest("app", "bad", MANIFEST, &bytes);
        let error = home.refused(&server.name("app:bad"));
        assert!(error.contains(words), "{words}: {error}");
        assert_eq!(home.files(), before);
    }
}

#[test]
fn an_index_gives_the_platform_that_is_wanted() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let server = home.block_on(Server::start(usual));
    let layer = [tar(&[file("a", b"a")])];
    let image = |architecture| SampleImage::for_platform(&layer, gzip, architecture, "2024-01-02T03:04:05Z");
    let (amd64, arm64) = (image("amd64"), image("arm64"));
    server.put("app", "a", &amd64);
    server.put("app", "b", &arm64);
    let entry = |image: &SampleImage, platform| manifest_descriptor(image, None, Some(platform));
    let inner = index(&[entry(&arm64, "arm64"), entry(&amd64, "amd64")]);
    server.put_manifest("app", "both", INDEX, &inner);
    let request = |name: &str, platform: &str| {
        let platform: Option<Platform> = Some(platform.parse().unwrap());
        PullRequest { platform, ..home.request(&server.name(name)) }
    };
    let host = home.pull(&server.name("app:both")).0.unwrap();
    assert_eq!((host.id, host.digest), (amd64.id(), digest_of(&inner)));
    let arm = home.pull_request(&request("app:both", "linux/arm64")).0.unwrap();
    assert_eq!((arm.id, arm.is_new), (arm64.id(), true));
    let (none, _) = home.pull_request(&request("app:both", "linux/s390x"));
    let none = none.unwrap_err();
    assert_eq!(chain(&none), "no matching manifest for linux/s390x in the manifest list entries");
    assert_eq!(none.class(), ErrorClass::NotFound);
    // What comes for one platform only is taken, with a warning.
    let (pulled, told) = home.pull_request(&request("app:b", "linux/amd64"));
    assert_eq!(pulled.unwrap().id, arm64.id());
    let name = server.name("app:b");
    let warning = format!(
        "WARNING: image with reference {name} was found but its platform (linux/arm64) does not match the specified \
         platform (linux/amd64)"
    );
    assert!(told.contains(&warning), "{told:?}");
    // Indexes of indexes end somewhere.
    let mut nested = inner;
    for depth in 0..6 {
        let mut descriptor = descriptor(INDEX, &nested);
        descriptor["platform"] = json!({"os": "linux", "architecture": "amd64"});
        nested = index(&[descriptor]);
        server.put_manifest("app", &format!("nested{depth}"), INDEX, &nested);
    }
    assert_eq!(home.pull(&server.name("app:nested0")).0.unwrap().id, amd64.id());
    assert_eq!(home.refused(&server.name("app:nested5")), "the index of the image is nested too deep");
}

#[test]
fn redirects_end_and_do_not_take_secrets_along() {
    if not_root() {
        return;
    }
    let image = sample(9);
    let layer = image.layers[0].1.clone();
    let (error, class, asked) = refused(&image, move |a| is_for(a, &layer).then(|| Reply::redirect(a.path.clone())));
    assert!(error.ends_with("stopped after 10 redirects"), "{error}");
    assert_eq!(class, ErrorClass::Protocol);
    assert!(asked.len() < 20);
    let layer = image.layers[0].1.clone();
    let (error, ..) = refused(&image, move |a| is_for(a, &layer).then(|| Reply::redirect("gopher://x/")));
    assert!(error.ends_with("\"gopher://x/\" is no address that can be asked"), "{error}");

    // To another host, with the password staying behind.
    let mut home = Home::new();
    home.credentials = Credentials::Password { username: "me".into(), password: Secret::new("secret") };
    let storage = home.block_on(Server::start(usual));
    let to = storage.url("/v2/other/blobs/");
    let blobs: Vec<Vec<u8>> = image.layers.iter().map(|(_, stored)| stored.clone()).collect();
    let server = home.block_on(Server::start(move |asked| {
        if asked.header("authorization") != Some("Basic bWU6c2VjcmV0") {
            return Some(Reply::error(401, "UNAUTHORIZED", "").with("WWW-Authenticate", "Basic realm=\"r\""));
        }
        let blob = blobs.iter().find(|blob| is_for(asked, blob))?;
        Some(Reply::redirect(format!("{to}{}?signature=x", digest_of(blob))))
    }));
    server.put("app", "latest", &image);
    storage.put("other", "latest", &image);
    home.pull(&server.name("app")).0.unwrap();
    let asked = storage.asked();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.header("authorization").is_none()));
    assert!(asked.iter().all(|asked| asked.path.ends_with("?signature=x")));
}

#[test]
fn errors_are_in_dockers_words_and_fit_for_a_terminal() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let server = home.block_on(Server::start(|asked| {
        let path = asked.path.as_str();
        match path.strip_prefix("/v2/")?.split('/').next()? {
            "denied" => Some(
                Reply::error(401, "UNAUTHORIZED", "authentication required")
                    .with("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:1/token\",error=\"insufficient_scope\""),
            ),
            "forbidden" => Some(Reply::error(403, "DENIED", "requested access to the resource is denied")),
            "unknown" => Some(Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry")),
            "limited" => Some(Reply::error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")),
            "broken" => Some(Reply::new(503, Body::Whole(Vec::new()))),
            "rude" => Some(Reply::error(404, "MANIFEST_UNKNOWN", "\u{1b}[31mred\r\n")),
            "html" => Some(Reply::new(404, Body::Whole(b"<h1>no</h1>".to_vec())).with("Content-Type", "text/html")),
            _ => None,
        }
    }));
    let host = server.registry();
    for (name, words) in [
        ("none", format!("manifest for {host}/none:latest not found: manifest unknown: manifest unknown")),
        (
            "forbidden",
            format!(
                "pull access denied for {host}/forbidden, repository does not exist or may require 'docker login': \
                 denied: requested access to the resource is denied"
            ),
        ),
        (
            "unknown",
            format!("repository {host}/unknown not found: name unknown: repository name not known to registry"),
        ),
        ("limited", "toomanyrequests: You have reached your pull rate limit.".to_owned()),
        ("broken", "received unexpected HTTP status: 503 Service Unavailable".to_owned()),
        ("rude", format!("manifest for {host}/rude:latest not found: manifest unknown:  [31mred  ")),
        ("html", "unknown: <h1>no</h1>".to_owned()),
    ] {
        assert_eq!(home.refused(&server.name(name)), words, "{name}");
    }
    // The token that the registry then asks for is not to be had.
    assert!(home.refused(&server.name("denied")).contains("dial tcp 127.0.0.1:1: connect: Connection refused"));
    assert_eq!(home.refused("scratch"), "'scratch' is a reserved name");
    let gone = home.refused("127.0.0.1:1/app");
    assert_eq!(
        gone,
        "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: Connection refused (os error 111)"
    );
}

#[test]
fn a_pull_that_is_given_up_leaves_nothing() {
    if not_root() {
        return;
    }
    let image = sample(10);
    let layer = image.layers[1].1.clone();
    // In the middle of a download.
    let served = layer.clone();
    let mut home = Home::new();
    let before = home.files();
    let server = home.block_on(Server::start(move |asked| {
        let bytes = served[..served.len() / 2].to_vec();
        is_for(asked, &served).then(|| Reply::new(200, Body::Stall { bytes, of: served.len() }))
    }));
    server.put("app", "latest", &image);
    let (puller, request) = (home.puller(), home.request(&server.name("app")));
    home.block_on(async {
        let (sender, mut downloading) = tokio::sync::mpsc::unbounded_channel();
        let mut told = |event: crate::PullProgress| {
            let _ = sender.send(event.to_string());
        };
        let mut pull = Box::pin(puller.pull(&request, &mut told));
        loop {
            tokio::select! {
                result = &mut pull => panic!("the download does not end: {result:?}"),
                Some(event) = downloading.recv() => if event == "Downloading" { break },
            }
        }
    });
    assert_eq!(home.files(), before);
    assert!(home.store.images().unwrap().is_empty());
}

#[test]
fn a_pull_may_be_given_up_at_any_time() {
    if not_root() {
        return;
    }
    let image = sample(13);
    let mut finished = false;
    for events in 1.. {
        let mut home = Home::new();
        let before = home.files();
        let server = home.block_on(Server::start(usual));
        server.put("app", "latest", &image);
        let (puller, request) = (home.puller(), home.request(&server.name("app")));
        finished = home.block_on(async {
            let stop = tokio::sync::Notify::new();
            let mut seen = 0;
            let mut told = |_| {
                seen += 1;
                if seen == events {
                    stop.notify_one();
                }
            };
            tokio::select! {
                biased;
                () = stop.notified() => false,
                result = puller.pull(&request, &mut told) => result.is_ok(),
            }
        });
        let after = home.files();
        match home.store.images().unwrap().is_empty() {
            true => assert_eq!(after, before, "given up after {events} events"),
            // It was just too late: then it is there as a whole.
            false => assert_eq!(home.store.resolve(&image.id().to_string()).unwrap().layers.len(), 2),
        }
        assert!(std::fs::read_dir(home.scratch.path().join("images/staging")).unwrap().next().is_none());
        if finished {
            break;
        }
    }
    assert!(finished);
}

#[test]
fn two_pulls_at_once_do_not_disturb_each_other() {
    if not_root() {
        return;
    }
    let mut home = Home::new();
    let server = home.block_on(Server::start(usual));
    let (one, two) = (sample(11), sample(12));
    server.put("one", "latest", &one);
    server.put("two", "latest", &two);
    let puller = home.puller();
    let requests: Vec<PullRequest> =
        ["one", "two", "one"].iter().map(|name| home.request(&server.name(name))).collect();
    let results = home.block_on(async {
        let pulls = requests.iter().map(async |request| puller.pull(request, &mut |_| {}).await.map(|p| p.id));
        futures::future::join_all(pulls).await
    });
    let ids: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert_eq!(ids, [one.id(), two.id(), one.id()]);
    home.files();
    assert_eq!(home.store.images().unwrap().len(), 2);
    assert!(std::fs::read_dir(home.scratch.path().join("images/staging")).unwrap().next().is_none());
}

#[test]
fn all_tags_are_found_over_pages() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let server = home.block_on(Server::start(|asked| {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        (path == "/v2/app/tags/list").then(|| match query {
            "" => Reply::json(200, &json!({"name": "app", "tags": ["a", "b"]}))
                .with("Link", "</v2/app/tags/list?last=b>; rel=\"next\""),
            _ => Reply::json(200, &json!({"name": "app", "tags": ["c", "not a tag"]})),
        })
    }));
    let repository = server.name("app").parse().unwrap();
    let tags = home.block_on(home.puller().tags(&repository, &Credentials::Anonymous)).unwrap();
    let tags: Vec<_> = tags.iter().filter_map(|tag| tag.tag()).collect();
    assert_eq!(tags, ["a", "b", "c"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Documents with something wrong somewhere: the pull fails or works, and
    /// does no harm.
    #[test]
    fn changed_documents_do_no_harm(at in 0..4096_usize, byte in any::<u8>(), which in 0..2_usize) {
        if !not_root() {
            let mut image = SampleImage::new(&[tar(&[file("a", b"a")])], gzip);
            if which == 0 {
                let at = at % image.config.len();
                image.config[at] = byte;
            }
            let mut manifest = image.manifest();
            if which == 1 {
                let at = at % manifest.len();
                manifest[at] = byte;
            }
            let mut home = Home::new();
            let before = home.files();
            let server = home.block_on(Server::start(usual));
            server.put("app", "latest", &image);
            server.put_manifest("app", "latest", MANIFEST, &manifest);
            let (pulled, _) = home.pull(&server.name("app"));
            if pulled.is_err() {
                prop_assert_eq!(home.files(), before);
            }
        }
    }
}
