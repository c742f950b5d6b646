use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use casemate_model::{Classify, Egress, ErrorClass};
use casemate_record::{BindingRecord, ContainerPaths, ContainerRecord, HostRecord, ImageRecord, NetworkingRecord};

use super::*;
use crate::container::Container;

/// In directories of its own.
struct Bed {
    networks: Networks,
    layout: Layout,
    settings: NetworkSettings,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        Self::with(NetworkSettings::default(), &[])
    }

    fn with(settings: NetworkSettings, in_use: &[IpNet]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        std::fs::create_dir_all(layout.networks()).unwrap();
        let networks = Networks::open(layout.clone(), settings.clone(), in_use).unwrap();
        Self { networks, layout, settings, _dir: dir }
    }

    fn again(&mut self) {
        self.networks = Networks::open(self.layout.clone(), self.settings.clone(), &[]).unwrap();
    }

    fn container(&self, number: u8, change: impl FnOnce(&mut ContainerRecord)) -> Container {
        let id = ContainerId::from_random([number; 32]);
        let mut record = ContainerRecord {
            version: ContainerRecord::VERSION,
            id: id.to_string(),
            name: format!("c{number}"),
            created: "2026-11-29T00:00:00Z".to_owned(),
            image: ImageRecord {
                name: "busybox".to_owned(),
                id: format!("sha256:{}", "0".repeat(64)),
                layers: Vec::new(),
                entrypoint_length: 0,
            },
            isolation: "process".to_owned(),
            args: vec!["true".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: format!("h{number}"),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            read_only: false,
            auto_remove: true,
            memory: None,
            nano_cpus: None,
            stop_signal: 15,
            stop_timeout_s: None,
            labels: BTreeMap::new(),
            restart: Default::default(),
            health: None,
            host: HostRecord { network_mode: "bridge".to_owned(), ..HostRecord::default() },
            networking: NetworkingRecord::default(),
        };
        change(&mut record);
        let paths: ContainerPaths = self.layout.container(&id);
        Container {
            name: record.name.parse().unwrap(),
            id,
            isolation: Isolation::Process,
            image: record.image.id.parse().unwrap(),
            layers: Vec::new(),
            stop_signal: casemate_model::Signal::TERM,
            record,
            state: casemate_record::StateRecord::created(),
            restart: casemate_record::RestartRecord::new(),
            paths,
        }
    }

    fn create(&mut self, name: &str, subnet: &str) -> Result<String, NetworkError> {
        let subnets = match subnet {
            "" => Vec::new(),
            subnet => vec![SubnetRequest { subnet: subnet.to_owned(), ..SubnetRequest::default() }],
        };
        let request = CreateNetworkRequest { name: name.to_owned(), subnets, ..CreateNetworkRequest::default() };
        self.networks.create(request, &[]).map(|known| known.record.id.clone())
    }
}

fn on(network: &'static str) -> impl FnOnce(&mut ContainerRecord) {
    move |record| record.host.network_mode = network.to_owned()
}

fn addresses(attachment: &Attachment) -> Vec<String> {
    attachment.ends.iter().flat_map(|end| end.endpoint.addresses()).map(|address| address.to_string()).collect()
}

#[test]
fn the_builtin_ones_are_there_and_stay_what_they_are() {
    let mut bed = Bed::with(NetworkSettings::default(), &["172.17.0.0/16".parse().unwrap()]);
    let seen = |networks: &Networks| -> BTreeMap<String, (String, String, Vec<String>)> {
        let row = |known: &KnownNetwork| {
            let subnets = known.record.subnets.iter().map(|subnet| subnet.subnet.clone()).collect();
            (known.record.name.clone(), (known.record.id.clone(), known.record.driver.clone(), subnets))
        };
        networks.all().map(row).collect()
    };
    let before = seen(&bed.networks);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["bridge", "host", "none", "sealed"]);
    // What the host has a route to is not taken.
    assert_eq!(before["bridge"].2, ["172.18.0.0/16"]);
    assert_eq!(before["sealed"].2, ["172.19.0.0/16"]);
    bed.again();
    assert_eq!(seen(&bed.networks), before);
    bed.settings.bip = Some("192.168.5.9/24".parse().unwrap());
    bed.again();
    let bridge = bed.networks.find("bridge").unwrap();
    assert_eq!((bridge.record.subnets[0].subnet.as_str(), &bridge.record.id), ("192.168.5.0/24", &before["bridge"].0));
    assert_eq!(bridge.record.subnets[0].gateway, "192.168.5.9".parse::<IpAddr>().unwrap());
    for name in ["bridge", "none", "host", "sealed"] {
        let error = bed.networks.remove(name).unwrap_err();
        assert_eq!(error.to_string(), format!("operation is not permitted on predefined {name} network"));
        assert_eq!(error.class(), ErrorClass::Forbidden);
        assert!(bed.create(name, "").is_err());
    }
}

#[test]
fn networks_are_found_as_docker_finds_them() {
    let mut bed = Bed::new();
    let id = bed.create("web", "").unwrap();
    for text in ["web", &id, &id[..12]] {
        assert_eq!(bed.networks.find(text).unwrap().record.id, id);
    }
    assert_eq!(bed.networks.find("nope").unwrap_err().to_string(), "network nope not found");
    assert_eq!(bed.networks.find("").unwrap_err().to_string(), "network  not found");
    assert_eq!(bed.create("web", "").unwrap_err().to_string(), "network with name web already exists");
    bed.again();
    assert_eq!(bed.networks.find("web").unwrap().record.id, id);
    bed.networks.remove("web").unwrap();
    bed.again();
    assert!(bed.networks.find("web").is_err());
}

#[test]
fn what_cannot_be_a_network_is_refused() {
    let mut bed = Bed::new();
    bed.create("a", "10.1.0.0/16").unwrap();
    let error = |bed: &mut Bed, subnet: &str| bed.create("b", subnet).unwrap_err().to_string();
    assert!(error(&mut bed, "10.1.2.0/24").starts_with("invalid pool request: Pool overlaps with other one"));
    assert!(error(&mut bed, "10.2.0.1/16").starts_with("invalid network config"));
    assert_eq!(error(&mut bed, "here"), "invalid subnet here: invalid CIDR block notation");
    for name in ["", "-a", "a b", "a/b", "../../etc"] {
        assert!(bed.create(name, "").unwrap_err().to_string().starts_with("invalid network name"), "{name}");
    }
    let driver = CreateNetworkRequest { name: "b".into(), driver: "overlay".into(), ..Default::default() };
    assert_eq!(bed.networks.create(driver, &[]).unwrap_err().class(), ErrorClass::NotFound);
    assert_eq!(bed.networks.all().count(), 5);
}

#[test]
fn a_container_gets_its_ends_and_gives_them_back() {
    let mut bed = Bed::new();
    bed.create("a", "10.1.0.0/16").unwrap();
    bed.create("b", "10.2.0.0/16").unwrap();
    let wanted = WantedEndpointRecord {
        v4: Some([10, 2, 0, 9].into()),
        aliases: vec!["db".into()],
        gateway_priority: 1,
        ..WantedEndpointRecord::default()
    };
    let container = bed.container(1, |record| {
        record.host.network_mode = "a".to_owned();
        record.networking.endpoints.insert("b".to_owned(), wanted);
    });
    let attachment = bed.networks.attach(&container).unwrap().clone();
    assert_eq!(addresses(&attachment), ["10.1.0.2", "10.2.0.9"]);
    assert_eq!(attachment.ends.iter().map(|end| end.interface.as_str()).collect::<Vec<_>>(), ["eth0", "eth1"]);
    let names = |bed: &Bed| bed.networks.names(&bed.networks.find("b").unwrap().record.id).containers;
    assert_eq!(names(&bed)[0].names, ["c1", container.id.short(), "h1", "db"]);
    let wiring = bed.networks.wiring(&container, &[]);
    // One leads out.
    let gateways: Vec<_> = wiring.network.links.iter().map(|link| link.interface.gateways.clone()).collect();
    assert_eq!(gateways, [vec![], vec!["10.2.0.1".parse::<IpAddr>().unwrap()]]);
    assert!(wiring.hosts.ends_with("10.1.0.2\th1\n10.2.0.9\th1\n"), "{}", wiring.hosts);
    assert!(wiring.resolv_conf.starts_with("nameserver 127.0.0.11\n"), "{}", wiring.resolv_conf);
    let error = bed.networks.remove("b").unwrap_err().to_string();
    assert!(error.contains("network b has active endpoints (name:\"c1\""), "{error}");

    // A daemon that comes after finds the same.
    let record = attachment.record();
    bed.again();
    bed.networks.restore(&container, &record);
    assert_eq!(bed.networks.attachment(&container.id).unwrap().record(), record);
    let taken = bed.container(2, |record| {
        record.host.network_mode = "b".to_owned();
        let wanted = WantedEndpointRecord { v4: Some([10, 2, 0, 9].into()), ..WantedEndpointRecord::default() };
        record.networking.endpoints.insert("b".to_owned(), wanted);
    });
    assert_eq!(bed.networks.attach(&taken).unwrap_err().to_string(), "10.2.0.9: Address already in use");
    bed.networks.detach(&container.id).unwrap();
    assert!(names(&bed).is_empty() && bed.networks.policy().ports.is_empty());
    bed.networks.attach(&taken).unwrap();
}

#[test]
fn addresses_are_for_networks_that_users_made() {
    let bed = Bed::new();
    let container = bed.container(1, |record| {
        let wanted = WantedEndpointRecord { v4: Some([172, 17, 0, 9].into()), ..WantedEndpointRecord::default() };
        record.networking.endpoints.insert("bridge".to_owned(), wanted);
    });
    let check = |isolation, mode: &str, networking: &NetworkingRecord| {
        bed.networks.check(isolation, mode, networking).map_err(|error| error.to_string())
    };
    let error = check(Isolation::Process, "bridge", &container.record.networking).unwrap_err();
    assert!(error.ends_with("user specified IP address is supported on user defined networks only"), "{error}");
    let nothing = NetworkingRecord::default();
    assert_eq!(check(Isolation::Process, "nope", &nothing).unwrap_err(), "network nope not found");
    check(Isolation::Process, "host", &nothing).unwrap();
    let error = check(Isolation::Hyperv, "host", &nothing).unwrap_err();
    assert!(error.starts_with("--network host cannot be used with hyperv isolation"), "{error}");
}

#[test]
fn sealed_containers_ask_a_resolver_that_looks_at_answers() {
    let mut bed = Bed::new();
    let container = bed.container(1, on("sealed"));
    bed.networks.attach(&container).unwrap();
    let wiring = bed.networks.wiring(&container, &[]);
    let resolver = wiring.network.resolver.unwrap();
    assert!(resolver.answers == Some(Egress { public: true, ranges: Vec::new() }) && resolver.networks.is_empty());
    assert!(wiring.network.links[0].isolated);
    let open = bed.container(2, |record| {
        record.host.dns = vec!["192.0.2.1".to_owned()];
    });
    bed.networks.attach(&open).unwrap();
    let wiring = bed.networks.wiring(&open, &[]);
    assert_eq!((wiring.network.resolver, wiring.resolv_conf.lines().next()), (None, Some("nameserver 192.0.2.1")));
}

#[test]
fn ports_are_given_once() {
    let mut bed = Bed::new();
    let publishing = |bed: &Bed, number, ip: &str, port: &str| {
        let binding = BindingRecord { ip: ip.to_owned(), port: port.to_owned() };
        bed.container(number, |record| {
            record.networking.published.insert("80/tcp".to_owned(), vec![binding]);
        })
    };
    let first = publishing(&bed, 1, "127.0.0.1", "8080");
    let given = bed.networks.attach(&first).unwrap().publications.clone();
    assert_eq!((given[0].host.to_string(), given[0].to.port(), given.len()), ("127.0.0.1:8080".into(), 80, 1));
    // Another address is another port, and all addresses are this one too.
    let beside = publishing(&bed, 2, "127.0.0.2", "8080");
    bed.networks.attach(&beside).unwrap();
    let over = publishing(&bed, 3, "0.0.0.0", "8080");
    let error = bed.networks.attach(&over).unwrap_err().to_string();
    assert_eq!(error, "Bind for 0.0.0.0:8080 failed: port is already allocated (by container c1)");
    assert!(bed.networks.attachment(&over.id).is_none());
    let range = publishing(&bed, 4, "127.0.0.1", "8080-8082");
    let port = bed.networks.attach(&range).unwrap().publications[0].host.port();
    assert!((8081..=8082).contains(&port), "{port}");
    let any = publishing(&bed, 5, "127.0.0.1", "");
    assert!(bed.networks.attach(&any).unwrap().publications[0].host.port() >= 1024);
    // Of an internal network nothing is published, since there is no way.
    let request = CreateNetworkRequest { name: "in".into(), internal: true, ..Default::default() };
    bed.networks.create(request, &[]).unwrap();
    let inside = bed.container(6, |record| {
        record.host.network_mode = "in".to_owned();
        record.networking.publish_all = true;
        record.networking.exposed = BTreeSet::from(["80/tcp".to_owned()]);
    });
    assert!(bed.networks.attach(&inside).unwrap().publications.is_empty());
    assert!(bed.networks.wiring(&inside, &[]).network.links[0].interface.gateways.is_empty());
}

#[test]
fn what_is_no_port_is_refused() {
    let networking = |port: &str, host: &str, ip: &str| {
        let binding = BindingRecord { ip: ip.to_owned(), port: host.to_owned() };
        NetworkingRecord { published: [(port.to_owned(), vec![binding])].into(), ..NetworkingRecord::default() }
    };
    check_ports(&networking("80/udp", "1-2", "::1")).unwrap();
    for (port, host, ip) in [
        ("0/tcp", "", ""),
        ("80/xyz", "", ""),
        ("65536", "", ""),
        ("80", "2-1", ""),
        ("80", "a", ""),
        ("80", "0-1", ""),
        ("80", "1", "here"),
    ] {
        let error = check_ports(&networking(port, host, ip)).unwrap_err().to_string();
        assert!(error.starts_with("invalid port specification"), "{error}");
    }
}

#[test]
fn rules_are_told_by_whom_they_are_there_for() {
    let mut bed = Bed::new();
    let published = |record: &mut ContainerRecord| {
        let at = vec![BindingRecord { ip: "0.0.0.0".to_owned(), port: "8080".to_owned() }];
        record.networking.published = BTreeMap::from([("80/tcp".to_owned(), at)]);
    };
    let (one, two) = (bed.container(1, published), bed.container(2, |_| {}));
    let sealed = bed.container(3, |record| record.host.network_mode = "sealed".to_owned());
    for container in [&one, &two, &sealed] {
        bed.networks.attach(container).unwrap();
    }
    let ContainerRules { ways, publications, rules } = bed.networks.rules_of(&one.id);
    let [way] = &ways[..] else { panic!("{ways:?}") };
    assert_eq!((way.network.as_str(), way.host, &way.outside), ("bridge", HostReach::All, &Outside::All));
    assert_eq!((way.with_others, &way.others[..], way.from_host), (true, &["c2".to_owned()][..], true));
    assert_eq!(publications.len(), 1, "{publications:?}");
    let address = way.addresses[0].to_string();
    let is_ones = |rule: &Explained| rule.syntax.contains(&address) || rule.syntax.contains(&way.link);
    assert!(rules.iter().all(is_ones) && rules.iter().any(|rule| rule.syntax.contains(" publish_any4 ")), "{rules:?}");

    let of_sealed = bed.networks.rules_of(&sealed.id);
    let way = &of_sealed.ways[0];
    assert_eq!((way.host, way.with_others, way.from_host), (HostReach::Nothing, false, false));
    assert_eq!(way.outside, Outside::Some(Egress { public: true, ranges: Vec::new() }));
    assert!(of_sealed.publications.is_empty());
    assert!(!of_sealed.rules.iter().any(|rule| rule.syntax.contains("publish")), "{of_sealed:?}");

    let of_networks = bed.networks.rules_of_networks();
    assert_eq!(of_networks.iter().map(|rules| rules.name.as_str()).collect::<Vec<_>>(), ["bridge", "sealed"]);
    assert!(of_networks.iter().all(|of| !of.rules.is_empty() && of.rules.iter().all(|rule| !is_ones(rule))));

    bed.networks.detach(&one.id);
    let gone = bed.networks.rules_of(&one.id);
    assert!(gone.ways.is_empty() && gone.publications.is_empty() && gone.rules.is_empty());
}
