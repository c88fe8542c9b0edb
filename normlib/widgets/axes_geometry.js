// Where the cells of a tensor stand: on the contact sheet, in its parts, and in the cube.

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
  const positions = height * width;
  const tileW = width * size + gap, tileH = height * size + gap;
  const x = (i) => left + Math.floor(i / positions) % columns * tileW + (i % width) * size;
  const y = (i) =>
    top + Math.floor(i / (positions * columns)) * tileH + Math.floor(i / width) % height * size;
  // What stands at a point: [part, cell], where a header stands for its whole column or row.
  const at = (px, py) => {
    const c = Math.floor((px - left) / tileW), r = Math.floor((py - top) / tileH);
    if (py < top && c >= 0 && c < columns) return ["column", c * positions];
    if (px < left && r >= 0 && r < rows) return ["row", r * columns * positions];
    const w = Math.floor((px - left - c * tileW) / size), h = Math.floor((py - top - r * tileH) / size);
    const outside = c < 0 || r < 0 || c >= columns || r >= rows || w >= width || h >= height;
    return outside ? null : ["cell", ((r * columns + c) * height + h) * width + w];
  };
  return {
    rows, columns, height, width, positions, size, left, top, tileW, tileH, gap, x, y, at,
    cells: rows * columns * positions,
    totalW: left + columns * tileW + 4, totalH: top + rows * tileH + 4,
  };
}

const indices = (length) => Array.from({ length }, (_, i) => i);

// The cells that change together: one cell, its tile, its column of tiles, or its row of them.
function cellsOf(part, cell, { rows, columns, positions }) {
  if (part === "cell") return [cell];
  const tile = Math.floor(cell / positions), row = Math.floor(tile / columns);
  const tiles = {
    tile: [tile],
    column: indices(rows).map((r) => r * columns + (tile % columns)),
    row: indices(columns).map((c) => row * columns + c),
  }[part];
  return tiles.flatMap((t) => indices(positions).map((p) => t * positions + p));
}

// One step over the sheet as it looks: across tile borders, stopping at the rim.
function step(cell, down, right, { rows, columns, height, width, positions }) {
  const w = cell % width, h = Math.floor(cell / width) % height;
  const c = Math.floor(cell / positions) % columns, r = Math.floor(cell / (positions * columns));
  const row = Math.max(0, Math.min(rows * height - 1, r * height + h + down));
  const column = Math.max(0, Math.min(columns * width - 1, c * width + w + right));
  return ((Math.floor(row / height) * columns + Math.floor(column / width)) * height +
    (row % height)) * width + (column % width);
}

// The outline of a set of cells: one path along every edge between inside and outside, tile by
// tile, so that the shape is told by line as well as by colour.
function outline(inside, { height, width, size, x, y, cells }) {
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

// A dot in the middle of every cell of a list.
function dots(list, { size, x, y }) {
  const d = Math.max(1, Math.round(size / 4)), to = (size - d - 1) / 2;
  return list.map((i) => `M${x(i) + to} ${y(i) + to}h${d}v${d}h${-d}Z`).join("");
}

// The article's cube: channels to the right, positions downwards, examples into the depth.
// The cube is glass; only the cells of the footprint are solid, so none can hide inside it.
function cubeGeometry({ rows, columns, positions }) {
  const unit = Math.min(150 / columns, 150 / positions, 26);
  const w = Math.max(unit, Math.min(26, 150 / columns)), h = Math.max(unit, Math.min(26, 150 / positions));
  const depth = Math.min(16, 80 / rows), dx = depth * 0.85, dy = depth * 0.6;
  const left = 88, top = 34 + rows * dy;
  const corner = (n, p, c) => [left + c * w + n * dx, top + p * h - n * dy];
  const frame = () => {
    const line = (a, b) => `M${corner(...a)}L${corner(...b)}`;
    const parts = [];
    for (let c = 0; c <= columns; c++) parts.push(line([0, 0, c], [0, positions, c]), line([0, 0, c], [rows, 0, c]));
    for (let p = 0; p <= positions; p++) parts.push(line([0, p, 0], [0, p, columns]), line([0, p, columns], [rows, p, columns]));
    for (let n = 0; n <= rows; n++) parts.push(line([n, 0, 0], [n, 0, columns]), line([n, 0, columns], [n, positions, columns]));
    return parts.join("");
  };
  const face = (...corners) => `M${corners.map((c) => corner(...c)).join("L")}Z`;
  const faces = (inside, n) => {
    const has = (n, p, c) =>
      n >= 0 && n < rows && p >= 0 && c < columns && inside[(n * columns + c) * positions + p];
    const front = [], top = [], side = [];
    for (let c = 0; c < columns; c++)
      for (let p = 0; p < positions; p++) {
        if (!has(n, p, c)) continue;
        if (!has(n - 1, p, c)) front.push(face([n, p, c], [n, p, c + 1], [n, p + 1, c + 1], [n, p + 1, c]));
        if (!has(n, p - 1, c)) top.push(face([n, p, c], [n, p, c + 1], [n + 1, p, c + 1], [n + 1, p, c]));
        if (!has(n, p, c + 1)) side.push(face([n, p, c + 1], [n, p + 1, c + 1], [n + 1, p + 1, c + 1], [n + 1, p, c + 1]));
      }
    return [top.join(""), side.join(""), front.join("")];
  };
  return {
    frame, faces, left, top, right: left + columns * w, bottom: top + positions * h,
    width: left + columns * w + rows * dx + 60, height: top + positions * h + 30,
    dx: rows * dx, dy: rows * dy,
  };
}
