//! What the standard library has no word for.
#![expect(unsafe_code, reason = "setsockopt(2) and bind(2) take pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Of the level of sockets, with an integer.
pub(super) fn set_option(socket: impl AsFd, level: i32, option: i32, value: u32) -> io::Result<()> {
    let size = size_of::<u32>() as libc::socklen_t;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a value of that size, which lives until it returns.
    match unsafe { libc::setsockopt(descriptor, level, option, (&raw const value).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A packet socket to all that passes a link.
pub(super) fn bind_to_link(socket: impl AsFd, index: u32) -> io::Result<()> {
    // SAFETY: all zeros is a value of it.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the pointer is to a value of that size, which lives until it returns.
    match unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
