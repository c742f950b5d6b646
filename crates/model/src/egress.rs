use ipnet::IpNet;

/// What a sealed container reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// What is on the Internet, for everyone.
    pub public: bool,
    /// And these.
    pub ranges: Vec<IpNet>,
}

impl Egress {
    /// Whether there is nothing.
    pub fn is_none(&self) -> bool {
        !self.public && self.ranges.is_empty()
    }
}
