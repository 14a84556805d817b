// Talks to the API of the node that served this page: reads, and commands whose answer is always made definite.

import { backoffMs, retryAfterMs } from "./stream.js";

/** The root of the API. This file is at `…/console/api.js`. */
export const ROOT = new URL("../", import.meta.url);
/** A read that takes longer is given up. */
export const READ_TIMEOUT_MS = 8_000;
/** The node's own deadline is 5 s; with no answer after this the outcome is unknown. */
export const COMMAND_TIMEOUT_MS = 9_000;
/** How long refusals that had no effect (no leader, overloaded) are asked again before they are shown. */
export const PATIENCE_MS = 30_000;

const segment = encodeURIComponent;

export const paths = {
  cluster: "v1/cluster",
  changes: "v1/changes",
  events: (after) => `v1/events?limit=100${after ? `&after=${segment(after)}` : ""}`,
  event: (event) => `v1/events/${segment(event)}`,
  audit: (event) => `v1/events/${segment(event)}/audit`,
  eventChanges: (event) => `v1/events/${segment(event)}/changes`,
  command: (event, op) => `v1/events/${segment(event)}/${op}`,
  hold: (event, token) => `v1/events/${segment(event)}/holds/${segment(token)}`,
  order: (event, order) => `v1/events/${segment(event)}/orders/${segment(order)}`,
  void: (key) => `v1/outcomes/${segment(key)}/void`,
  devNodes: "dev/nodes",
  devAction: (id, action) => `dev/nodes/${segment(id)}/${action}`,
};

export function url(path, root = ROOT) {
  return new URL(path, root).href;
}

/** 20 characters nobody can guess. `crypto.randomUUID` is missing on plain HTTP beyond localhost. */
export function randomId(prefix) {
  const letters = "abcdefghjkmnpqrstuvwxyz23456789";
  const bytes = crypto.getRandomValues(new Uint8Array(20));
  return prefix + Array.from(bytes, (byte) => letters[byte % letters.length]).join("");
}

/** A refusal, or no answer (`status` 0). `problem` is the problem document, as far as there is one. */
export class ApiError extends Error {
  constructor(status, problem, headers) {
    super(problem?.detail || problem?.title || (status ? `status ${status}` : "no answer"));
    this.status = status;
    this.problem = problem ?? {};
    this.code = problem?.code ?? "";
    this.retryAfterMs = retryAfterMs(headers);
  }
}

/** One request. Answers `{status, body, headers}` for any status; throws only when there is no answer. */
export async function request(method, path, { body, key, timeoutMs = READ_TIMEOUT_MS, fetcher = fetch, root } = {}) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  const init = { method, headers, cache: "no-store", signal: AbortSignal.timeout(timeoutMs) };
  if (body !== undefined) init.body = JSON.stringify(body);
  const response = await fetcher(url(path, root), init);
  const text = await response.text();
  return { status: response.status, body: parse(text), headers: response.headers };
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** The body and headers of a read. Throws [`ApiError`] on anything but 2xx. */
export async function read(path, options) {
  let answer;
  try {
    answer = await request("GET", path, options);
  } catch {
    throw new ApiError(0, null, null);
  }
  if (answer.status >= 200 && answer.status < 300) return answer;
  throw new ApiError(answer.status, answer.body, answer.headers);
}

/** What an answer promises: `applied`, `rejected`, `not_applied` or `unknown`. No readable answer is an unknown one. */
export function outcomeOf({ status, body }) {
  if (status >= 200 && status < 300) return body ? "applied" : "unknown";
  const said = body?.outcome;
  if (said === "rejected" || said === "not_applied") return said;
  return "unknown";
}

/**
 * One intent: a request under one idempotency key, asked until its answer is definite.
 *
 * - `unknown` (or no answer): the same key again, after `Retry-After` or a growing pause.
 * - `not_applied` speaks of that attempt only. After an unknown it leaves the intent unknown: a retryable one is asked
 *   again; any other is settled by voiding the key, which tells what happened or forbids that it ever will.
 * - `onProgress({phase: "asking"|"unknown"|"busy"|"voiding", attempt, retryInMs, problem})` before each pause.
 */
export class Command {
  #env;
  #unknown = false;
  #voiding = false;
  #wake = null;
  #began;

  constructor({ method = "POST", path, body, key = randomId("console-") }, { onProgress, unknown = false, env } = {}) {
    Object.assign(this, { method, path, body, key });
    this.onProgress = onProgress ?? (() => {});
    // Taken up after a reload: an earlier attempt may have been decided.
    this.#unknown = unknown;
    this.#env = { request, now: () => performance.now(), sleep: wakeable, random: Math.random, ...env };
  }

  /** `{status, body, outcome, replayed, key, sentAt}`, definite. */
  async run() {
    this.#began = this.#env.now();
    for (let attempt = 1; ; attempt++) {
      if (this.#voiding) return this.#settle(null);
      this.onProgress({ phase: this.#unknown ? "unknown" : "asking", attempt, retryInMs: 0 });
      const sentAt = this.#env.now();
      const answer = await this.#ask(this.method, this.path, this.body, this.key);
      const outcome = outcomeOf(answer);
      if (outcome === "applied" || outcome === "rejected") return this.#answer(answer, outcome, sentAt);
      if (outcome === "not_applied") {
        const retry = answer.body?.retryable === true;
        if (this.#unknown && !retry) return this.#settle(answer);
        if (!this.#unknown && !(retry && sentAt - this.#began < PATIENCE_MS))
          return this.#answer(answer, outcome, sentAt);
      } else this.#unknown = true;
      await this.#pause(answer, attempt, this.#unknown ? "unknown" : "busy");
    }
  }

  /** Gives the intent up: the key is voided, and `run` answers what had happened, or that nothing ever will. */
  voidNow() {
    this.#voiding = true;
    this.#wake?.();
  }

  async #ask(method, path, body, key) {
    try {
      return await this.#env.request(method, path, { body, key, timeoutMs: COMMAND_TIMEOUT_MS });
    } catch {
      return { status: 0, body: null, headers: null };
    }
  }

  #answer({ status, body, headers }, outcome, sentAt) {
    const replayed = headers?.get("Idempotency-Replayed") === "true";
    return { status, body, outcome, replayed, key: this.key, sentAt };
  }

  /** Voids the key. `refusal`: the answer that had no effect, which stands if nothing else happened. */
  async #settle(refusal) {
    for (let attempt = 1; ; attempt++) {
      this.onProgress({ phase: "voiding", attempt, retryInMs: 0 });
      const sentAt = this.#env.now();
      const answer = await this.#ask("POST", paths.void(this.key), undefined, undefined);
      if (answer.status === 200 && answer.body?.voided === true) {
        const never = {
          status: 409,
          body: { code: "voided", title: "Given up before it was decided", outcome: "rejected" },
          headers: null,
        };
        return this.#answer(refusal ?? never, refusal ? "not_applied" : "rejected", sentAt);
      }
      if (answer.status === 200 && answer.body?.voided === false) {
        const { status, body } = answer.body;
        return { status, body, outcome: outcomeOf({ status, body }), replayed: true, key: this.key, sentAt };
      }
      const final = outcomeOf(answer) !== "unknown" && answer.body?.retryable !== true;
      if (final) return this.#answer(answer, "unknown", sentAt);
      await this.#pause(answer, attempt, "voiding");
    }
  }

  async #pause(answer, attempt, phase) {
    const retryInMs = Math.max(
      retryAfterMs(answer.headers) ?? 0,
      backoffMs(Math.min(attempt - 1, 3), this.#env.random),
    );
    this.onProgress({ phase, attempt, retryInMs, problem: answer.body });
    await this.#env.sleep(retryInMs, (wake) => (this.#wake = wake));
    this.#wake = null;
  }
}

function wakeable(ms, register) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    register(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
