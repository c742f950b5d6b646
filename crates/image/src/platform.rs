//! Which of an image's platforms this host runs.

/// `linux/amd64`.
pub(crate) fn host() -> String {
    format!("linux/{}", architecture())
}

/// This host's architecture in the spelling of images, which is Go's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        same => same,
    }
}

/// None if this host cannot run it; of several the highest fits best. A variant
/// above the architecture's baseline is a last resort: the processor may lack it.
pub(crate) fn fitness(os: &str, architecture: &str, variant: Option<&str>) -> Option<u8> {
    if os != "linux" || architecture != self::architecture() {
        return None;
    }
    let baseline = match architecture {
        "amd64" => "v1",
        "arm64" => "v8",
        "arm" => "v7",
        _ => "",
    };
    match variant {
        None | Some("") => Some(2),
        Some(variant) if variant == baseline => Some(2),
        Some(_) => Some(1),
    }
}
