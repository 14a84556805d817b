// The cluster page: nodes, traffic, the oversell meter, the events.
//
// data-test: connection, connection-detail, retry-now; alarm, unreachable; leader, term, revision; rate-changes,
// rate-booked, spark-changes, spark-booked; changes, change (data-revision); events, event (data-id), event-name,
// event-open, event-buy, event-audit, no-events, more-events; curl-drawer, curl-toggle, curl-text, curl-copy; and those of
// meter.js and nodes.js.

import "./drawer.js";
import "./meter.js";
import "./nodes.js";
import "./spark.js";
import { paths, read, url } from "./api.js";
import { Auditor } from "./auditor.js";
import { GroupModel } from "./group.js";
import { Rate } from "./rate.js";
import { ChangeStream, followVisibility } from "./stream.js";
import { $, clockTime, count, h, pageOf, perFrame, setText, throttle } from "./ui.js";

const CLUSTER_EVERY_MS = 2_000;
/** Shorter than other reads: the sooner the page says that its node is silent. */
const CLUSTER_TIMEOUT_MS = 4_000;
const EVENTS_SHOWN = 50;

const connection = document.querySelector("connection-state");
const cards = $("nodes");
const drawer = document.querySelector("curl-drawer");

// --- nodes ------------------------------------------------------------------------------------------------------------

let others = [];
let dev = null;

async function nodes() {
  const [cluster, devNodes] = await Promise.all(
    [paths.cluster, paths.devNodes].map((path) =>
      read(path, { timeoutMs: CLUSTER_TIMEOUT_MS }).catch((error) => error),
    ),
  );
  if (devNodes.body) dev = new Map(devNodes.body.nodes.map((node) => [node.id, node]));
  else if (devNodes.status === 404) dev = null;
  if (cluster.body?.nodes) showCluster(cluster);
  unreachable(cluster.body?.nodes ? null : cluster);
}

function showCluster({ body, headers }) {
  const own = headers.get("Lastseat-Node");
  cards.own = body.nodes.find((node) => String(node.id) === own)?.id ?? null;
  others = body.nodes.filter((node) => node.id !== cards.own && node.api);
  setText($("leader"), body.leader === null || body.leader === undefined ? "none" : `node ${body.leader}`);
  setText($("term"), count(body.term));
  if (group.revision === null || body.revision > group.revision) setText($("revision"), count(body.revision));
  cards.show(body.nodes, dev);
}

/** This page's node is silent: say so, and where else a console is. It goes on by itself when the node is back. */
function unreachable(error) {
  const notice = $("unreachable");
  notice.hidden = !error;
  if (!error) return notice.replaceChildren();
  if (notice.firstChild) return;
  const links = others.flatMap((node) => [
    " ",
    h("a", { class: "nowrap", href: `${node.api.replace(/\/$/, "")}/console/` }, `node ${node.id}`),
  ]);
  const why = error.status
    ? `The node that serves this page answers: ${error.message}`
    : "The node that serves this page does not answer.";
  notice.append(
    `${why} What is shown is the last that was known; the page keeps asking.`,
    ...(links.length ? [" The console of another node:", ...links] : []),
  );
}

async function poll() {
  for (;;) {
    if (!document.hidden) await nodes();
    await new Promise((resolve) => setTimeout(resolve, CLUSTER_EVERY_MS));
  }
}

cards.onaction = ({ id, action }) => {
  drawer.add(`${action} node ${id}`, { method: "POST", path: paths.devAction(id, action) });
  nodes();
};

// --- traffic ----------------------------------------------------------------------------------------------------------

const group = new GroupModel();
const rates = { changes: new Rate(), booked: new Rate() };
const stream = new ChangeStream({
  url: url(paths.changes),
  onMessage(type, data) {
    const seen = group.take(type, data);
    $("alarm").show(group.alarms);
    if (!seen) return;
    rates.changes.add(seen.changes, performance.now());
    rates.booked.add(seen.booked, performance.now());
    latest();
  },
  onState: (state) => connection.show(state, "revision"),
  onRestart: () => group.restart(),
});
connection.onretry = () => stream.retryNow();

const latest = throttle(
  perFrame(() => {
    setText($("revision"), count(group.revision));
    const list = $("changes");
    const newest = Number(list.firstChild?.dataset.revision ?? 0);
    list.prepend(...group.recent.filter(({ revision }) => revision > newest).map(changeLine));
    while (list.children.length > group.recent.length) list.lastChild.remove();
  }),
  250,
);

function changeLine({ revision, at, cause, event, text }) {
  return h(
    "li",
    { "data-test": "change", "data-revision": revision, title: at },
    h("span", { class: `cause cause-${cause}` }, cause),
    h("span", { class: "what" }, event ? h("a", { href: pageOf("event", event) }, event) : "", ` ${text}`),
    h("span", { class: "quiet number" }, `${count(revision)} · ${clockTime(at)}`),
  );
}

function drawRates() {
  for (const [name, rate] of Object.entries(rates)) {
    const now = performance.now();
    setText($(`rate-${name}`), Math.round(rate.now(now)).toLocaleString("en"));
    $(`spark-${name}`).draw(rate.series(now));
  }
}

// --- events and their audits ------------------------------------------------------------------------------------------

const auditor = new Auditor();
const rows = new Map();
let most = EVENTS_SHOWN;

const events = throttle(() => {
  $("meter").show(auditor);
  const shown = [...auditor.events.values()].slice(0, most);
  for (const [event, row] of rows)
    if (!shown.some((one) => one.event === event)) (row.element.remove(), rows.delete(event));
  for (const one of shown) {
    if (!rows.has(one.event)) rows.set(one.event, eventRow(one.event));
    fillRow(rows.get(one.event), one);
  }
  const list = $("events");
  shown.forEach(
    ({ event }, at) =>
      list.children[at] !== rows.get(event).element &&
      list.insertBefore(rows.get(event).element, list.children[at] ?? null),
  );
  $("no-events").hidden = !auditor.listed || auditor.events.size > 0;
  $("more-events").hidden = auditor.events.size <= most;
}, 250);

function eventRow(event) {
  const row = {
    name: h("a", { href: pageOf("event", event), "data-test": "event-name", class: "event-name" }),
    about: h("span", { class: "quiet" }),
    audit: h("span", { "data-test": "event-audit", class: "number" }),
    bar: h("span", { class: "bar-booked" }),
    held: h("span", { class: "bar-held" }),
  };
  row.element = h(
    "li",
    { "data-test": "event", "data-id": event },
    h("div", {}, row.name, " ", row.about),
    h("div", {}, h("div", { class: "bar", "aria-hidden": "true" }, row.bar, row.held), row.audit),
    h(
      "div",
      { class: "buttons small" },
      h("a", { class: "button", href: pageOf("event", event), "data-test": "event-open" }, "watch"),
      h("a", { class: "button", href: pageOf("buy", event), "data-test": "event-buy" }, "buy"),
    ),
  );
  return row;
}

function fillRow(row, { event, name, on_sale, version, audit }) {
  setText(row.name, name);
  setText(row.about, `${event} · version ${count(audit?.version ?? version)}${on_sale ? "" : " · not on sale"}`);
  if (!audit) return setText(row.audit, "not audited yet");
  const wrong = audit.oversold > 0 || audit.violations.length > 0;
  row.element.classList.toggle("bad", wrong);
  setText(
    row.audit,
    `${count(audit.booked)} booked, ${count(audit.held)} held of ${count(audit.capacity)} · ${wrong ? `⚠ ${count(audit.oversold)} oversold` : "0 oversold"}`,
  );
  row.bar.style.setProperty("width", `${audit.capacity ? (100 * audit.booked) / audit.capacity : 0}%`);
  row.held.style.setProperty("width", `${audit.capacity ? (100 * audit.held) / audit.capacity : 0}%`);
}

$("more-events").addEventListener("click", () => {
  most += EVENTS_SHOWN;
  events();
});

drawer.add("the nodes", { path: paths.cluster });
drawer.add("the events", { path: paths.events() });
drawer.add("every change of the cluster from now on", { path: paths.changes, stream: true });
auditor.addEventListener("change", events);
followVisibility(stream);
setInterval(() => document.hidden || drawRates(), 1000);
poll();
auditor.start();
