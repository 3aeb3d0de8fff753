//! The faults, with all their parameters.

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The gateway.
    Gateway,
    /// The hub.
    Hub,
    /// Both at the same moment.
    Both,
}

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// Between readers and gateway.
    Readers,
    /// Between gateway and hub.
    Uplink,
}

/// What a network is like from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Nothing is lost.
    Fair,
    /// Some of a thousand datagrams are lost, and as many come twice.
    Lossy(u16),
    /// Some of a thousand datagrams are overtaken by others.
    Shuffled(u16),
    /// Nothing is as it should be.
    Awful,
    /// Each datagram takes so many milliseconds.
    Slow(u16),
    /// So many kilobits a second, half a second's worth of queue.
    Narrow(u32),
    /// Nothing passes for so many milliseconds.
    Cut(u16),
    /// All flows come from another address, as behind a NAT that has forgotten them.
    Moved,
}

/// How a store is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// Some bits of the store's largest file are turned.
    FlippedBits,
    /// The end of that file is cut off.
    CutTail,
    /// A range of it is zeros.
    ZeroedRange,
    /// Two stretches of it have changed places.
    SwappedBlocks,
    /// One file of the store is missing.
    MissingFile,
    /// The whole folder of the outbox is missing.
    MissingFolder,
    /// Files lie about that a crash has left, or nobody knows.
    LeftoverFiles,
    /// Junk stands behind the end of the store's largest file.
    JunkTail,
    /// What says which store is in use is spoiled.
    DamagedName,
    /// One generation of the checkpoint, or both, are cut short or spoiled.
    DamagedCheckpoint,
    /// One generation of the safety file, or both, are spoiled.
    DamagedSafety,
    /// The outbox as it was a while ago is in its place.
    OldStore,
    /// The whole state folder as it was a while ago is in its place.
    OldState,
    /// The hub's folder as it was a while ago is in its place.
    OldHub,
}

impl Damage {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::FlippedBits,
        Self::CutTail,
        Self::ZeroedRange,
        Self::SwappedBlocks,
        Self::MissingFile,
        Self::MissingFolder,
        Self::LeftoverFiles,
        Self::JunkTail,
        Self::DamagedName,
        Self::DamagedCheckpoint,
        Self::DamagedSafety,
        Self::OldStore,
        Self::OldState,
        Self::OldHub,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::FlippedBits => "flipped bits",
            Self::CutTail => "cut tail",
            Self::ZeroedRange => "zeroed range",
            Self::SwappedBlocks => "swapped blocks",
            Self::MissingFile => "missing file",
            Self::MissingFolder => "missing outbox",
            Self::LeftoverFiles => "leftover files",
            Self::JunkTail => "junk tail",
            Self::DamagedName => "damaged name of the store",
            Self::DamagedCheckpoint => "damaged checkpoint",
            Self::DamagedSafety => "damaged safety file",
            Self::OldStore => "old outbox put back",
            Self::OldState => "old state folder put back",
            Self::OldHub => "old hub put back",
        }
    }

    /// Whether it may hit events that the hub does not have: then what it destroys can be told from what is left.
    ///
    /// What is put back has forgotten what was in its place, and of that the hub has never heard.
    #[must_use]
    pub const fn may_hit_unsent(self) -> bool {
        !matches!(self, Self::OldStore | Self::OldState | Self::OldHub)
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL and a new start; the new one is killed too after so many milliseconds, if so many are given.
    Kill(Who, Option<u16>),
    /// The power goes.
    PowerCut(Who),
    /// A store is spoiled while nobody uses it; `seed` says where.
    Damage {
        /// How.
        how: Damage,
        /// Of the places and sizes.
        seed: u64,
        /// Whether everything is at the hub before. Otherwise the hub is out of reach meanwhile, and what waits for it
        /// is hit.
        calm: bool,
    },
    /// A disk is full.
    FullDisk {
        /// Whose.
        who: Who,
        /// But for so many KiB.
        but_kib: u32,
        /// For so many milliseconds.
        ms: u16,
        /// Whether its process is killed meanwhile and has to start there.
        restart: bool,
    },
    /// A disk is ill.
    SickDisk {
        /// Whose.
        who: Who,
        /// How.
        how: Sickness,
        /// For so many milliseconds.
        ms: u16,
        /// Whether its process is killed meanwhile and has to start there.
        restart: bool,
    },
    /// A network changes.
    Net(Net, Weather),
}

/// What ails a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sickness {
    /// Each sync takes so many milliseconds more.
    SlowSyncs(u16),
    /// Each so-manieth sync fails.
    FailingSyncs(u16),
    /// Each so-manieth write fails.
    FailingWrites(u16),
    /// Each so-manieth read fails.
    FailingReads(u16),
    /// Each so-manieth write is done by half.
    ShortWrites(u16),
    /// It has become read-only.
    ReadOnly,
    /// It has no room.
    Full,
}

impl Sickness {
    /// Its name in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SlowSyncs(_) => "slow syncs",
            Self::FailingSyncs(_) => "failing syncs",
            Self::FailingWrites(_) => "failing writes",
            Self::FailingReads(_) => "failing reads",
            Self::ShortWrites(_) => "short writes",
            Self::ReadOnly => "read-only disk",
            Self::Full => "disk without room",
        }
    }
}

/// What faults are counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL.
    Kill,
    /// Cut power.
    PowerCut,
    /// A damaged store.
    Damage,
    /// A disk that does not do what it should.
    Disk,
    /// A bad network.
    Net,
}

impl Fault {
    /// What it counts as.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Kill(..) => Kind::Kill,
            Self::PowerCut(_) => Kind::PowerCut,
            Self::Damage { .. } => Kind::Damage,
            Self::FullDisk { .. } | Self::SickDisk { .. } => Kind::Disk,
            Self::Net(..) => Kind::Net,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kill(Who::Gateway, None) => "kill of the gateway",
            Self::Kill(Who::Hub, None) => "kill of the hub",
            Self::Kill(Who::Both, None) => "kill of both",
            Self::Kill(_, Some(_)) => "kill, and again during the start",
            Self::PowerCut(Who::Gateway) => "power cut of the gateway",
            Self::PowerCut(Who::Hub) => "power cut of the hub",
            Self::PowerCut(Who::Both) => "power cut of both",
            Self::Damage { how, .. } => how.label(),
            Self::FullDisk { who: Who::Gateway, restart: false, .. } => "full disk of the gateway",
            Self::FullDisk { who: Who::Gateway, restart: true, .. } => "full disk, gateway killed on it",
            Self::FullDisk { who: Who::Hub, .. } => "full disk of the hub",
            Self::FullDisk { who: Who::Both, .. } => "full disks of both",
            Self::SickDisk { how, .. } => how.label(),
            Self::Net(Net::Readers, Weather::Cut(_)) => "readers' network cut",
            Self::Net(Net::Uplink, Weather::Cut(_)) => "uplink cut",
            Self::Net(_, Weather::Moved) => "new addresses",
            Self::Net(_, Weather::Fair) => "network mended",
            Self::Net(Net::Readers, _) => "readers' network bad",
            Self::Net(Net::Uplink, _) => "uplink bad",
        }
    }

    /// How many SIGKILLs it is, counted by the moment and not by the process.
    #[must_use]
    pub const fn kills(self) -> u64 {
        match self {
            Self::Kill(_, None) => 1,
            Self::Kill(_, Some(_)) => 2,
            _ => 0,
        }
    }
}

impl Who {
    /// Whether the gateway is hit.
    #[must_use]
    pub const fn is_gateway(self) -> bool {
        matches!(self, Self::Gateway | Self::Both)
    }

    /// Whether the hub is hit.
    #[must_use]
    pub const fn is_hub(self) -> bool {
        matches!(self, Self::Hub | Self::Both)
    }
}
