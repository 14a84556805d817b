//! Seats in blocks: what the organiser defined, and the state of each.
//!
//! A seat costs 56 bytes of definition and 8 bytes of state. Both come in blocks of 256, shared with frozen views and
//! copied only when written while shared. Sections, rows and categories are texts that many seats share.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::id::SeatId;
use crate::domain::value::{Coordinate, SeatDef, SeatNumber, SeatStatus, Text};

/// Seats in one block.
pub(super) const SEATS_A_BLOCK: usize = 256;

/// The state of one seat: two bits of kind, and the number of the hold or order that owns it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeatState(u64);

/// The same, to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SeatOwner {
    Free,
    /// By the hold of this number.
    Held(u64),
    /// Under the order of this sequence number.
    Booked(u64),
    Blocked,
}

impl SeatState {
    pub(super) const FREE: Self = Self(0);
    pub(super) const BLOCKED: Self = Self(3);

    pub(super) fn held(hold: u64) -> Self {
        Self((hold << 2) | 1)
    }

    pub(super) fn booked(order: u64) -> Self {
        Self((order << 2) | 2)
    }

    pub(super) fn owner(self) -> SeatOwner {
        match self.0 & 3 {
            0 => SeatOwner::Free,
            1 => SeatOwner::Held(self.0 >> 2),
            2 => SeatOwner::Booked(self.0 >> 2),
            _ => SeatOwner::Blocked,
        }
    }

    pub(super) fn status(self) -> SeatStatus {
        match self.owner() {
            SeatOwner::Free => SeatStatus::Free,
            SeatOwner::Held(_) => SeatStatus::Held,
            SeatOwner::Booked(_) => SeatStatus::Booked,
            SeatOwner::Blocked => SeatStatus::Blocked,
        }
    }

    pub(super) fn is_free(self) -> bool {
        self == Self::FREE
    }
}

impl std::fmt::Debug for SeatState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.owner().fmt(f)
    }
}

pub(crate) type SeatStates = Vec<SeatState>;

/// No text. Any other value is a place in `texts` of the block.
const NO_TEXT: u16 = u16::MAX;
const HAS_X: u8 = 1;
const HAS_Y: u8 = 2;
const NUMBER: u8 = 4;
const NUMBER_TEXT: u8 = 8;

/// The definitions of up to 256 neighbours in definition order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeatDefs {
    /// Each text once, in order of appearance.
    texts: Vec<Text>,
    seats: Vec<PackedSeat>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PackedSeat {
    id: SeatId,
    x: u64,
    y: u64,
    /// A number, or the place of a text.
    number: i64,
    section: u16,
    row: u16,
    category: u16,
    flags: u8,
}

impl SeatDefs {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn id(&self, at: usize) -> &SeatId {
        &self.seats[at].id
    }

    fn text(&self, place: u16) -> Option<&Text> {
        self.texts.get(usize::from(place))
    }

    pub(super) fn section(&self, at: usize) -> Option<&Text> {
        self.text(self.seats[at].section)
    }

    pub(super) fn row(&self, at: usize) -> Option<&Text> {
        self.text(self.seats[at].row)
    }

    pub(super) fn category(&self, at: usize) -> Option<&Text> {
        self.text(self.seats[at].category)
    }

    pub(super) fn get(&self, at: usize) -> SeatDef {
        let seat = &self.seats[at];
        let number = match seat.flags & (NUMBER | NUMBER_TEXT) {
            NUMBER => Some(SeatNumber::Number(seat.number)),
            NUMBER_TEXT => {
                u16::try_from(seat.number).ok().and_then(|p| self.text(p)).map(|t| SeatNumber::Text(Arc::clone(t)))
            }
            _ => None,
        };
        SeatDef {
            id: seat.id.clone(),
            section: self.text(seat.section).cloned(),
            row: self.text(seat.row).cloned(),
            number,
            category: self.text(seat.category).cloned(),
            x: (seat.flags & HAS_X != 0).then_some(Coordinate(seat.x)),
            y: (seat.flags & HAS_Y != 0).then_some(Coordinate(seat.y)),
        }
    }

    fn place(&mut self, text: Option<&Text>, interner: &mut Interner) -> u16 {
        let Some(text) = text else { return NO_TEXT };
        // Neighbours mostly share their texts, so the search from the end is short.
        let at = self.texts.iter().rposition(|t| t == text).unwrap_or_else(|| {
            self.texts.push(interner.share(text));
            self.texts.len() - 1
        });
        u16::try_from(at).expect("a block of 256 seats has at most 1,024 texts")
    }

    fn push(&mut self, def: &SeatDef, interner: &mut Interner) {
        let (number, number_flag) = match &def.number {
            None => (0, 0),
            Some(SeatNumber::Number(n)) => (*n, NUMBER),
            Some(SeatNumber::Text(text)) => (i64::from(self.place(Some(text), interner)), NUMBER_TEXT),
        };
        let flag = |has: bool, flag: u8| if has { flag } else { 0 };
        let packed = PackedSeat {
            id: def.id.clone(),
            x: def.x.map_or(0, |c| c.0),
            y: def.y.map_or(0, |c| c.0),
            number,
            section: self.place(def.section.as_ref(), interner),
            row: self.place(def.row.as_ref(), interner),
            category: self.place(def.category.as_ref(), interner),
            flags: number_flag | flag(def.x.is_some(), HAS_X) | flag(def.y.is_some(), HAS_Y),
        };
        self.seats.push(packed);
    }

    /// After loading: makes the texts shared again.
    pub(super) fn share_texts(&mut self, interner: &mut Interner) {
        for text in &mut self.texts {
            *text = interner.share(text);
        }
    }
}

/// Blocks of these seats, in order.
pub(super) fn pack(seats: &[SeatDef], interner: &mut Interner) -> Vec<Arc<SeatDefs>> {
    let pack_block = |block: &[SeatDef], interner: &mut Interner| {
        let mut packed = SeatDefs { texts: Vec::new(), seats: Vec::with_capacity(block.len()) };
        for seat in block {
            packed.push(seat, interner);
        }
        packed.texts.shrink_to_fit();
        Arc::new(packed)
    };
    seats.chunks(SEATS_A_BLOCK).map(|block| pack_block(block, interner)).collect()
}

/// Makes equal texts one text.
#[derive(Debug, Default)]
pub(super) struct Interner(BTreeSet<Text>);

impl Interner {
    pub(super) fn share(&mut self, text: &Text) -> Text {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        self.0.insert(Arc::clone(text));
        Arc::clone(text)
    }
}
