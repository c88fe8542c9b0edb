"""A page with widgets and no kernel: what an exported notebook has, and nothing more."""

import base64
import json

HOST = """<!doctype html><meta charset="utf-8"><title>widgets</title>
<body{theme}><style>{css}</style><script type="module">
class Model {
  constructor(state) { this.state = state; this.handlers = {}; this.saved = 0; }
  get(key) { return this.state[key]; }
  set(key, value) {
    if (JSON.stringify(this.state[key]) === JSON.stringify(value)) return;
    this.state[key] = value;
    for (const handler of this.handlers["change:" + key] ?? []) handler();
  }
  on(event, handler) { (this.handlers[event] ??= []).push(handler); }
  off(event, handler) {
    this.handlers[event] = (this.handlers[event] ?? []).filter((h) => h !== handler);
  }
  save_changes() { this.saved += 1; }
}
window.models = [];
window.aborts = [];
for (const { esm, state, buffers, views } of WIDGETS) {
  for (const [key, text] of Object.entries(buffers)) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    state[key] = new DataView(bytes.buffer);
  }
  const model = new Model(state);
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const widget = (await import(url)).default;
  for (let view = 0; view < views; view++) {
    const el = document.body.appendChild(document.createElement("div"));
    el.className = "view";
    const abort = new AbortController();
    window.aborts.push(abort);
    await widget.render({ model, el, signal: abort.signal });
  }
  window.models.push(model);
}
document.body.dataset.ready = "true";
</script>"""

DARK = """--jp-ui-font-color1:#e0e0e0;--jp-ui-font-color2:#a8a8a8;--jp-layout-color0:#111;
--jp-border-color1:#5a5a5a;background:#111;"""


def page_of(*widgets, views=1, dark=False):
    """The HTML of a page that shows each widget in `views` views of one model."""
    entries, css = [], ""
    for widget in widgets:
        state = {k: v for k, v in widget.get_state().items() if not k.startswith("_")}
        buffers = {
            k: base64.b64encode(state.pop(k)).decode()
            for k in [k for k, v in state.items() if isinstance(v, (bytes, memoryview))]
        }
        for foreign in ("layout", "tabbable", "tooltip"):
            state.pop(foreign, None)
        entries.append(
            {"esm": str(widget._esm), "state": state, "buffers": buffers, "views": views}
        )
        css += str(widget._css)
    theme = f' data-jp-theme-light="false" style="{DARK}"' if dark else ""
    data = json.dumps(entries, allow_nan=False).replace("</", "<\\/")
    return HOST.replace("{theme}", theme).replace("{css}", css).replace("WIDGETS", data, 1)
