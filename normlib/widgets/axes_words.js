// What the explorer says: every sentence is one of Python's templates, filled in here.

function nameOf(cell, { shape, layout, axes }) {
  const place = shape.map((size, i) => {
    const inner = shape.slice(i + 1).reduce((a, b) => a * b, 1);
    return Math.floor(cell / inner) % size;
  });
  return place.map((value, i) => `${axes[layout[i]]} ${value}`).join(", ");
}

// What moved, and whether eps alone, the method's own doing, or nothing at all explains it.
function movedSentence({ spec, x, geometry }, now, motion, target) {
  const { text } = spec, { method, changed } = now;
  if (changed.length === 0) return text.unchanged;
  if (now.error) return fill(text.failed, { error: now.error });
  if (!motion) return fill(text.waiting, { count: now.reachable });
  const values = {
    moved: motion.count, count: x.length, size: rough(motion.largest), method: method.name,
    cell: nameOf(motion.cell, spec), part: target.name,
  };
  // With eps = 0, what eps explains does not move; where it is most, and then everywhere.
  const still = 1e-3 * motion.enough, bare = (values) => outputsAt(method, values, geometry, 0);
  const there = (values) => FORMULAS[method.formula](
    values[motion.cell], statistics(method, values, geometry)(motion.cell), 0);
  const byEps = method.known && method.eps > 0 && motion.largest > still &&
    Math.abs(there(now.x) - there(x)) <= still && compare(bare(x), bare(now.x), still).count === 0;
  if (motion.count > 0) return fill(text.moved, values) + (byEps ? ` ${text.moved_by_eps}` : "");
  const form = target.only && target.done ? `takes_out_${target.done}` : "unmoved";
  const rest = byEps ? "rest_eps" : motion.largest > 1e-6 * motion.enough ? "rest" : null;
  return fill(text[form], values) + (rest ? ` ${fill(text[rest], values)}` : "");
}

// The words and numbers below the sheet, for the output at the chosen cell.
function drawWords(nodes, { spec, x, geometry }, now, question, cell) {
  const { text } = spec, { method } = now, changed = now.changed.length > 0;
  const rows = method[question === "reaches" ? "reaches" : "sees"], kind = rows.which[cell];
  const count = rows.counts[kind], own = count === 1 && rows.runs[rows.offsets[kind]] === cell;
  nodes.what.textContent = (own && rows.itself) || rows.text[kind];
  nodes.where.textContent = nameOf(cell, spec);
  const source = method.memory ? "running" : method.sees.counts[method.sees.which[cell]] > 1 ? "measured" : "none";
  const shown = question !== "reaches" && source !== "none" && (method.formula !== "mixture" || question === "change");
  const numbers = (values, outputs) => {
    const s = statistics(method, values, geometry)(cell);
    const normalized = FORMULAS[method.formula](values[cell], s, method.eps);
    return {
      count, mean: shown ? s.mean : null, std: shown ? Math.sqrt(s.var) : null, x: values[cell],
      normalized: shown && method.formula !== "mixture" ? normalized : null,
      output: outputs ? outputs[cell] : null, var: s.var, square: s.var + s.mean ** 2,
      size: Math.sqrt(s.count * (s.var + s.mean ** 2)),
    };
  };
  const is = numbers(now.x, now.y), was = numbers(x, method.y);
  for (const key of READOUTS) {
    const show = key === "count" ? String : (v) => (v === null ? "–" : number(v));
    nodes.readouts[key].textContent = show(is[key]);
    nodes.was[key].textContent = show(was[key]);
    nodes.was[key].hidden = !changed || key === "count";
  }
  if (question === "reaches") {
    nodes.arithmetic.textContent = fill(text[method.reach_note], { x: number(is.x) });
    nodes.note.textContent = text[method.note];
    return;
  }
  const words = Object.fromEntries(Object.entries(is).map(([key, v]) => [key, v === null ? "–" : number(v)]));
  Object.assign(words, { mean: bracket(is.mean ?? NaN), eps: method.eps });
  const known = is.normalized !== null;
  nodes.arithmetic.textContent =
    fill(text[known ? `arithmetic_${source === "running" ? source : method.formula}` : "no_arithmetic"], words);
  const equal = known && Math.abs(is.normalized - is.output) <= 1e-5 * (1 + Math.abs(is.output));
  const verdict = known && now.y ? `${fill(text[equal ? "equal" : "differs"], words)} ` : "";
  nodes.note.textContent = verdict + text[method.note];
}
