// How much a second, over the last minute.

export const SECONDS = 60;

/** Counts per second over the last minute. Times are milliseconds of one steady clock. */
export class Rate {
  #buckets = new Array(SECONDS).fill(0);
  #second = null;

  add(amount, now) {
    this.#roll(now);
    this.#buckets[this.#second % SECONDS] += amount;
  }

  /** Oldest first; the second that is under way is left out. */
  series(now) {
    this.#roll(now);
    return Array.from({ length: SECONDS - 1 }, (_, i) => this.#buckets[(this.#second + 1 + i) % SECONDS]);
  }

  /** Mean of the last three whole seconds. */
  now(now) {
    return (
      this.series(now)
        .slice(-3)
        .reduce((sum, one) => sum + one, 0) / 3
    );
  }

  #roll(now) {
    const second = Math.floor(now / 1000);
    this.#second ??= second;
    const passed = Math.min(SECONDS, second - this.#second);
    for (let i = 1; i <= passed; i++) this.#buckets[(second - passed + i) % SECONDS] = 0;
    if (passed > 0) this.#second = second;
  }
}
