// The buyer's page: choose, reserve, then book, extend or let go. Two tabs are two buyers.
//
// data-test: event-name, on-sale, total-available, announce, alarm, missing, event-link; connection, connection-detail,
// retry-now; map-section, map, seat-canvas, zoom-in, zoom-out, zoom-fit, seat-info; legend, by-category, count-…;
// pools-section, pools, pool (data-id), pool-available, pool-quantity, pool-less, pool-more; best-panel, best-form,
// best-quantity, best-section, best-category, best-contiguous, best-reserve; list-panel, list, list-section, list-row,
// list-seat (data-id, data-status); curl-drawer, curl-toggle, curl-text, curl-copy; and those of panel.js.

import "./drawer.js";
import "./legend.js";
import "./map.js";
import "./panel.js";
import "./pools.js";
import "./seatlist.js";
import { advice, keepFree } from "./advice.js";
import { paths } from "./api.js";
import { liveEvent } from "./live.js";
import { Purchase } from "./purchase.js";
import { $, count, eventOfAddress, h, pageOf, setText } from "./ui.js";

const event = eventOfAddress();
const panel = $("buyer");
const views = {
  map: $("map"),
  list: $("list"),
  legend: document.querySelector("map-legend"),
  pools: $("pools"),
  connection: document.querySelector("connection-state"),
  alarm: $("alarm"),
  announce: $("announce"),
  picked: (seat) => (chosen.has(seat) ? "chosen" : mine.has(seat) ? mineWord() : null),
};
/** Seats chosen here, and seats that are ours by the server's word; by index. */
let chosen = new Set();
let mine = new Set();
let chosenIds = [];
let model;
let purchase;

async function begin() {
  $("event-link").href = pageOf("event", event);
  setText($("event-name"), event);
  purchase = new Purchase(event);
  panel.attach(purchase, { reserve, nameOf });
  purchase.addEventListener("change", sync);
  purchase.addEventListener("answer", ({ detail }) => answered(detail));
  ({ model } = liveEvent(event, views, {
    onAbout,
    onFrame,
    onMissing: (deleted) => missing(deleted ? "This event was deleted." : `There is no event “${event}” here.`),
  }));
  for (const view of [views.map, views.list]) view.addEventListener("seat-pick", ({ detail }) => toggle(detail.seat));
  views.map.addEventListener("seat-hover", ({ detail }) => seatInfo(detail.seat));
  views.list.addEventListener("seat-focus", ({ detail }) => views.map.focusSeat(detail.seat));
  views.pools.addEventListener("quantity", sync);
  $("best-form").addEventListener("submit", (submit) => {
    submit.preventDefault();
    reserveBest(new FormData(submit.target));
  });
  await purchase.resume();
  sync();
}

/** Our marks and the panel, after anything that is ours changed. */
function sync() {
  const { hold, receipt, stage } = purchase.state;
  const items = stage === "held" || stage === "booked" ? (receipt ?? hold).items : [];
  mine = indexes(items.map(({ seat }) => seat));
  for (const seat of mine) chosen.delete(seat);
  chosenIds = [...chosen].map((seat) => model.seats.ids[seat]);
  views.map.mark(chosen, mine);
  views.list.refresh();
  panel.choose(chosenIds, views.pools.quantities());
  $("best-panel").hidden = !canChoose() || model.seats.size === 0;
  $("best-reserve").disabled = Boolean(purchase.pending);
  setText($("best-reserve"), stage === "held" ? "Add the best to the hold" : "Reserve the best");
}

const indexes = (ids) => new Set(ids.map((id) => model.seats.index.get(id)).filter((seat) => seat !== undefined));

const mineWord = () => (purchase.state.stage === "booked" ? "yours, booked" : "held for you");

function toggle(seat) {
  if (seat < 0 || purchase.pending) return;
  if (chosen.has(seat)) chosen.delete(seat);
  else if (model.seats.status(seat) === "free" && canChoose()) chosen.add(seat);
  sync();
  seatInfo(seat);
}

const nameOf = (pool) => model?.pools.get(pool)?.name || pool;

const canChoose = () => ["choosing", "held"].includes(purchase.state.stage);

function items() {
  const seats = chosenIds.map((seat) => ({ seat }));
  const pools = [...views.pools.quantities()].map(([pool, quantity]) => ({ pool, quantity }));
  return [...seats, ...pools];
}

/** With a live hold: adds to it. Its customer is the hold's. */
function owner() {
  const { stage, hold, customer } = purchase.state;
  return stage === "held" ? { token: hold.token } : { customer: customer || undefined };
}

function reserve() {
  panel.say(null);
  return purchase.act("reserve", { items: items(), ...owner() });
}

function reserveBest(form) {
  if (purchase.pending || !canChoose()) return;
  panel.say(null);
  const quantity = Math.floor(Number(form.get("quantity")));
  const best = {
    quantity,
    section: form.get("section") || undefined,
    category: form.get("category") || undefined,
    contiguous: form.has("contiguous"),
  };
  purchase.act("reserve", { best, ...owner() });
}

/** A definite answer: what it means, and the curl that does the same. */
function answered({ op, answer, body }) {
  document
    .querySelector("curl-drawer")
    .add(`${op}: ${answer.outcome}`, { method: "POST", path: paths.command(event, op), key: answer.key, body });
  if (answer.outcome === "applied") {
    if (op === "reserve" && body.items) clearChoice();
    if (op === "release") panel.say("calm", "Let go", ["everything you held is free again"]);
  } else {
    const conflicts = answer.body?.conflicts;
    const lines = advice(answer.body, nameOf);
    if (op === "reserve" && body.items && conflicts?.length) lines.push(...keep(conflicts));
    panel.say("bad", heading(op, answer), lines);
  }
  sync();
}

function heading(op, { outcome, body }) {
  const what = { reserve: "Not reserved", book: "Not booked", extend: "Not extended", release: "Not let go" }[op];
  if (outcome === "unknown") return `${what}, as far as anyone knows: the answer stays unknown`;
  return `${what}: ${(body?.title ?? "refused").toLowerCase()}`;
}

function clearChoice() {
  chosen = new Set();
  views.pools.setQuantities(new Map());
}

/** Takes what is gone off the choice; says what stays. */
function keep(conflicts) {
  const free = keepFree({ seats: chosenIds, pools: views.pools.quantities() }, conflicts);
  chosen = indexes([...free.seats]);
  views.pools.setQuantities(free.pools);
  return chosen.size + free.pools.size ? ["what is still free stays chosen"] : [];
}

/** Someone else was faster: take it off the choice and say so. Not while our own request is on its way. */
function onFrame(_, seats) {
  $("missing").hidden = !model.deleted;
  if (seats === null) redefined();
  setText($("total-available"), count(model.totals?.available));
  if (!purchase.pending) {
    const lost = [...chosen].filter((seat) => model.seats.code(seat) !== 0 && !mine.has(seat));
    for (const seat of lost) chosen.delete(seat);
    if (lost.length) {
      panel.say(
        "bad",
        "No longer free",
        advice({ conflicts: lost.map((seat) => ({ seat: model.seats.ids[seat], status: model.seats.status(seat) })) }),
      );
      sync();
    }
  }
}

/** Indexes belong to a table of seats: after a new one, what was chosen is found again by name. */
function redefined() {
  chosen = indexes(chosenIds);
  const named = model.seats.size > 0;
  for (const name of ["map-section", "list-panel"]) $(name).hidden = !named;
  $("pools-section").hidden = model.pools.size === 0;
  fill($("best-section"), model.seats.section);
  fill($("best-category"), model.seats.category);
  sync();
}

function fill(select, names) {
  const before = select.value;
  const options = [...new Set(names)].filter(Boolean).map((name) => h("option", {}, name));
  select.replaceChildren(h("option", { value: "" }, "any"), ...options);
  select.value = before;
  select.parentElement.hidden = options.length < 2;
}

function onAbout(about) {
  setText($("event-name"), about.name);
  document.title = `Buy · ${about.name} · lastseat`;
  const badge = $("on-sale");
  badge.hidden = false;
  badge.dataset.on = about.on_sale;
  setText(badge, about.on_sale ? "on sale" : "not on sale");
  panel.about(about);
}

function seatInfo(seat) {
  const { seats } = model;
  if (seat < 0 || seat >= seats.size) return setText($("seat-info"), "Tap a free seat to choose it");
  const category = seats.category[seat] ? `, ${seats.category[seat]}` : "";
  setText(
    $("seat-info"),
    `${seats.describe(seat)}${category}: ${views.picked(seat) ?? seats.status(seat)} (${seats.ids[seat]})`,
  );
}

function missing(text) {
  $("missing").hidden = false;
  setText($("missing"), text);
}

if (event) begin();
else missing("No event is named in the address. Choose one on the cluster page.");
