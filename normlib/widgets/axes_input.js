// What the reader does: choosing with pointer and keys, and changing a number or a part.

// The part that is chosen, and what has been done to it: every value times `times` plus `add`.
function targetOf({ spec, x, geometry, deviation: unit }, model, now) {
  const part = model.get("part"), cells = cellsOf(part, model.get("cell"), geometry);
  const mean = (of) => cells.reduce((sum, i) => sum + of(i), 0) / cells.length;
  const from = mean((i) => x[i]), to = mean((i) => now.x[i]);
  const spread = mean((i) => (x[i] - from) ** 2);
  const near = (value, wanted, size) => (Math.abs(value - wanted) < 1e-9 * size ? wanted : value);
  let times = part === "cell" || spread === 0 ? 1
    : near(mean((i) => (x[i] - from) * (now.x[i] - to)) / spread, 1, 1);
  let add = near(to - times * from, 0, unit), values = x;
  if (cells.some((i) => Math.abs(x[i] * times + add - now.x[i]) > 1e-9 * unit))
    [times, add, values] = [1, 0, now.x]; // changed one by one: what is done now comes on top
  const inside = new Set(cells), [row, column] = spec.layout.map((axis) => spec.axes[axis]);
  return {
    part, cells, values, times, add,
    name: fill(spec.text[`one_${part}`], { row, column }),
    only: part !== "cell" && values === x && now.changed.every((i) => inside.has(i)),
    done: times !== 1 && add !== 0 ? "both" : times !== 1 ? "scale" : add !== 0 ? "shift" : null,
  };
}

function listen(explorer, nodes, model, view, on) {
  const { x, methods, geometry: g, deviation: unit } = explorer, { root, sheet: { sheet } } = nodes;

  // Setting a trait redraws every view at once. It is saved at once too: a value that the kernel
  // has not been sent yet would be overwritten by the kernel's echo of the one before.
  const put = (changes) => {
    for (const [key, value] of Object.entries(changes)) model.set(key, value);
    model.save_changes();
  };
  const target = () => targetOf(explorer, model, standing(explorer, model));
  const set = ({ cells, values }, { times, add }) => {
    const changes = { ...model.get("changes") };
    for (const i of cells) {
      const value = values[i] * times + add;
      if (Math.abs(value - x[i]) < 1e-12 * unit) delete changes[i];
      else changes[i] = value;
    }
    put({ changes, question: "change" });
  };
  const shift = (by) => {
    const now = target();
    set(now, { times: now.times, add: now.add + by * unit });
  };
  const outlier = () => {
    const now = target(), middle = x.reduce((sum, v) => sum + v, 0) / x.length;
    if (now.part === "cell") set(now, { times: 0, add: middle + 6 * unit });
    else shift(6);
  };
  const back = () => put({ changes: {}, answered: {} });

  // Choosing.
  const setMethod = (i) =>
    put({ method: i, setting: Math.min(model.get("setting"), methods[i].variants.length - 1) });
  const shiftMethod = (by) => setMethod((model.get("method") + by + methods.length) % methods.length);
  const shiftSetting = (by) => {
    const count = methods[model.get("method")].variants.length;
    put({ setting: Math.max(0, Math.min(count - 1, model.get("setting") + by)) });
  };
  const ask = (question) => put(question === "change" ? { question } : { question, part: "cell" });
  const choosePart = (part) => put({ part, question: "change" });
  const cycle = (list, value) => list[(list.indexOf(value) + 1) % list.length];
  const parts = PARTS.filter((_, i) => !nodes.parts.list[i].hidden);
  const walk = (down, right) => put({ cell: step(model.get("cell"), down, right, g) });
  const arrows = {
    ArrowLeft: () => walk(0, -1),
    ArrowRight: () => walk(0, 1),
    ArrowUp: () => walk(-1, 0),
    ArrowDown: () => walk(1, 0),
    Home: () => put({ cell: 0 }),
    End: () => put({ cell: g.cells - 1 }),
  };
  const letters = {
    "[": () => shiftMethod(-1),
    "]": () => shiftMethod(1),
    ",": () => shiftSetting(-1),
    ".": () => shiftSetting(1),
    q: () => ask(cycle(QUESTIONS, model.get("question"))),
    v: () => put({ values: cycle(VALUES, model.get("values")) }),
    c: () => choosePart(cycle(parts, model.get("part"))),
    "+": () => shift(0.25),
    "=": () => shift(0.25), // the same key without Shift
    "-": () => shift(-0.25),
    o: outlier,
    0: back,
  };
  on(root, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "number") return;
    const action = letters[event.key] ?? (event.target === sheet ? arrows[event.key] : undefined);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });
  const press = ({ list }, choose) => list.forEach((node, i) => on(node, "click", () => choose(i)));
  press(nodes.methods, setMethod);
  press(nodes.questions, (i) => ask(QUESTIONS[i]));
  press(nodes.values, (i) => put({ values: VALUES[i] }));
  press(nodes.parts, (i) => choosePart(PARTS[i]));
  press(nodes.nudges, (i) => [() => shift(-0.25), () => shift(0.25), outlier, back][i]());
  on(nodes.slider.input, "input", () => put({ setting: Number(nodes.slider.input.value) }));

  // Typing: the value of one cell, or what is added to a part and what it is multiplied with.
  const typed = (input, apply) => on(input, "input", () => {
    if (Number.isFinite(input.valueAsNumber)) apply(target(), input.valueAsNumber);
  });
  typed(nodes.shift.input, (now, value) =>
    set(now, now.part === "cell" ? { times: 0, add: value } : { times: now.times, add: value }));
  typed(nodes.times.input, (now, times) => set(now, { times, add: now.add }));

  // Pointing. In the first two questions the pointer chooses and a click holds; pressing and
  // dragging changes what is under it, up or to the right for more.
  const pointed = (event) => {
    const tile = nodes.table.tiles.indexOf(event.target);
    if (tile >= 0) return ["tile", tile * g.positions];
    const box = sheet.getBoundingClientRect(), scale = g.totalW / box.width;
    return g.at((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  let grab = null;
  const down = (event) => {
    const found = pointed(event);
    if (!found || event.button > 0) return;
    let [part, cell] = found;
    if (part === "cell" && target().cells.includes(cell)) part = model.get("part");
    grab = { x: event.clientX, y: event.clientY, before: model.get("cell"), dragged: false };
    put({ part, cell, ...(part === "cell" ? {} : { question: "change" }) });
    grab.start = target();
    event.target.setPointerCapture?.(event.pointerId);
  };
  const move = (event) => {
    if (grab) {
      const by = event.clientX - grab.x - (event.clientY - grab.y);
      grab.dragged ||= Math.hypot(event.clientX - grab.x, event.clientY - grab.y) > 4;
      if (grab.dragged) set(grab.start, { times: grab.start.times, add: grab.start.add + (by / 24) * unit });
      return;
    }
    const found = view.held || model.get("question") === "change" ? null : pointed(event);
    if (found?.[0] === "cell" && found[1] !== model.get("cell")) put({ part: "cell", cell: found[1] });
  };
  const up = () => {
    if (!grab) return;
    view.held = grab.dragged || !view.held || model.get("cell") !== grab.before;
    grab = null;
    view.draw();
  };
  for (const node of [sheet, nodes.table.box].filter(Boolean)) {
    on(node, "pointerdown", down);
    on(node, "pointermove", move);
    on(node, "pointerup", up);
    on(node, "pointercancel", () => { grab = null; });
  }
}
