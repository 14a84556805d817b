// The small modules: advice, curl, layout, rates, the auditor, the model of the group.

import assert from "node:assert/strict";
import { test } from "node:test";
import { advice, keepFree } from "../advice.js";
import { ApiError } from "../api.js";
import { Auditor } from "../auditor.js";
import { curl, quote } from "../curl.js";
import { GroupModel } from "../group.js";
import { Layout, sections } from "../layout.js";
import { SeatTable } from "../model.js";
import { rgb } from "../raster.js";
import { Rate, SECONDS } from "../rate.js";

test("every conflict is a line that says what to do", () => {
  const conflicts = [
    { seat: "A-1", status: "booked" },
    { seat: "A-2", status: "held" },
    { pool: "vip", available: 1, requested: 2 },
    { pool: "day", available: 0, requested: 2 },
  ];
  const lines = advice({ conflicts }, (pool) => pool.toUpperCase());
  assert.equal(lines[0], "seat A-1 was just sold: choose another");
  assert.match(lines[1], /A-2 is held by someone else/);
  assert.equal(lines[2], "VIP: 1 is left, you asked for 2: take 1 or fewer");
  assert.match(lines[3], /0 are left.*choose something else/);
});

test("without conflicts the code speaks, and an unknown code its own words", () => {
  assert.match(advice({ code: "limit_exceeded", limit: 6, current: 4 })[0], /at most 6 .* you have 4/);
  assert.deepEqual(advice({ code: "never_heard_of", detail: "Do this." }), ["Do this."]);
  assert.equal(advice(null).length, 1);
});

test("a choice keeps what is still free", () => {
  const kept = keepFree(
    {
      seats: ["A-1", "A-2"],
      pools: new Map([
        ["vip", 3],
        ["day", 2],
      ]),
    },
    [
      { seat: "A-1", status: "held" },
      { pool: "vip", available: 1, requested: 3 },
      { pool: "day", available: 0, requested: 2 },
    ],
  );
  assert.deepEqual([[...kept.seats], [...kept.pools]], [["A-2"], [["vip", 1]]]);
});

test("a curl is what was sent, safe to paste", () => {
  const line = curl(
    { method: "POST", path: "v1/events/a%20b/book", key: "k 1", body: { order: "it's; rm -rf" } },
    "http://h:1/",
  );
  assert.equal(
    line.replaceAll(" \\\n  ", " "),
    `curl -s http://h:1/v1/events/a%20b/book -H 'Content-Type: application/json' -H 'Idempotency-Key: k 1' -d '{"order":"it'\\''s; rm -rf"}'`,
  );
  assert.match(curl({ method: "POST", path: "dev/nodes/1/kill" }, "http://h/"), /-X POST/);
  assert.equal(quote("$HOME"), "'$HOME'");
});

function table(rows) {
  const seats = new SeatTable();
  for (const row of rows) seats.add({ status: "free", ...row });
  return seats;
}

test("seats without coordinates stand in rows, section beside section, none on another", () => {
  const rows = [];
  for (const section of ["L", "R"])
    for (let i = 0; i < 60; i++) rows.push({ id: `${section}${i}`, section, row: String(Math.floor(i / 10)) });
  rows.push(...Array.from({ length: 30 }, (_, i) => ({ id: `S${i}` })));
  const layout = new Layout(table(rows));
  const places = new Set(rows.map((_, i) => `${layout.x[i]},${layout.y[i]}`));
  assert.equal(places.size, rows.length);
  assert.equal(layout.y[0], layout.y[9]);
  assert.equal(layout.x[1] - layout.x[0], 1);
  assert.ok(Math.abs(layout.pitch - 1) < 0.01);
});

test("the nearest seat is found, and only within reach", () => {
  const rows = Array.from({ length: 5000 }, (_, i) => ({ id: `${i}`, x: (i % 100) * 3, y: Math.floor(i / 100) * 4 }));
  const layout = new Layout(table(rows));
  assert.equal(layout.nearest(150.9, 80.9, 2), 20 * 100 + 50);
  assert.equal(layout.nearest(151.5, 82, 1), -1);
  assert.equal(layout.nearest(-1000, -1000, 5), -1);
  assert.equal(layout.pitch, 3);
  const seen = new Set();
  layout.within(-Infinity, -Infinity, Infinity, Infinity, (i) => seen.add(i));
  assert.equal(seen.size, 5000);
});

test("seats on one spot, one seat, and none are drawn somewhere finite", () => {
  for (const rows of [
    [],
    [{ id: "a", x: 5, y: 5 }],
    [
      { id: "a", x: 5, y: 5 },
      { id: "b", x: 5, y: 5 },
    ],
  ]) {
    const layout = new Layout(table(rows));
    assert.ok(layout.pitch > 0 && Number.isFinite(layout.pitch));
    assert.ok(Number.isFinite(layout.box.right));
  }
});

test("sections and rows keep the order of the definition", () => {
  const found = sections(
    table([
      { id: "1", section: "B", row: "2" },
      { id: "2", section: "A", row: "1" },
      { id: "3", section: "B", row: "1" },
      { id: "4", section: "B", row: "2" },
    ]),
  );
  assert.deepEqual(
    found.map(({ name, rows }) => [name, [...rows]]),
    [
      [
        "B",
        [
          ["2", [0, 3]],
          ["1", [2]],
        ],
      ],
      ["A", [["1", [1]]]],
    ],
  );
});

test("a colour of the sheet is three bytes", () => assert.deepEqual(rgb("#23806a"), [0x23, 0x80, 0x6a]));

test("a rate is the mean of the last whole seconds, and forgets after a minute", () => {
  const rate = new Rate();
  for (let second = 0; second < 5; second++) rate.add(30, second * 1000 + 10);
  assert.equal(rate.now(5000), 30);
  assert.equal(rate.series(5000).length, SECONDS - 1);
  assert.equal(rate.series(5000).at(-1), 30);
  assert.equal(rate.now(7000), 10);
  assert.deepEqual(new Set(rate.series(500_000)), new Set([0]));
});

const groupChange = (revision, event, booked, cause = "book", changes = [{ seat: "A-1", status: "booked" }]) => ({
  revision,
  cause,
  events: [{ event, version: 1, changes, totals: { booked } }],
});

test("booked units are the difference of absolute totals", () => {
  const group = new GroupModel();
  assert.deepEqual(group.take("change", groupChange(5, "e", 10)), { changes: 1, booked: 1 });
  assert.deepEqual(group.take("change", groupChange(6, "e", 14)), { changes: 1, booked: 4 });
  assert.equal(group.take("change", groupChange(7, "e", 12, "cancel")).booked, 0);
  assert.equal(
    group.take("change", groupChange(8, "f", 900, "reserve", [])).booked,
    0,
    "seen first: its stock is not news",
  );
});

test("a missing revision is an alarm; a stream begun anew is none", () => {
  const group = new GroupModel();
  group.take("bookmark", { revision: 4 });
  group.take("change", groupChange(6, "e", 1));
  assert.equal(group.alarms.count, 1);
  group.take("bookmark", { revision: 9 });
  assert.equal(group.alarms.count, 2);
  group.take("change", groupChange(10, "e", 1));
  group.restart();
  group.take("change", groupChange(100, "e", 1));
  assert.equal(group.alarms.count, 2);
});

test("the auditor pages through all events and keeps what it found wrong", async () => {
  let oversold = 1;
  const audit = () => ({
    version: 3,
    capacity: 10,
    booked: 4,
    held: 1,
    oversold,
    violations: oversold ? ["seat A-1 twice"] : [],
  });
  const pages = {
    "v1/events?limit=100": { events: [{ event: "a" }], next: "a" },
    "v1/events?limit=100&after=a": { events: [{ event: "b" }, { event: "gone" }], next: null },
  };
  const read = async (path) => {
    if (path.includes("/gone/")) throw new ApiError(404, {}, null);
    return { body: pages[path] ?? audit() };
  };
  const auditor = new Auditor({ read, sleep: async () => {}, hidden: () => false });
  await auditor.round();
  assert.deepEqual(auditor.sums, { events: 2, units: 20, booked: 8, held: 2, oversold: 2, violations: 2 });
  oversold = 0;
  await auditor.round();
  assert.equal(auditor.sums.oversold, 0);
  assert.equal(auditor.findings.length, 4, "a finding stays, once");
});
