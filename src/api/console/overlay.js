// What lies over the seats of the map and is drawn anew in every frame: rings, names of sections, numbers of seats.
// `view`: layout, table, colours, scale, pan, size (of a seat), selected, mine, hover, focus. All in device pixels.

/** Seats smaller than this (CSS pixels) are too many to tell apart: names of sections help. */
const NAMES_BELOW = 9;
/** Seats at least this large have room for their number. */
const NUMBERS_FROM = 20;

export function drawOverlay(context, view) {
  const dpr = devicePixelRatio;
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  if (view.size < NAMES_BELOW * dpr) names(context, view, dpr);
  else if (view.size >= NUMBERS_FROM * dpr) numbers(context, view);
  rings(context, view, dpr);
}

function place({ layout, scale, pan }, seat) {
  return [layout.x[seat] * scale - pan[0], layout.y[seat] * scale - pan[1]];
}

function rings(context, view, dpr) {
  const { colours } = view;
  const ring = (seat, colour, grow, thick) => {
    context.lineWidth = thick * dpr;
    context.strokeStyle = colour;
    context.beginPath();
    context.arc(...place(view, seat), Math.max(view.size / 2, 2 * dpr) + grow * dpr, 0, 7);
    context.stroke();
  };
  for (const seat of view.mine) ring(seat, colours.mine, 2.5, 3);
  for (const seat of view.selected) {
    ring(seat, colours.ink, 2, 4);
    ring(seat, colours.accent, 2, 2);
  }
  if (view.focus >= 0) ring(view.focus, colours.accent, 5, 2);
  if (view.hover >= 0) ring(view.hover, colours.ink, 1.5, 1.5);
}

/** Names of the sections, as many as find room beside each other. */
function names(context, view, dpr) {
  const tall = 12 * dpr;
  context.font = `600 ${tall}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 4 * dpr;
  context.lineJoin = "round";
  context.strokeStyle = view.colours.ground;
  context.fillStyle = view.colours.ink;
  const taken = [];
  for (const { name, x, y, width } of view.layout.labels) {
    const [left, top] = [x * view.scale - view.pan[0], y * view.scale - view.pan[1]];
    const wide = context.measureText(name).width;
    if (width * view.scale < wide) continue;
    if (
      taken.some(
        (other) => Math.abs(other.left - left) < (other.wide + wide) / 2 + 3 * dpr && Math.abs(other.top - top) < tall,
      )
    )
      continue;
    taken.push({ left, top, wide });
    context.strokeText(name, left, top);
    context.fillText(name, left, top);
  }
}

/** Numbers on free seats. */
function numbers(context, view) {
  const { width, height } = context.canvas;
  context.font = `600 ${Math.round(view.size * 0.42)}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = view.colours.ground;
  const plan = (pixel, axis) => (pixel + view.pan[axis]) / view.scale;
  view.layout.within(plan(0, 0), plan(0, 1), plan(width, 0), plan(height, 1), (seat) => {
    if (view.table.code(seat) === 0) context.fillText(String(view.table.number[seat]), ...place(view, seat));
  });
}
