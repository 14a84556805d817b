// What the stream of the whole group tells: dense revisions, how much changed, how many units were booked.

import { Alarms, Dense, RECENT_MAX, summary } from "./model.js";

/** Events whose last number of booked units is remembered. */
const EVENTS_MAX = 10_000;

export class GroupModel {
  alarms = new Alarms();
  recent = [];
  #revisions = new Dense("revision", this.alarms);
  #booked = new Map();

  get revision() {
    return this.#revisions.last;
  }

  /** Takes one message; answers `{changes, booked}` for a change: seats and pools changed, units newly booked. */
  take(type, data) {
    if (type === "bookmark" || type === "synced") this.#at(data.revision);
    if (type !== "change") return null;
    this.#revisions.next(data.revision);
    let booked = 0;
    let changes = 0;
    for (const part of data.events) {
      changes += part.changes.length;
      booked += this.#newlyBooked(part, data.cause);
      const { revision, at, cause } = data;
      this.recent.unshift({ revision, at, cause, event: part.event, text: summary(part.changes) });
    }
    this.recent.length = Math.min(this.recent.length, RECENT_MAX);
    return { changes, booked };
  }

  /** The stream goes on from now because the old position is no longer kept: what came between is not alarming. */
  restart() {
    this.#revisions.last = null;
  }

  #at(revision) {
    // There is no state to read anew here: after the alarm it goes on from where the server is.
    if (!this.#revisions.at(revision)) this.restart();
  }

  /** Totals are absolute: what is new is the difference to the last. Of an event seen first only its seats are known. */
  #newlyBooked({ event, changes, totals }, cause) {
    const before = this.#booked.get(event);
    if (totals && (before !== undefined || this.#booked.size < EVENTS_MAX)) this.#booked.set(event, totals.booked);
    if (before !== undefined && totals) return Math.max(0, totals.booked - before);
    return cause === "book" ? changes.filter(({ status }) => status === "booked").length : 0;
  }
}
