//! Lists: a page is asked for and given (SPEC 9).

use super::{text, text_len};
use crate::credential::CardRead;
use crate::limits::{LIST_ENTRIES_MAX, LIST_PAGE_LEN, LIST_PAGES_MAX, LIST_TEXT_MAX};
use crate::reason::codes;
use crate::wire::{Cursor, Malformed, NoRoom, Writer};

/// A page of a list, please. 24 bytes (SPEC 9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListAsk {
    /// Number of the request, from the same count as asks.
    pub request: u32,
    /// Which page, from 0.
    pub page: u16,
    /// Which list.
    pub list: ListKind,
    /// Whose list: the card that was shown.
    pub card: CardRead,
}

codes! {
    /// Which list (SPEC 9.1).
    ListKind, "list kind" {
        /// The children whom the holder of the card may bring or take.
        Children = 1, "children";
    }
}

codes! {
    /// What a list page is (SPEC 9.2).
    ListStatus, "list status" {
        /// Entries follow.
        Entries = 0, "entries";
        /// The gateway has no such list.
        NotAvailable = 1, "not_available";
        /// The holder of the card may not have it.
        Refused = 2, "refused";
    }
}

/// A page of a list. 12 bytes, then its entries (SPEC 9.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPage<'a> {
    /// The request that it answers.
    pub request: u32,
    /// Which page, from 0.
    pub page: u16,
    /// How many pages there are, at most [`LIST_PAGES_MAX`].
    pub pages: u16,
    /// Whether there is such a list.
    pub status: ListStatus,
    /// The entries.
    pub entries: ListEntries<'a>,
}

/// The entries of a page: checked, and read as they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntries<'a> {
    count: u8,
    bytes: &'a [u8],
}

/// One entry of a list page: 8 bytes and the text (SPEC 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// What to name the entry by when one is chosen.
    pub reference: u32,
    /// The list's own state of the entry; for children 0 away, 1 present.
    pub state: u8,
    /// What to show, at most [`LIST_TEXT_MAX`] bytes.
    pub text: &'a str,
}

impl<'a> ListEntries<'a> {
    /// No entries.
    pub const NONE: ListEntries<'static> = ListEntries { count: 0, bytes: &[] };

    /// Lays `entries` out in `buffer`.
    ///
    /// # Errors
    /// [`NoRoom`] when there are more than [`LIST_ENTRIES_MAX`], a text is too long, or the buffer is too short.
    pub fn lay_out(entries: &[ListEntry<'_>], buffer: &'a mut [u8]) -> Result<Self, NoRoom> {
        let count = u8::try_from(entries.len()).ok().filter(|&count| usize::from(count) <= LIST_ENTRIES_MAX);
        let mut writer = Writer::new(buffer);
        for entry in entries {
            writer.put(&entry.reference.to_le_bytes())?;
            writer.put(&[entry.state, text_len(entry.text, LIST_TEXT_MAX)?, 0, 0])?;
            writer.put(entry.text.as_bytes())?;
        }
        let len = writer.len();
        Ok(Self { count: count.ok_or(NoRoom)?, bytes: buffer.get(..len).ok_or(NoRoom)? })
    }

    /// The entries, first to last.
    pub fn iter(&self) -> impl Iterator<Item = ListEntry<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.bytes);
        (0..self.count).map_while(move |_| ListEntry::parse(&mut cursor).ok())
    }

    fn parse(count: u8, cursor: &mut Cursor<'a>, bytes: &'a [u8]) -> Result<Self, Malformed> {
        if usize::from(count) > LIST_ENTRIES_MAX {
            return Err(Malformed::Value("list entry count"));
        }
        for _ in 0..count {
            ListEntry::parse(cursor)?;
        }
        Ok(Self { count, bytes })
    }
}

impl<'a> ListEntry<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let reference = cursor.u32("list entry reference")?;
        let state = cursor.u8("list entry state")?;
        let len = cursor.u8("list entry text length")?;
        cursor.reserved(2, "list entry reserved")?;
        Ok(Self { reference, state, text: text(cursor, len, LIST_TEXT_MAX)? })
    }
}

impl ListAsk {
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let request = cursor.u32_from_1("request")?;
        let page = cursor.u16("page")?;
        let list = ListKind::from_code(cursor.u8("list kind")?)?;
        cursor.reserved(1, "list ask reserved")?;
        if page >= LIST_PAGES_MAX {
            return Err(Malformed::Value("page"));
        }
        Ok(Self { request, page, list, card: CardRead::parse(cursor)? })
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.request.to_le_bytes())?;
        writer.put(&self.page.to_le_bytes())?;
        writer.put(&[self.list.code(), 0])?;
        self.card.emit(writer)
    }
}

impl<'a> ListPage<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, body: &'a [u8]) -> Result<Self, Malformed> {
        let request = cursor.u32("request")?;
        let page = cursor.u16("page")?;
        let pages = cursor.u16("pages")?;
        let status = ListStatus::from_code(cursor.u8("list status")?)?;
        let count = cursor.u8("list entry count")?;
        cursor.reserved(2, "list page reserved")?;
        if pages > LIST_PAGES_MAX {
            return Err(Malformed::Value("pages"));
        }
        let entries = ListEntries::parse(count, cursor, body.get(LIST_PAGE_LEN..).unwrap_or_default())?;
        Ok(Self { request, page, pages, status, entries })
    }

    /// Bytes of the page.
    pub(super) const fn body_len(&self) -> usize {
        LIST_PAGE_LEN + self.entries.bytes.len()
    }

    pub(super) fn emit(&self, writer: &mut Writer<'_>) -> Result<(), NoRoom> {
        writer.put(&self.request.to_le_bytes())?;
        writer.put(&self.page.to_le_bytes())?;
        writer.put(&self.pages.to_le_bytes())?;
        writer.put(&[self.status.code(), self.entries.count, 0, 0])?;
        writer.put(self.entries.bytes)
    }
}
