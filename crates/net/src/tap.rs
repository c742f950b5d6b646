//! A utility VM's end of a network: a descriptor that its Ethernet frames are
//! written to and read from. The link is there as long as the descriptor is open,
//! whoever holds it: it goes with the VM.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use casemate_model::{Classify, ErrorClass};
use rtnetlink::LinkUnspec;

use crate::links::{ETHERNET_MTU, LinkError, Links, Port};

/// Frames only, each behind a `virtio_net_hdr`, as QEMU's virtio-net takes them; a
/// link of this name that is there already is an error.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_TUN_EXCL;

#[derive(Debug, thiserror::Error)]
pub enum TapError {
    #[error("tap {name} cannot be made")]
    Open { name: String, source: io::Error },
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Classify for TapError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

impl Links {
    /// Makes a tap on a bridge, or nothing. Its hardware address is the host's end,
    /// of no meaning to the guest's.
    pub async fn tap(&self, name: &str, port: Port) -> Result<OwnedFd, TapError> {
        let tap = Self::spare_tap(name)?;
        self.plug(name, name, port).await?;
        Ok(tap)
    }

    /// Makes one that is on no bridge and down.
    pub fn spare_tap(name: &str) -> Result<OwnedFd, TapError> {
        open(name).map_err(|source| TapError::Open { name: name.to_owned(), source })
    }

    /// Puts one that is down on a bridge, by another name.
    pub async fn plug(&self, name: &str, new_name: &str, port: Port) -> Result<(), LinkError> {
        let failed = LinkError::of(new_name, "made");
        let index = self.index_of(name).await?;
        let mut link = LinkUnspec::new_with_index(index).controller(port.bridge).mtu(port.mtu.unwrap_or(ETHERNET_MTU));
        if new_name != name {
            link = link.name(new_name.to_owned());
        }
        self.handle.link().set(link.build()).execute().await.map_err(&failed)?;
        self.bring_up(index, port).await.map_err(&failed)
    }
}

#[expect(unsafe_code, reason = "no safe function makes a tap")]
fn open(name: &str) -> io::Result<OwnedFd> {
    let tun = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // One byte less than there is room for: names end with a zero.
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = FLAGS as libc::c_short;
    // SAFETY: the pointer is to a value of the type that this request reads, which lives until it returns.
    match unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw const request) } {
        0 => Ok(tun.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::MacAddress;
    use crate::testbed::{Node, names};

    /// Length of a `virtio_net_hdr` where nobody asked for another.
    const HEADER: usize = 10;

    /// Who has this address?
    fn arp_request(from: MacAddress, from_ip: Ipv4Addr, whose: Ipv4Addr) -> Vec<u8> {
        let ethernet = [&[0xff; 6][..], &from.octets(), &[0x08, 0x06]].concat();
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &from.octets(), &from_ip.octets(), &[0; 6], &whose.octets()].concat();
        [vec![0; HEADER], ethernet, arp].concat()
    }

    /// The next frame of ARP.
    fn arp_frame(tap: &mut File) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        loop {
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(poll(&mut [PollFd::new(&*tap, PollFlags::IN)], Some(&patience)).unwrap(), 1, "no answer");
            let length = tap.read(&mut buffer).unwrap();
            let frame = &buffer[HEADER..length];
            if frame[12..14] == [0x08, 0x06] {
                return frame.to_vec();
            }
        }
    }

    #[test]
    fn a_guest_speaks_to_its_bridge_and_takes_its_link_along() {
        let Some(host) = Node::new() else { return };
        let (port, tap) = host.run(|runtime| {
            runtime.block_on(async {
                let links = Links::open().unwrap();
                let addresses = ["10.1.0.1/24".parse().unwrap(), "fd01::1/64".parse().unwrap()];
                let bridge = links.bridge("br-test", &addresses, None).await.unwrap();
                let port = Port { bridge, mtu: Some(1400), isolated: true };
                let tap = links.tap("cm-test", port).await.unwrap();
                assert_eq!(names(), ["br-test", "cm-test", "lo"]);
                let taken = links.tap("cm-test", port).await.unwrap_err();
                assert_eq!(taken.to_string(), "tap cm-test cannot be made");
                links.forward("cm-test").await.unwrap();
                (port, tap)
            })
        });
        host.settle("br-test");

        let (mac, address) = (MacAddress::of([10, 1, 0, 2].into()), Ipv4Addr::new(10, 1, 0, 2));
        let mut guest = File::from(tap);
        guest.write_all(&arp_request(mac, address, Ipv4Addr::new(10, 1, 0, 1))).unwrap();
        let answer = arp_frame(&mut guest);
        // An answer, to this guest, of the bridge's address.
        assert_eq!(
            (&answer[..6], &answer[20..22], &answer[28..32]),
            (&mac.octets()[..], &[0, 2][..], &[10, 1, 0, 1][..])
        );

        drop(guest);
        host.run(|runtime| {
            runtime.block_on(async {
                assert_eq!(names(), ["br-test", "lo"]);
                let links = Links::open().unwrap();
                let nowhere = links.tap("cm-test", Port { bridge: 4711, ..port }).await.unwrap_err();
                assert_eq!(nowhere.to_string(), "link cm-test cannot be made");
                assert_eq!(names(), ["br-test", "lo"]);
                let long = links.tap("cm-a-name-of-many", port).await.unwrap_err();
                assert_eq!(long.to_string(), "tap cm-a-name-of-many cannot be made");
            });
        });
    }
}
