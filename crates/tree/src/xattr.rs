//! The extended attributes that travel with a file.

/// The attributes an image or an archive may bring and take away: what programs
/// set for themselves, file capabilities and access lists. Not `trusted.` and
/// not `user.overlay.`, which overlayfs takes its orders from, and not the
/// labels of the host's security modules.
pub(crate) fn travels(name: &[u8]) -> bool {
    let is_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    let known: [&[u8]; 3] = [CAPABILITY, b"system.posix_acl_access", b"system.posix_acl_default"];
    (is_user || known.contains(&name)) && !name.contains(&0)
}

pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// By overlayfs, on a directory that hides all below it.
pub(crate) const OPAQUE: &[u8] = b"trusted.overlay.opaque";
