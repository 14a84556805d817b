//! Bodies of the commands on one event: reserve, extend, book, release, cancel, block, unblock.

use serde::Deserialize;
use utoipa::ToSchema;

use super::item::{WireItem, items, items_opt};
use super::{Name, Str, WireError, json, name, name_opt, positive, text};
use crate::domain::command::{OnExpired, Rest, SaleCommand, SaleOp, Want};
use crate::domain::id::EventId;

/// Items by name, or the best of what is free.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reserve<'a> {
    #[serde(borrow, default)]
    pub items: Option<Vec<WireItem<'a>>>,
    #[serde(borrow, default)]
    pub best: Option<Best<'a>>,
    #[serde(borrow, default)]
    pub customer: Option<Name<'a>>,
    /// How long the hold lives; the event's `hold.ttl_ms` if left out.
    #[schema(minimum = 1)]
    pub ttl_ms: Option<u64>,
    /// Adds to this live hold, which does not move its expiry.
    #[serde(borrow, default)]
    pub token: Option<Name<'a>>,
}

/// The best free seats.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Best<'a> {
    #[schema(minimum = 1)]
    pub quantity: u64,
    #[serde(borrow, default)]
    pub section: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub category: Option<Str<'a>>,
    /// Neighbours in one row only; true if left out.
    #[schema(default = true)]
    pub contiguous: Option<bool>,
}

/// Moves the expiry of a live hold.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend<'a> {
    #[serde(borrow)]
    pub token: Name<'a>,
    #[schema(minimum = 1)]
    pub ttl_ms: u64,
}

/// With `token`: books that hold, all of it or `items`. Without: books free `items` in one command.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Book<'a> {
    #[serde(borrow, default)]
    pub token: Option<Name<'a>>,
    #[serde(borrow)]
    pub order: Name<'a>,
    #[serde(borrow, default)]
    pub items: Option<Vec<WireItem<'a>>>,
    /// Only without `token`: a hold has its customer.
    #[serde(borrow, default)]
    pub customer: Option<Name<'a>>,
    pub rest: Option<WireRest>,
    pub on_expired: Option<WireOnExpired>,
}

/// What becomes of the items of the hold that are not booked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Rest)]
#[serde(rename_all = "snake_case")]
pub enum WireRest {
    Keep,
    Release,
}

/// What happens when the hold has lapsed: `rebook` books all the same if every item is free again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = OnExpired)]
#[serde(rename_all = "snake_case")]
pub enum WireOnExpired {
    Reject,
    Rebook,
}

/// Gives items of a hold back, all of them if `items` is left out.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release<'a> {
    #[serde(borrow)]
    pub token: Name<'a>,
    #[serde(borrow, default)]
    pub items: Option<Vec<WireItem<'a>>>,
}

/// Gives items of an order back, all of them if `items` is left out.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel<'a> {
    #[serde(borrow)]
    pub order: Name<'a>,
    #[serde(borrow, default)]
    pub items: Option<Vec<WireItem<'a>>>,
}

/// Staff set-aside.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Block<'a> {
    #[serde(borrow)]
    pub items: Vec<WireItem<'a>>,
    #[serde(borrow, default)]
    pub reason: Option<Str<'a>>,
}

/// Body to command.
pub type ParseSale = fn(&str, &[u8]) -> Result<SaleCommand, WireError>;

macro_rules! parse_sale {
    ($($function:ident $wire:ident)*) => {$(
        /// The command in `body`, on the event named in the path.
        pub fn $function(event: &str, body: &[u8]) -> Result<SaleCommand, WireError> {
            let wire: $wire<'_> = json::parse(body)?;
            let op = wire.shape()?;
            on_event(event, op.$function()?)
        }
    )*};
}

parse_sale! { reserve Reserve extend Extend book Book release Release cancel Cancel block Block unblock Block }

/// Puts an operation on its event.
pub fn on_event(event: &str, op: SaleOp) -> Result<SaleCommand, WireError> {
    let event: EventId = name(event, "The event in the path")?;
    Ok(SaleCommand { event, op })
}

macro_rules! any_shape {
    ($($wire:ident)*) => {$(
        impl $wire<'_> {
            /// Serde has seen to the shape already.
            pub fn shape(self) -> Result<Self, WireError> {
                Ok(self)
            }
        }
    )*};
}

any_shape!(Extend Release Cancel Block);

impl Reserve<'_> {
    /// What serde cannot see: `items` or `best`, one of them.
    pub fn shape(self) -> Result<Self, WireError> {
        match (&self.items, &self.best) {
            (Some(_), Some(_)) => Err(WireError::malformed("Give `items` or `best`, not both.")),
            (None, None) => {
                Err(WireError::malformed("`items` or `best` is missing; say which items to reserve, or how many."))
            }
            _ => Ok(self),
        }
    }

    pub fn reserve(self) -> Result<SaleOp, WireError> {
        if self.token.is_some() && self.ttl_ms.is_some() {
            return Err(WireError::invalid(
                "Adding to a hold does not move its expiry; leave ttl_ms out, and use extend to move it.",
            ));
        }
        let want = match &self.best {
            Some(best) => best.want()?,
            None => Want::Items(items(self.items.as_deref().unwrap_or_default(), "items")?),
        };
        Ok(SaleOp::Reserve {
            want,
            customer: name_opt(self.customer.as_ref(), "customer")?,
            ttl_ms: self.ttl_ms.map(|ttl| positive(ttl, "ttl_ms")).transpose()?,
            add_to: name_opt(self.token.as_ref(), "token")?,
        })
    }
}

impl Best<'_> {
    fn want(&self) -> Result<Want, WireError> {
        Ok(Want::Best {
            quantity: positive(self.quantity, "best.quantity")?,
            section: self.section.as_ref().map(|s| text(&s.0, "best.section")).transpose()?,
            category: self.category.as_ref().map(|s| text(&s.0, "best.category")).transpose()?,
            contiguous: self.contiguous.unwrap_or(true),
        })
    }
}

impl Extend<'_> {
    pub fn extend(self) -> Result<SaleOp, WireError> {
        Ok(SaleOp::Extend { token: name(&self.token.0, "token")?, ttl_ms: positive(self.ttl_ms, "ttl_ms")? })
    }
}

impl Book<'_> {
    /// What serde cannot see: which fields go with a token.
    pub fn shape(self) -> Result<Self, WireError> {
        if self.token.is_some() {
            if self.customer.is_some() {
                return Err(WireError::malformed(
                    "Field `customer` does not go with `token`: a hold has its customer; leave it out.",
                ));
            }
            return Ok(self);
        }
        if self.items.is_none() {
            return Err(WireError::malformed(
                "`token` or `items` is missing; book a hold by its token, or free items by name.",
            ));
        }
        if self.rest.is_some() || self.on_expired.is_some() {
            return Err(WireError::malformed(
                "Fields `rest` and `on_expired` go with `token` only: there is no hold; leave them out.",
            ));
        }
        Ok(self)
    }

    pub fn book(self) -> Result<SaleOp, WireError> {
        let order = name(&self.order.0, "order")?;
        let Some(token) = &self.token else {
            return Ok(SaleOp::BookDirect {
                items: items(self.items.as_deref().unwrap_or_default(), "items")?,
                order,
                customer: name_opt(self.customer.as_ref(), "customer")?,
            });
        };
        Ok(SaleOp::BookHold {
            token: name(&token.0, "token")?,
            order,
            items: items_opt(self.items.as_deref(), "items")?,
            rest: match self.rest {
                None | Some(WireRest::Keep) => Rest::Keep,
                Some(WireRest::Release) => Rest::Release,
            },
            on_expired: match self.on_expired {
                None | Some(WireOnExpired::Reject) => OnExpired::Reject,
                Some(WireOnExpired::Rebook) => OnExpired::Rebook,
            },
        })
    }
}

impl Release<'_> {
    pub fn release(self) -> Result<SaleOp, WireError> {
        Ok(SaleOp::Release { token: name(&self.token.0, "token")?, items: items_opt(self.items.as_deref(), "items")? })
    }
}

impl Cancel<'_> {
    pub fn cancel(self) -> Result<SaleOp, WireError> {
        Ok(SaleOp::Cancel { order: name(&self.order.0, "order")?, items: items_opt(self.items.as_deref(), "items")? })
    }
}

impl Block<'_> {
    pub fn block(self) -> Result<SaleOp, WireError> {
        Ok(SaleOp::Block { reason: self.why()?, items: items(&self.items, "items")? })
    }

    pub fn unblock(self) -> Result<SaleOp, WireError> {
        Ok(SaleOp::Unblock { reason: self.why()?, items: items(&self.items, "items")? })
    }

    fn why(&self) -> Result<Option<String>, WireError> {
        self.reason.as_ref().map(|reason| Ok(text(&reason.0, "reason")?.to_string())).transpose()
    }
}
