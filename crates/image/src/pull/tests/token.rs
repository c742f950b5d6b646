//! Token servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use casemate_registry::{Client, Credentials, Secret, Settings};
use serde_json::json;

use super::Home;
use super::server::{Asked, Reply, Server};
use crate::fixture::{SampleImage, file, gzip, not_root, tar};

fn image() -> SampleImage {
    SampleImage::new(&[tar(&[file("a", b"a")])], gzip)
}

fn challenge(realm: &str) -> Reply {
    let challenge = format!("Bearer realm=\"{realm}\",service=\"registry.test\"");
    Reply::error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", challenge)
}

fn password() -> Credentials {
    Credentials::Password { username: "me".into(), password: Secret::new("secret") }
}

/// Gives `token-N` to those it knows.
async fn token_server() -> Server {
    let given = AtomicUsize::new(0);
    Server::start(move |asked: &Asked| {
        let is_known = match asked.method.as_str() {
            "POST" => {
                asked.body.contains("refresh_token=identity%2B1") && asked.body.contains("grant_type=refresh_token")
            }
            _ => asked.header("authorization").is_none_or(|login| login == "Basic bWU6c2VjcmV0"),
        };
        if !is_known {
            return Some(Reply::json(401, &json!({"details": "incorrect username or password"})));
        }
        let number = given.fetch_add(1, Ordering::Relaxed);
        let identity = asked.path.contains("offline_token=true").then_some("identity+1");
        Some(Reply::json(200, &json!({"token": format!("token-{number}"), "refresh_token": identity})))
    })
    .await
}

/// Wants the newest token of the server.
async fn registry(tokens: &Server) -> Server {
    let realm = tokens.url("/token");
    let server = Server::start(move |asked| {
        let is_let_in = asked.header("authorization").is_some_and(|token| token.starts_with("Bearer token-"));
        (!is_let_in).then(|| challenge(&realm))
    })
    .await;
    server.put("team/app", "latest", &image());
    server
}

#[test]
fn tokens_are_asked_for_as_docker_does() {
    if not_root() {
        return;
    }
    let mut home = Home::new();
    let tokens = home.block_on(token_server());
    let server = home.block_on(registry(&tokens));
    let name = server.name("team/app");
    home.pull(&name).0.unwrap();
    let scope = "/token?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull";
    let asked = |n: usize| tokens.asked()[n].clone();
    assert_eq!((tokens.asked().len(), asked(0).path.as_str()), (1, scope), "one token for all requests");
    assert_eq!(asked(0).header("authorization"), None);

    home.credentials = password();
    home.pull(&name).0.unwrap();
    assert_eq!(asked(1).path, format!("{scope}&account=me"));
    assert_eq!(asked(1).header("authorization"), Some("Basic bWU6c2VjcmV0"));

    home.credentials = Credentials::IdentityToken(Secret::new("identity+1"));
    home.pull(&name).0.unwrap();
    assert_eq!((asked(2).method.as_str(), asked(2).path.as_str()), ("POST", "/token"));
    assert!(asked(2).body.contains("scope=repository%3Ateam%2Fapp%3Apull"), "{}", asked(2).body);

    home.credentials = Credentials::RegistryToken(Secret::new("token-of-the-user"));
    home.pull(&name).0.unwrap();
    assert_eq!(tokens.asked().len(), 3);

    home.credentials = Credentials::Password { username: "me".into(), password: Secret::new("wrong") };
    let error = home.refused(&name);
    assert!(error.ends_with("\": unauthorized: incorrect username or password"), "{error}");
    assert!(!error.contains("wrong"));
}

#[test]
fn a_token_that_ends_is_asked_for_again() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let tokens = home.block_on(token_server());
    let realm = tokens.url("/token");
    let uses = AtomicUsize::new(0);
    let server = home.block_on(Server::start(move |asked| match asked.header("authorization") {
        None => Some(challenge(&realm)),
        // Good for one request.
        Some("Bearer token-0") if uses.fetch_add(1, Ordering::Relaxed) > 0 => Some(challenge(&realm)),
        Some(_) => None,
    }));
    server.put("app", "latest", &image());
    home.pull(&server.name("app")).0.unwrap();
    assert_eq!(tokens.asked().len(), 2);
    // One that refuses whatever it is shown is not asked for ever.
    let realm = tokens.url("/token");
    let never = home.block_on(Server::start(move |_| Some(challenge(&realm))));
    let error = home.refused(&never.name("app"));
    assert_eq!(error, "unauthorized: authentication required");
    assert!(never.asked().len() <= 5, "{:?}", never.asked());
}

#[test]
fn a_token_that_is_good_for_nothing_is_a_denial() {
    if not_root() {
        return;
    }
    let home = Home::new();
    let tokens = home.block_on(token_server());
    let realm = tokens.url("/token");
    // As Docker Hub answers for repositories that are private, or not there.
    let server = home.block_on(Server::start(move |asked| match asked.header("authorization") {
        None => Some(challenge(&realm)),
        Some(_) => Some(Reply::error(401, "UNAUTHORIZED", "authentication required").with(
            "WWW-Authenticate",
            format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"x\",error=\"insufficient_scope\""),
        )),
    }));
    let name = server.name("private/app");
    let words = "repository does not exist or may require 'docker login'";
    let expected =
        format!("pull access denied for {name}, {words}: denied: requested access to the resource is denied");
    assert_eq!(home.refused(&name), expected);
}

#[test]
fn token_servers_are_not_believed_either() {
    if not_root() {
        return;
    }
    let home = Home::new();
    for (token, words) in [
        (json!({}), "authorization server did not include a token in the response"),
        (json!("token"), "unable to decode token response"),
        (json!({"token": 5}), "unable to decode token response"),
        (json!({"token": "a\r\nX-Evil: 1"}), "unauthorized: authentication required"),
    ] {
        let tokens = home.block_on(Server::start(move |_| Some(Reply::json(200, &token))));
        let server = home.block_on(registry(&tokens));
        let error = home.refused(&server.name("team/app"));
        assert!(error.contains(words), "{words}: {error}");
    }
    for realm in ["", "not a url", "ftp://127.0.0.1/", "file:///etc/passwd"] {
        let server = home.block_on(Server::start(move |_| Some(challenge(realm))));
        home.refused(&server.name("app"));
    }
}

/// Neither who a registry redirects to nor who a token server redirects to gets
/// what was for these two.
#[test]
fn secrets_stay_with_whom_they_are_for() {
    if not_root() {
        return;
    }
    let mut home = Home::new();
    home.credentials = password();
    let thief = home.block_on(Server::start(|_| Some(Reply::json(200, &json!({"token": "stolen"})))));
    let realm = thief.url("/token");
    let storage = home.block_on(Server::start(move |_| Some(challenge(&realm))));
    let to = storage.url("/blob");
    let server = home.block_on(Server::start(move |asked| match asked.header("authorization") {
        Some("Basic bWU6c2VjcmV0") if asked.path.contains("/blobs/") => Some(Reply::redirect(to.clone())),
        Some("Basic bWU6c2VjcmV0") => None,
        _ => Some(Reply::error(401, "UNAUTHORIZED", "").with("WWW-Authenticate", "Basic realm=\"r\"")),
    }));
    server.put("app", "latest", &image());
    home.refused(&server.name("app"));
    assert!(!storage.asked().is_empty());
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());

    let to = thief.url("/token");
    let tokens = home.block_on(Server::start(move |_| Some(Reply::redirect(to.clone()))));
    let server = home.block_on(registry(&tokens));
    home.credentials = Credentials::IdentityToken(Secret::new("identity+1"));
    let error = home.refused(&server.name("team/app"));
    assert!(error.contains("redirects to another host"), "{error}");
    assert!(thief.asked().is_empty(), "{:?}", thief.asked());
}

#[test]
fn a_login_gives_an_identity_token() {
    let home = Home::new();
    let tokens = home.block_on(token_server());
    let server = home.block_on(registry(&tokens));
    let client = Client::new(Settings::default());
    let identity = home.block_on(client.login(&server.registry(), &password())).unwrap();
    assert_eq!(identity, Some(Secret::new("identity+1")));
    let path = &tokens.asked()[0].path;
    assert_eq!(path, "/token?service=registry.test&offline_token=true&client_id=docker&account=me");
    let wrong = Credentials::Password { username: "me".into(), password: Secret::new("no") };
    let error = home.block_on(client.login(&server.registry(), &wrong)).unwrap_err();
    assert!(casemate_model::chain(&error).contains("unauthorized: incorrect username or password"));
}
