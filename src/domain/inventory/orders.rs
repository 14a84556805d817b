//! Orders, packed.

use serde::{Deserialize, Serialize};

use crate::domain::codec;
use crate::domain::id::{CustomerId, EventId, OrderId, Token};
use crate::domain::value::{Item, Millis, OrderView};

/// One order, as it is packed into a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) order: OrderId,
    /// What is booked now.
    pub(super) items: Vec<Item>,
    /// What was booked once and is cancelled: together with `items` what the order was made of.
    pub(super) cancelled: Vec<Item>,
    pub(super) customer: Option<CustomerId>,
    pub(super) booked_at: Millis,
    /// The hold it was booked from.
    pub(super) token: Option<Token>,
    /// It took all that the hold had.
    pub(super) whole: bool,
}

impl Order {
    pub(super) fn pack(&self) -> Vec<u8> {
        codec::encode(self)
    }

    pub(super) fn unpack(bytes: &[u8]) -> Self {
        Self::try_unpack(bytes).expect("chunks hold what was packed; records are checked when they are loaded")
    }

    pub(super) fn try_unpack(bytes: &[u8]) -> Result<Self, codec::CodecError> {
        codec::decode(bytes)
    }

    pub(super) fn view(self, event: &EventId) -> OrderView {
        OrderView {
            order: self.order,
            event: event.clone(),
            items: self.items,
            customer: self.customer,
            booked_at: self.booked_at,
        }
    }
}
