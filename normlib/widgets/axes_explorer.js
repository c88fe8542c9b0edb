// AxesExplorer: draws footprints that Python measured. All redrawing happens here, without a
// kernel. Left the contact sheet, right the cube and the table of tile means, below the words.

const QUESTIONS = ["sees", "reaches"];
const VALUES = ["before", "after"];

function number(value) {
  if (Number.isNaN(value)) return "NaN";
  const size = Math.abs(value);
  const text = size >= 1e5 || (size > 0 && size < 1e-4) ? value.toExponential(5) : value.toFixed(6);
  return text.replace("-", "−");
}

const short = (value) => value.toFixed(2).replace("-", "−");
const bracket = (value) => (value < 0 ? `(${number(value)})` : number(value));

// Arrays arrive as one buffer; spec entries say [type, byte offset, length].
function reader(view) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return ([type, offset, length]) =>
    new (type === "f8" ? Float64Array : Int32Array)(bytes, offset, length);
}

// Cell sizes and positions of the contact sheet: rows of examples, columns of channels.
function sheetGeometry(shape) {
  const [rows, columns, third = 1, fourth] = shape;
  const gap = rows * columns > 400 ? 2 : 8;
  const left = 74, top = 40;
  const room = (width, height) =>
    Math.min((500 - columns * gap) / (columns * width), (440 - rows * gap) / (rows * height));
  // A sequence has one axis inside its tile: fold it to where its cells are largest.
  let width = fourth ?? 1, height = third;
  if (fourth === undefined)
    for (let w = 1; w <= third; w++)
      if (third % w === 0 && room(w, third / w) >= room(width, height)) [width, height] = [w, third / w];
  const fit = room(width, height);
  const size = Math.max(3, Math.min(height * width === 1 ? 34 : 18, Math.floor(fit)));
  const tileW = width * size + gap, tileH = height * size + gap;
  const x = (i) => left + Math.floor(i / (height * width)) % columns * tileW + (i % width) * size;
  const y = (i) =>
    top + Math.floor(i / (height * width * columns)) * tileH +
    Math.floor(i / width) % height * size;
  const at = (px, py) => {
    const c = Math.floor((px - left) / tileW), r = Math.floor((py - top) / tileH);
    const w = Math.floor((px - left - c * tileW) / size), h = Math.floor((py - top - r * tileH) / size);
    const outside = c < 0 || r < 0 || c >= columns || r >= rows || w >= width || h >= height;
    return outside ? -1 : ((r * columns + c) * height + h) * width + w;
  };
  return {
    rows, columns, height, width, size, left, top, tileW, tileH, gap, x, y, at,
    cells: rows * columns * height * width,
    totalW: left + columns * tileW + 4, totalH: top + rows * tileH + 4,
  };
}

// The outline of a set of cells: one path along every edge between inside and outside, tile by
// tile, so that the shape is told by line as well as by colour.
function outline(inside, g) {
  const { height, width, size, x, y, cells } = g;
  const parts = [];
  for (let i = 0; i < cells; i++) {
    if (!inside[i]) continue;
    const w = i % width, h = Math.floor(i / width) % height;
    const a = x(i), b = y(i);
    if (w === 0 || !inside[i - 1]) parts.push(`M${a} ${b}v${size}`);
    if (w === width - 1 || !inside[i + 1]) parts.push(`M${a + size} ${b}v${size}`);
    if (h === 0 || !inside[i - width]) parts.push(`M${a} ${b}h${size}`);
    if (h === height - 1 || !inside[i + width]) parts.push(`M${a} ${b + size}h${size}`);
  }
  return parts.join("");
}

// The article's cube: channels to the right, positions downwards, examples into the depth.
// The cube is glass; only the cells of the footprint are solid, so none can hide inside it.
function cubeGeometry(g) {
  const positions = g.height * g.width;
  const unit = Math.min(150 / g.columns, 150 / positions, 26);
  const w = Math.max(unit, Math.min(26, 150 / g.columns)), h = Math.max(unit, Math.min(26, 150 / positions));
  const depth = Math.min(16, 80 / g.rows), dx = depth * 0.85, dy = depth * 0.6;
  const left = 88, top = 34 + g.rows * dy;
  const corner = (n, p, c) => [left + c * w + n * dx, top + p * h - n * dy];
  const frame = () => {
    const line = (a, b) => `M${corner(...a)}L${corner(...b)}`;
    const parts = [];
    for (let c = 0; c <= g.columns; c++) parts.push(line([0, 0, c], [0, positions, c]), line([0, 0, c], [g.rows, 0, c]));
    for (let p = 0; p <= positions; p++) parts.push(line([0, p, 0], [0, p, g.columns]), line([0, p, g.columns], [g.rows, p, g.columns]));
    for (let n = 0; n <= g.rows; n++) parts.push(line([n, 0, 0], [n, 0, g.columns]), line([n, 0, g.columns], [n, positions, g.columns]));
    return parts.join("");
  };
  const face = (...corners) => `M${corners.map((c) => corner(...c)).join("L")}Z`;
  const faces = (inside, n) => {
    const has = (n, p, c) =>
      n >= 0 && n < g.rows && p >= 0 && c < g.columns && inside[(n * g.columns + c) * positions + p];
    const front = [], top = [], side = [];
    for (let c = 0; c < g.columns; c++)
      for (let p = 0; p < positions; p++) {
        if (!has(n, p, c)) continue;
        if (!has(n - 1, p, c)) front.push(face([n, p, c], [n, p, c + 1], [n, p + 1, c + 1], [n, p + 1, c]));
        if (!has(n, p - 1, c)) top.push(face([n, p, c], [n, p, c + 1], [n + 1, p, c + 1], [n + 1, p, c]));
        if (!has(n, p, c + 1)) side.push(face([n, p, c + 1], [n, p + 1, c + 1], [n + 1, p + 1, c + 1], [n + 1, p, c + 1]));
      }
    return [top.join(""), side.join(""), front.join("")];
  };
  return {
    frame, faces, left, top, right: left + g.columns * w, bottom: top + positions * h,
    width: left + g.columns * w + g.rows * dx + 60, height: top + positions * h + 30,
    dx: g.rows * dx, dy: g.rows * dy,
  };
}

function render({ model, el, signal }) {
  const spec = model.get("spec"), text = spec.text;
  const read = reader(model.get("data"));
  const x = read(spec.x), g = sheetGeometry(spec.shape), cube = cubeGeometry(g);
  const positions = g.height * g.width;
  const words = spec.layout.map((axis) => spec.axes[axis]);
  const name = (cell) => {
    let rest = cell;
    const index = spec.shape.map((_, i) => {
      const step = spec.shape.slice(i + 1).reduce((a, b) => a * b, 1);
      const value = Math.floor(rest / step);
      rest %= step;
      return value;
    });
    return index.map((value, i) => `${words[i]} ${value}`).join(", ");
  };
  const levels = (values) => {
    const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
    const low = sorted[Math.floor(sorted.length * 0.02)] ?? 0;
    const high = sorted[Math.ceil(sorted.length * 0.98) - 1] ?? 1;
    return Array.from(values, (v) => Math.min(1, Math.max(0, (v - low) / (high - low || 1))));
  };
  const methods = spec.methods.map((method) => ({
    ...method,
    variants: method.variants.map((v) => {
      const rows = (r) => ({ ...r, which: read(r.which), runs: read(r.runs), offsets: read(r.offsets) });
      return {
        ...v, y: read(v.y), mean: read(v.mean), var: read(v.var),
        sees: rows(v.sees), reaches: rows(v.reaches),
      };
    }),
  }));
  const on = (node, event, handler) => node.addEventListener(event, handler, { signal });

  // Setting a trait redraws every view at once. It is saved at once too: a value that the kernel
  // has not been sent yet would be overwritten by the kernel's echo of the one before.
  const put = (changes) => {
    for (const [key, value] of Object.entries(changes)) model.set(key, value);
    model.save_changes();
  };

  // Controls.
  const buttons = (labels, className, choose) => {
    const nodes = labels.map((label, i) => {
      const node = make("button", { type: "button", ...focusable }, label);
      on(node, "click", () => choose(i));
      return node;
    });
    return [make("div", { class: className, role: "group" }, ...nodes), nodes];
  };
  const setMethod = (i) => {
    const count = methods[i].variants.length;
    put({ method: i, setting: Math.min(model.get("setting"), count - 1) });
  };
  const [methodBar, methodButtons] = buttons(methods.map((m) => m.name), "nl-methods", setMethod);
  const [questionBar, questionButtons] = buttons(
    QUESTIONS.map((q) => text[q]), "nl-switch", (i) => put({ question: QUESTIONS[i] }));
  const [valueBar, valueButtons] = buttons(
    VALUES.map((v) => text[v]), "nl-switch", (i) => put({ values: VALUES[i] }));
  const slider = make("input", { type: "range", min: 0, step: 1, ...focusable, "aria-label": text.groups });
  const sliderText = make("output");
  const sliderBox = make("label", { class: "nl-slider" }, `${text.groups} `, slider, sliderText);
  on(slider, "input", () => put({ setting: Number(slider.value) }));

  // Contact sheet.
  const cellNodes = Array.from({ length: g.cells }, (_, i) =>
    make("rect", { class: "nl-cell", x: g.x(i), y: g.y(i), width: g.size - (g.size > 5 ? 1 : 0.5), height: g.size - (g.size > 5 ? 1 : 0.5) }));
  const ring = make("path", { class: "nl-ring" });
  const chosen = make("rect", { class: "nl-chosen", width: g.size + 1, height: g.size + 1, rx: 2 });
  const every = (count, room) => Math.max(1, Math.ceil(22 / room));
  const axisText = (content, px, py, extra = {}) => make("text", { x: px, y: py, ...extra }, content);
  const labels = [
    axisText(`${words[1]} →`, g.left, 14),
    axisText(`${words[0]} ↓`, 0, g.top - 12),
  ];
  for (let c = 0; c < g.columns; c += every(g.columns, g.tileW))
    labels.push(axisText(c, g.left + c * g.tileW + (g.tileW - g.gap) / 2, g.top - 10, { "text-anchor": "middle" }));
  for (let r = 0; r < g.rows; r += every(g.rows, g.tileH))
    labels.push(axisText(r, g.left - 14, g.top + r * g.tileH + (g.tileH - g.gap) / 2 + 5, { "text-anchor": "end" }));
  const sheet = make("svg", {
    class: "nl-sheet", viewBox: `0 0 ${g.totalW} ${g.totalH}`, width: g.totalW, height: g.totalH,
    tabindex: 0, role: "application", "aria-label": fill(text.sheet, { shape: `(${spec.shape.join(", ")})` }),
    ...focusable,
  }, ...labels, make("g", {}, ...cellNodes), ring, chosen);

  // Cube.
  const slabs = Array.from({ length: g.rows }, () =>
    ["top", "side", "front"].map((kind) => make("path", { class: `nl-face nl-${kind}` })));
  const cubePick = ["top", "side", "front"].map((kind) => make("path", { class: `nl-face nl-pick nl-${kind}` }));
  const cubeSvg = make("svg", {
    class: "nl-cube", viewBox: `0 0 ${cube.width} ${cube.height}`, width: cube.width, height: cube.height,
    "aria-hidden": "true",
  },
    make("path", { class: "nl-glass", d: cube.frame() }),
    ...[...slabs].reverse().flat(), ...cubePick,
    axisText(`${words[1]} →`, cube.left, cube.bottom + 18),
    axisText(positions === 1 ? "" : `${words.length === 3 ? words[2] : text.position} ↓`, cube.left - 8, cube.top + 14, { "text-anchor": "end" }),
    axisText(`${words[0]} ↗`, cube.left + cube.dx - 14, cube.top - cube.dy - 6, { "text-anchor": "end" }));

  // Table of tile means.
  const tableFits = g.rows <= 10 && g.columns <= 10;
  const tableCells = [];
  const table = make("table", { class: "nl-table" });
  if (tableFits) {
    table.append(make("tr", {}, make("th"), ...Array.from({ length: g.columns }, (_, c) =>
      make("th", { scope: "col" }, `${words[1][0]}${c}`))));
    for (let r = 0; r < g.rows; r++) {
      const row = make("tr", {}, make("th", { scope: "row" }, `${words[0][0]}${r}`));
      for (let c = 0; c < g.columns; c++) {
        const td = make("td");
        tableCells.push(td);
        row.append(td);
      }
      table.append(row);
    }
  }
  const tableTitle = make("div", { class: "nl-title" });

  // Words.
  const sentence = make("p", { class: "nl-sentence", "aria-live": "polite" });
  const where = make("span", { class: "nl-where" });
  const what = make("strong");
  sentence.append(where, what);
  const arithmetic = make("p", { class: "nl-arithmetic" });
  const note = make("p", { class: "nl-note" });
  const readout = {};
  const readoutList = make("div", { class: "nl-readout" });
  for (const key of ["count", "mean", "std", "x", "normalized", "output"]) {
    readout[key] = make("b", { "data-key": key });
    readoutList.append(make("div", {}, make("span", {}, text[`readout_${key}`]), readout[key]));
  }
  const help = make("p", { class: "nl-help" });

  const root = make("div", { class: "nl-root nl-axes", role: "group", "aria-label": fill(text.label, { shape: `(${spec.shape.join(", ")})` }) },
    make("div", { class: "nl-bar" }, methodBar, sliderBox),
    make("div", { class: "nl-bar" }, questionBar, valueBar),
    make("div", { class: "nl-body" },
      make("div", { class: "nl-main" }, sheet, sentence, readoutList, arithmetic, note),
      make("div", { class: "nl-side" },
        make("div", { class: "nl-title" }, text.cube), cubeSvg,
        ...(tableFits ? [tableTitle, table] : []))),
    help);
  el.append(root);

  let held = false;
  let inside = new Uint8Array(g.cells);
  let shownValues = null, shownVariant = null;

  function drawValues(variant, which) {
    if (shownValues === which && (which === "before" || shownVariant === variant)) return;
    shownValues = which;
    shownVariant = variant;
    const values = which === "before" ? x : variant.y;
    levels(values).forEach((level, i) => cellNodes[i].style.setProperty("--v", level.toFixed(3)));
    tableCells.forEach((td, tile) => {
      let sum = 0;
      for (let p = 0; p < positions; p++) sum += values[tile * positions + p];
      td.textContent = short(sum / positions);
    });
  }

  function drawWords(variant, cell, question, kind) {
    const rows = variant[question], count = rows.counts[kind];
    const own = count === 1 && rows.runs[rows.offsets[kind]] === cell;
    what.textContent = (own && rows.itself) || rows.text[kind];
    where.textContent = name(cell);
    const stat = variant.sees.which[cell];
    const source = variant.source[stat], mean = variant.mean[stat], variance = variant.var[stat];
    const square = variance + mean * mean, size = Math.sqrt(variant.sees.counts[stat] * square);
    const normalized = {
      standardise: (x[cell] - mean) / Math.sqrt(variance + variant.eps),
      centre: x[cell] - mean,
      rms: x[cell] / Math.sqrt(square + variant.eps),
      length: x[cell] / size,
      mixture: NaN, // several statistics, or none: there is nothing to show
    }[variant.formula];
    const output = variant.y[cell], known = source !== "none" && question === "sees";
    readout.count.textContent = count;
    readout.mean.textContent = known ? number(mean) : "–";
    readout.std.textContent = known ? number(Math.sqrt(variance)) : "–";
    readout.x.textContent = number(x[cell]);
    readout.normalized.textContent = known ? number(normalized) : "–";
    readout.output.textContent = number(output);
    if (question === "reaches") {
      arithmetic.textContent = fill(text[variant.reach_note], { x: number(x[cell]) });
      note.textContent = text[variant.note];
      return;
    }
    const values = {
      x: number(x[cell]), mean: bracket(mean), var: number(variance), eps: variant.eps,
      normalized: number(normalized), output: number(output), square: number(square), size: number(size),
    };
    arithmetic.textContent = known
      ? fill(text[`arithmetic_${source === "running" ? source : variant.formula}`], values)
      : fill(text.no_arithmetic, values);
    const equal = Math.abs(normalized - output) <= 1e-5 * (1 + Math.abs(output));
    note.textContent = !known ? text[variant.note]
      : `${fill(equal ? text.equal : text.differs, values)} ${text[variant.note]}`;
  }

  function draw() {
    const method = model.get("method"), variants = methods[method].variants;
    const setting = Math.min(model.get("setting"), variants.length - 1);
    const variant = variants[setting], question = model.get("question"), cell = model.get("cell");
    root.dataset.question = question;
    methodButtons.forEach((b, i) => b.setAttribute("aria-pressed", i === method));
    questionButtons.forEach((b, i) => b.setAttribute("aria-pressed", QUESTIONS[i] === question));
    valueButtons.forEach((b, i) => b.setAttribute("aria-pressed", VALUES[i] === model.get("values")));
    sliderBox.hidden = variants.length < 2;
    slider.max = variants.length - 1;
    slider.value = setting;
    sliderText.textContent = methods[method].settings[setting];
    slider.setAttribute("aria-valuetext", sliderText.textContent);
    drawValues(variant, model.get("values"));

    const rows = variant[question], kind = rows.which[cell];
    const next = new Uint8Array(g.cells);
    for (let k = rows.offsets[kind]; k < rows.offsets[kind + 1]; k += 2)
      next.fill(1, rows.runs[k], rows.runs[k + 1]);
    for (let i = 0; i < g.cells; i++)
      if (next[i] !== inside[i]) cellNodes[i].classList.toggle("nl-in", next[i] === 1);
    inside = next;
    ring.setAttribute("d", outline(inside, g));
    chosen.setAttribute("x", g.x(cell) - 1);
    chosen.setAttribute("y", g.y(cell) - 1);
    slabs.forEach((paths, n) => {
      cube.faces(inside, n).forEach((d, i) => paths[i].setAttribute("d", d));
    });
    const only = new Uint8Array(g.cells);
    only[cell] = 1;
    cube.faces(only, Math.floor(cell / (g.columns * positions))).forEach((d, i) => cubePick[i].setAttribute("d", d));
    tableCells.forEach((td, tile) =>
      td.classList.toggle("nl-in", inside.subarray(tile * positions, (tile + 1) * positions).some(Boolean)));
    tableTitle.textContent = text[question === "sees" ? "table" : "table_reaches"];
    drawWords(variant, cell, question, kind);
    const keys = methods.some((m) => m.variants.length > 1) ? `${text.help} ${text.help_groups}` : text.help;
    help.textContent = held ? text.held : keys;
  }

  // Walk over the sheet as it looks: across tile borders, stopping at the rim.
  function walk(cell, down, right) {
    const w = cell % g.width, h = Math.floor(cell / g.width) % g.height;
    const c = Math.floor(cell / positions) % g.columns, r = Math.floor(cell / (positions * g.columns));
    const row = Math.max(0, Math.min(g.rows * g.height - 1, r * g.height + h + down));
    const column = Math.max(0, Math.min(g.columns * g.width - 1, c * g.width + w + right));
    return ((Math.floor(row / g.height) * g.columns + Math.floor(column / g.width)) * g.height +
      (row % g.height)) * g.width + (column % g.width);
  }
  const cycle = (list, value) => list[(list.indexOf(value) + 1) % list.length];
  const shiftSetting = (by) => {
    const count = methods[model.get("method")].variants.length;
    put({ setting: Math.max(0, Math.min(count - 1, model.get("setting") + by)) });
  };
  const shiftMethod = (by) => setMethod((model.get("method") + by + methods.length) % methods.length);
  const keys = {
    ArrowLeft: () => put({ cell: walk(model.get("cell"), 0, -1) }),
    ArrowRight: () => put({ cell: walk(model.get("cell"), 0, 1) }),
    ArrowUp: () => put({ cell: walk(model.get("cell"), -1, 0) }),
    ArrowDown: () => put({ cell: walk(model.get("cell"), 1, 0) }),
    Home: () => put({ cell: 0 }),
    End: () => put({ cell: g.cells - 1 }),
  };
  const letters = {
    "[": () => shiftMethod(-1),
    "]": () => shiftMethod(1),
    q: () => put({ question: cycle(QUESTIONS, model.get("question")) }),
    v: () => put({ values: cycle(VALUES, model.get("values")) }),
    ",": () => shiftSetting(-1),
    ".": () => shiftSetting(1),
  };
  on(root, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = letters[event.key] ?? (event.target === sheet ? keys[event.key] : undefined);
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  });

  const pointed = (event) => {
    const box = sheet.getBoundingClientRect(), scale = g.totalW / box.width;
    return g.at((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  on(sheet, "pointermove", (event) => {
    const cell = held ? -1 : pointed(event);
    if (cell >= 0 && cell !== model.get("cell")) put({ cell });
  });
  on(sheet, "click", (event) => {
    const cell = pointed(event);
    if (cell < 0) return;
    held = !held || cell !== model.get("cell");
    if (cell !== model.get("cell")) put({ cell });
    draw();
  });

  const events = ["cell", "method", "setting", "question", "values"].map((key) => `change:${key}`);
  events.forEach((event) => model.on(event, draw));
  signal?.addEventListener("abort", () => {
    events.forEach((event) => model.off(event, draw));
  });
  draw();
}

export default { render };
