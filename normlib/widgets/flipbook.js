// Flipbook: every picture is here already; a slider or button only changes which one is seen.

function render(context) {
  const { model, signal } = context;
  const { choices, frames, text } = model.get("spec");
  const data = model.get("data");
  const on = (node, event, handler) => node.addEventListener(event, handler, { signal });
  const urls = [];

  const images = frames.map(({ image: [, offset, length], alt, width }) => {
    const bytes = new Uint8Array(data.buffer, data.byteOffset + offset, length);
    urls.push(URL.createObjectURL(new Blob([bytes], { type: "image/webp" })));
    return make("img", { src: urls.at(-1), alt, width, decoding: "sync" });
  });
  images.forEach((image) => image.decode().catch(() => {}));

  const choose = (axis, value) => {
    const index = [...model.get("index")];
    index[axis] = value;
    model.set("index", index);
    model.save_changes(); // at once, or the kernel's echo of the last choice would undo this one
  };

  const controls = choices.map(({ name, values, slider }, axis) => {
    if (slider) {
      const input = make("input", {
        type: "range", min: 0, max: values.length - 1, step: 1, "aria-label": name, ...focusable,
      });
      const output = make("output", {}, "");
      output.style.minWidth = `${Math.max(...values.map((value) => value.length))}ch`;
      on(input, "input", () => choose(axis, Number(input.value)));
      const show = (value) => {
        input.value = value;
        output.textContent = values[value];
        input.setAttribute("aria-valuetext", values[value]);
      };
      return { node: make("label", { class: "nl-choice" }, make("span", {}, name), input, output), show };
    }
    const buttons = values.map((value, i) => {
      const button = make("button", { type: "button", ...focusable }, value);
      on(button, "click", () => choose(axis, i));
      on(button, "keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
        if (!by) return;
        event.preventDefault();
        event.stopPropagation();
        const next = Math.max(0, Math.min(values.length - 1, i + by));
        buttons[next].focus();
        choose(axis, next);
      });
      return button;
    });
    const show = (value) => buttons.forEach((b, i) => b.setAttribute("aria-pressed", i === value));
    const group = make("span", { class: "nl-switch", role: "group", "aria-label": name }, ...buttons);
    return { node: make("div", { class: "nl-choice" }, make("span", {}, name), group), show };
  });

  const caption = make("p", { class: "nl-caption", "aria-live": "polite" });
  const pages = make("div", { class: "nl-pages" }, ...images);
  place(make("div", { class: "nl-root nl-flipbook", role: "group", "aria-label": text.label },
    make("div", { class: "nl-bar" }, ...controls.map((c) => c.node)), pages, caption), context);

  function draw() {
    const index = model.get("index");
    let page = 0;
    choices.forEach((choice, axis) => { page = page * choice.values.length + index[axis]; });
    images.forEach((image, i) => {
      image.classList.toggle("nl-shown", i === page);
      if (i === page) image.removeAttribute("aria-hidden");
      else image.setAttribute("aria-hidden", "true");
    });
    controls.forEach(({ show }, axis) => show(index[axis]));
    caption.textContent = frames[page].alt;
  }

  model.on("change:index", draw);
  signal?.addEventListener("abort", () => {
    model.off("change:index", draw);
    urls.forEach((url) => URL.revokeObjectURL(url));
  });
  draw();
}

export default { render };
