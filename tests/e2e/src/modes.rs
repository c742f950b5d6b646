//! One body, two isolations.

use std::fmt;

use crate::prefix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Process,
    Hyperv,
}

impl Isolation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Hyperv => "hyperv",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a body is given: made for it alone, and looked at after it.
pub trait Fixture {
    fn new(isolation: Isolation) -> Self;

    /// What it needs beyond what its isolation does, and this host lacks.
    fn missing() -> Option<String>;

    /// Fails if anything is left behind.
    fn finish(self);
}

/// Runs the body on a fixture of its own, and then looks for what it left.
pub fn in_mode<F: Fixture>(isolation: Isolation, body: impl FnOnce(&F)) {
    let missing = match isolation {
        Isolation::Process => prefix::missing_for_process(),
        Isolation::Hyperv => prefix::missing_for_hyperv(),
    };
    if let Some(reason) = missing.or_else(F::missing) {
        return prefix::skip(&reason);
    }
    let fixture = F::new(isolation);
    body(&fixture);
    fixture.finish();
}

/// `fn name(engine: &Engine) { … }` becomes `process::name` and `hyperv::name`;
/// the type is one of this crate's fixtures.
#[macro_export]
macro_rules! both_modes {
    ($($(#[$meta:meta])* fn $name:ident($fixture:ident: &$kind:ident) $body:block)*) => {
        $($(#[$meta])* fn $name($fixture: &$crate::$kind) $body)*
        mod process {
            $(#[test] fn $name() { $crate::modes::in_mode($crate::Isolation::Process, super::$name) })*
        }
        mod hyperv {
            $(#[test] fn $name() { $crate::modes::in_mode($crate::Isolation::Hyperv, super::$name) })*
        }
    };
}

/// The same, and `conformance::name` on the Docker daemon that
/// `CONFORMANCE_HOST` names, with the feature `conformance`: what is expected of
/// this daemon is what that one does.
#[macro_export]
macro_rules! conforming {
    ($($(#[$meta:meta])* fn $name:ident($docker:ident: &Docker) $body:block)*) => {
        $crate::both_modes! { $($(#[$meta])* fn $name($docker: &Docker) $body)* }
        #[cfg(feature = "conformance")]
        mod conformance {
            $(#[test] fn $name() { $crate::conformance::on_another_daemon(module_path!(), stringify!($name), super::$name) })*
        }
    };
}

/// The same for behaviour that only a utility VM has.
#[macro_export]
macro_rules! hyperv_only {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident: &Engine) $body:block)*) => {
        $($(#[$meta])* fn $name($engine: &$crate::Engine) $body)*
        mod hyperv_only {
            $(#[test] fn $name() { $crate::modes::in_mode($crate::Isolation::Hyperv, super::$name) })*
        }
    };
}
