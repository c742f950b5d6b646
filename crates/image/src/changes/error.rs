//! What can be wrong with a change. The words are Docker's.

use casemate_model::{Classify, ErrorClass, UnknownSignal};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("{name} is not a valid change command")]
    Instruction { name: String },
    #[error("{instruction} requires at least one argument")]
    NoArgument { instruction: &'static str },
    #[error("{instruction} requires exactly one argument")]
    NotOneArgument { instruction: &'static str },
    #[error("{instruction} must have two arguments")]
    OneArgumentOfTwo { instruction: &'static str },
    #[error("Syntax error - can't find = in {word:?}. Must be of the form: name=value")]
    Pair { word: String },
    #[error("{instruction} names can not be blank")]
    BlankName { instruction: &'static str },
    #[error("unexpected end of statement while looking for matching {quote}-quote")]
    OpenQuote { quote: &'static str },
    #[error("syntax error: missing '}}'")]
    OpenBrace,
    #[error("unsupported modifier ({modifier}) in substitution")]
    Modifier { modifier: String },
    #[error("invalid containerPort: {text}")]
    Port { text: String },
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error(transparent)]
    Signal(UnknownSignal),
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    ChainedOnBuild,
    #[error("{name} isn't allowed as an ONBUILD trigger")]
    Trigger { name: String },
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    #[error("Unknown type {kind:?} in HEALTHCHECK (try CMD)")]
    HealthcheckType { kind: String },
    #[error("unknown flag: --{flag}")]
    HealthcheckFlag { flag: String },
    #[error("invalid duration {text:?} for --{flag}")]
    Duration { flag: &'static str, text: String },
    #[error("Interval {flag:?} cannot be less than 1ms")]
    ShortInterval { flag: &'static str },
    #[error("invalid number {text:?} for --retries")]
    Retries { text: String },
    #[error("--retries cannot be negative ({retries})")]
    NegativeRetries { retries: i64 },
}

impl Classify for ChangeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::InvalidArgument
    }
}
