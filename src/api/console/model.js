// The state of one event, folded from its stream: absolute values are taken over as they come, nothing is added up.
// Versions must be dense. A gap or a repeat is kept as an alarm: the page shows it, it never heals silently.

export const STATUSES = ["free", "held", "booked", "blocked"];
const CODE = new Map(STATUSES.map((status, code) => [status, code]));
/** Changes kept for the list of the latest. */
export const RECENT_MAX = 50;
/** Alarms kept; the first ones are the ones to look at. */
export const ALARMS_MAX = 20;
/** Items named in one line of the list. */
const NAMED_MAX = 4;

/** Seats of an event, by index in definition order: columns, because 50,000 small objects are slow to walk. */
export class SeatTable {
  ids = [];
  section = [];
  row = [];
  number = [];
  category = [];
  x = [];
  y = [];
  index = new Map();
  #status = new Uint8Array(1024);

  get size() {
    return this.ids.length;
  }

  add(seat) {
    const at = this.ids.length;
    if (at === this.#status.length) {
      const wider = new Uint8Array(at * 2);
      wider.set(this.#status);
      this.#status = wider;
    }
    this.#status[at] = CODE.get(seat.status) ?? 0;
    this.ids.push(seat.id);
    this.index.set(seat.id, at);
    this.section.push(seat.section ?? "");
    this.row.push(seat.row ?? "");
    this.number.push(seat.number ?? "");
    this.category.push(seat.category ?? "");
    this.x.push(seat.x ?? NaN);
    this.y.push(seat.y ?? NaN);
  }

  /** 0 free, 1 held, 2 booked, 3 blocked. */
  code(at) {
    return this.#status[at];
  }

  status(at) {
    return STATUSES[this.#status[at]];
  }

  set(at, status) {
    this.#status[at] = CODE.get(status) ?? 0;
  }

  /** Seats by status, counted. */
  count() {
    const counts = [0, 0, 0, 0];
    for (let at = 0; at < this.size; at++) counts[this.#status[at]]++;
    return counts;
  }

  /** "Stalls, row A, seat 12 (A-12)" */
  describe(at) {
    const parts = [];
    if (this.section[at] !== "") parts.push(this.section[at]);
    if (this.row[at] !== "") parts.push(`row ${this.row[at]}`);
    if (this.number[at] !== "") parts.push(`seat ${this.number[at]}`);
    return parts.length ? parts.join(", ") : this.ids[at];
  }
}

/** Follows positions that must be dense. */
export class Dense {
  #name;
  #alarms;
  last = null;

  constructor(name, alarms) {
    this.#name = name;
    this.#alarms = alarms;
  }

  /** A change at `position`. False, with an alarm, unless it is the next one. */
  next(position) {
    const before = this.last;
    if (before === null || position > before) this.last = position;
    if (before === null || position === before + 1) return true;
    const what =
      position <= before
        ? `${position} came again after ${before}`
        : `${before + 1} is missing: ${position} came after ${before}`;
    this.#alarms.raise(`${this.#name} ${what}`);
    return false;
  }

  /** A bookmark: nothing was published beyond what we have. */
  at(position) {
    if (this.last !== null && position !== this.last) {
      this.#alarms.raise(`${this.#name} ${position} was said to be reached, but the last change seen is ${this.last}`);
      return false;
    }
    this.last = position;
    return true;
  }

  /** The whole state at `position` was read. */
  reset(position) {
    if (this.last !== null && position < this.last) {
      this.#alarms.raise(`${this.#name} went back from ${this.last} to ${position}`);
    }
    this.last = position;
  }
}

/** What must never happen, kept until the page is left. */
export class Alarms {
  list = [];
  count = 0;

  raise(text) {
    this.count++;
    if (this.list.length < ALARMS_MAX) this.list.push(text);
  }
}

export class EventModel {
  seats = new SeatTable();
  pools = new Map();
  totals = null;
  revision = null;
  recent = [];
  deleted = false;
  ready = false;
  alarms = new Alarms();
  #versions = new Dense("version", this.alarms);
  #incoming = null;

  get version() {
    return this.#versions.last;
  }

  /**
   * Takes one message of the stream. Answers what it touched:
   * `{all}` everything is new, `{seats: [index…], pools: [id…]}`, `{resync}` a snapshot is needed, `{redefined}` read the
   * event again, `{deleted}`. Null: nothing to draw.
   */
  take(type, data, first = false) {
    if (type === "snapshot") return this.#snapshot(data, first);
    if (type === "synced") return this.#synced(data.version);
    if (type === "change") return this.#change(data);
    if (type === "bookmark" && !this.#versions.at(data.version)) return { resync: true };
    return null;
  }

  #snapshot(data, first) {
    if (first || !this.#incoming) this.#incoming = { seats: new SeatTable(), pools: new Map(), totals: null };
    for (const seat of data.seats ?? []) this.#incoming.seats.add(seat);
    for (const pool of data.pools ?? []) this.#incoming.pools.set(pool.id, pool);
    if (data.totals) this.#incoming.totals = data.totals;
    this.revision = data.revision ?? this.revision;
    return null;
  }

  #synced(version) {
    if (!this.#incoming) return this.#versions.at(version) ? null : { resync: true };
    this.#versions.reset(version);
    Object.assign(this, this.#incoming);
    this.#incoming = null;
    this.deleted = false;
    this.ready = true;
    return { all: true };
  }

  #change(data) {
    if (!this.#versions.next(data.version)) return { resync: true };
    this.revision = data.revision;
    this.totals = data.totals ?? this.totals;
    this.#remember(data);
    if (data.cause === "delete") {
      this.deleted = true;
      return { deleted: true };
    }
    // A definition may move seats about, and its changes carry no coordinates.
    const redefined = data.cause === "define";
    const touched = { seats: [], pools: [], redefined, resync: redefined && data.changes.length > 0 };
    for (const change of data.changes) this.#one(change, touched);
    return touched;
  }

  #one(change, touched) {
    if (change.seat !== undefined) {
      const at = this.seats.index.get(change.seat);
      if (at === undefined) touched.resync = true;
      else if (change.status !== "removed") {
        this.seats.set(at, change.status);
        touched.seats.push(at);
      }
      return;
    }
    const known = this.pools.get(change.pool);
    if (!known) touched.resync = true;
    else if (change.status !== "removed") {
      const { pool, ...values } = change;
      this.pools.set(pool, { ...known, ...values });
      touched.pools.push(pool);
    }
  }

  #remember({ version, revision, at, cause, changes }) {
    this.recent.unshift({ version, revision, at, cause, text: summary(changes) });
    this.recent.length = Math.min(this.recent.length, RECENT_MAX);
  }
}

/** One line that says what a change set did: "A-1, A-2 held, Standing 498 of 500 available". */
export function summary(changes) {
  if (!changes.length) return "no seat or pool changed";
  const named = changes.slice(0, NAMED_MAX);
  const texts = named.map((change, at) => {
    // Seats of one status share the word.
    if (change.seat !== undefined)
      return change.status === named[at + 1]?.status && named[at + 1].seat !== undefined
        ? change.seat
        : `${change.seat} ${change.status}`;
    if (change.status === "removed") return `${change.pool} removed`;
    return `${change.pool} ${change.available.toLocaleString("en")} of ${change.capacity.toLocaleString("en")} available`;
  });
  const more = changes.length - named.length;
  return texts.join(", ") + (more > 0 ? ` and ${more.toLocaleString("en")} more` : "");
}
