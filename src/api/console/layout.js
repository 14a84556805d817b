// Where seats are drawn, and which are near a point: places for seats without coordinates, a grid of cells over all.

/** Seats in a cell on average: few enough to redraw one quickly, enough that 50,000 seats are under 1,000 cells. */
const SEATS_PER_CELL = 64;
/** Seats measured for the usual distance between neighbours. */
const SAMPLE = 400;

/** Positions of all seats of `table` (columns of x and y), with what the map needs to draw and find them. */
export class Layout {
  constructor(table) {
    this.size = table.size;
    this.x = Float32Array.from(table.x);
    this.y = Float32Array.from(table.y);
    placeTheRest(table, this.x, this.y);
    this.#measure();
    this.#index();
    /** Usual distance between neighbours, in the units of the plan. */
    this.pitch = this.#pitch();
    this.labels = labels(table, this.x, this.y);
  }

  #measure() {
    const box = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
    for (let i = 0; i < this.size; i++) {
      box.left = Math.min(box.left, this.x[i]);
      box.right = Math.max(box.right, this.x[i]);
      box.top = Math.min(box.top, this.y[i]);
      box.bottom = Math.max(box.bottom, this.y[i]);
    }
    this.box = this.size ? box : { left: 0, top: 0, right: 1, bottom: 1 };
  }

  /** Seats sorted by cell: those of cell c are `order[start[c]] … order[start[c + 1] - 1]`. */
  #index() {
    const { left, top, right, bottom } = this.box;
    const [width, height] = [right - left || 1, bottom - top || 1];
    const cells = Math.max(1, Math.ceil(this.size / SEATS_PER_CELL));
    this.cell = Math.max(Math.sqrt((width * height) / cells), Math.max(width, height) / 2000);
    this.columns = Math.floor(width / this.cell) + 1;
    this.lines = Math.floor(height / this.cell) + 1;
    this.start = new Uint32Array(this.columns * this.lines + 1);
    this.order = new Uint32Array(this.size);
    for (let i = 0; i < this.size; i++) this.start[this.#cellOf(i) + 1]++;
    for (let c = 1; c < this.start.length; c++) this.start[c] += this.start[c - 1];
    const next = this.start.slice();
    for (let i = 0; i < this.size; i++) this.order[next[this.#cellOf(i)]++] = i;
  }

  #cellOf(i) {
    return this.#column(this.x[i]) + this.#line(this.y[i]) * this.columns;
  }

  #column(x) {
    return Math.max(0, Math.min(this.columns - 1, Math.floor((x - this.box.left) / this.cell)));
  }

  #line(y) {
    return Math.max(0, Math.min(this.lines - 1, Math.floor((y - this.box.top) / this.cell)));
  }

  /** Calls `visit(index)` for the seats of all cells that touch the box, and so for some outside it. */
  within(left, top, right, bottom, visit) {
    const [from, to] = [this.#column(left), this.#column(right)];
    for (let line = this.#line(top); line <= this.#line(bottom); line++) {
      const first = this.start[from + line * this.columns];
      const end = this.start[to + line * this.columns + 1];
      for (let k = first; k < end; k++) visit(this.order[k]);
    }
  }

  /** The seat nearest to a point, at most `reach` away; -1 without one. */
  nearest(x, y, reach, except = -1) {
    let best = -1;
    let distance = reach * reach;
    this.within(x - reach, y - reach, x + reach, y + reach, (i) => {
      const d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (d <= distance && i !== except) [best, distance] = [i, d];
    });
    return best;
  }

  #pitch() {
    const distances = [];
    const step = Math.max(1, Math.floor(this.size / SAMPLE));
    for (let i = 0; i < this.size; i += step) {
      const other = this.nearest(this.x[i], this.y[i], this.cell, i);
      const d = other < 0 ? 0 : Math.hypot(this.x[other] - this.x[i], this.y[other] - this.y[i]);
      if (d > 0) distances.push(d);
    }
    distances.sort((a, b) => a - b);
    return distances[Math.floor(distances.length / 10)] ?? Math.max(this.cell / 4, 1e-6);
  }
}

/** Sections, their rows, the seats of each row as indexes: in definition order. A seat without a row stands in row "". */
export function sections(table) {
  const found = new Map();
  for (let i = 0; i < table.size; i++) {
    let section = found.get(table.section[i]);
    if (!section) found.set(table.section[i], (section = { name: table.section[i], rows: new Map(), size: 0 }));
    const row = section.rows.get(table.row[i]);
    if (row) row.push(i);
    else section.rows.set(table.row[i], [i]);
    section.size++;
  }
  return [...found.values()];
}

/** Seats without coordinates: section by section as blocks of rows, below what has its place. */
function placeTheRest(table, x, y) {
  const missing = (i) => !(Number.isFinite(x[i]) && Number.isFinite(y[i]));
  let bottom = -Infinity;
  let count = 0;
  for (let i = 0; i < table.size; i++) {
    if (missing(i)) count++;
    else bottom = Math.max(bottom, y[i]);
  }
  if (!count) return;
  const wide = Math.max(20, Math.ceil(Math.sqrt(count) * 2));
  const unit = unitOf(x, y);
  let [left, top, tallest] = [0, Number.isFinite(bottom) ? bottom / unit + 4 : 0, 0];
  for (const section of sections(table)) {
    const rows = [...section.rows.entries()].flatMap(([name, seats]) => lines(name, seats.filter(missing), wide));
    if (!rows.some((row) => row.length)) continue;
    const width = Math.max(...rows.map((row) => row.length));
    if (left > 0 && left + width > wide) [left, top, tallest] = [0, top + tallest + 2, 0];
    const put = (i, column, line) => ([x[i], y[i]] = [unit * column, unit * line]);
    rows.forEach((row, line) => row.forEach((i, at) => put(i, left + at + (width - row.length) / 2, top + line)));
    left += width + 2;
    tallest = Math.max(tallest, rows.length);
  }
}

/** How far two seats with coordinates stand apart; 1 where none has any. */
function unitOf(x, y) {
  for (let i = 1; i < x.length; i++) {
    const apart = Math.hypot(x[i] - x[i - 1], y[i] - y[i - 1]);
    if (apart > 0) return apart;
  }
  return 1;
}

/** A row is one line; seats without a row are filled into as many as they need. */
function lines(name, seats, wide) {
  const most = name === "" ? Math.min(wide, Math.max(10, Math.ceil(Math.sqrt(seats.length * 2)))) : seats.length;
  const made = [];
  for (let from = 0; from < seats.length; from += most) made.push(seats.slice(from, from + most));
  return made;
}

/** Name and middle of each section, and how wide it is. */
function labels(table, x, y) {
  const made = [];
  for (const { name, rows } of sections(table)) {
    if (name === "") continue;
    let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const i of [...rows.values()].flat()) {
      [left, right] = [Math.min(left, x[i]), Math.max(right, x[i])];
      [top, bottom] = [Math.min(top, y[i]), Math.max(bottom, y[i])];
    }
    made.push({ name, x: (left + right) / 2, y: (top + bottom) / 2, width: right - left });
  }
  return made;
}
