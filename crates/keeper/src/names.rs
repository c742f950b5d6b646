//! What the container's networks call whom: the engine keeps that in a file for
//! each network, which it replaces as a whole.

use std::cell::RefCell;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;

use casemate_dns::Names;
use casemate_record::{NamedRecord, NamesRecord, file};
use casemate_wire::Resolver;

#[derive(Debug, Default)]
pub(crate) struct NetworkNames {
    networks: RefCell<Vec<NamesFile>>,
    /// Further names of containers, for this one alone: each with an id.
    links: RefCell<Vec<(String, String)>>,
}

#[derive(Debug)]
struct NamesFile {
    path: PathBuf,
    /// As it was read last, and which file that was.
    read: Option<(Version, Rc<NamesRecord>)>,
}

/// Number and time: a file that takes the place of another has others.
type Version = (u64, i64, i64);

impl NetworkNames {
    /// Takes these networks instead of those before.
    pub(crate) fn set(&self, wanted: &Resolver) {
        let file = |path: &PathBuf| NamesFile { path: path.clone(), read: None };
        self.networks.replace(wanted.networks.iter().map(file).collect());
        self.links.replace(wanted.links.clone());
    }

    fn read(&self) -> Vec<Rc<NamesRecord>> {
        self.networks.borrow_mut().iter_mut().filter_map(NamesFile::read).collect()
    }
}

impl NamesFile {
    fn read(&mut self) -> Option<Rc<NamesRecord>> {
        let metadata = fs::metadata(&self.path).ok()?;
        let version = (metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        if let Some((known, record)) = &self.read
            && *known == version
        {
            return Some(Rc::clone(record));
        }
        match file::read::<NamesRecord>(&self.path) {
            Ok(record) => {
                let record = Rc::new(record);
                self.read = Some((version, Rc::clone(&record)));
                Some(record)
            }
            Err(error) => {
                tracing::warn!(error = casemate_model::chain(&error), "names of containers are not known");
                None
            }
        }
    }
}

/// The first network that knows an address of a family is who tells, as in Docker.
impl Names for NetworkNames {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let networks = self.read();
        let links = self.links.borrow();
        let linked = links.iter().filter(|(alias, _)| is(alias, name)).map(|(_, id)| id).find_map(|id| {
            let mut all = networks.iter().flat_map(|network| &network.containers);
            all.find(|container| container.id == *id)
        });
        if let Some(linked) = linked {
            return Some(addresses(linked).collect());
        }
        let mut all: Option<Vec<IpAddr>> = None;
        for network in networks {
            let name = within(name, &network.network).unwrap_or(name);
            let called = |container: &&NamedRecord| container.names.iter().any(|known| is(known, name));
            let mut found = network.containers.iter().filter(called).peekable();
            if found.peek().is_none() {
                continue;
            }
            let known = all.get_or_insert_default();
            let has = |is_v4: bool| known.iter().any(|address| address.is_ipv4() == is_v4);
            let (has_v4, has_v6) = (has(true), has(false));
            known.extend(found.flat_map(addresses).filter(|new| if new.is_ipv4() { !has_v4 } else { !has_v6 }));
        }
        all
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        self.read().iter().find_map(|network| {
            let container = network.containers.iter().find(|container| addresses(container).any(|its| its == address));
            Some(format!("{}.{}", container?.names.first()?, network.network))
        })
    }
}

/// `name` is in lower case.
fn is(known: &str, name: &str) -> bool {
    known.to_lowercase() == name
}

/// What stands before the network's own name.
fn within<'n>(name: &'n str, network: &str) -> Option<&'n str> {
    name.strip_suffix(&network.to_lowercase())?.strip_suffix('.')
}

fn addresses(container: &NamedRecord) -> impl Iterator<Item = IpAddr> + use<> {
    container.v4.map(IpAddr::V4).into_iter().chain(container.v6.map(IpAddr::V6))
}

#[cfg(test)]
mod tests {
    use casemate_record::file::Durability;

    use super::*;

    fn container(id: &str, names: &[&str], v4: [u8; 4]) -> NamedRecord {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        NamedRecord { id: id.into(), names, v4: Some(v4.into()), v6: None }
    }

    fn write(path: &std::path::Path, network: &str, containers: Vec<NamedRecord>) {
        let record = NamesRecord { version: NamesRecord::VERSION, network: network.into(), containers };
        file::write(path, &record, Durability::Ordered).unwrap();
    }

    #[test]
    fn names_are_those_of_the_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a.json"), dir.path().join("b.json"));
        let names = NetworkNames::default();
        names.set(&Resolver {
            networks: vec![first.clone(), second.clone()],
            links: vec![("db".into(), "id2".into())],
            upstreams: Vec::new(),
            answers: None,
        });
        assert_eq!(names.addresses("web"), None);
        write(&first, "Front", vec![container("id1", &["Web", "w"], [10, 1, 0, 2])]);
        write(
            &second,
            "back",
            vec![container("id2", &["store"], [10, 2, 0, 2]), container("id3", &["web"], [10, 2, 0, 3])],
        );
        let one = |a, b, c, d| Some(vec![IpAddr::from([a, b, c, d])]);
        assert_eq!(names.addresses("web"), one(10, 1, 0, 2));
        assert_eq!(names.addresses("w.front"), one(10, 1, 0, 2));
        assert_eq!(names.addresses("web.back"), one(10, 2, 0, 3));
        assert_eq!(names.addresses("db"), one(10, 2, 0, 2));
        assert_eq!((names.addresses("id1"), names.addresses("web.example")), (None, None));
        assert_eq!(names.name([10, 1, 0, 2].into()).as_deref(), Some("Web.Front"));
        assert_eq!(names.name([10, 9, 0, 2].into()), None);

        write(
            &first,
            "Front",
            vec![container("id4", &["web"], [10, 1, 0, 9]), container("id5", &["web"], [10, 1, 0, 8])],
        );
        assert_eq!(names.addresses("web"), Some(vec![[10, 1, 0, 9].into(), [10, 1, 0, 8].into()]));
        fs::write(&second, "spoilt").unwrap();
        assert_eq!(names.addresses("store"), None);
    }
}
