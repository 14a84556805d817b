//! Best available, read from the fine print: rows in definition order, lowest position first, no orphan if possible.

use lastseat::domain::id::SeatId;
use lastseat::domain::outcome::{Code, Conflict};
use lastseat::domain::value::{SeatDef, SeatStatus, Text};

use super::{Event, Nos};

/// The seats chosen, or why none.
pub fn best(
    event: &Event,
    quantity: u64,
    section: Option<&Text>,
    category: Option<&Text>,
    contiguous: bool,
) -> Result<Vec<SeatId>, Nos> {
    let fits = |def: &SeatDef| {
        section.is_none_or(|section| def.section.as_ref() == Some(section))
            && category.is_none_or(|category| def.category.as_ref() == Some(category))
    };
    let free = |def: &SeatDef| event.status(&def.id) == SeatStatus::Free;
    let wanted: Vec<&SeatDef> = event.seats.iter().filter(|def| fits(def) && free(def)).collect();
    let mut nos = Nos::default();
    if (wanted.len() as u64) < quantity {
        nos.conflict(Code::Insufficient, Conflict::Best { available: wanted.len() as u64, requested: quantity });
        return Err(nos);
    }
    let size = usize::try_from(quantity).expect("no more than there are seats");
    for orphans_allowed in [false, true] {
        for row in rows(event) {
            for start in 0..(row.len() + 1).saturating_sub(size) {
                let block = &row[start..start + size];
                if !block.iter().all(|def| fits(def) && free(def)) {
                    continue;
                }
                if orphans_allowed || !leaves_orphan(event, &row, start, size) {
                    return Ok(block.iter().map(|def| def.id.clone()).collect());
                }
            }
        }
    }
    if contiguous {
        nos.no(Code::NotContiguous);
        return Err(nos);
    }
    Ok(wanted.iter().take(size).map(|def| def.id.clone()).collect())
}

/// Seats of one section and row are neighbours in definition order; a seat without a row stands alone.
fn rows(event: &Event) -> Vec<Vec<&SeatDef>> {
    let mut rows: Vec<Vec<&SeatDef>> = Vec::new();
    for def in &event.seats {
        let same =
            |row: &&mut Vec<&SeatDef>| def.row.is_some() && row[0].section == def.section && row[0].row == def.row;
        match rows.iter_mut().find(same) {
            Some(row) => row.push(def),
            None => rows.push(vec![def]),
        }
    }
    rows
}

/// Does taking the block leave one free seat alone, between it and a taken seat or the end of the row?
fn leaves_orphan(event: &Event, row: &[&SeatDef], start: usize, size: usize) -> bool {
    let free = |at: usize| row.get(at).is_some_and(|def| event.status(&def.id) == SeatStatus::Free);
    let left = start >= 1 && free(start - 1) && (start == 1 || !free(start - 2));
    let end = start + size;
    let right = free(end) && !free(end + 1);
    left || right
}
