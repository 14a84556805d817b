// `<seat-list>`: the seats as a tree of sections → rows → seats, for keyboards and screen readers. Only what is open is
// in the document: one section's rows, one row's seats.
//
// Event: `seat-pick` {seat} on Enter, Space or click; `seat-focus` {seat}.

import { sections } from "./layout.js";
import { count, h, setText, throttle } from "./ui.js";

/** Seats without a row, or of a very long one, are shown in lines of this many. */
const LINE_MAX = 100;
const COUNT_EVERY_MS = 1_000;

export class SeatList extends HTMLElement {
  #table = null;
  #sections = [];
  #shown = new Map();
  #open = { section: -1, line: -1 };
  #picked = (/* seat */) => null;
  #recount = throttle(() => this.#counts(), COUNT_EVERY_MS);

  connectedCallback() {
    this.setAttribute("role", "tree");
    this.addEventListener("keydown", (event) => this.#key(event));
    this.addEventListener("click", (event) => this.#act(event.target.closest("[role=treeitem]")));
    this.addEventListener("focusin", (event) => this.#focused(event.target));
  }

  /** `picked(seat)`: a word for seats that are chosen or ours, null for others. */
  setSeats(table, picked) {
    this.#table = table;
    this.#picked = picked ?? this.#picked;
    this.#sections = sections(table).map(({ name, rows, size }) => ({
      name,
      size,
      lines: lines(rows),
      seats: [...rows.values()].flat(),
    }));
    const { section, line } = this.#open;
    this.#open = { section: -1, line: -1 };
    const list = this.#sections.map(({ name, size }, at) => {
      const label = name === "" ? "Seats" : name;
      return item(
        1,
        { "data-section": at, "aria-expanded": false, "data-test": "list-section" },
        h("span", {}, `${label} `),
        h("span", { class: "quiet" }, `${count(size)} seats`),
      );
    });
    this.replaceChildren(...list);
    if (list.length) list[0].tabIndex = 0;
    if (section >= 0 && section < list.length) this.#toggleSection(list[section], line);
    this.#counts();
  }

  /** Seats that changed, by index. */
  touch(seats) {
    for (const seat of seats) this.#label(seat);
    this.#recount();
  }

  /** What is chosen or ours changed. */
  refresh() {
    for (const seat of this.#shown.keys()) this.#label(seat);
  }

  #label(seat) {
    const element = this.#shown.get(seat);
    if (!element) return;
    const status = this.#table.status(seat);
    const mark = this.#picked(seat);
    element.dataset.status = status;
    element.setAttribute("aria-selected", mark !== null);
    element.setAttribute(
      "aria-label",
      `seat ${this.#table.number[seat] || this.#table.ids[seat]}, ${mark ?? status}${this.#table.category[seat] ? `, ${this.#table.category[seat]}` : ""}`,
    );
    setText(element, `${this.#table.number[seat] || this.#table.ids[seat]}`);
    element.title = `${this.#table.ids[seat]}: ${mark ?? status}`;
  }

  #counts() {
    for (const [at, { size, seats }] of this.#sections.entries()) {
      const free = seats.reduce((sum, seat) => sum + (this.#table.code(seat) === 0), 0);
      setText(this.querySelector(`[data-section="${at}"] > .quiet`), `${count(free)} of ${count(size)} free`);
    }
    const open = this.#sections[this.#open.section];
    for (const [at, { seats }] of open?.lines.entries() ?? []) {
      const free = seats.reduce((sum, seat) => sum + (this.#table.code(seat) === 0), 0);
      setText(this.querySelector(`[data-line="${at}"] > .quiet`), `${free} of ${seats.length} free`);
    }
  }

  #toggleSection(element, line = -1) {
    const at = Number(element.dataset.section);
    const closing = this.#open.section === at;
    for (const open of this.querySelectorAll("[data-section][aria-expanded=true]")) collapse(open);
    this.#shown.clear();
    this.#open = { section: closing ? -1 : at, line: -1 };
    if (closing) return;
    element.setAttribute("aria-expanded", "true");
    const rows = this.#sections[at].lines.map(({ name }, index) =>
      item(
        2,
        { "data-line": index, "aria-expanded": false, "data-test": "list-row" },
        h("span", {}, `${name} `),
        h("span", { class: "quiet" }),
      ),
    );
    element.append(h("ul", { role: "group" }, rows));
    if (rows.length === 1 || line >= 0) this.#toggleLine(rows[Math.max(0, line)] ?? rows[0]);
    this.#counts();
  }

  #toggleLine(element) {
    if (!element) return;
    const at = Number(element.dataset.line);
    const closing = this.#open.line === at;
    for (const open of this.querySelectorAll("[data-line][aria-expanded=true]")) collapse(open);
    this.#shown.clear();
    this.#open.line = closing ? -1 : at;
    if (closing) return;
    element.setAttribute("aria-expanded", "true");
    const seats = this.#sections[this.#open.section].lines[at].seats;
    const made = seats.map((seat) => {
      const one = item(3, {
        "data-seat": seat,
        "data-test": "list-seat",
        "data-id": this.#table.ids[seat],
        class: "seat",
      });
      this.#shown.set(seat, one);
      this.#label(seat);
      return one;
    });
    element.append(h("ul", { role: "group", class: "seats" }, made));
  }

  #act(element) {
    if (!element) return;
    this.#rove(element);
    if (element.dataset.seat !== undefined) this.#tell("seat-pick", element);
    else if (element.dataset.line !== undefined) this.#toggleLine(element);
    else this.#toggleSection(element);
  }

  #tell(name, element) {
    this.dispatchEvent(new CustomEvent(name, { detail: { seat: Number(element.dataset.seat ?? -1) } }));
  }

  #focused(element) {
    if (element.getAttribute("role") === "treeitem") this.#tell("seat-focus", element);
  }

  /** One item takes the Tab key, arrows go on from it. */
  #rove(element) {
    for (const old of this.querySelectorAll("[role=treeitem][tabindex='0']")) old.tabIndex = -1;
    element.tabIndex = 0;
    element.focus({ preventScroll: false });
  }

  #key(event) {
    const at = event.target.closest("[role=treeitem]");
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = [...this.querySelectorAll("[role=treeitem]")];
    const index = all.indexOf(at);
    const level = Number(at.getAttribute("aria-level"));
    const open = at.getAttribute("aria-expanded");
    const to = {
      ArrowDown: () => all[index + 1],
      ArrowUp: () => all[index - 1],
      Home: () => all[0],
      End: () => all.at(-1),
      ArrowRight: () => (open === "false" ? void this.#act(at) : all[index + 1]),
      ArrowLeft: () =>
        open === "true"
          ? void this.#act(at)
          : level === 3 && all[index - 1]?.dataset.seat !== undefined
            ? all[index - 1]
            : at.parentElement.closest("[role=treeitem]"),
      Enter: () => void this.#act(at),
      " ": () => void this.#act(at),
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = to();
    if (next) this.#rove(next);
  }
}

function item(level, attributes, ...children) {
  return h(
    "li",
    {
      role: "treeitem",
      "aria-level": level,
      tabindex: -1,
      ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, String(value)])),
    },
    ...children,
  );
}

function collapse(element) {
  element.setAttribute("aria-expanded", "false");
  element.querySelector("ul")?.remove();
}

/** Rows in definition order, long ones cut. */
function lines(rows) {
  const made = [];
  for (const [row, seats] of rows) {
    for (let from = 0; from < seats.length; from += LINE_MAX) {
      const part = seats.slice(from, from + LINE_MAX);
      const range = seats.length > LINE_MAX ? ` ${from + 1}–${from + part.length}` : "";
      made.push({ name: (row === "" ? "no row" : `row ${row}`) + range, seats: part });
    }
  }
  return made;
}

customElements.define("seat-list", SeatList);
