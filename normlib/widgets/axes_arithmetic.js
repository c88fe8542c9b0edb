// What a page computes by itself: the arithmetic that Python recognised, and what it moves.

// Arrays arrive as one buffer; spec entries say [type, byte offset, length].
function reader(view) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return ([type, offset, length]) =>
    new (type === "f8" ? Float64Array : Int32Array)(bytes, offset, length);
}

// Calls visit(i) for every cell of one footprint: rows has runs of cells, from and up to.
function visitCells(rows, kind, visit) {
  for (let k = rows.offsets[kind]; k < rows.offsets[kind + 1]; k += 2)
    for (let i = rows.runs[k]; i < rows.runs[k + 1]; i++) visit(i);
}

// How many values are in one footprint, their mean and their variance (divided by the count).
function moments(rows, kind, x) {
  const count = rows.counts[kind];
  let sum = 0, squares = 0;
  visitCells(rows, kind, (i) => { sum += x[i]; });
  const mean = sum / count;
  visitCells(rows, kind, (i) => { squares += (x[i] - mean) ** 2; });
  return { count, mean, var: squares / count };
}

// The statistics of every output: of its footprint, or, in eval mode, what its channel remembers.
function statistics(method, x, { positions, columns }) {
  if (method.memory) {
    const [mean, variance] = method.memory;
    const column = (i) => Math.floor(i / positions) % columns;
    return (i) => ({ count: 1, mean: mean[column(i)], var: variance[column(i)] });
  }
  const found = [], { which } = method.sees;
  return (i) => (found[which[i]] ??= moments(method.sees, which[i], x));
}

// Each formula, on one value and the statistics it is given.
const FORMULAS = {
  standardise: (x, s, eps) => (x - s.mean) / Math.sqrt(s.var + eps),
  centre: (x, s) => x - s.mean,
  rms: (x, s, eps) => x / Math.sqrt(s.var + s.mean ** 2 + eps),
  length: (x, s) => x / Math.sqrt(s.count * (s.var + s.mean ** 2)),
  mixture: () => NaN, // several statistics, or none: there is nothing to show
};

// The outputs of a method at x, with its weight and bias.
function outputsAt(method, x, geometry, eps = method.eps) {
  const of = statistics(method, x, geometry), formula = FORMULAS[method.formula];
  const at = (list, i) => list[i % list.length]; // what all examples share is sent once
  return Float64Array.from(x, (value, i) =>
    at(method.weight, i) * formula(value, of(i), eps) + at(method.bias, i));
}

function deviation(values) {
  const finite = Array.from(values).filter(Number.isFinite);
  const mean = finite.reduce((sum, v) => sum + v, 0) / finite.length;
  return Math.sqrt(finite.reduce((sum, v) => sum + (v - mean) ** 2, 0) / finite.length);
}

// How far outputs moved: each, the largest and where, and how many by more than `enough`.
function compare(before, after, enough) {
  let count = 0, largest = 0, cell = 0;
  const by = Float64Array.from(after, (v, i) => (Object.is(v, before[i]) ? 0 : Math.abs(v - before[i])));
  by.forEach((distance, i) => {
    if (!(distance <= enough)) count++; // NaN too is a change
    if (!(distance <= largest)) [largest, cell] = [distance, i];
  });
  return { by, largest, cell, count, enough };
}

// Whether the page computes what Python found at the inputs that travel along.
const agrees = (method, inputs, geometry) => method.tests.length > 0 && method.tests.every((outputs, t) =>
  compare(outputs, outputsAt(method, inputs[t], geometry), 1e-5 * deviation(method.y)).count === 0);

// What the explorer shows: everything of the payload, in a form to compute with.
function unpack(model) {
  const spec = model.get("spec"), read = reader(model.get("data"));
  const rows = (r) => ({ ...r, which: read(r.which), runs: read(r.runs), offsets: read(r.offsets) });
  const x = read(spec.x), geometry = sheetGeometry(spec.shape), inputs = spec.tests.map(read);
  const methods = spec.methods.map((entry) => ({
    ...entry,
    variants: entry.variants.map((v) => {
      const method = {
        ...v, name: entry.name, sees: rows(v.sees), reaches: rows(v.reaches), y: read(v.y),
        weight: read(v.weight), bias: read(v.bias), memory: v.memory.length ? v.memory.map(read) : null, tests: v.tests.map(read),
      };
      method.deviation = deviation(method.y) || 1;
      method.known = agrees(method, inputs, geometry);
      return method;
    }),
  }));
  return { spec, x, methods, geometry, deviation: deviation(x) || 1 };
}

// What stands on the page now: the inputs with their changes, and the outputs, or null as long
// as only Python can tell them and has not.
function standing({ x, methods, geometry }, model) {
  const variants = methods[model.get("method")].variants;
  const setting = Math.min(model.get("setting"), variants.length - 1), method = variants[setting];
  const changes = model.get("changes"), changed = Object.keys(changes).map(Number);
  const now = Float64Array.from(x);
  for (const i of changed) now[i] = changes[i];
  let y = null, fresh = true, error = "";
  if (changed.length === 0) y = method.y;
  else if (method.known) y = outputsAt(method, now, geometry);
  else {
    const answered = model.get("answered");
    const mine = answered.method === model.get("method") && answered.setting === setting;
    fresh = mine && JSON.stringify(answered.changes) === JSON.stringify(changes);
    if (fresh && answered.error) error = answered.error;
    else if (mine && !answered.error) y = reader(model.get("answer"))(["f8", 0, x.length]);
  }
  return { method, setting, changes, changed, x: now, y, fresh, error };
}
