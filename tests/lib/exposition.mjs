// Reads Prometheus' text format, version 0.0.4, as strictly as its description allows; anything else throws.
// https://prometheus.io/docs/instrumenting/exposition_formats/

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)/;
const VALUE = /^(?:[+-]?Inf|NaN|[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/;
const KINDS = ['counter', 'gauge', 'histogram', 'summary', 'untyped'];

/**
 * The families by name: `{ kind, help, samples: [{ name, labels, value }] }`. Naming is held to Prometheus' conventions too:
 * counters end in `_total`, nothing else does.
 */
export function readExposition(text) {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map();
  const seen = new Set();
  let open;
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment) {
      const [, what, name, rest] = comment;
      if (!NAME.test(name)) throw new Error(`no name: ${line}`);
      if (open?.name !== name) {
        if (families.has(name)) throw new Error(`${name} is in two places`);
        families.set(name, (open = { name, samples: [] }));
      }
      const key = what === 'HELP' ? 'help' : 'kind';
      if (open[key] !== undefined || open.samples.length) throw new Error(`${what} of ${name} comes twice, or late`);
      if (what === 'TYPE' && !KINDS.includes(rest)) throw new Error(`no type: ${line}`);
      open[key] = rest;
      continue;
    }
    const sample = readSample(line);
    const belongs = open?.kind === 'histogram' ? new RegExp(`^${open.name}_(bucket|sum|count)$`).test(sample.name) : sample.name === open?.name;
    if (!belongs) throw new Error(`a sample without its family: ${line}`);
    const series = `${sample.name}${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(series)) throw new Error(`twice: ${line}`);
    seen.add(series);
    open.samples.push(sample);
  }
  for (const family of families.values()) check(family);
  return families;
}

/** The value of the one sample with (at least) these labels. */
export function valueOf(families, name, labels = {}) {
  const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
  const fit = family?.samples.filter(sample => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value));
  return fit?.length === 1 ? fit[0].value : undefined;
}

function readSample(line) {
  const parts = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line);
  if (!parts || !NAME.test(parts[1]) || !VALUE.test(parts[3])) throw new Error(`no sample: ${line}`);
  const labels = {};
  let rest = parts[2] ?? '';
  while (rest) {
    const label = LABEL.exec(rest);
    if (!label || label[1] in labels) throw new Error(`no label: ${rest}`);
    labels[label[1]] = label[2].replace(/\\(.)/g, (_, escaped) => (escaped === 'n' ? '\n' : escaped));
    rest = rest.slice(label[0].length);
  }
  return { name: parts[1], labels, value: Number(parts[3].replace('Inf', 'Infinity')) };
}

function check({ name, kind, help, samples }) {
  if (!kind || !help) throw new Error(`${name} has no type or no help`);
  if ((kind === 'counter') !== name.endsWith('_total')) throw new Error(`${name} is a ${kind}`);
  if (kind === 'counter' && samples.some(({ value }) => !(value >= 0))) throw new Error(`${name} counts below zero`);
  if (kind !== 'histogram') return;
  const each = new Map();
  for (const sample of samples) {
    const { le, ...labels } = sample.labels;
    const key = JSON.stringify(labels);
    const one = each.get(key) ?? each.set(key, { buckets: [] }).get(key);
    if (sample.name.endsWith('_bucket')) one.buckets.push([Number(le.replace('Inf', 'Infinity')), sample.value]);
    else one[sample.name.slice(name.length + 1)] = sample.value;
  }
  for (const [key, { buckets, sum, count }] of each) {
    const rising = buckets.every(([bound, value], at) => !at || (bound > buckets[at - 1][0] && value >= buckets[at - 1][1]));
    const [last, all] = buckets.at(-1) ?? [];
    if (!rising || last !== Infinity || all !== count || !(sum >= 0)) throw new Error(`${name}${key} is no histogram`);
  }
}
