// What a refusal means to a buyer, item by item, and what to do about it.

/** Lines for a definite answer that was not `applied`. `nameOf(pool)` is what the buyer reads for a pool. */
export function advice(problem, nameOf = (pool) => pool) {
  const lines = (problem?.conflicts ?? []).map((conflict) => line(conflict, nameOf)).filter(Boolean);
  if (lines.length) return lines;
  return [byCode(problem ?? {})];
}

function line({ seat, pool, status, available, requested }, nameOf) {
  if (seat !== undefined) {
    if (status === "booked") return `seat ${seat} was just sold: choose another`;
    if (status === "held")
      return `seat ${seat} is held by someone else: choose another, or try again later, it may come back`;
    if (status === "blocked") return `seat ${seat} is set aside and not for sale: choose another`;
    return `seat ${seat} is not there any more: choose another`;
  }
  const left = available === 1 ? "1 is left" : `${available ?? 0} are left`;
  const less = available > 0 ? `take ${available} or fewer` : "choose something else, or try again later";
  if (pool !== undefined)
    return available === undefined
      ? `${nameOf(pool)} is not there any more`
      : `${nameOf(pool)}: ${left}, you asked for ${requested}: ${less}`;
  if (available !== undefined) return `${left}, you asked for ${requested}: ${less}`;
  return null;
}

function byCode({ code, limit, current, detail, title }) {
  switch (code) {
    case "limit_exceeded":
      return `at most ${limit} for one customer, and you have ${current ?? 0}: take fewer`;
    case "not_contiguous":
      return "no such block of neighbouring seats is left: take fewer, or allow seats apart";
    case "not_on_sale":
      return "this event is not on sale at the moment: try again later";
    case "hold_expired":
    case "hold_not_found":
      return "the hold has ended: choose again, what you had may still be free";
    case "event_not_found":
      return "this event is not there any more";
    case "voided":
      return "this request was given up before it was decided: nothing happened, and it never will";
    case "no_leader":
      return "the cluster has no leader at the moment: nothing happened; try again";
    case "overloaded":
      return "the cluster has more to do than it can take: nothing happened; try again";
    default:
      return detail || title || "the request was refused: nothing happened";
  }
}

/** Of the chosen seats and quantities, what may still be had after these conflicts. */
export function keepFree(selection, conflicts) {
  const seats = new Set(selection.seats);
  const pools = new Map(selection.pools);
  for (const { seat, pool, available } of conflicts ?? []) {
    if (seat !== undefined) seats.delete(seat);
    else if (pool !== undefined) {
      const quantity = Math.min(pools.get(pool) ?? 0, available ?? 0);
      if (quantity > 0) pools.set(pool, quantity);
      else pools.delete(pool);
    }
  }
  return { seats, pools };
}
