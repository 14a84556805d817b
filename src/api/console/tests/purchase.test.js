import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, Command } from "../api.js";
import { Purchase } from "../purchase.js";

class Store {
  map = new Map();
  getItem = (name) => this.map.get(name) ?? null;
  setItem = (name, value) => this.map.set(name, value);
}

const holdBody = (ms) => ({ outcome: "applied", token: "t", items: [{ seat: "A-1" }], expires_in_ms: ms });
const answer = (outcome, body, more) => ({
  outcome,
  status: 200,
  body,
  replayed: false,
  key: "k",
  sentAt: 1000,
  ...more,
});

/** A buyer whose commands are answered from a list and whose reads by `read`. */
function buyer(
  answers,
  {
    store = new Store(),
    read = async () => assert.fail("no read expected"),
    now = () => 1000,
    channel = () => null,
  } = {},
) {
  const sent = [];
  class Scripted {
    constructor(request, options) {
      sent.push({ ...request, unknown: options.unknown });
    }
    run = async () => answers.shift() ?? new Promise(() => {});
  }
  const purchase = new Purchase("e", { store, env: { read, now, Command: Scripted, channel } });
  return { purchase, sent, store };
}

test("a hold counts down from when it was asked for, not from a wall clock", async () => {
  let now = 1000;
  const { purchase } = buyer([answer("applied", holdBody(5000))], { now: () => now });
  await purchase.act("reserve", { items: [] });
  now = 2500;
  assert.equal(purchase.state.stage, "held");
  assert.equal(purchase.leftMs, 3500);
  assert.match(purchase.state.order, /^order-/);
});

test("a replayed answer is old: the hold is read for how long it still is", async () => {
  const read = async () => ({ body: holdBody(700) });
  const { purchase } = buyer([answer("applied", holdBody(5000), { replayed: true })], { read });
  await purchase.act("reserve", { items: [] });
  assert.equal(purchase.leftMs, 700);
});

test("a request is stored before it is sent, and asked again under its key after a reload", async () => {
  const first = buyer([answer("applied", holdBody(5000))]);
  await first.purchase.act("reserve", { items: [] });
  first.purchase.book();
  const { order, pending } = first.purchase.state;
  assert.equal(JSON.parse(first.store.getItem("lastseat.buyer.e")).pending.key, pending.key);

  const second = buyer([answer("applied", { order, items: [] })], { store: first.store });
  await second.purchase.resume();
  assert.deepEqual(second.sent, [{ ...pending, unknown: true }]);
  assert.equal(second.sent[0].body.order, order);
  assert.equal(second.purchase.state.stage, "booked");
  assert.equal(second.purchase.pending, null);
});

test("a hold survives a reload", async () => {
  const first = buyer([answer("applied", holdBody(5000))]);
  await first.purchase.act("reserve", { items: [] });
  const { purchase } = buyer([], { store: first.store, read: async () => ({ body: holdBody(4000) }) });
  await purchase.resume();
  assert.equal(purchase.state.stage, "held");
  assert.equal(purchase.state.hold.token, "t");
  assert.equal(purchase.leftMs, 4000);
  assert.equal(purchase.state.order, first.purchase.state.order);
});

test("a copied tab finds its state taken and is another buyer", async () => {
  const first = buyer([answer("applied", holdBody(5000))]);
  await first.purchase.act("reserve", { items: [] });
  const taken = first.purchase.state.tab;
  const channel = () => ({
    close() {},
    postMessage({ claim }) {
      if (claim === taken) queueMicrotask(() => this.onmessage({ data: { taken } }));
    },
  });
  const { purchase } = buyer([], { store: first.store, channel });
  await purchase.resume();
  assert.equal(purchase.state.stage, "choosing");
  assert.notEqual(purchase.state.customer, first.purchase.state.customer);
});

test("only the server ends a hold: silence does not, a 404 does", async () => {
  let error = new ApiError(0, null, null);
  const { purchase } = buyer([answer("applied", holdBody(0))], { read: async () => Promise.reject(error) });
  await purchase.act("reserve", { items: [] });
  await purchase.refresh();
  assert.equal(purchase.state.stage, "held");
  error = new ApiError(404, { code: "hold_not_found" }, null);
  await purchase.refresh();
  assert.equal(purchase.state.stage, "expired");
});

test("booking a lapsed hold says expired and keeps what is needed to book all the same", async () => {
  const lapsed = answer("rejected", { code: "hold_expired" }, { status: 409 });
  const { purchase, sent } = buyer([
    answer("applied", holdBody(5000)),
    lapsed,
    answer("applied", { order: "o", items: [] }),
  ]);
  await purchase.act("reserve", { items: [] });
  await purchase.book();
  assert.equal(purchase.state.stage, "expired");
  await purchase.book("rebook");
  assert.deepEqual(sent[2].body, { token: "t", order: sent[1].body.order, on_expired: "rebook" });
  assert.notEqual(sent[1].key, sent[2].key, "another request, another key");
  assert.equal(purchase.state.stage, "booked");
});

test("one request at a time", async () => {
  const { purchase, sent } = buyer([]);
  purchase.act("reserve", { items: [] });
  purchase.act("reserve", { items: [] });
  assert.equal(sent.length, 1);
});

test("a refusal leaves the stage as it was", async () => {
  const { purchase } = buyer([answer("rejected", { code: "seat_held" }), answer("unknown", null)]);
  await purchase.act("reserve", { items: [] });
  assert.equal(purchase.state.stage, "choosing");
  await purchase.act("reserve", { items: [] });
  assert.equal(purchase.state.stage, "choosing");
  assert.ok(Command, "the real one is what it uses by default");
});

test("letting go starts anew, with a new order id", async () => {
  const { purchase } = buyer([
    answer("applied", holdBody(1)),
    answer("applied", { released: [] }),
    answer("applied", holdBody(1)),
  ]);
  await purchase.act("reserve", { items: [] });
  const before = purchase.state.order;
  await purchase.act("release", { token: "t" });
  assert.deepEqual([purchase.state.stage, purchase.state.hold, purchase.leftMs], ["choosing", null, null]);
  await purchase.act("reserve", { items: [] });
  assert.notEqual(purchase.state.order, before);
});
