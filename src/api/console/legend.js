// `<map-legend>`: the shapes and colours of the seat map, with counts, and the switch between status and category.
// Event: `by-category` {on}.

import { STATUSES } from "./model.js";
import { CATEGORY_COLOURS, palette, shape } from "./paint.js";
import { count, h, setText } from "./ui.js";

const SWATCH = 14;

export class MapLegend extends HTMLElement {
  #counts = STATUSES.map((status) => h("span", { "data-test": `count-${status}`, class: "number" }));
  #categories = h("ul", { class: "legend", hidden: true, "data-test": "legend-categories" });
  #switch = h("input", { type: "checkbox", "data-test": "by-category" });
  #table = null;
  #free = new Map();

  connectedCallback() {
    if (this.firstChild) return;
    const swatches = STATUSES.map((status, code) =>
      h("li", {}, h("canvas", { "data-code": code, "aria-hidden": "true" }), ` ${status} `, this.#counts[code]),
    );
    this.#switch.addEventListener("change", () => {
      this.#categories.hidden = !this.#switch.checked;
      this.dispatchEvent(new CustomEvent("by-category", { detail: { on: this.#switch.checked } }));
      this.update();
    });
    this.append(
      h("ul", { class: "legend", "data-test": "legend" }, swatches),
      h("label", { class: "switch" }, this.#switch, " colour by category"),
      this.#categories,
    );
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    this.#draw();
  }

  setSeats(table) {
    this.#table = table;
    const names = [...new Set(table.category)];
    this.#free = new Map(names.map((name) => [name, h("span", { class: "number" })]));
    const items = names.map((name, at) =>
      h(
        "li",
        {},
        h("canvas", { "data-category": Math.min(at, CATEGORY_COLOURS - 1), "aria-hidden": "true" }),
        ` ${name || "no category"} `,
        this.#free.get(name),
      ),
    );
    this.#categories.replaceChildren(...items);
    this.#switch.parentElement.hidden = names.length < 2;
    this.#draw();
    this.update();
  }

  /** Counts again; from the statuses as they are, nothing is carried along. */
  update() {
    if (!this.#table) return;
    this.#table.count().forEach((number, code) => setText(this.#counts[code], count(number)));
    if (this.#categories.hidden) return;
    const free = new Map();
    for (let seat = 0; seat < this.#table.size; seat++) {
      if (this.#table.code(seat) === 0)
        free.set(this.#table.category[seat], (free.get(this.#table.category[seat]) ?? 0) + 1);
    }
    for (const [name, element] of this.#free) setText(element, `${count(free.get(name) ?? 0)} free`);
  }

  #draw() {
    const colours = palette(this);
    for (const canvas of this.querySelectorAll("canvas")) {
      canvas.width = canvas.height = SWATCH * devicePixelRatio;
      const { code = 0, category } = canvas.dataset;
      const colour = category === undefined ? colours.status[code] : colours.category[category];
      const middle = canvas.width / 2;
      shape(canvas.getContext("2d"), Number(code), middle, middle, canvas.width - 1, colour);
    }
  }
}

customElements.define("map-legend", MapLegend);
