// Percentiles, and the tables and JSON that benchmarks end with.

/** The named percentiles of `values` in ms, to a tenth; null where nothing was measured. */
export function percentiles(values, wanted = [50, 95, 99]) {
  const sorted = [...values].sort((a, b) => a - b);
  return Object.fromEntries(
    wanted.map(p => [`p${p}`, sorted.length ? Math.round(sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] * 10) / 10 : null]),
  );
}

/** Prints rows of `[title, percentiles, count, note]` with the percentiles as columns. */
export function table(title, rows) {
  const columns = Object.keys(rows[0][1]);
  console.log(`\n${title}`);
  console.log(`${'ms'.padEnd(30)}${columns.map(column => column.padStart(9)).join('')}${'count'.padStart(8)}`);
  for (const [name, figures, count, note] of rows) {
    const cells = columns.map(column => String(figures[column] ?? '–').padStart(9)).join('');
    console.log(`${name.padEnd(30)}${cells}${String(count).padStart(8)}${note ? `   ${note}` : ''}`);
  }
}

/** With `--json`, one JSON object as the last line. */
export function finish(figures) {
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
}
