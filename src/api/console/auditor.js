// Counts every event again, for ever: pages through the events, asks for the audit of each, a few a second. The audit is
// made by the server from the records of holds and orders, not from counters.

import { paths, read } from "./api.js";

/** Between two audits: at most four a second. */
const PACE_MS = 250;
/** After a failure, and at least between two rounds. */
const REST_MS = 1_000;
/** Findings kept; the first ones are the ones to look at. */
const FINDINGS_MAX = 20;

/** Fires `change`. What an audit found wrong stays in `findings`, also when it is gone in the next round. */
export class Auditor extends EventTarget {
  /** Event → its row of the list, with `audit` once there is one; in the order of the server. */
  events = new Map();
  findings = [];
  audits = 0;
  rounds = 0;
  failing = "";
  listed = false;
  #env;
  #running = false;

  constructor(env = {}) {
    super();
    this.#env = {
      read,
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      hidden: () => document.hidden,
      ...env,
    };
  }

  /** Sums over what is audited so far. */
  get sums() {
    const sums = { events: 0, units: 0, booked: 0, held: 0, oversold: 0, violations: 0 };
    for (const { audit } of this.events.values()) {
      if (!audit) continue;
      sums.events++;
      sums.units += audit.capacity;
      for (const name of ["booked", "held", "oversold"]) sums[name] += audit[name];
      sums.violations += audit.violations.length;
    }
    return sums;
  }

  async start() {
    this.#running = true;
    while (this.#running) {
      try {
        await this.round();
        this.failing = "";
      } catch (error) {
        this.failing = error.message;
      }
      this.#changed();
      await this.#env.sleep(REST_MS);
    }
  }

  stop() {
    this.#running = false;
  }

  /** All events once. */
  async round() {
    await this.#list();
    for (const event of [...this.events.keys()]) {
      while (this.#env.hidden()) await this.#env.sleep(REST_MS);
      await this.#audit(event);
      await this.#env.sleep(PACE_MS);
    }
    this.rounds++;
  }

  async #list() {
    const found = new Map();
    let after = null;
    do {
      const { body } = await this.#env.read(paths.events(after));
      for (const row of body.events) found.set(row.event, { ...row, audit: this.events.get(row.event)?.audit });
      after = body.next;
    } while (after);
    this.events = found;
    this.listed = true;
    this.#changed();
  }

  async #audit(event) {
    try {
      const { body } = await this.#env.read(paths.audit(event));
      this.#found(event, body);
    } catch (error) {
      // Deleted since it was listed.
      if (error.status !== 404) throw error;
      this.events.delete(event);
    }
    this.failing = "";
    this.#changed();
  }

  #found(event, audit) {
    const row = this.events.get(event);
    if (!row) return;
    row.audit = audit;
    this.audits++;
    const wrong = [];
    if (audit.oversold > 0) wrong.push(`${audit.oversold} units oversold`);
    for (const violation of audit.violations)
      wrong.push(typeof violation === "string" ? violation : JSON.stringify(violation));
    for (const what of wrong) {
      const text = `${event}: ${what}`;
      const known = this.findings.some((finding) => finding.text === text);
      if (!known && this.findings.length < FINDINGS_MAX) this.findings.push({ text, version: audit.version });
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}
