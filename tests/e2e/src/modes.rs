//! One body, two isolations.

use std::fmt;

use crate::engine::Engine;
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

/// Runs the body on an engine of its own, and then looks for what it left.
pub fn in_mode(isolation: Isolation, body: impl FnOnce(&Engine)) {
    let missing = match isolation {
        Isolation::Process => prefix::missing_for_process(),
        Isolation::Hyperv => prefix::missing_for_hyperv(),
    };
    if let Some(reason) = missing {
        return prefix::skip(&reason);
    }
    let engine = Engine::new(isolation);
    body(&engine);
    engine.finish();
}

/// `fn name(engine: &Engine) { … }` becomes `process::name` and `hyperv::name`.
#[macro_export]
macro_rules! both_modes {
    ($($(#[$meta:meta])* fn $name:ident($engine:ident: &Engine) $body:block)*) => {
        $($(#[$meta])* fn $name($engine: &$crate::Engine) $body)*
        mod process {
            $(#[test] fn $name() { $crate::modes::in_mode($crate::Isolation::Process, super::$name) })*
        }
        mod hyperv {
            $(#[test] fn $name() { $crate::modes::in_mode($crate::Isolation::Hyperv, super::$name) })*
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
