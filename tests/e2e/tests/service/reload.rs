//! SIGHUP.

use casemate_e2e::{Spawned, both_modes};
use rustix::process::Signal;

use crate::daemon::{Service, configure};

both_modes! {
    fn a_new_default_isolation_and_level_are_taken_up(engine: &Engine) {
        let other = if engine.is_hyperv() { "process" } else { "hyperv" };
        let file = configure(engine, &format!(r#"{{"exec-opts": ["isolation={other}"]}}"#));
        let service = Service::start(engine, &["--config-file", &file]);
        let isolation_of = |name: &str| {
            service.cli(&["create", "--name", name, "busybox"]).ok();
            service.cli(&["inspect", "--format", "{{.HostConfig.Isolation}}", name]).word()
        };
        assert_eq!(isolation_of("before"), other);
        assert_eq!(service.cli(&["info", "--format", "{{.Isolation}} {{.Debug}}"]).word(), format!("{other} false"));

        let wanted = engine.isolation.as_str();
        configure(engine, &format!(r#"{{"exec-opts": ["isolation={wanted}"], "debug": true, "hosts": ["unix:///x"]}}"#));
        service.signal(Signal::HUP);
        // It is written when all is done.
        service.log_has("key=\"hosts\"");
        service.cli(&["inspect", "nothing"]).exits(1);
        service.log_has("refused");
        assert_eq!(isolation_of("after"), wanted);
        assert_eq!(service.cli(&["inspect", "--format", "{{.HostConfig.Isolation}}", "before"]).word(), other);
        assert_eq!(service.cli(&["info", "--format", "{{.Isolation}} {{.Debug}}"]).word(), format!("{wanted} true"));
        let told = ["events", "--since", "1h", "--filter", "type=daemon", "--format", "{{.Action}}"];
        let events = Spawned::start(service.docker(&told));
        events.stdout.wait_for("reload\n");
        drop(events);

        // What is not valid changes nothing.
        configure(engine, r#"{"exec-opts": ["isolation=nonsense"]}"#);
        service.signal(Signal::HUP);
        service.log_has("configuration not reloaded");
        assert_eq!(isolation_of("last"), wanted);
        service.stop();
    }
}
