#![allow(clippy::unwrap_used)]
use lastseat_client::{SeatDefinition, SeatNumber};

use super::*;

const OWN: &str = r#"{
 "name": "Lakeside Festival 2027", "on_sale": true, "seats": [],
 "pools": [
  {"id": "weekend", "capacity": 60000, "category": "standard", "name": "Weekend ticket"},
  {"id": "vip", "capacity": 800, "category": "vip", "name": "VIP"}
 ],
 "hold": {"ttl_ms": 600000, "max_ttl_ms": 3600000},
 "limits": {"per_customer": 6}
}"#;

const CSV: &str = "seat,section,row,number,category,x,y
101-1-1,101,1,1,Lower,520.0,1.5
101-1-2,101,1,12a,Lower,520.0,4.5
101-1-0,,,,,,
";

const PRETIX: &str = r##"{"name": "Old Court", "size": {"width": 2000, "height": 1600}, "uuid": "x",
 "categories": [{"name": "Premium", "color": "#b2182b"}],
 "zones": [
  {"name": "Stalls", "position": {"x": 100, "y": 10}, "displayed": true, "areas": [], "rows": [
    {"row_number": "A", "row_label": "left", "position": {"x": 5, "y": 1}, "seats": [
      {"seat_guid": "g-1", "seat_number": "1", "position": {"x": 0.5, "y": 0}, "category": "Premium"},
      {"seat_guid": "g-2", "seat_number": "2b", "position": {"x": 20.5, "y": 0}, "category": "Premium"}]},
    {"row_number": "B", "seats": [
      {"seat_guid": "g-0", "seat_number": "007", "position": {"x": 1, "y": 2}, "category": "Premium"}]}]}]}"##;

fn error_of(text: &str) -> String {
    read(text.as_bytes(), "Name").unwrap_err().to_string()
}

#[test]
fn our_own_json_is_taken_as_it_is() {
    let imported = read(OWN.as_bytes(), "Name").unwrap();
    assert_eq!(imported.kind, Kind::Own);
    let definition = imported.definition;
    assert_eq!(definition.name, "Lakeside Festival 2027");
    assert_eq!(definition.on_sale, Some(true));
    assert_eq!((definition.pools[1].id.as_str(), definition.pools[1].capacity), ("vip", 800));
    assert_eq!(definition.hold.unwrap().max_ttl_ms, Some(3_600_000));
    assert_eq!(definition.limits.unwrap().per_customer, Some(6));
}

#[test]
fn unknown_fields_of_our_own_json_are_refused_by_name_and_line() {
    for (from, to) in [
        ("\"on_sale\"", "\"onsale\""),
        ("\"capacity\": 800", "\"capacity\": 800, \"price\": 3"),
        ("\"max_ttl_ms\"", "\"max\""),
        ("\"per_customer\"", "\"per_buyer\""),
    ] {
        let error = error_of(&OWN.replace(from, to));
        assert!(error.contains("unknown field") && error.contains("line"), "{error}");
    }
    assert!(error_of(&OWN.replace("\"vip\", \"capacity\"", "\"weekend\", \"capacity\"")).contains("twice"));
    assert!(error_of("{\"pools\": []}").contains("name"));
}

#[test]
fn csv_keeps_the_order_of_the_file() {
    let imported = read(CSV.as_bytes(), "Arena").unwrap();
    assert_eq!(imported.kind, Kind::Csv);
    let seats = imported.definition.seats;
    assert_eq!(imported.definition.name, "Arena");
    assert_eq!(seats.iter().map(|seat| seat.id.as_str()).collect::<Vec<_>>(), ["101-1-1", "101-1-2", "101-1-0"]);
    assert_eq!(seats[0].number, Some(SeatNumber::Number(1)));
    assert_eq!(seats[1].number, Some(SeatNumber::Text("12a".into())));
    assert_eq!((seats[1].x, seats[1].y), (Some(520.0), Some(4.5)));
    assert_eq!(seats[2], SeatDefinition { id: "101-1-0".into(), ..SeatDefinition::default() });
}

#[test]
fn csv_columns_may_stand_in_any_order_after_a_byte_order_mark() {
    let text = "\u{feff}y,x,seat,section,row,number,category\r\n2,1,\"A 1\",\"Left, low\",A,1,std\r\n";
    let seat = read(text.as_bytes(), "Arena").unwrap().definition.seats.remove(0);
    assert_eq!(
        (seat.id.as_str(), seat.section.as_deref(), seat.x, seat.y),
        ("A 1", Some("Left, low"), Some(1.0), Some(2.0))
    );
}

#[test]
fn csv_errors_name_the_line_and_what_to_do() {
    for (from, to, expected) in [
        (",category", "", "line 1: column \"category\" is missing"),
        ("category", "price", "line 1: column \"price\" is not known"),
        ("520.0,1.5", "520.0,far", "line 2, seat 101-1-1: y is \"far\""),
        ("520.0,1.5", "NaN,1.5", "line 2, seat 101-1-1: x is \"NaN\""),
        ("Lower,520.0,1.5", "520.0,1.5", "line 2: it has 6 values"),
        ("101-1-2,", "101-1-1,", "line 3: seat \"101-1-1\" is already on line 2"),
        ("101-1-2,", ",", "line 3: \"\" cannot be the id of a seat"),
        ("101-1-2,", "101/2,", "line 3: \"101/2\" cannot be the id of a seat"),
    ] {
        let error = error_of(&CSV.replacen(from, to, 1));
        assert!(error.contains(expected), "{expected:?} not in {error:?}");
    }
    assert!(error_of("seat,section,row,number,category,x,y\n").contains("no seat"));
    assert!(error_of(" \n").contains("empty"));
    assert!(error_of("[1]").contains("object"));
    assert!(read(&[b's', 0xff], "Name").unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn a_pretix_plan_becomes_seats_with_positions_added_up() {
    let imported = read(PRETIX.as_bytes(), "Name").unwrap();
    assert_eq!(imported.kind, Kind::Pretix);
    assert_eq!(imported.definition.name, "Old Court");
    let seats = imported.definition.seats;
    assert_eq!(seats.iter().map(|seat| seat.id.as_str()).collect::<Vec<_>>(), ["g-1", "g-2", "g-0"]);
    let first = &seats[0];
    assert_eq!((first.section.as_deref(), first.row.as_deref()), (Some("Stalls"), Some("A")));
    assert_eq!((first.x, first.y), (Some(105.5), Some(11.0)));
    assert_eq!(first.number, Some(SeatNumber::Number(1)));
    assert_eq!(first.category.as_deref(), Some("Premium"));
    assert_eq!(seats[1].number, Some(SeatNumber::Text("2b".into())));
    // A row without a position stands where its zone does; a label with a zero in front stays what is on the seat.
    assert_eq!((seats[2].x, seats[2].y), (Some(101.0), Some(12.0)));
    assert_eq!(seats[2].number, Some(SeatNumber::Text("007".into())));
}

#[test]
fn a_pretix_plan_with_a_seat_twice_or_without_id_is_refused() {
    let error = error_of(&PRETIX.replace("g-0", "g-1"));
    assert!(error.contains("\"g-1\" is there twice") && error.contains("row A") && error.contains("row B"), "{error}");
    let error = error_of(&PRETIX.replace("\"seat_guid\": \"g-2\", ", ""));
    assert!(error.contains("zone Stalls, row A, seat 2") && error.contains("seat_guid"), "{error}");
    assert!(error_of(r#"{"zones": []}"#).contains("no seat"));
    assert!(error_of(r#"{"zones": 3}"#).contains("pretix"));
}
