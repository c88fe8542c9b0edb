// What the explorer looks like: the parts of the page, and how they show what stands.

const QUESTIONS = ["sees", "reaches", "change"];
const VALUES = ["before", "after"];
const PARTS = ["cell", "tile", "column", "row"];
const READOUTS = ["count", "mean", "std", "x", "normalized", "output"];

function number(value) {
  if (Number.isNaN(value)) return "NaN";
  const size = Math.abs(value);
  const text = size >= 1e5 || (size > 0 && size < 1e-4) ? value.toExponential(5) : value.toFixed(6);
  return text.replace("-", "−");
}

const short = (value) => value.toFixed(2).replace("-", "−");
const rough = (value) => String(Number(value.toPrecision(2))).replace("-", "−");
const bracket = (value) => (value < 0 ? `(${number(value)})` : number(value));
const label = (content, x, y, anchor = "start") => make("text", { x, y, "text-anchor": anchor }, content);
const path = (className) => make("path", { class: className });

function buttons(labels, className) {
  const list = labels.map((text) => make("button", { type: "button", ...focusable }, text));
  return { list, bar: make("div", { class: className, role: "group" }, ...list) };
}

function field(text, attributes) {
  const input = make("input", { ...focusable, ...attributes });
  const caption = make("span", {}, text), output = make("output");
  return { input, caption, output, box: make("label", { class: "nl-field" }, caption, input, output) };
}

function sheetNodes(g, words, aria) {
  const side = g.size - (g.size > 5 ? 1 : 0.5);
  const cells = indices(g.cells).map((i) =>
    make("rect", { class: "nl-cell", x: g.x(i), y: g.y(i), width: side, height: side }));
  const every = (room) => Math.max(1, Math.ceil(22 / room));
  const labels = [label(`${words[1]} →`, g.left, 14), label(`${words[0]} ↓`, 0, g.top - 12)];
  for (let c = 0; c < g.columns; c += every(g.tileW))
    labels.push(label(c, g.left + c * g.tileW + (g.tileW - g.gap) / 2, g.top - 10, "middle"));
  for (let r = 0; r < g.rows; r += every(g.tileH))
    labels.push(label(r, g.left - 14, g.top + r * g.tileH + (g.tileH - g.gap) / 2 + 5, "end"));
  const lines = { ring: path("nl-ring"), moving: path("nl-moving"), dots: path("nl-dots"), chosen: path("nl-chosen") };
  const sheet = make("svg", {
    class: "nl-sheet", viewBox: `0 0 ${g.totalW} ${g.totalH}`, width: g.totalW, height: g.totalH,
    tabindex: 0, role: "application", "aria-label": aria, ...focusable,
  }, ...labels, make("g", {}, ...cells), ...Object.values(lines));
  return { sheet, cells, ...lines };
}

function cubeNodes(g, words, text) {
  const cube = cubeGeometry(g), kinds = ["top", "side", "front"];
  const slabs = indices(g.rows).map(() => kinds.map((kind) => path(`nl-face nl-${kind}`)));
  const picks = kinds.map((kind) => path(`nl-face nl-pick nl-${kind}`));
  const down = g.positions === 1 ? "" : `${words.length === 3 ? words[2] : text.position} ↓`;
  const box = make("svg", {
    class: "nl-cube", viewBox: `0 0 ${cube.width} ${cube.height}`, width: cube.width, height: cube.height,
    "aria-hidden": "true",
  },
    make("path", { class: "nl-glass", d: cube.frame() }), ...[...slabs].reverse().flat(), ...picks,
    label(`${words[1]} →`, cube.left, cube.bottom + 18),
    label(down, cube.left - 8, cube.top + 14, "end"),
    label(`${words[0]} ↗`, cube.left + cube.dx - 14, cube.top - cube.dy - 6, "end"));
  const show = (inside, cell) => {
    slabs.forEach((paths, n) => cube.faces(inside, n).forEach((d, i) => paths[i].setAttribute("d", d)));
    const only = new Uint8Array(g.cells);
    only[cell] = 1;
    const slab = Math.floor(cell / (g.columns * g.positions));
    cube.faces(only, slab).forEach((d, i) => picks[i].setAttribute("d", d));
  };
  return { box, show };
}

// The mean of every tile, where they are few enough to read.
function tableNodes(g, words) {
  const box = make("table", { class: "nl-table" }), tiles = [];
  if (g.rows > 10 || g.columns > 10) return { box: "", tiles };
  const head = (scope, text) => make("th", { scope }, text);
  box.append(make("tr", {}, make("th"), ...indices(g.columns).map((c) => head("col", `${words[1][0]}${c}`))));
  for (const r of indices(g.rows)) {
    const row = indices(g.columns).map(() => make("td"));
    tiles.push(...row);
    box.append(make("tr", {}, head("row", `${words[0][0]}${r}`), ...row));
  }
  return { box, tiles };
}

// The values of one footprint as a histogram, before (dashed) and now, each with its mean and
// one deviation to either side. The range grows in steps, so that it stands while one drags.
function histogramNodes(text, { x, deviation }) {
  const width = 330, bottom = 96, bars = 84, middle = Float64Array.from(x).sort()[x.length >> 1];
  const ghost = path("nl-was"), now = path("nl-now"), ghostLines = path("nl-was-line"), lines = path("nl-now-line");
  const ends = [label("", 0, bottom + 26), label("", width, bottom + 26, "end")];
  const svg = make("svg", { viewBox: `0 0 ${width} ${bottom + 30}`, width, height: bottom + 30, "aria-hidden": "true" },
    ghost, now, path("nl-base"), ghostLines, lines, ...ends);
  svg.querySelector(".nl-base").setAttribute("d", `M0 ${bottom}h${width}`);
  const box = make("div", { class: "nl-histogram" }, make("div", { class: "nl-title" }, text.histogram), svg);
  const show = (rows, kind, before, after) => {
    let reach = 3 * deviation;
    for (const values of [before, after])
      visitCells(rows, kind, (i) => { reach = Math.max(reach, Math.abs(values[i] - middle)); });
    reach = Math.ceil(reach / (3 * deviation) - 1e-9) * 3 * deviation;
    const low = middle - reach, at = (v) => ((v - low) / (2 * reach)) * width, count = 36;
    const bins = (values) => {
      const filled = new Array(count).fill(0);
      visitCells(rows, kind, (i) => { filled[Math.min(count - 1, Math.floor((at(values[i]) / width) * count))]++; });
      return filled;
    };
    const [was, is] = [bins(before), bins(after)], most = Math.max(...was, ...is);
    const draw = (filled) => filled.map((n, k) =>
      n ? `M${(k * width) / count + 1} ${bottom}v${(-n / most) * bars}h${width / count - 2}V${bottom}Z` : "").join("");
    const mark = (values, y) => {
      const { mean, var: variance } = moments(rows, kind, values), size = Math.sqrt(variance);
      return `M${at(mean)} 4V${y}M${at(mean - size)} ${y}H${at(mean + size)}`;
    };
    ghost.setAttribute("d", draw(was));
    now.setAttribute("d", draw(is));
    ghostLines.setAttribute("d", mark(before, bottom + 10));
    lines.setAttribute("d", mark(after, bottom + 5));
    ends[0].textContent = short(low);
    ends[1].textContent = short(low + 2 * reach);
  };
  return { box, show };
}

// Everything on the page, put together once.
function build(explorer) {
  const { spec, geometry, methods } = explorer, { text } = spec;
  const words = spec.layout.map((axis) => spec.axes[axis]);
  const shape = `(${spec.shape.join(", ")})`;
  const nodes = {
    methods: buttons(methods.map((m) => m.name), "nl-methods"),
    questions: buttons(QUESTIONS.map((q) => text[q]), "nl-switch"),
    values: buttons(VALUES.map((v) => text[v]), "nl-switch"),
    slider: field(text.groups, { type: "range", min: 0, step: 1, "aria-label": text.groups }),
    parts: buttons(PARTS.map((p) => fill(text[`part_${p}`], { row: words[0], column: words[1] })), "nl-switch"),
    nudges: buttons(["−", "+", text.outlier, text.back], "nl-nudges"),
    shift: field("", { type: "number", step: "any" }),
    times: field(text.times, { type: "number", step: "any" }),
    sheet: sheetNodes(geometry, words, fill(text.sheet, { shape })),
    cube: cubeNodes(geometry, words, text),
    table: tableNodes(geometry, words),
    histogram: histogramNodes(text, explorer),
    tableTitle: make("div", { class: "nl-title" }),
    where: make("span", { class: "nl-where" }),
    what: make("strong"),
    moved: make("p", { class: "nl-moved" }),
    scale: make("p", { class: "nl-scale" }),
    heard: make("p", { class: "nl-heard", "aria-live": "polite" }),
    arithmetic: make("p", { class: "nl-arithmetic" }),
    note: make("p", { class: "nl-note" }),
    help: make("p", { class: "nl-help" }),
    readouts: {}, was: {},
  };
  nodes.parts.list[1].hidden = geometry.positions === 1; // a tile of one cell is that cell
  nodes.nudges.list.slice(0, 2).forEach((b, i) => b.setAttribute("aria-label", [text.less, text.more][i]));
  const readout = make("div", { class: "nl-readout" }, ...READOUTS.map((key) => {
    nodes.was[key] = make("i", { "data-was": key });
    nodes.readouts[key] = make("b", { "data-key": key });
    return make("div", {}, make("span", {}, text[`readout_${key}`]), nodes.was[key], nodes.readouts[key]);
  }));
  nodes.change = make("div", { class: "nl-bar nl-change" },
    nodes.parts.bar, nodes.nudges.bar, nodes.shift.box, nodes.times.box);
  nodes.root = make("div", { class: "nl-root nl-axes", role: "group", "aria-label": fill(text.label, { shape }) },
    make("div", { class: "nl-bar" }, nodes.methods.bar, nodes.slider.box),
    make("div", { class: "nl-bar" }, nodes.questions.bar, nodes.values.bar),
    make("div", { class: "nl-body" },
      make("div", { class: "nl-main" }, nodes.sheet.sheet, nodes.scale, nodes.change,
        make("p", { class: "nl-sentence" }, nodes.where, nodes.what), nodes.moved, readout, nodes.arithmetic, nodes.note),
      make("div", { class: "nl-side" },
        make("div", { class: "nl-title" }, text.cube), nodes.cube.box, nodes.histogram.box,
        nodes.tableTitle, nodes.table.box)),
    nodes.help, nodes.heard);
  return nodes;
}
