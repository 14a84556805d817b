//! The best seats, chosen the same way on every node.
//!
//! Neighbours are consecutive, in definition order, among the seats of one section and row; a seat without a row stands
//! alone. Rows come in definition order, within a row the lowest position wins. A first pass takes only blocks that
//! leave no single free seat beside them (between taken seats, or at an end of the row), a second pass any block.

use std::collections::BTreeMap;

use super::event::{Event, EventCore};
use crate::domain::value::Text;

/// The rows of an event, with how many of their seats are free. Derived.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    row_of: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    seats: Vec<u32>,
    free: u32,
}

impl Rows {
    fn new(core: &EventCore) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut row_of = Vec::with_capacity(core.seat_total() as usize);
        let mut named: BTreeMap<(Option<Text>, Text), u32> = BTreeMap::new();
        for at in 0..core.seat_total() {
            let (section, row) = place_of(core, at);
            let next = u32::try_from(rows.len()).expect("no more rows than seats");
            let no = row.map_or(next, |row| *named.entry((section, row)).or_insert(next));
            if no == next {
                rows.push(Row { seats: Vec::new(), free: 0 });
            }
            let row = &mut rows[no as usize];
            row.seats.push(at);
            row.free += u32::from(core.seat_state(at).is_free());
            row_of.push(no);
        }
        rows.iter_mut().for_each(|row| row.seats.shrink_to_fit());
        Self { rows, row_of }
    }

    /// A seat became free, or is no longer.
    pub(super) fn seat_moved(&mut self, at: u32, was_free: bool, is_free: bool) {
        let row = &mut self.rows[self.row_of[at as usize] as usize];
        row.free = row.free + u32::from(is_free) - u32::from(was_free);
    }
}

fn place_of(core: &EventCore, at: u32) -> (Option<Text>, Option<Text>) {
    let block = &core.seat_defs[at as usize / super::seats::SEATS_A_BLOCK];
    let at = at as usize % super::seats::SEATS_A_BLOCK;
    (block.section(at).cloned(), block.row(at).cloned())
}

/// Why there is no choice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoBest {
    /// Fewer free seats than asked for.
    TooFew { available: u64 },
    /// Enough, but not side by side.
    NotContiguous,
}

/// What is asked for.
pub(super) struct Wish<'a> {
    pub(super) quantity: u64,
    pub(super) section: Option<&'a Text>,
    pub(super) category: Option<&'a Text>,
    pub(super) contiguous: bool,
}

impl Wish<'_> {
    fn fits(&self, core: &EventCore, at: u32) -> bool {
        let block = &core.seat_defs[at as usize / super::seats::SEATS_A_BLOCK];
        let at = at as usize % super::seats::SEATS_A_BLOCK;
        self.section.is_none_or(|s| block.section(at) == Some(s))
            && self.category.is_none_or(|c| block.category(at) == Some(c))
    }
}

/// Positions of the best seats.
pub(super) fn choose(event: &Event, wish: &Wish<'_>) -> Result<Vec<u32>, NoBest> {
    let core = &event.core;
    let rows = event.rows.get_or_init(|| Rows::new(core));
    let quantity = usize::try_from(wish.quantity).unwrap_or(usize::MAX);
    if let Some(block) = choose_block(core, rows, quantity, wish) {
        return Ok(block);
    }
    let fits = |at: &u32| core.seat_state(*at).is_free() && wish.fits(core, *at);
    let with_room = rows.rows.iter().filter(|row| row.free > 0);
    let available = with_room.flat_map(|row| row.seats.iter().copied()).filter(|at| fits(at)).count();
    if available < quantity {
        return Err(NoBest::TooFew { available: available as u64 });
    }
    if wish.contiguous {
        return Err(NoBest::NotContiguous);
    }
    Ok((0..core.seat_total()).filter(|at| fits(at)).take(quantity).collect())
}

fn choose_block(core: &EventCore, rows: &Rows, quantity: usize, wish: &Wish<'_>) -> Option<Vec<u32>> {
    let mut second: Option<Vec<u32>> = None;
    for row in rows.rows.iter().filter(|row| row.free as usize >= quantity) {
        let free: Vec<bool> = row.seats.iter().map(|at| core.seat_state(*at).is_free()).collect();
        let fits: Vec<bool> = free.iter().zip(&row.seats).map(|(free, at)| *free && wish.fits(core, *at)).collect();
        let (clean, any) = blocks_of(&free, &fits, quantity);
        let seats = |start: usize| row.seats[start..start + quantity].to_vec();
        if let Some(start) = clean {
            return Some(seats(start));
        }
        if second.is_none() {
            second = any.map(seats);
        }
    }
    second
}

/// Where in a row the first block starts that leaves no orphan, and the first block at all.
fn blocks_of(free: &[bool], fits: &[bool], quantity: usize) -> (Option<usize>, Option<usize>) {
    let is_free = |at: Option<usize>| at.and_then(|at| free.get(at)).copied().unwrap_or(false);
    let mut any = None;
    let mut run = 0;
    for (end, fit) in fits.iter().enumerate() {
        run = if *fit { run + 1 } else { 0 };
        if run < quantity {
            continue;
        }
        let start = end + 1 - quantity;
        let orphan_before = is_free(start.checked_sub(1)) && !is_free(start.checked_sub(2));
        let orphan_after = is_free(Some(end + 1)) && !is_free(Some(end + 2));
        if !orphan_before && !orphan_after {
            return (Some(start), any.or(Some(start)));
        }
        any = any.or(Some(start));
    }
    (None, any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::inventory::LastVersions;
    use crate::domain::inventory::seats::SeatState;
    use crate::domain::inventory::tests::{head, row_seat};
    use crate::domain::value::{Millis, Revision, SeatDef};

    /// Rows drawn as text, one a line: `.` free, `x` taken. A row named `-` is no row.
    fn drawn(rows: &[(&str, &str)]) -> Event {
        let mut defs: Vec<SeatDef> = Vec::new();
        let mut states = Vec::new();
        for (row, seats) in rows {
            for (number, seat) in seats.chars().enumerate() {
                let mut def = row_seat(row, number);
                def.row = def.row.filter(|row| &**row != "-");
                def.category = (seat.is_ascii_uppercase()).then(|| "gold".into());
                defs.push(def);
                states.push(if matches!(seat, '.' | 'G') { SeatState::FREE } else { SeatState::BLOCKED });
            }
        }
        let id = crate::domain::inventory::tests::event();
        let mut core = EventCore::new(id, head(None), LastVersions::default(), Millis(0), Revision(1));
        core.lay_seats(&defs, &states);
        Event::new(core).expect("no orders")
    }

    fn best(event: &Event, quantity: u64, contiguous: bool) -> Result<String, NoBest> {
        pick(event, &Wish { quantity, section: None, category: None, contiguous })
    }

    fn pick(event: &Event, wish: &Wish<'_>) -> Result<String, NoBest> {
        let names = |seats: Vec<u32>| {
            let names: Vec<&str> = seats.into_iter().map(|at| event.core.seat_id(at).as_str()).collect();
            names.join(" ")
        };
        choose(event, wish).map(names)
    }

    #[test]
    fn the_first_row_and_the_lowest_position_win() {
        let event = drawn(&[("A", "x...."), ("B", ".....")]);
        assert_eq!(best(&event, 2, true), Ok("A-1 A-2".into()));
        assert_eq!(best(&event, 5, true), Ok("B-0 B-1 B-2 B-3 B-4".into()));
    }

    #[test]
    fn a_later_block_is_better_than_a_single_free_seat_left_over() {
        assert_eq!(best(&drawn(&[("A", "...x"), ("B", "..")]), 2, true), Ok("B-0 B-1".into()));
        assert_eq!(best(&drawn(&[("A", ".....x")]), 2, true), Ok("A-0 A-1".into()), "three left over are no orphan");
        assert_eq!(best(&drawn(&[("A", "....")]), 1, true), Ok("A-0".into()));
        assert_eq!(best(&drawn(&[("A", "...")]), 2, true), Ok("A-0 A-1".into()), "no other choice");
        assert_eq!(best(&drawn(&[("A", "x.x....")]), 2, true), Ok("A-3 A-4".into()), "that one was single before");
        assert_eq!(best(&drawn(&[("A", "x..x"), ("B", "..x.")]), 1, true), Ok("B-3".into()));
    }

    #[test]
    fn seats_without_a_row_have_no_neighbours() {
        let event = drawn(&[("-", "..."), ("A", "..")]);
        assert_eq!(best(&event, 2, true), Ok("A-0 A-1".into()));
        assert_eq!(best(&event, 1, true), Ok("--0".into()));
        assert_eq!(best(&event, 3, true), Err(NoBest::NotContiguous));
        assert_eq!(best(&event, 3, false), Ok("--0 --1 --2".into()));
        assert_eq!(best(&event, 6, false), Err(NoBest::TooFew { available: 5 }));
    }

    #[test]
    fn a_row_is_one_even_when_others_stand_between_its_parts() {
        let event = drawn(&[("A", ".x"), ("B", "x")]);
        let (mut defs, mut states) = (event.core.seat_defs().collect::<Vec<_>>(), vec![SeatState::FREE; 3]);
        defs.swap(1, 2);
        states[1] = SeatState::BLOCKED;
        let mut core = event.core;
        core.lay_seats(&defs, &states);
        assert_eq!(best(&Event::new(core).expect("no orders"), 2, true), Ok("A-0 A-1".into()));
    }

    #[test]
    fn another_category_splits_a_row_but_its_free_seats_count_as_free() {
        let gold: Text = "gold".into();
        let wish = |quantity| Wish { quantity, section: None, category: Some(&gold), contiguous: true };
        let event = drawn(&[("A", "GG.GG")]);
        assert_eq!(pick(&event, &wish(3)), Err(NoBest::NotContiguous));
        assert_eq!(pick(&event, &wish(2)), Ok("A-0 A-1".into()));
        assert_eq!(pick(&event, &wish(5)), Err(NoBest::TooFew { available: 4 }));
        let nowhere: Text = "Balcony".into();
        let wish = Wish { quantity: 1, section: Some(&nowhere), category: None, contiguous: false };
        assert_eq!(pick(&event, &wish), Err(NoBest::TooFew { available: 0 }));
    }

    #[test]
    fn the_counts_of_rows_follow_the_seats() {
        let mut event = drawn(&[("A", ".."), ("B", "..")]);
        assert_eq!(best(&event, 2, true), Ok("A-0 A-1".into()));
        event.set_seat(0, SeatState::BLOCKED);
        assert_eq!(best(&event, 2, true), Ok("B-0 B-1".into()));
        event.set_seat(0, SeatState::FREE);
        assert_eq!(best(&event, 2, true), Ok("A-0 A-1".into()));
    }
}
