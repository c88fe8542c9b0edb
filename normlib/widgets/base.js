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

