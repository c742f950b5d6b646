//! What a container's networks call whom.

use std::net::IpAddr;
use std::rc::Rc;

use hickory_proto::rr::Name;

/// A view of the networks of one container.
///
/// The implementer tells what is so at the moment of the call, which it must
/// not make wait. The resolver caches nothing.
pub trait Names {
    /// The addresses, of both families, of a container's name, alias, short id
    /// or link, with or without its network's name behind it. `None`: nobody is
    /// called this, and servers upstream are asked. An empty list: somebody is,
    /// who has no address.
    ///
    /// `name` is in lower case and has no dot at its end.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;

    /// Who has this address, as in `web.mynet`; no dot is needed at its end.
    /// `None`: nobody in these networks, and servers upstream are asked.
    fn name(&self, address: IpAddr) -> Option<String>;
}

impl<N: Names + ?Sized> Names for Rc<N> {
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        (**self).addresses(name)
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        (**self).name(address)
    }
}

/// As [`Names`] are asked for it; `None` if it can be nobody's there.
pub(crate) fn asked_for(name: &Name) -> Option<String> {
    let labels: Option<Vec<&str>> = name.iter().map(|label| std::str::from_utf8(label).ok()).collect();
    // A dot within a label is not one between labels.
    let labels = labels.filter(|labels| !labels.is_empty() && !labels.iter().any(|label| label.contains('.')))?;
    Some(labels.join(".").to_ascii_lowercase())
}

/// As it is in an answer; `None` if no message can hold it.
pub(crate) fn answered(name: &str) -> Option<Name> {
    let labels = name.strip_suffix('.').unwrap_or(name).split('.');
    Name::from_labels(labels.map(str::as_bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_lower_case_and_whole() {
        let of = |labels: &[&[u8]]| asked_for(&Name::from_labels(labels.iter().copied()).unwrap());
        assert_eq!(of(&[b"WEB", b"MyNet"]).as_deref(), Some("web.mynet"));
        assert_eq!(of(&["bücher".as_bytes()]).as_deref(), Some("bücher"));
        assert_eq!(of(&[b"a.b"]), None);
        assert_eq!(of(&[b"\xff"]), None);
        assert_eq!(asked_for(&Name::root()), None);
    }

    #[test]
    fn names_that_no_message_can_hold_are_none() {
        assert_eq!(answered("web.mynet."), answered("web.mynet"));
        assert_eq!(answered("my_web.mynet").unwrap().to_string(), "my_web.mynet.");
        for bad in ["", "a..b", &"a".repeat(64), &["a"; 200].join(".")] {
            assert_eq!(answered(bad), None, "{bad}");
        }
    }
}
