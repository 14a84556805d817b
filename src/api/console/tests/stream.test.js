import assert from "node:assert/strict";
import { test } from "node:test";
import { Parts, SseParser } from "../sse.js";
import {
  ChangeStream,
  GONE_RETRY_MS,
  RESYNC_PAUSE_MS,
  RETRY_LONGEST_MS,
  SILENCE_MS,
  backoffMs,
  retryAfterMs,
} from "../stream.js";

function parse(...chunks) {
  const seen = [];
  const parser = new SseParser((message) => seen.push(message));
  for (const chunk of chunks) parser.push(chunk);
  return seen;
}

test("messages are the same however the bytes are cut", () => {
  const text =
    ': hello\r\nevent: change\r\nid: 7\r\ndata: {"a":\r\ndata: 1}\r\n\r\nevent: bookmark\nid: 7\ndata: {}\n\ndata:x\r\r';
  const whole = parse(text, "\n");
  assert.deepEqual(whole, [
    { type: "change", id: "7", data: '{"a":\n1}' },
    { type: "bookmark", id: "7", data: "{}" },
    { type: "message", id: null, data: "x" },
  ]);
  for (let cut = 1; cut < text.length; cut++)
    assert.deepEqual(parse(text.slice(0, cut), text.slice(cut), "\n"), whole, `cut at ${cut}`);
  assert.deepEqual(parse(...text, "\n"), whole);
});

test("a message without data is none, and an unfinished one waits", () => {
  assert.deepEqual(parse("event: change\nid: 1\n\n", "data: 1\n"), []);
});

test("a parser is busy in the middle of a message, not after a comment", () => {
  const parser = new SseParser(() => {});
  parser.push(": keep-alive");
  assert.equal(parser.busy, false);
  parser.push('\n\nevent: snapshot\ndata: {"sea');
  assert.equal(parser.busy, true);
  parser.push('ts"\n\n');
  assert.equal(parser.busy, false);
});

test("parts of one position are one message; parts out of order are refused", () => {
  const parts = new Parts();
  const part = (n, seat) => ({ version: 4, part: n, parts: 3, changes: [seat] });
  assert.equal(parts.add(part(1, "a")), null);
  assert.equal(parts.add(part(2, "b")), null);
  assert.deepEqual(parts.add(part(3, "c")).changes, ["a", "b", "c"]);
  parts.add(part(1, "a"));
  assert.throws(() => parts.add(part(3, "c")), /does not follow/);
});

test("back-off doubles to a bound and is never less than half of it", () => {
  assert.equal(
    backoffMs(0, () => 1),
    500,
  );
  assert.equal(
    backoffMs(3, () => 0),
    2000,
  );
  assert.equal(
    backoffMs(500, () => 1),
    RETRY_LONGEST_MS,
  );
});

test("Retry-After is seconds or a date", () => {
  assert.equal(retryAfterMs(new Headers({ "Retry-After": "2" })), 2000);
  assert.equal(retryAfterMs(new Headers({ "Retry-After": new Date(5000).toUTCString() }), 3000), 2000);
  assert.equal(retryAfterMs(new Headers()), null);
});

/** A server of scripted answers, a clock that runs only as far as the test says, and a log of what the page saw. */
function scripted(answers, options = {}) {
  const log = { urls: [], messages: [], states: [], pauses: [] };
  const timers = new Map();
  let ids = 0;
  let finished;
  log.done = new Promise((resolve) => (finished = resolve));
  const env = {
    random: () => 1,
    fetch: async (url, { signal }) => {
      log.urls.push(url);
      const answer = answers.shift();
      if (!answer) {
        stream.stop();
        finished();
        throw new Error("over");
      }
      return answer(signal);
    },
    setTimeout: (call, ms) => {
      const id = ++ids;
      // The watchdog waits for `log.silence()`; pauses between tries pass at once.
      if (ms === SILENCE_MS) timers.set(id, call);
      else {
        log.pauses.push(ms);
        queueMicrotask(call);
      }
      return id;
    },
    clearTimeout: (id) => timers.delete(id),
  };
  const stream = new ChangeStream({
    url: "/changes",
    snapshot: true,
    onMessage: (type, data, first) => log.messages.push([type, data.version ?? data.revision, first]),
    onState: (state) => log.states.push(state),
    env,
    ...options,
  });
  log.stream = stream;
  log.silence = () => [...timers.values()].forEach((call) => call());
  stream.start();
  return log;
}

const sse =
  (text, close = true) =>
  (signal) => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(text));
        if (close) controller.close();
        else signal.addEventListener("abort", () => controller.error(signal.reason));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
const problem =
  (status, code, headers = {}) =>
  () =>
    new Response(JSON.stringify({ title: code, code, status }), { status, headers });
const message = (type, version, id = true) =>
  `event: ${type}\n${id ? `id: ${version}\n` : ""}data: {"version":${version}}\n\n`;
const start = message("snapshot", 5, false) + message("snapshot", 5, false) + message("synced", 5);

test("begins with a snapshot and resumes behind the last message", async () => {
  const log = scripted([sse(start + message("change", 6)), sse(message("change", 7))]);
  await log.done;
  assert.deepEqual(log.urls, ["/changes?snapshot=true", "/changes?after=6", "/changes?after=7"]);
  assert.deepEqual(log.messages, [
    ["snapshot", 5, true],
    ["snapshot", 5, false],
    ["synced", 5, false],
    ["change", 6, false],
    ["change", 7, false],
  ]);
  assert.equal(log.states.filter((s) => s.state === "live")[1].resumed, 6);
});

test("a snapshot that breaks off is asked for again", async () => {
  const log = scripted([sse(message("snapshot", 5, false)), sse(start)]);
  await log.done;
  assert.deepEqual(log.urls.slice(0, 2), ["/changes?snapshot=true", "/changes?snapshot=true"]);
  assert.equal(log.messages[1][2], true);
});

test("a position counts when all its parts are there", async () => {
  const part = (n) => `event: change\nid: 6\ndata: {"version":6,"part":${n},"parts":2,"changes":[]}\n\n`;
  const log = scripted([sse(start + part(1)), sse(part(1) + part(2))]);
  await log.done;
  assert.deepEqual(log.urls, ["/changes?snapshot=true", "/changes?after=5", "/changes?after=6"]);
  assert.equal(log.messages.filter(([type]) => type === "change").length, 1);
});

test("410: reads a snapshot at once and goes on; again and again: with pauses", async () => {
  const log = scripted([sse(start), problem(410, "compacted"), problem(410, "compacted"), sse(start)]);
  await log.done;
  assert.deepEqual(log.urls.slice(1, 4), ["/changes?after=5", "/changes?snapshot=true", "/changes?snapshot=true"]);
  assert.equal(log.pauses.length, 3, "one after each end but the first 410");
});

test("a position the server never reached is given up for a snapshot", async () => {
  const log = scripted([sse(start), problem(422, "invalid"), sse(start)]);
  await log.done;
  assert.equal(log.urls[2], "/changes?snapshot=true");
});

test("lagged: goes on at its position, at once", async () => {
  const log = scripted([sse(start + message("change", 6) + message("lagged", 6) + message("change", 7)), sse("")]);
  await log.done;
  assert.equal(log.urls[1], "/changes?after=6");
  assert.deepEqual(log.messages.at(-1), ["lagged", 6, false], "what comes after it is not taken");
  assert.equal(log.pauses.length, 1);
});

test("404: says gone and asks slowly, keeping the position", async () => {
  const log = scripted([sse(start), problem(404, "event_not_found"), sse(message("change", 6))]);
  await log.done;
  assert.ok(log.states.some((s) => s.state === "gone"));
  assert.ok(log.pauses.includes(GONE_RETRY_MS));
  assert.equal(log.urls[2], "/changes?after=5");
});

test("Retry-After is honoured", async () => {
  const log = scripted([problem(503, "no_leader", { "Retry-After": "7" })]);
  await log.done;
  assert.deepEqual(log.pauses, [7000]);
});

test("silence ends the connection and it is made again", async () => {
  const log = scripted([sse(start, false), sse("")]);
  while (log.messages.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  log.silence();
  await log.done;
  assert.equal(log.urls[1], "/changes?after=5");
  assert.ok(log.states.some((s) => s.why === "no message for 12 s"));
});

test("stop ends everything, start resumes", async () => {
  const log = scripted([sse(start, false), sse(message("change", 6))]);
  while (log.messages.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
  log.stream.stop();
  assert.equal(log.states.at(-1).state, "stopped");
  log.stream.start();
  await log.done;
  assert.equal(log.urls[1], "/changes?after=5");
});

test("a state that must be read anew again and again is read with pauses", async () => {
  let times = 0;
  const snapshots = Array.from({ length: 3 }, () => sse(start, false));
  const log = scripted(snapshots, {
    onMessage: (type) => {
      if (type === "synced" && times++ < 3) log.stream.resync();
    },
  });
  await log.done;
  assert.deepEqual(new Set(log.urls), new Set(["/changes?snapshot=true"]));
  assert.equal(log.urls.length, 4);
  assert.deepEqual(log.pauses, [RESYNC_PAUSE_MS, RESYNC_PAUSE_MS], "the first at once");
});

test("an answer that is no stream is not read as one", async () => {
  const log = scripted([() => new Response("<html>", { headers: { "Content-Type": "text/html" } })]);
  await log.done;
  assert.ok(log.states.some((s) => s.why === "the answer is not a stream"));
});
