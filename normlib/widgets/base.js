// What the widgets share.

const SVG = ["svg", "g", "path", "rect", "text"];

function make(tag, attributes = {}, ...children) {
  const node = SVG.includes(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, key) => values[key]);
const focusable = { "data-lm-suppress-shortcuts": "true" };

// Puts a widget on the page. Enter with Shift, Ctrl, Alt or Meta runs the cell from anywhere in
// it: a control that keeps its keys from JupyterLab (see focusable) hands these to its cell.
// And in hosts that are not made of JupyterLab's parts its still (see _base.py) is hidden here.
function place(root, { model, el, signal }) {
  el.append(root);
  root.addEventListener("keydown", (event) => {
    const { key, shiftKey, ctrlKey, altKey, metaKey } = event;
    const cell = key === "Enter" && (shiftKey || ctrlKey || altKey || metaKey) && root.closest(".jp-Cell");
    if (!cell) return;
    event.preventDefault();
    event.stopPropagation();
    cell.focus({ preventScroll: true }); // what was typed is sent by the field that loses the focus
    cell.dispatchEvent(new KeyboardEvent("keydown", event));
  }, { capture: true, signal });
  if (document.querySelector(".jp-Cell")) return;
  const style = make("style", {}, `[data-still="${model.get("still")}"] { display: none }`);
  document.head.append(style);
  signal?.addEventListener("abort", () => style.remove());
}
