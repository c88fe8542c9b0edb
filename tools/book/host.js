// Brings the widgets of a page to life without a kernel: the part of anywidget's front end that
// Predict, Flipbook and AxesExplorer use. Their saved state is in the page as JSON.
class Model {
  #state;
  #handlers = new Map();

  constructor(state) {
    this.#state = state;
  }

  get(key) {
    return this.#state[key];
  }

  set(key, value) {
    if (JSON.stringify(this.#state[key]) === JSON.stringify(value)) return;
    this.#state[key] = value;
    for (const handler of this.#handlers.get("change:" + key) ?? []) handler();
  }

  on(event, handler) {
    this.#handlers.set(event, [...(this.#handlers.get(event) ?? []), handler]);
  }

  off(event, handler) {
    this.#handlers.set(event, (this.#handlers.get(event) ?? []).filter((h) => h !== handler));
  }

  save_changes() {} // there is no kernel to tell
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const root = document.documentElement;
const tell = () => (document.body.dataset.jpThemeLight = root.dataset.theme !== "dark");
new MutationObserver(tell).observe(root, { attributeFilter: ["data-theme"] });
tell(); // as JupyterLab tells widgets of its theme
let chosen;
addEventListener("beforeprint", () => ([chosen, root.dataset.theme] = [root.dataset.theme, "light"]));
addEventListener("afterprint", () => (root.dataset.theme = chosen));

const { sources, models } = JSON.parse(document.getElementById("widget-state").textContent);
const modules = {};
for (const [name, { esm, css }] of Object.entries(sources)) {
  modules[name] = import(URL.createObjectURL(new Blob([esm], { type: "text/javascript" })));
  document.head.appendChild(document.createElement("style")).textContent = css;
}

const alive = {};
for (const el of document.querySelectorAll("[data-widget]")) {
  const id = el.dataset.widget;
  const { source, state, buffers } = models[id];
  if (!alive[id]) {
    for (const [key, text] of Object.entries(buffers)) state[key] = new DataView(bytes(text).buffer);
    alive[id] = new Model(state); // two views of one widget share it
  }
  const widget = (await modules[source]).default;
  await widget.render({ model: alive[id], el, signal: new AbortController().signal });
}
document.body.dataset.ready = "true";
