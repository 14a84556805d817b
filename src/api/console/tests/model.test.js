// node --test src/api/console/tests/

import assert from "node:assert/strict";
import { test } from "node:test";
import { ALARMS_MAX, EventModel, RECENT_MAX, summary } from "../model.js";

const totals = { capacity: 12, held: 0, booked: 0, blocked: 0, available: 12 };
const seat = (id, status = "free") => ({
  id,
  status,
  section: "Stalls",
  row: "A",
  number: 1,
  category: "premium",
  x: 1,
  y: 2,
});

function synced(version = 5) {
  const model = new EventModel();
  model.take(
    "snapshot",
    { version, revision: 50, seats: [seat("A-1"), seat("A-2", "booked")], pools: [], totals },
    true,
  );
  model.take("snapshot", {
    version,
    revision: 50,
    seats: [seat("A-3")],
    pools: [{ id: "floor", capacity: 9, available: 9, name: "Floor" }],
    totals,
  });
  assert.deepEqual(model.take("synced", { version }), { all: true });
  return model;
}

const change = (version, changes, more = {}) => ({
  event: "e",
  version,
  revision: version + 100,
  cause: "reserve",
  changes,
  totals,
  ...more,
});

test("a snapshot in several messages is one state, in definition order", () => {
  const model = synced();
  assert.equal(model.version, 5);
  assert.deepEqual(model.seats.ids, ["A-1", "A-2", "A-3"]);
  assert.deepEqual(model.seats.count(), [2, 0, 1, 0]);
  assert.equal(model.seats.describe(0), "Stalls, row A, seat 1");
  assert.equal(model.alarms.count, 0);
});

test("nothing is shown of a snapshot before it is complete", () => {
  const model = synced();
  model.take("snapshot", { version: 9, revision: 60, seats: [seat("B-1")], pools: [] }, true);
  assert.deepEqual(model.seats.ids, ["A-1", "A-2", "A-3"]);
  model.take("snapshot", { version: 9, revision: 60, seats: [seat("B-2")], pools: [] }, true);
  model.take("synced", { version: 9 });
  assert.deepEqual(model.seats.ids, ["B-2"], "a snapshot that broke off leaves nothing behind");
});

test("changes put absolute values in place and keep what they do not name", () => {
  const model = synced();
  const pool = { pool: "floor", capacity: 9, held: 2, booked: 1, blocked: 0, available: 6 };
  const touched = model.take("change", change(6, [{ seat: "A-1", status: "held" }, pool]));
  assert.deepEqual(touched, { seats: [0], pools: ["floor"], redefined: false, resync: false });
  assert.equal(model.seats.status(0), "held");
  assert.deepEqual(model.pools.get("floor"), {
    id: "floor",
    name: "Floor",
    capacity: 9,
    held: 2,
    booked: 1,
    blocked: 0,
    available: 6,
  });
  assert.equal(model.revision, 106);
});

test("a gap raises an alarm, asks for a snapshot and applies nothing", () => {
  const model = synced();
  assert.deepEqual(model.take("change", change(8, [{ seat: "A-1", status: "held" }])), { resync: true });
  assert.equal(model.seats.status(0), "free");
  assert.match(model.alarms.list[0], /6 is missing: 8 came after 5/);
});

test("a repeat raises an alarm", () => {
  const model = synced();
  model.take("change", change(6, []));
  assert.deepEqual(model.take("change", change(6, [])), { resync: true });
  assert.match(model.alarms.list[0], /6 came again after 6/);
});

test("a bookmark that is not where we are raises an alarm", () => {
  const model = synced();
  assert.equal(model.take("bookmark", { version: 5 }), null);
  assert.deepEqual(model.take("bookmark", { version: 7 }), { resync: true });
  assert.equal(model.alarms.count, 1);
});

test("a snapshot older than what was seen raises an alarm", () => {
  const model = synced(9);
  model.take("snapshot", { version: 3, seats: [], pools: [] }, true);
  model.take("synced", { version: 3 });
  assert.match(model.alarms.list[0], /went back from 9 to 3/);
});

test("a newer snapshot after a compacted position is no gap", () => {
  const model = synced(5);
  model.take("snapshot", { version: 90, seats: [seat("A-1")], pools: [] }, true);
  model.take("synced", { version: 90 });
  assert.equal(model.take("change", change(91, [])).resync, false);
  assert.equal(model.alarms.count, 0);
});

test("a definition asks for a snapshot; a mere switch of on_sale only for the event", () => {
  const model = synced();
  assert.equal(model.take("change", change(6, [], { cause: "define" })).resync, false);
  const touched = model.take("change", change(7, [{ seat: "A-1", status: "removed" }], { cause: "define" }));
  assert.equal(touched.resync, true);
  assert.equal(touched.redefined, true);
});

test("a seat nobody knows asks for a snapshot", () => {
  assert.equal(synced().take("change", change(6, [{ seat: "Z-9", status: "held" }])).resync, true);
});

test("a deleted event says so, and its version goes on when it is defined again", () => {
  const model = synced();
  assert.deepEqual(model.take("change", change(6, [], { cause: "delete" })), { deleted: true });
  assert.equal(model.deleted, true);
  assert.equal(model.take("change", change(7, [{ seat: "N-1", status: "free" }], { cause: "define" })).resync, true);
  assert.equal(model.alarms.count, 0);
});

test("lists are bounded", () => {
  const model = synced();
  for (let version = 6; version < 200; version++) model.take("change", change(version, []));
  assert.equal(model.recent.length, RECENT_MAX);
  assert.equal(model.recent[0].version, 199);
  for (let i = 0; i < 100; i++) model.take("change", change(1, []));
  assert.equal(model.alarms.list.length, ALARMS_MAX);
  assert.equal(model.alarms.count, 100);
});

test("a table grows beyond its first size", () => {
  const model = new EventModel();
  const seats = Array.from({ length: 5000 }, (_, i) => seat(`S-${i}`, i % 2 ? "booked" : "free"));
  model.take("snapshot", { version: 1, seats, pools: [] }, true);
  model.take("synced", { version: 1 });
  assert.deepEqual(model.seats.count(), [2500, 0, 2500, 0]);
});

test("a summary names a few items and counts the rest", () => {
  const seats = Array.from({ length: 6 }, (_, i) => ({ seat: `A-${i}`, status: "held" }));
  assert.equal(summary(seats), "A-0, A-1, A-2, A-3 held and 2 more");
  assert.equal(
    summary([
      { seat: "A-1", status: "held" },
      { pool: "floor", available: 1200, capacity: 5000 },
    ]),
    "A-1 held, floor 1,200 of 5,000 available",
  );
  assert.equal(summary([]), "no seat or pool changed");
});
