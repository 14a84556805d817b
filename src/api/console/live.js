// An event kept live on a page: model and stream, and the views that show them. Used by the event page and the buyer's.

import { paths, read, url } from "./api.js";
import { EventModel } from "./model.js";
import { ChangeStream, followVisibility } from "./stream.js";
import { announcer, count, perFrame, throttle } from "./ui.js";

/** Counting 50,000 seats is cheap, but not in every frame. */
const COUNT_EVERY_MS = 250;
/** A failed read of the event's name and settings is tried again after this. */
const ABOUT_RETRY_MS = 2_000;

/**
 * Follows `event` and feeds `views`: `map`, `list`, `legend`, `pools`, `connection`, `alarm`, `announce`, all optional.
 * Calls `onAbout(event)` with the event as read, `onFrame(model, seats)` once per frame with the seats that changed
 * (null: all), `onCount(model)` a few times a second, `onMissing(gone)` when there is no such event.
 */
export function liveEvent(event, views, { onAbout, onFrame, onCount, onMissing }) {
  const model = new EventModel();
  const changed = { all: false, seats: new Set(), pools: new Set() };
  const say = views.announce ? announcer(views.announce) : () => {};

  const counted = throttle(() => {
    views.legend?.update();
    onCount?.(model);
    if (model.totals)
      say(
        `${count(model.totals.available)} available, ${count(model.totals.held)} held, ${count(model.totals.booked)} booked`,
      );
  }, COUNT_EVERY_MS);

  const frame = perFrame(() => {
    const { all, seats, pools } = changed;
    Object.assign(changed, { all: false, seats: new Set(), pools: new Set() });
    if (all) showAll();
    else {
      views.map?.touch([...seats]);
      views.list?.touch(seats);
      for (const pool of pools) views.pools?.update(model.pools.get(pool));
    }
    onFrame?.(model, all ? null : seats);
    counted();
  });

  function showAll() {
    for (const view of [views.map, views.list, views.legend]) view?.setSeats(model.seats, views.picked);
    views.pools?.setPools(model.pools);
  }

  const stream = new ChangeStream({
    url: url(paths.eventChanges(event)),
    snapshot: true,
    onMessage(type, data, first) {
      const touched = model.take(type, data, first);
      views.alarm?.show(model.alarms);
      if (!touched) return;
      if (touched.resync) stream.resync();
      if (touched.all || touched.redefined) about();
      if (touched.deleted) onMissing?.(true);
      changed.all ||= Boolean(touched.all);
      for (const seat of touched.seats ?? []) changed.seats.add(seat);
      for (const pool of touched.pools ?? []) changed.pools.add(pool);
      frame();
    },
    onState(state) {
      views.connection?.show(state);
      if (state.state === "gone") onMissing?.(model.deleted);
    },
  });

  // One read at a time, and one more if it was asked for meanwhile: the last one always sees the newest definition.
  let reading = false;
  let again = false;
  async function about() {
    again = true;
    if (reading) return;
    reading = true;
    while (again) {
      again = false;
      try {
        onAbout?.((await read(paths.event(event))).body);
      } catch (error) {
        if (error.status === 404) break;
        again = true;
        await new Promise((resolve) => setTimeout(resolve, ABOUT_RETRY_MS));
      }
    }
    reading = false;
  }

  if (views.connection) views.connection.onretry = () => stream.retryNow();
  views.legend?.addEventListener("by-category", ({ detail }) => (views.map.byCategory = detail.on));
  followVisibility(stream);
  return { model, stream };
}
