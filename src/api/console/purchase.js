// One buyer at one event: choosing → held → booked, or expired. Kept in sessionStorage, so that a reload goes on and two
// tabs are two buyers. A request is stored with its key before it is sent: after a reload the same one is asked again.

import { ApiError, Command, paths, randomId, read } from "./api.js";

/** How long a page waits for another tab that says the stored state is its own. */
const CLAIM_MS = 150;

const FRESH = { stage: "choosing", hold: null, order: null, receipt: null, pending: null };

/** Fires `change` {} after every step and `answer` {op, answer} for definite ones. `deadline` is on `performance.now()`. */
export class Purchase extends EventTarget {
  progress = null;
  deadline = null;
  #name;
  #store;
  #command = null;
  #env;

  constructor(event, { store = sessionStorage, env = {} } = {}) {
    super();
    this.event = event;
    this.#store = store;
    this.#name = `lastseat.buyer.${event}`;
    this.#env = { read, Command, now: () => performance.now(), channel: buyersChannel, ...env };
    this.state = { ...FRESH, tab: randomId("tab-"), customer: randomId("buyer-").slice(0, 12) };
  }

  get pending() {
    return this.state.pending;
  }

  /** Milliseconds the hold is still ours, by the server's count since its answer. */
  get leftMs() {
    return this.deadline === null ? null : this.deadline - this.#env.now();
  }

  /** Takes up what this tab had before a reload, and finishes a request whose answer never came. */
  async resume() {
    const stored = JSON.parse(this.#store.getItem(this.#name) ?? "null");
    if (stored && !(await takenByAnotherTab(this.#env.channel(), stored.tab))) Object.assign(this.state, stored);
    answerClaims(this.#env.channel(), () => this.state.tab);
    this.#save();
    const { pending, stage } = this.state;
    if (pending) await this.#run(pending, true);
    else if (stage === "held") await this.refresh();
  }

  /** Sends one command and sees it through. `op`: reserve, extend, book, release. */
  async act(op, body) {
    if (this.pending) return;
    await this.#run({ op, path: paths.command(this.event, op), body, key: randomId("console-") }, false);
  }

  book(onExpired = "reject") {
    const { hold, order } = this.state;
    return this.act("book", { token: hold.token, order, on_expired: onExpired });
  }

  /** Gives up an unknown request: its key is voided, the answer becomes definite. */
  giveUp() {
    this.#command?.voidNow();
  }

  setCustomer(customer) {
    this.state.customer = customer;
    this.#save();
  }

  /** Begins anew; what was booked stays booked, a live hold runs out by itself. */
  startOver() {
    this.deadline = null;
    Object.assign(this.state, FRESH);
    this.#changed();
  }

  /** Asks the server how the hold is. Only its answer ends a hold, never the clock of the browser. */
  async refresh() {
    const { hold } = this.state;
    const askedAt = this.#env.now();
    try {
      const { body } = await this.#env.read(paths.hold(this.event, hold.token));
      this.#held(body, askedAt);
    } catch (error) {
      const ended = error instanceof ApiError && error.status === 404 && error.code !== "route_not_found";
      if (!ended) return;
      if (this.state.stage === "held" && this.state.hold?.token === hold.token) this.#ended();
    }
    this.#changed();
  }

  async #run(pending, unknown) {
    this.state.pending = pending;
    this.#changed();
    const onProgress = (progress) => {
      this.progress = { op: pending.op, ...progress };
      this.dispatchEvent(new Event("progress"));
    };
    this.#command = new this.#env.Command(pending, { onProgress, unknown });
    const answer = await this.#command.run();
    this.#command = null;
    this.progress = null;
    this.state.pending = null;
    this.#take(pending, answer);
    this.#changed();
    this.dispatchEvent(new CustomEvent("answer", { detail: { op: pending.op, answer, body: pending.body } }));
    // A replayed answer counts from the first decision, long ago: ask how long it is now.
    if (answer.outcome === "applied" && answer.replayed && this.state.stage === "held") await this.refresh();
  }

  #take({ op, body }, answer) {
    if (answer.outcome === "applied") {
      if (op === "reserve" || op === "extend") return this.#held(answer.body, answer.sentAt);
      if (op === "book") Object.assign(this.state, { stage: "booked", receipt: answer.body, hold: null });
      if (op === "release") Object.assign(this.state, FRESH);
      this.deadline = null;
      return;
    }
    const code = answer.body?.code;
    if (answer.outcome === "rejected" && body.token && (code === "hold_expired" || code === "hold_not_found"))
      this.#ended();
  }

  /** `askedAt`: the count began later than this, so the countdown shown is never too long. */
  #held(hold, askedAt) {
    const order = this.state.order ?? randomId("order-");
    Object.assign(this.state, { stage: "held", hold, order });
    this.deadline = askedAt + hold.expires_in_ms;
  }

  #ended() {
    this.state.stage = "expired";
    this.deadline = null;
  }

  #save() {
    this.#store.setItem(this.#name, JSON.stringify(this.state));
  }

  #changed() {
    this.#save();
    this.dispatchEvent(new Event("change"));
  }
}

// A duplicated tab starts with a copy of sessionStorage: whoever has the state already says so, and the copy begins anew.
const buyersChannel = () => (globalThis.BroadcastChannel ? new BroadcastChannel("lastseat.buyers") : null);

function takenByAnotherTab(line, tab) {
  if (!line) return Promise.resolve(false);
  return new Promise((resolve) => {
    const end = (taken) => {
      clearTimeout(timer);
      line.close();
      resolve(taken);
    };
    const timer = setTimeout(end, CLAIM_MS, false);
    line.onmessage = ({ data }) => data.taken === tab && end(true);
    line.postMessage({ claim: tab });
  });
}

function answerClaims(line, tab) {
  if (line) line.onmessage = ({ data }) => data.claim === tab() && line.postMessage({ taken: tab() });
}
