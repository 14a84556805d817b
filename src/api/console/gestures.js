// Mouse, wheel, touch and keys of the seat map. Knows nothing of seats but what the map tells.

/** A pointer that moved less than this, in CSS pixels, was a tap. */
const TAP_SLACK = 5;
const KEY_STEP = 60;

/** Makes `map` follow what happens on `surface`. */
export function follow(map, surface) {
  const pointers = new Map();
  let travelled = 0;

  const here = (event) => {
    const box = surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  surface.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    surface.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, here(event));
    // A second finger makes it a pinch, which is never a tap.
    travelled = pointers.size === 1 ? 0 : Infinity;
    map.focus({ preventScroll: true, focusVisible: false });
  });

  surface.addEventListener("pointermove", (event) => {
    const at = here(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") map.hover = map.seatAt(...at);
      return;
    }
    travelled += Math.hypot(at[0] - before[0], at[1] - before[1]);
    if (pointers.size === 2) pinch(event.pointerId, before, at);
    else if (travelled > TAP_SLACK) map.panBy(at[0] - before[0], at[1] - before[1]);
    if (pointers.size === 2 || travelled > TAP_SLACK) pointers.set(event.pointerId, at);
  });

  function pinch(id, before, at) {
    const [, other] = [...pointers].find(([known]) => known !== id);
    const apart = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
    const middle = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    map.panBy((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    if (apart(before) > 8) map.zoom(apart(at) / apart(before), ...middle);
  }

  const lift = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    if (event.type !== "pointerup" || travelled > TAP_SLACK) return;
    const seat = map.seatAt(...here(event), event.pointerType === "touch");
    map.hover = seat;
    map.pick(seat);
  };
  surface.addEventListener("pointerup", lift);
  surface.addEventListener("pointercancel", lift);
  surface.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") map.hover = -1;
  });

  surface.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : 1;
      map.zoom(Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) / 300), ...here(event));
    },
    { passive: false },
  );

  const keys = {
    "+": () => map.zoom(1.4),
    "=": () => map.zoom(1.4),
    "-": () => map.zoom(1 / 1.4),
    0: () => map.fit(),
    ArrowLeft: () => map.panBy(KEY_STEP, 0),
    ArrowRight: () => map.panBy(-KEY_STEP, 0),
    ArrowUp: () => map.panBy(0, KEY_STEP),
    ArrowDown: () => map.panBy(0, -KEY_STEP),
  };
  map.addEventListener("keydown", (event) => {
    if (event.target !== map || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
}
