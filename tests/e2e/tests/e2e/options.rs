//! `run`'s options, over what the image says.

use casemate_e2e::archive::Image;
use casemate_e2e::tree::{LongNames, Node, tar};
use casemate_e2e::{Engine, both_modes};
use serde_json::json;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1500:1600:An app:/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nappgroup:x:1600:\nextra:x:1700:app,other\n";

/// An image that says something about everything.
fn load_app(engine: &Engine) {
    let layer = [
        Node::dir("etc"),
        Node::file("etc/passwd", PASSWD),
        Node::file("etc/group", GROUP),
        Node::dir("home"),
        Node::dir("home/app").owner(1500, 1600),
        Node::file("say", "#!/bin/sh\necho \"$@\"\n").mode(0o755),
    ];
    let mut image = Image::on_busybox(&engine.prefix, "app:1", [tar(&layer, LongNames::Gnu)]);
    image.config = json!({
        "Env": ["PATH=/usr/bin:/bin", "COLOUR=red", "SHAPE=round"],
        "Entrypoint": ["/say", "said:"],
        "Cmd": ["by", "default"],
        "WorkingDir": "/home/app",
        "User": "app",
        "StopSignal": "SIGUSR1",
        "Labels": {"a": "b"},
    });
    let archive = engine.scratch().join("app.tar");
    std::fs::write(&archive, image.docker_save()).unwrap();
    engine.cli(&["load", "-i", archive.to_str().unwrap()]).ok().prints("Loaded image: app:1\n");
}

both_modes! {
    fn the_image_fills_in_what_was_not_asked_for(engine: &Engine) {
        load_app(engine);
        engine.run(&["--rm", "app:1"]).ok().prints("said: by default\n");
        engine.run(&["--rm", "app:1", "something", "else"]).ok().prints("said: something else\n");
        // A new entrypoint drops the image's command.
        engine.run(&["--rm", "--entrypoint", "pwd", "app:1"]).ok().prints("/home/app\n");
        engine.run(&["--rm", "--entrypoint", "id", "app:1", "-u"]).ok().prints("1500\n");
        let script = "echo $COLOUR $SHAPE $HOME $PWD";
        engine.run(&["--rm", "--entrypoint", "sh", "app:1", "-c", script]).ok().prints("red round /home/app /home/app\n");
        engine.run(&["-d", "--name", "app", "--entrypoint", "sleep", "app:1", "100000"]).ok();
        assert_eq!(engine.container("app").inspect()["Config"]["StopSignal"], "SIGUSR1");
    }

    fn users_and_groups_are_the_images(engine: &Engine) {
        load_app(engine);
        let identity = |user: &str| engine.run(&["--rm", "-u", user, "--entrypoint", "sh", "app:1", "-c", "id -u; id -g; id -G"]);
        identity("app").ok().prints("1500\n1600\n1600 1700\n");
        identity("1500").ok().prints("1500\n1600\n1600 1700\n");
        identity("app:extra").ok().prints("1500\n1700\n1700\n");
        identity("root").ok().prints("0\n0\n0\n");
        identity("4000").ok().prints("4000\n0\n0\n");
        identity("4000:5000").ok().prints("4000\n5000\n5000\n");
        identity("nobody-here").exits(125).complains("unable to find user nobody-here: no matching entries in passwd file");
        identity("app:no-group").exits(125).complains("unable to find group no-group: no matching entries in group file");
        // What is not root's cannot be written by others.
        engine.run(&["--rm", "--entrypoint", "touch", "app:1", "/etc/x"]).exits(1).complains("Permission denied");
        engine.run(&["--rm", "--entrypoint", "touch", "app:1", "/home/app/x"]).ok();
    }

    fn environment_is_added_replaced_and_taken_from_here(engine: &Engine) {
        load_app(engine);
        let args = ["-e", "COLOUR=green", "-e", "EMPTY=", "-e", "WITH=a=b c", "-e", "FROM_HERE", "-e", "NOT_HERE"];
        let script = "echo \"$COLOUR|$SHAPE|${EMPTY-unset}|$WITH|$FROM_HERE|${NOT_HERE-unset}\"";
        let tail = ["--entrypoint", "sh", "app:1", "-c", script];
        let run = engine.run_args(&["--rm"]);
        let mut command = engine.command(&[&run[..], &args, &tail].concat());
        command.env("FROM_HERE", "from here").env_remove("NOT_HERE");
        casemate_e2e::Spawned::start(command).wait().ok().prints("green|round||a=b c|from here|unset\n");
        // Nothing of the user's own environment gets in.
        let environ = engine.run(&["--rm", "busybox", "env"]).ok().out();
        assert!(!environ.contains("CASEMATE"), "{environ}");
    }

    fn the_working_directory_is_made_if_missing(engine: &Engine) {
        engine.run(&["--rm", "-w", "/a/b c", "busybox", "pwd"]).ok().prints("/a/b c\n");
        engine.run(&["--rm", "busybox", "pwd"]).ok().prints("/\n");
    }

    fn the_host_name_is_the_containers(engine: &Engine) {
        let script = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -c box.example /etc/hosts";
        engine.script(&["-h", "box.example"], script).ok().prints("box.example\nbox.example\nbox.example\n1\n");
        engine.run(&["--name", "unnamed", "busybox", "hostname"]).ok();
        let id = engine.container("unnamed").inspect()["Id"].as_str().unwrap().to_owned();
        engine.cli(&["logs", "unnamed"]).ok().prints(&format!("{}\n", &id[..12]));
        engine.script(&["-h", "not/valid"], "true").exits(125).complains("invalid hostname");
    }

    fn a_read_only_root_cannot_be_written(engine: &Engine) {
        let script = "touch /x; mkdir /etc/y; echo z > /etc/hosts.new; touch /dev/shm/ok && echo shm";
        let finished = engine.script(&["--read-only"], script).ok();
        assert_eq!(finished.err().matches("Read-only file system").count(), 3, "{finished:?}");
        assert_eq!(finished.out(), "shm\n");
        engine.script(&[], "touch /x && echo written").ok().prints("written\n");
    }

    /// Arguments arrive as they are: no shell is between.
    fn arguments_are_not_interpreted(engine: &Engine) {
        let odd = ["a b", "", "$HOME", "*", "\"'\\", "ü→🦀", "--flag", "-v"];
        let args: Vec<&str> = ["--rm", "busybox", "printf", "<%s>"].into_iter().chain(odd).collect();
        let expected: String = odd.iter().map(|arg| format!("<{arg}>")).collect();
        engine.run(&args).ok().prints(&expected);
    }
}
