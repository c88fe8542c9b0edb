// AxesExplorer: draws footprints that Python measured, and lets the reader change the input. All
// redrawing happens here, without a kernel. Its parts are in the files before this one: geometry,
// arithmetic, drawing, words, input.

const PATIENCE = 400; // ms for Python to answer, before the page says that it has not
const TRAITS = ["cell", "method", "setting", "question", "values", "part", "changes"];

// A value as a level between 0 and 1; what is changed later does not move the scale.
function scaleOf(values) {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  const low = sorted[Math.floor(sorted.length * 0.02)] ?? 0;
  const high = sorted[Math.ceil(sorted.length * 0.98) - 1] ?? 1;
  return (value) => Math.min(1, Math.max(0, (value - low) / (high - low || 1)));
}

function render(context) {
  const { model, signal } = context;
  const explorer = unpack(model), { spec, x, methods, geometry: g } = explorer, { text } = spec;
  const nodes = build(explorer), view = { held: false, draw };
  const on = (node, event, handler) => node.addEventListener(event, handler, { signal });
  const scaleBefore = scaleOf(x), painted = new Int8Array(g.cells).fill(-1);
  let inside = new Uint8Array(g.cells), late = null, heard = null, outlined = "";

  function paint(levels) {
    levels.forEach((level, i) => {
      const percent = Math.round((level || 0) * 100);
      if (percent === painted[i]) return;
      painted[i] = percent;
      nodes.sheet.cells[i].style.setProperty("--v", percent / 100);
    });
  }

  // Returns whether this is another set of cells than before.
  function light(next) {
    let other = false;
    for (let i = 0; i < g.cells; i++)
      if (next[i] !== inside[i]) other = nodes.sheet.cells[i].classList.toggle("nl-in", next[i] === 1) || true;
    inside = next;
    return other;
  }

  const setOf = (rows, kinds) => {
    const found = new Uint8Array(g.cells);
    for (const kind of kinds) visitCells(rows, kind, (i) => { found[i] = 1; });
    return found;
  };

  function drawControls(now, target, question) {
    const pressed = (group, chosen) => group.list.forEach((b, i) => b.setAttribute("aria-pressed", i === chosen));
    pressed(nodes.methods, model.get("method"));
    pressed(nodes.questions, QUESTIONS.indexOf(question));
    pressed(nodes.values, VALUES.indexOf(model.get("values")));
    pressed(nodes.parts, PARTS.indexOf(target.part));
    const { settings, variants } = methods[model.get("method")], { slider, shift, times } = nodes;
    slider.box.hidden = variants.length < 2;
    slider.input.max = variants.length - 1;
    slider.input.value = now.setting;
    slider.output.textContent = settings[now.setting];
    slider.input.setAttribute("aria-valuetext", settings[now.setting]);
    const one = target.part === "cell", round = (v) => Number(v.toPrecision(6));
    shift.caption.textContent = text[one ? "value" : "add"];
    times.box.hidden = one;
    const typing = (input) => input.getRootNode().activeElement === input; // not under the reader's hand
    if (!typing(shift.input)) shift.input.value = round(one ? now.x[target.cells[0]] : target.add);
    if (!typing(times.input)) times.input.value = round(target.times);
    for (const node of [nodes.change, nodes.scale, nodes.moved, nodes.histogram.box])
      node.hidden = question !== "change";
    nodes.values.bar.hidden = question === "change";
  }

  // A screen reader hears what came out of a change, not every frame on the way there.
  function tell() {
    clearTimeout(heard);
    const words = [nodes.where, nodes.what, ...(nodes.moved.hidden ? [] : [nodes.moved])];
    heard = setTimeout(() => { nodes.heard.textContent = words.map((node) => node.textContent).join(" "); }, 300);
  }

  function draw() {
    const now = standing(explorer, model), target = targetOf(explorer, model, now);
    const question = model.get("question"), cell = model.get("cell"), { method } = now;
    nodes.root.dataset.question = question;
    drawControls(now, target, question);
    const arrived = now.fresh || late === "over";
    if (!now.fresh && !model.get("asks")) {
      model.set("asks", true);
      model.save_changes();
    }
    if (!arrived) late ??= setTimeout(() => { late = "over"; draw(); }, PATIENCE);
    else if (now.fresh) {
      clearTimeout(late);
      late = null;
    }
    const y = arrived && !now.fresh ? null : now.y; // an answer that is too old is none
    if (!y && !arrived) return; // Python is about to answer
    const motion = y && compare(method.y, y, 1e-3 * method.deviation);
    const reachable = setOf(method.reaches, new Set(now.changed.map((i) => method.reaches.which[i])));
    now.y = y;
    now.reachable = reachable.reduce((sum, one) => sum + one, 0);

    const rows = method[question === "reaches" ? "reaches" : "sees"], footprint = setOf(rows, [rows.which[cell]]);
    const moving = motion ? Uint8Array.from(motion.by, (d) => (d <= motion.enough ? 0 : 1)) : reachable;
    const changing = question === "change";
    if (changing) paint(Array.from(x, (_, i) => (motion && moving[i] ? Math.sqrt(Math.min(1, motion.by[i] / (2 * method.deviation))) : 0)));
    else if (model.get("values") === "before") paint(Array.from(now.x, scaleBefore));
    else paint(Array.from(y ?? [], (method.scale ??= scaleOf(method.y))));
    const other = light(changing ? moving : footprint);
    const lines = [question, model.get("method"), now.setting, cell, target.part].join();
    if (other || lines !== outlined) {
      const chosen = new Uint8Array(g.cells);
      for (const i of changing ? target.cells : [cell]) chosen[i] = 1;
      nodes.sheet.ring.setAttribute("d", outline(footprint, g));
      nodes.sheet.moving.setAttribute("d", changing ? outline(moving, g) : "");
      nodes.sheet.chosen.setAttribute("d", outline(chosen, g));
      nodes.cube.show(inside, cell);
      outlined = lines;
    }
    nodes.sheet.dots.setAttribute("d", dots(now.changed, g));

    const shown = changing || model.get("values") === "before" ? now.x : y;
    nodes.table.tiles.forEach((td, tile) => {
      const part = (values) => values.subarray(tile * g.positions, (tile + 1) * g.positions);
      td.textContent = shown ? short(part(shown).reduce((sum, v) => sum + v, 0) / g.positions) : "–";
      td.classList.toggle("nl-in", part(inside).some(Boolean));
    });
    nodes.tableTitle.textContent = text[{ sees: "table", reaches: "table_reaches", change: "table_change" }[question]];
    if (changing) {
      nodes.moved.textContent = movedSentence(explorer, now, motion, target);
      nodes.scale.textContent = fill(text.scale, { top: rough(2 * method.deviation) });
      nodes.histogram.box.hidden = rows.counts[rows.which[cell]] < 2;
      if (!nodes.histogram.box.hidden) nodes.histogram.show(rows, rows.which[cell], x, now.x);
    }
    drawWords(nodes, explorer, now, question, cell);
    const groups = methods.some((m) => m.variants.length > 1) ? ` ${text.help_groups}` : "";
    nodes.help.textContent = changing ? text.help_change : view.held ? text.held : text.help + groups;
    tell();
  }

  const answer = () => {
    clearTimeout(late);
    late = null;
    draw();
  };
  listen(explorer, nodes, model, view, on);
  const events = [...TRAITS.map((name) => [`change:${name}`, draw]), ["change:answered", answer]];
  events.forEach(([event, handler]) => model.on(event, handler));
  signal?.addEventListener("abort", () => {
    events.forEach(([event, handler]) => model.off(event, handler));
    [late, heard].forEach(clearTimeout);
  });
  place(nodes.root, context);
  draw();
}

export default { render };
