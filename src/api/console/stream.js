// One stream of changes, kept alive: Server-Sent Events over fetch, because an EventSource hides the status of a refusal
// and cannot resume from a position of the page's choice.
//
//   stopped ─start─▶ connecting ─▶ live ─▶ waiting ─▶ connecting …      (404: gone, asked again slowly)
//
// Promises to its owner: every complete message once per delivery, in order; a change set that came in parts as one
// message; after any break it goes on behind the last position that was delivered whole.

import { Parts, positionOf, SseParser } from "./sse.js";

/** Bookmarks come at least every 5 s: after this long without a message the connection is taken for dead. */
export const SILENCE_MS = 12_000;
/** Pause before the first retry, doubled each time up to the longest. */
export const RETRY_FIRST_MS = 500;
export const RETRY_LONGEST_MS = 10_000;
/** How often a missing event is asked for: it may be defined again. */
export const GONE_RETRY_MS = 5_000;
/** A state that has to be read anew again within this time is not read at once: it may be wrong for good. */
export const RESYNC_CALM_MS = 10_000;
export const RESYNC_PAUSE_MS = 2_000;
/** Pause before try number `attempt` (from 0): doubling, the upper half of it random, so that pages do not come in step. */
export function backoffMs(attempt, random = Math.random) {
  const full = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 20));
  return Math.round(full * (0.5 + random() / 2));
}

/** `Retry-After` in milliseconds, null without one. */
export function retryAfterMs(headers, now = Date.now()) {
  const text = headers?.get("Retry-After");
  if (!text) return null;
  const seconds = Number(text);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}

/**
 * Follows `url` until stopped.
 * `snapshot`: begin with the whole state, and again whenever the position is no longer kept; else begin from now.
 * `onMessage(type, data, first)`: first = the first snapshot message of its kind, what was known before is void.
 * `onState({state, why, retryInMs, position, resumed})`; `onRestart()` when a position is given up.
 */
export class ChangeStream {
  #options;
  #env;
  #position = null;
  #attempt = 0;
  #abort = null;
  #wake = null;
  #generation = 0;
  #fresh = true;
  #resync = null;
  #resyncedAt = -Infinity;
  /** Why the state is read anew instead of resumed; told with the next connection. */
  #anew = "";

  constructor(options) {
    this.#options = options;
    const ours = {
      fetch: (...a) => fetch(...a),
      setTimeout: (...a) => setTimeout(...a),
      clearTimeout: (t) => clearTimeout(t),
    };
    this.#env = { ...ours, random: Math.random, now: () => performance.now(), ...options.env };
  }

  get position() {
    return this.#position;
  }

  get running() {
    return this.#generation % 2 === 1;
  }

  start() {
    if (this.running) return;
    this.#attempt = 0;
    this.#run(++this.#generation);
  }

  stop(why = "stopped") {
    if (!this.running) return;
    this.#generation++;
    this.#interrupt("stopped");
    this.#tell("stopped", why);
  }

  /** Tries now instead of at the end of the pause. */
  retryNow() {
    this.#wake?.();
  }

  /** Forgets the position and reads a snapshot: the definition changed, or what we have cannot be trusted. */
  resync() {
    this.#position = null;
    const now = this.#env.now();
    const calm = now - this.#resyncedAt > RESYNC_CALM_MS;
    this.#resyncedAt = now;
    this.#resync = new Error("the state is read anew");
    this.#abort?.abort(
      calm
        ? this.#resync
        : Object.assign(new Error("the state has to be read anew again"), { pauseMs: RESYNC_PAUSE_MS }),
    );
    if (calm) this.#wake?.();
  }

  #interrupt(reason) {
    this.#abort?.abort(new Error(reason));
    this.#wake?.();
  }

  #tell(state, why, extra = {}) {
    this.#options.onState?.({ state, why, position: this.#position, ...extra });
  }

  async #run(generation) {
    while (generation === this.#generation) {
      this.#tell("connecting", "");
      const end = await this.#connection(generation).catch((error) => ({ why: error.message }));
      if (generation !== this.#generation) return;
      if (end.restart) {
        this.#position = null;
        this.#anew = end.why;
        this.#options.onRestart?.();
      }
      const pause = end.now
        ? 0
        : Math.max(end.pauseMs ?? 0, end.gone ? GONE_RETRY_MS : backoffMs(this.#attempt++, this.#env.random));
      if (pause > 0) await this.#pause(end.gone ? "gone" : "waiting", end.why, pause);
    }
  }

  #pause(state, why, retryInMs) {
    this.#tell(state, why, { retryInMs });
    return new Promise((resolve) => {
      const timer = this.#env.setTimeout(resolve, retryInMs);
      this.#wake = () => {
        this.#env.clearTimeout(timer);
        resolve();
      };
    }).finally(() => (this.#wake = null));
  }

  /** One connection, from request to end. Answers how it ended: `{why, now, restart, gone, pauseMs}`. */
  async #connection(generation) {
    const abort = (this.#abort = new AbortController());
    let timer;
    const alive = () => {
      this.#env.clearTimeout(timer);
      timer = this.#env.setTimeout(() => abort.abort(new Error("no message for 12 s")), SILENCE_MS);
    };
    alive();
    try {
      const headers = { Accept: "text/event-stream" };
      const response = await this.#env.fetch(this.#url(), { headers, signal: abort.signal, cache: "no-store" });
      const refused = await this.#refusal(response);
      if (generation !== this.#generation) return { why: "stopped" };
      return refused ?? (await this.#read(response, alive, generation, abort));
    } catch (error) {
      const reason = abort.signal.aborted ? abort.signal.reason : error;
      // A TypeError is how fetch says that nobody answered, in words that differ by browser.
      const why = reason instanceof TypeError ? "no answer" : reason.message;
      return { why, now: reason === this.#resync, pauseMs: reason.pauseMs };
    } finally {
      this.#env.clearTimeout(timer);
      abort.abort();
    }
  }

  #url() {
    const query = new URLSearchParams(this.#options.query);
    if (this.#position !== null) query.set("after", this.#position);
    else if (this.#options.snapshot) query.set("snapshot", "true");
    const text = query.toString();
    return text ? `${this.#options.url}?${text}` : this.#options.url;
  }

  async #refusal(response) {
    if (response.ok) {
      const sse = (response.headers.get("Content-Type") ?? "").startsWith("text/event-stream");
      return sse ? null : { why: "the answer is not a stream" };
    }
    const problem = await response.json().catch(() => ({}));
    const why = problem.title ?? `status ${response.status}`;
    // The position is no longer kept, or was never reached here: read the state anew, at once, and go on.
    const lost = response.status === 410 || response.status === 422;
    if (lost && this.#position !== null) return { why, restart: true, now: true };
    return { why, gone: response.status === 404, pauseMs: retryAfterMs(response.headers) };
  }

  async #read(response, alive, generation, abort) {
    const decoder = new TextDecoder();
    const parts = new Parts();
    this.#fresh = true;
    let lagged = false;
    const parser = new SseParser((message) => {
      if (lagged || generation !== this.#generation || abort.signal.aborted) return;
      alive();
      this.#attempt = 0;
      lagged = this.#deliver(message, parts);
    });
    const reader = response.body.getReader();
    // Headers alone say that the server took the request: show it, the first message may be 5 s away.
    this.#tell("live", this.#anew, { resumed: this.#position });
    this.#anew = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return { why: "the server closed the stream" };
      parser.push(decoder.decode(value, { stream: true }));
      if (parser.busy) alive();
      if (lagged) return { why: "this page was too slow and goes on where it was", now: true };
    }
  }

  /** Hands one message on; true when the server says that we were too slow and closes. */
  #deliver({ type, id, data }, parts) {
    let message = JSON.parse(data);
    if (type === "change") {
      message = parts.add(message);
      if (!message) return false;
    }
    const number = id !== null && id !== "" ? Number(id) : positionOf(Object(message));
    const first = type === "snapshot" && this.#fresh;
    if (type === "snapshot") this.#fresh = false;
    // Before the owner is told: it may ask for a resync, which forgets the position.
    else if (Number.isSafeInteger(number)) this.#position = number;
    this.#options.onMessage(type, message, first);
    return type === "lagged";
  }
}

/** A hidden page gives its connection back (a browser has six per host) and goes on where it was when shown again. */
export function followVisibility(stream, page = document) {
  const follow = () => (page.hidden ? stream.stop("the page is hidden") : stream.start());
  page.addEventListener("visibilitychange", follow);
  page.defaultView?.addEventListener("online", () => stream.retryNow());
  follow();
}
