// `<pool-bars>`: the pools of an event as bars, with all numbers in words; with the attribute `selectable` each has a field
// for a quantity. Event: `quantity` {pool, quantity}.

import { count, h, setText } from "./ui.js";

const PARTS = ["booked", "held", "blocked"];

export class PoolBars extends HTMLElement {
  #rows = new Map();

  /** `pools`: id → pool, in the order to show. */
  setPools(pools) {
    const quantities = this.quantities();
    this.#rows = new Map([...pools.keys()].map((id) => [id, this.#row(pools.get(id), quantities.get(id))]));
    this.replaceChildren(...[...this.#rows.values()].map((row) => row.element));
    for (const pool of pools.values()) this.update(pool);
  }

  update(pool) {
    const row = this.#rows.get(pool.id);
    if (!row) return;
    setText(row.available, count(pool.available));
    setText(
      row.rest,
      ` of ${count(pool.capacity)} available · ${count(pool.held)} held · ${count(pool.booked)} booked · ${count(pool.blocked)} blocked`,
    );
    for (const part of PARTS)
      row[part].style.setProperty("width", `${pool.capacity ? (100 * pool[part]) / pool.capacity : 0}%`);
    if (row.input) row.input.max = pool.available;
  }

  /** Quantities that are chosen, by pool. */
  quantities() {
    const chosen = [...this.#rows].map(([id, { input }]) => [id, Math.floor(Number(input?.value ?? 0))]);
    return new Map(chosen.filter(([, quantity]) => quantity > 0));
  }

  setQuantities(quantities) {
    for (const [id, { input }] of this.#rows) if (input) input.value = quantities.get(id) ?? 0;
  }

  #row(pool, quantity = 0) {
    const row = { available: h("strong", { "data-test": "pool-available" }), rest: h("span", { class: "quiet" }) };
    for (const part of PARTS) row[part] = h("span", { class: `bar-${part}` });
    const label = pool.name || pool.id;
    const about = pool.category ? h("span", { class: "quiet" }, ` ${pool.category}`) : null;
    row.element = h(
      "div",
      { class: "pool", "data-test": "pool", "data-id": pool.id },
      h(
        "div",
        { class: "line" },
        h("span", {}, h("span", { class: "pool-name" }, label), about),
        this.#stepper(row, pool, label, quantity),
      ),
      h(
        "div",
        { class: "bar", "aria-hidden": "true" },
        PARTS.map((part) => row[part]),
      ),
      h("div", { class: "pool-numbers" }, row.available, row.rest),
    );
    return row;
  }

  #stepper(row, pool, label, quantity) {
    if (!this.hasAttribute("selectable")) return null;
    const tell = () => this.dispatchEvent(new CustomEvent("quantity", { detail: { pool: pool.id } }));
    const input = h("input", {
      type: "number",
      min: 0,
      step: 1,
      inputmode: "numeric",
      value: quantity,
      "data-test": "pool-quantity",
      "aria-label": `How many of ${label}`,
      oninput: tell,
    });
    row.input = input;
    const step = (by) => () => {
      input.value = Math.max(0, Math.floor(Number(input.value) || 0) + by);
      tell();
    };
    const less = h(
      "button",
      { type: "button", "aria-label": `one ${label} less`, "data-test": "pool-less", onclick: step(-1) },
      "−",
    );
    const more = h(
      "button",
      { type: "button", "aria-label": `one ${label} more`, "data-test": "pool-more", onclick: step(1) },
      "+",
    );
    return h("span", { class: "stepper" }, less, input, more);
  }
}

customElements.define("pool-bars", PoolBars);
