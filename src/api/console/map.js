// `<seat-map>`: all seats on a canvas (picture.js), and a second canvas on top for what moves by itself: rings, names,
// numbers (overlay.js). Here: what is in view, and what mouse, fingers and keys (gestures.js) do to it.
//
// Events: `seat-hover` {seat or -1}, `seat-pick` {seat}. Keys (map focused): + - arrows, 0 shows all.

import { Layout } from "./layout.js";
import { follow } from "./gestures.js";
import { drawOverlay } from "./overlay.js";
import { CATEGORY_COLOURS } from "./paint.js";
import { Picture } from "./picture.js";
import { h, perFrame } from "./ui.js";

/** Largest seat, in CSS pixels. */
const SEAT_MAX = 56;
/** A picture stretched while zooming is drawn sharp after this rest. */
const SETTLE_MS = 120;
const MARGIN = 24;
const TIMINGS_MAX = 600;

export class SeatMap extends HTMLElement {
  #base = h("canvas", { "data-test": "seat-canvas" });
  #over = h("canvas", { class: "over" });
  #table = null;
  #layout = null;
  #picture = null;
  #categories = new Map();
  // The transform in device pixels: screen = plan * scale - pan. Whole pixels of pan, so that a picture can be shifted.
  #scale = 1;
  #fit = 1;
  #pan = [0, 0];
  #touched = new Set();
  #byCategory = false;
  #selected = new Set();
  #mine = new Set();
  #hover = -1;
  #focus = -1;
  #moved = false;
  #zoomedAt = -Infinity;
  #frame = perFrame(() => this.#paint());
  /** For tests and measurements: milliseconds the last frames took to draw. */
  timings = [];

  connectedCallback() {
    if (this.firstChild) return;
    this.tabIndex = 0;
    this.setAttribute("role", "application");
    this.setAttribute("aria-roledescription", "seat map");
    const button = (label, name, test, act) =>
      h("button", { type: "button", "aria-label": name, title: name, "data-test": test, onclick: act }, label);
    const buttons = [
      button("+", "Zoom in", "zoom-in", () => this.zoom(1.5)),
      button("−", "Zoom out", "zoom-out", () => this.zoom(1 / 1.5)),
      button("⤢", "Show all seats", "zoom-fit", () => this.fit()),
    ];
    this.append(this.#base, this.#over, h("div", { class: "map-buttons" }, buttons));
    follow(this, this.#over);
    new ResizeObserver(() => this.#resize()).observe(this);
    for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
      matchMedia(query).addEventListener("change", () => this.#restyle());
    }
    this.#picture = new Picture(this.#base);
  }

  /** Shows another table of seats (a [`SeatTable`]). The view stays where it is when it is the same plan. */
  setSeats(table) {
    const before = this.#layout;
    this.#table = table;
    this.#layout = new Layout(table);
    const names = [...new Set(table.category)];
    this.#categories = new Map(names.map((name, at) => [name, Math.min(at, CATEGORY_COLOURS - 1)]));
    const same =
      before &&
      before.size === this.#layout.size &&
      ["left", "top", "right", "bottom"].every((side) => before.box[side] === this.#layout.box[side]);
    this.#picture.show(this.#layout, table, (...seat) => this.#colour(...seat));
    this.#touched.clear();
    [this.#selected, this.#mine, this.#hover, this.#focus] = [new Set(), new Set(), -1, -1];
    if (same && this.#moved) this.#redraw();
    else this.fit();
  }

  /** Seats whose status changed, by index. */
  touch(seats) {
    for (const seat of seats) this.#touched.add(seat);
    if (seats.length) this.#frame();
  }

  /** Marks on top: seats chosen here, seats that are ours. */
  mark(selected, mine = new Set()) {
    [this.#selected, this.#mine] = [selected, mine];
    this.#frame();
  }

  set byCategory(on) {
    this.#byCategory = on;
    this.#redraw();
  }

  get categories() {
    return this.#categories;
  }

  /** Rings a seat and brings it into view; -1 takes the ring away. */
  focusSeat(seat) {
    this.#focus = seat;
    if (seat >= 0) {
      const [x, y] = this.#place(seat);
      const { width, height } = this.#base;
      if (x < 0 || y < 0 || x > width || y > height)
        this.#pan = [this.#pan[0] + Math.round(x - width / 2), this.#pan[1] + Math.round(y - height / 2)];
    }
    this.#frame();
  }

  /** Moves the picture by CSS pixels. */
  panBy(dx, dy) {
    this.#moved = true;
    const dpr = devicePixelRatio;
    this.#pan = [this.#pan[0] - Math.round(dx * dpr), this.#pan[1] - Math.round(dy * dpr)];
    this.#clamp();
    this.#frame();
  }

  /** Zooms by a factor around a point of the element in CSS pixels; around the middle without one. */
  zoom(factor, x = this.clientWidth / 2, y = this.clientHeight / 2) {
    if (!this.#layout) return;
    this.#moved = true;
    const most = Math.max(this.#fit, (SEAT_MAX * devicePixelRatio) / this.#layout.pitch);
    const scale = Math.min(most, Math.max(this.#fit * 0.8, this.#scale * factor));
    const at = [x * devicePixelRatio, y * devicePixelRatio];
    this.#pan = this.#pan.map((pan, axis) => Math.round(((pan + at[axis]) * scale) / this.#scale - at[axis]));
    this.#scale = scale;
    this.#zoomedAt = performance.now();
    this.#clamp();
    this.#frame();
  }

  /** Shows everything. */
  fit() {
    if (!this.#layout) return;
    const { left, top, right, bottom } = this.#layout.box;
    const { width, height } = this.#base;
    const margin = MARGIN * devicePixelRatio;
    const seat = this.#layout.pitch;
    const most = (SEAT_MAX * devicePixelRatio * 0.5) / seat;
    const fits = Math.min((width - 2 * margin) / (right - left + seat), (height - 2 * margin) / (bottom - top + seat));
    this.#fit = this.#scale = Math.max(1e-6, Math.min(most, fits));
    this.#pan = [((left + right) / 2) * this.#scale - width / 2, ((top + bottom) / 2) * this.#scale - height / 2].map(
      Math.round,
    );
    this.#moved = false;
    this.#redraw();
  }

  /** The seat at a point of the element in CSS pixels, -1 without one. */
  seatAt(x, y, fingers = false) {
    if (!this.#layout?.size) return -1;
    const dpr = devicePixelRatio;
    const reach = Math.max(this.#layout.pitch / 2.2, (fingers ? 14 : 3) * (dpr / this.#scale));
    return this.#layout.nearest((x * dpr + this.#pan[0]) / this.#scale, (y * dpr + this.#pan[1]) / this.#scale, reach);
  }

  /** Where a seat is drawn, in CSS pixels of the element. */
  pointOf(seat) {
    return this.#place(seat).map((pixel) => pixel / devicePixelRatio);
  }

  set hover(seat) {
    if (seat === this.#hover) return;
    this.#hover = seat;
    this.dispatchEvent(new CustomEvent("seat-hover", { detail: { seat } }));
    this.#frame();
  }

  pick(seat) {
    if (seat >= 0) this.dispatchEvent(new CustomEvent("seat-pick", { detail: { seat } }));
  }

  #place(seat) {
    return [this.#layout.x[seat] * this.#scale - this.#pan[0], this.#layout.y[seat] * this.#scale - this.#pan[1]];
  }

  /** Keeps some of the plan in view. */
  #clamp() {
    const { left, top, right, bottom } = this.#layout?.box ?? { left: 0, top: 0, right: 0, bottom: 0 };
    const bound = (pan, from, to, size) =>
      Math.round(Math.max(from * this.#scale - size * 0.8, Math.min(to * this.#scale - size * 0.2, pan)));
    this.#pan = [
      bound(this.#pan[0], left, right, this.#base.width),
      bound(this.#pan[1], top, bottom, this.#base.height),
    ];
  }

  #resize() {
    const size = [this.clientWidth, this.clientHeight].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
    if (size[0] === this.#base.width && size[1] === this.#base.height) return;
    for (const canvas of [this.#base, this.#over]) [canvas.width, canvas.height] = size;
    if (this.#moved) this.#redraw();
    else this.fit();
  }

  #restyle() {
    this.#picture.restyle();
    this.#frame();
  }

  #redraw() {
    this.#picture.stale();
    this.#frame();
  }

  #colour(seat, code, colours) {
    if (!this.#byCategory || code >= 2) return colours.status[code];
    return colours.category[this.#categories.get(this.#table.category[seat])];
  }

  #paint() {
    if (!this.#layout) return;
    const began = performance.now();
    const sharp = this.#picture.paint(this.#scale, this.#pan, this.#touched, began - this.#zoomedAt < SETTLE_MS);
    if (sharp) this.#touched.clear();
    else this.#frame();
    drawOverlay(this.#over.getContext("2d"), {
      layout: this.#layout,
      table: this.#table,
      colours: this.#picture.colours,
      scale: this.#scale,
      pan: this.#pan,
      size: this.#picture.size,
      selected: this.#selected,
      mine: this.#mine,
      hover: this.#hover,
      focus: this.#focus,
    });
    this.timings.push(performance.now() - began);
    if (this.timings.length > TIMINGS_MAX) this.timings.shift();
  }
}

customElements.define("seat-map", SeatMap);
