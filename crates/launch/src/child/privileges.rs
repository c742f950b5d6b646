//! From root with everything to the user and the few capabilities of the
//! container's process.

use casemate_model::Capabilities;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::user::Identity;
use crate::error::SetupStep;
use crate::report::{AtStep, StepResult};
use crate::sys;

/// No kernel has more capabilities than a set has bits.
const CAPABILITY_BITS: u8 = 64;

/// The process's final capabilities, to be reached in two steps: looking for
/// the command happens with these in effect, and installing a filter without
/// no_new_privs needs CAP_SYS_ADMIN once more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Privileges {
    last: CapabilitySet,
    until_filtered: CapabilitySet,
}

impl Privileges {
    /// As Docker has it: root has what the container is allowed, others have
    /// nothing until they execute a set-user-ID program; nothing is ever
    /// inheritable (CVE-2022-24769) or ambient. What this program itself lacks
    /// it cannot give.
    pub(crate) fn of(identity: &Identity, allowed: Capabilities, filters_as_admin: bool) -> StepResult<Self> {
        let own = capabilities(None).at(SetupStep::DropPrivileges, "capabilities")?.permitted;
        let last = match identity.uid {
            0 => CapabilitySet::from_bits_retain(allowed.bits()) & own,
            _ => CapabilitySet::empty(),
        };
        let until_filtered = if filters_as_admin { last | CapabilitySet::SYS_ADMIN } else { last };
        Ok(Self { last, until_filtered })
    }

    /// Changes the user and gives up everything but what is needed later.
    pub(crate) fn drop_to(self, identity: &Identity, allowed: Capabilities) -> StepResult<()> {
        drop_bounding_set(allowed).at(SetupStep::DropPrivileges, "bounding set")?;
        let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).at(SetupStep::DropPrivileges, "groups")?;
        let gid = Gid::from_raw(identity.gid);
        set_thread_res_gid(gid, gid, gid).at(SetupStep::DropPrivileges, "group")?;
        set_keep_capabilities(true).at(SetupStep::DropPrivileges, "keep capabilities")?;
        let uid = Uid::from_raw(identity.uid);
        set_thread_res_uid(uid, uid, uid).at(SetupStep::DropPrivileges, "user")?;
        set_keep_capabilities(false).at(SetupStep::DropPrivileges, "keep capabilities")?;
        self.set(self.last, self.until_filtered)
    }

    /// Takes what [`Self::drop_to`] kept back into effect.
    pub(crate) fn raise(self) -> StepResult<()> {
        self.set(self.until_filtered, self.until_filtered)
    }

    /// Down to the last of them.
    pub(crate) fn finish(self) -> StepResult<()> {
        self.set(self.last, self.last)
    }

    fn set(self, effective: CapabilitySet, permitted: CapabilitySet) -> StepResult<()> {
        let sets = CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() };
        set_capabilities(None, sets).at(SetupStep::DropPrivileges, "capabilities")
    }
}

/// Also of those that this program does not know by name.
fn drop_bounding_set(allowed: Capabilities) -> Result<(), Errno> {
    for number in (0..CAPABILITY_BITS).filter(|n| allowed.bits() >> n & 1 == 0) {
        if !sys::drop_bounding(number)? {
            break;
        }
    }
    Ok(())
}
