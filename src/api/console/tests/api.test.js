import assert from "node:assert/strict";
import { test } from "node:test";
import { Command, PATIENCE_MS, outcomeOf, randomId } from "../api.js";

/** Runs one command against scripted answers; time passes only in its pauses. */
async function run(answers, options = {}) {
  const asked = [];
  const pauses = [];
  let now = 0;
  const env = {
    random: () => 1,
    now: () => now,
    sleep: async (ms) => {
      pauses.push(ms);
      now += ms;
    },
    request: async (method, path, { key, body }) => {
      asked.push({ method, path, key, body });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer === "cut") throw new TypeError("network");
      const { status, headers = {}, ...rest } = answer;
      return { status, body: rest.body ?? rest, headers: new Headers(headers) };
    },
  };
  const command = new Command({ path: "v1/events/e/reserve", body: { a: 1 }, key: "k" }, { env, ...options });
  const answer = await command.run();
  return { answer, asked, pauses };
}

const held = { status: 201, body: { outcome: "applied", token: "t" } };
const unknown = { status: 504, outcome: "unknown", code: "unknown", retryable: true };
const noLeader = {
  status: 503,
  outcome: "not_applied",
  code: "no_leader",
  retryable: true,
  headers: { "Retry-After": "3" },
};
const early = { status: 409, outcome: "not_applied", code: "seat_booked", retryable: false };
const no = { status: 409, outcome: "rejected", code: "seat_held", retryable: false };

test("a definite answer is final", async () => {
  for (const [given, outcome] of [
    [held, "applied"],
    [no, "rejected"],
    [early, "not_applied"],
  ]) {
    const { answer, asked } = await run([given]);
    assert.equal(answer.outcome, outcome);
    assert.equal(asked.length, 1);
  }
});

test("unknown is asked again with the same key and body until it is definite", async () => {
  const replay = { ...held, headers: { "Idempotency-Replayed": "true" } };
  const { answer, asked } = await run([unknown, "cut", { status: 500, headers: {} }, replay]);
  assert.equal(answer.outcome, "applied");
  assert.equal(answer.replayed, true);
  assert.equal(asked.length, 4);
  assert.ok(asked.every((one) => one.key === "k" && one.body.a === 1));
});

test("no leader: asked again after Retry-After, shown when patience ends", async () => {
  const { pauses, answer } = await run([noLeader, held]);
  assert.deepEqual(pauses, [3000]);
  assert.equal(answer.outcome, "applied");
  const given = await run([noLeader]);
  assert.equal(given.answer.outcome, "not_applied");
  assert.ok(given.pauses.reduce((a, b) => a + b) >= PATIENCE_MS);
});

test("unknown, then no leader, stays unknown: asked on beyond any patience", async () => {
  const { answer, asked } = await run([unknown, ...Array(30).fill(noLeader), held]);
  assert.equal(answer.outcome, "applied");
  assert.equal(asked.length, 32);
});

test("unknown, then a refusal without effect, is settled by voiding the key", async () => {
  const { answer, asked } = await run([unknown, early, { status: 200, body: { voided: true } }]);
  assert.deepEqual([answer.outcome, answer.body.code], ["not_applied", "seat_booked"]);
  assert.equal(asked[2].path, "v1/outcomes/k/void");
});

test("the void tells what had happened", async () => {
  const recorded = { status: 200, body: { voided: false, status: 201, body: { outcome: "applied", token: "t" } } };
  const { answer } = await run([unknown, early, "cut", noLeader, recorded]);
  assert.deepEqual([answer.outcome, answer.status, answer.body.token, answer.replayed], ["applied", 201, "t", true]);
});

test("a void that is refused for good leaves it unknown", async () => {
  const { answer } = await run([unknown, early, { status: 403, outcome: "not_applied", retryable: false }]);
  assert.equal(answer.outcome, "unknown");
});

test("taken up after a reload, a refusal without effect says nothing", async () => {
  const { answer, asked } = await run(
    [early, { status: 200, body: { voided: false, ...{ status: 201, body: held.body } } }],
    { unknown: true },
  );
  assert.equal(asked.length, 2);
  assert.equal(answer.outcome, "applied");
});

test("an answer nobody can read is unknown", () => {
  assert.equal(outcomeOf({ status: 200, body: null }), "unknown");
  assert.equal(outcomeOf({ status: 502, body: null }), "unknown");
  assert.equal(outcomeOf({ status: 404, body: null }), "unknown");
});

test("ids are allowed in keys and orders, and differ", () => {
  assert.match(randomId("order-"), /^order-[a-z2-9]{20}$/);
  assert.notEqual(randomId(""), randomId(""));
});
