// Predict: choose, lock, then see. What was measured is put on the page only after locking.

let groups = 0;

function render(context) {
  const { model, signal } = context;
  const text = model.get("text"), options = model.get("options");
  const on = (node, event, handler) => node.addEventListener(event, handler, { signal });
  const group = `nl-predict-${(groups += 1)}-${Math.random().toString(36).slice(2)}`;

  const rows = options.map((option, i) => {
    const input = make("input", { type: "radio", name: group, value: i, ...focusable });
    const mark = make("span", { class: "nl-marks" });
    on(input, "change", () => {
      if (model.get("locked")) return;
      model.set("choice", i);
      model.save_changes();
    });
    return { input, mark, node: make("label", {}, input, make("span", {}, option), mark) };
  });
  const lock = make("button", { type: "button", ...focusable }, text.lock);
  on(lock, "click", () => {
    if (model.get("choice") < 0 || model.get("locked")) return;
    model.set("locked", true);
    model.save_changes();
    status.focus({ preventScroll: true }); // the button is gone: the keyboard goes on from here
  });
  const status = make("p", { class: "nl-status", "aria-live": "polite", tabindex: -1, ...focusable });
  const legend = make("legend", {}, model.get("question"));
  place(make("div", { class: "nl-root nl-predict" },
    make("div", { class: "nl-kicker" }, text.label),
    make("fieldset", {}, legend, ...rows.map((row) => row.node)), lock, status), context);

  function draw() {
    const choice = model.get("choice"), locked = model.get("locked"), answer = model.get("answer");
    const shown = locked && answer >= 0;
    rows.forEach(({ input, mark, node }, i) => {
      input.checked = i === choice;
      input.disabled = locked;
      node.classList.toggle("nl-mine", locked && i === choice);
      node.classList.toggle("nl-measured", shown && i === answer);
      const marks = [locked && i === choice && text.yours, shown && i === answer && text.measured];
      mark.textContent = marks.filter(Boolean).join(", ");
    });
    lock.hidden = locked;
    lock.disabled = choice < 0;
    if (!locked) status.textContent = text.choose;
    else if (!shown) status.textContent = fill(text.locked, { choice: options[choice] });
    else {
      const verdict = choice === answer ? text.right : text.wrong;
      const words = fill(verdict, { choice: options[choice], answer: options[answer] });
      status.textContent = `${words} ${model.get("because")}`.trim();
    }
  }

  const events = ["choice", "locked", "answer", "because"].map((key) => `change:${key}`);
  events.forEach((event) => model.on(event, draw));
  signal?.addEventListener("abort", () => events.forEach((event) => model.off(event, draw)));
  draw();
}

export default { render };
