// The event page: one event, live.
//
// data-test: event-name, on-sale, version, revision, total-available, total-held, total-booked, total-blocked,
// total-capacity, announce, alarm, missing, buy-link; connection, connection-detail, retry-now; map-section, map,
// seat-canvas, zoom-in, zoom-out, zoom-fit, seat-info; legend, legend-categories, by-category, count-free, count-held,
// count-booked, count-blocked; pools-section, pools, pool, pool-available; list-panel, list, list-section, list-row,
// list-seat (data-id, data-status); changes, change (data-version); curl-drawer, curl-toggle, curl-text, curl-copy.

import "./drawer.js";
import "./legend.js";
import "./map.js";
import "./pools.js";
import "./seatlist.js";
import { paths } from "./api.js";
import { liveEvent } from "./live.js";
import { $, clockTime, count, eventOfAddress, h, pageOf, setText } from "./ui.js";

const event = eventOfAddress();
const views = {
  map: $("map"),
  list: $("list"),
  legend: document.querySelector("map-legend"),
  pools: $("pools"),
  connection: document.querySelector("connection-state"),
  alarm: $("alarm"),
  announce: $("announce"),
};

function begin() {
  $("buy-link").href = pageOf("buy", event);
  setText($("event-name"), event);
  const { model } = liveEvent(event, views, { onAbout, onFrame, onCount, onMissing });
  views.map.addEventListener("seat-hover", ({ detail }) => seatInfo(model, detail.seat));
  views.list.addEventListener("seat-focus", ({ detail }) => show(model, detail.seat));
  views.list.addEventListener("seat-pick", ({ detail }) => show(model, detail.seat));
  const drawer = document.querySelector("curl-drawer");
  drawer.add("every seat with its status", { path: `${paths.event(event)}/seats` });
  drawer.add("counts from the records", { path: paths.audit(event) });
  drawer.add("the event and its counts", { path: paths.event(event) });
  drawer.add("this page's stream: the state, then every change", {
    path: `${paths.eventChanges(event)}?snapshot=true`,
    stream: true,
  });
}

function onAbout(about) {
  setText($("event-name"), about.name);
  document.title = `${about.name} · lastseat`;
  const badge = $("on-sale");
  badge.hidden = false;
  badge.dataset.on = about.on_sale;
  setText(badge, about.on_sale ? "on sale" : "not on sale");
}

function onFrame(model, seats) {
  $("missing").hidden = !model.deleted;
  setText($("version"), count(model.version));
  setText($("revision"), count(model.revision));
  for (const name of ["available", "held", "booked", "blocked", "capacity"])
    setText($(`total-${name}`), count(model.totals?.[name]));
  if (seats === null) {
    $("map-section").hidden = $("list-panel").hidden = model.seats.size === 0;
    $("pools-section").hidden = model.pools.size === 0;
  }
  if (shown >= 0 && (seats === null || seats.has(shown))) seatInfo(model, shown);
}

function onCount(model) {
  const list = $("changes");
  const newest = Number(list.firstChild?.dataset.version ?? 0);
  const fresh = model.recent.filter(({ version }) => version > newest);
  list.prepend(...fresh.map(changeLine));
  while (list.children.length > model.recent.length) list.lastChild.remove();
}

function changeLine({ version, revision, at, cause, text }) {
  return h(
    "li",
    { "data-test": "change", "data-version": version, title: `revision ${revision}, ${at}` },
    h("span", { class: `cause cause-${cause}` }, cause),
    h("span", { class: "what" }, text),
    h("span", { class: "quiet number" }, `${count(version)} · ${clockTime(at)}`),
  );
}

let shown = -1;

function seatInfo(model, seat) {
  shown = seat;
  const { seats } = model;
  if (seat < 0 || seat >= seats.size) return setText($("seat-info"), "Point at a seat, or tap it");
  const category = seats.category[seat] ? `, ${seats.category[seat]}` : "";
  setText($("seat-info"), `${seats.describe(seat)}${category}: ${seats.status(seat)} (${seats.ids[seat]})`);
}

function show(model, seat) {
  views.map.focusSeat(seat);
  if (seat >= 0) seatInfo(model, seat);
}

function onMissing(deleted) {
  missing(
    deleted
      ? "This event was deleted. The page waits in case it is defined again."
      : `There is no event “${event}” here. The page waits in case it is defined.`,
  );
}

function missing(text) {
  $("missing").hidden = false;
  setText($("missing"), text);
}

if (event) begin();
else missing("No event is named in the address. Choose one on the cluster page.");
