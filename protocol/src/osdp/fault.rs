//! What goes wrong on a bus, for counting, and what somebody must hear of.

/// Declares the variants with their labels, once.
macro_rules! labelled {
    ($(#[$outer:meta])* $name:ident { $($(#[$meta:meta])* $variant:ident = $label:literal;)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$meta])* $variant,)+ }

        impl $name {
            /// All of them; `self as usize` is the place here.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The metric label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

labelled! {
    /// Why a frame, or the lack of one, did not count as a reply.
    Fault {
        /// No reply has come in time.
        NoReply = "no_reply";
        /// What looked like a frame had a wrong check or layout.
        Damaged = "damaged";
        /// A reply came while none was awaited, and none is due from who sent it.
        Unasked = "unasked";
        /// A command came: an echo, or another control panel on the line.
        NotAReply = "not_a_reply";
        /// It came from another address than was asked, and none is due from there.
        WrongAddress = "wrong_address";
        /// Its sequence number is not the command's.
        WrongSequence = "wrong_sequence";
        /// Its MAC does not hold.
        WrongMac = "wrong_mac";
        /// It was not secured, in a secure channel.
        Clear = "clear";
        /// It is authentic or needs not be, and its data are not as they must be.
        Malformed = "malformed";
        /// It is no reply to what was asked.
        Unexpected = "unexpected";
        /// The device did not do what it was told.
        Refused = "refused";
        /// The device was busy.
        Busy = "busy";
        /// An act found no room, waited for too long, was a release whose channel broke or that was refused, or stood behind one.
        ActLost = "act_lost";
        /// An event found no room.
        EventLost = "event_lost";
    }
}

labelled! {
    /// What somebody must look into.
    Alarm {
        /// The device has not shown that it has its key: it is not the device, its key was lost, or somebody plays it.
        WrongKey = "wrong_key";
        /// The device has no key yet and no install window is open.
        NotEnrolled = "not_enrolled";
        /// The device says that it has no secure channel. It is not spoken to without.
        NoSecureChannel = "no_secure_channel";
        /// The device answers, and no channel comes about.
        NoChannel = "no_channel";
        /// The device can do other things than when it was enrolled, or what it can do cannot be read.
        CapabilitiesChanged = "capabilities_changed";
        /// A channel broke by a frame that was not authentic.
        ChannelBroken = "channel_broken";
    }
}
