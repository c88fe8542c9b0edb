// One slide at a time. What is too tall for the window is shown smaller, never cut off.
const slides = [...document.querySelectorAll(".slide")];
const SMALLEST = 0.5, LARGEST = 1.4, WIDTH = 1184; // of a window of 1280 x 720
let at = -1;

function fit(slide) {
  const inner = slide.querySelector(".fit");
  const style = getComputedStyle(slide);
  const room = slide.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  const scale = Math.min(window.innerHeight / 720, window.innerWidth / 1280);
  const fits = (zoom) => {
    inner.style.zoom = zoom;
    inner.style.maxWidth = `${(WIDTH * scale) / zoom}px`;
    const cut = (box) => box.scrollWidth > box.clientWidth + 1;
    const wide = cut(inner) || (zoom > 0.8 && [...inner.querySelectorAll("pre")].some(cut));
    return inner.getBoundingClientRect().height <= room && !wide;
  };
  let [low, high] = [SMALLEST, LARGEST * Math.max(scale, 0.7)];
  if (fits(high)) return;
  while (high - low > 0.01) {
    const middle = (low + high) / 2;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  fits(low);
}

function go(to) {
  to = Math.max(0, Math.min(slides.length - 1, to));
  if (to === at) return;
  slides[at]?.classList.remove("shown");
  at = to;
  slides[at].classList.add("shown");
  fit(slides[at]);
  slides[at].focus({ preventScroll: true });
  document.getElementById("place").textContent =
    `${at + 1} of ${slides.length}: ${slides[at].dataset.part}`;
  document.getElementById("back").disabled = at === 0;
  document.getElementById("next").disabled = at === slides.length - 1;
  history.replaceState(null, "", `#${at + 1}`);
}

const steps = { PageDown: 1, PageUp: -1, ArrowRight: 1, ArrowLeft: -1, " ": 1 };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const inside = event.target.closest("[data-widget], nav, a, summary, pre");
  if (inside && !event.key.startsWith("Page")) return;
  if (event.key in steps) go(at + steps[event.key]);
  else if (event.key === "Home") go(0);
  else if (event.key === "End") go(slides.length - 1);
  else return;
  event.preventDefault();
});
document.getElementById("back").addEventListener("click", () => go(at - 1));
document.getElementById("next").addEventListener("click", () => go(at + 1));
window.addEventListener("resize", () => fit(slides[at]));
window.addEventListener("hashchange", () => go(parseInt(location.hash.slice(1)) - 1));
const grown = new ResizeObserver(() => fit(slides[at])); // a folded cell, a widget that fills up
for (const slide of slides) for (const child of slide.querySelector(".fit").children) grown.observe(child);
go((parseInt(location.hash.slice(1)) || 1) - 1);

const theme = document.getElementById("theme");
const dark = () => document.documentElement.dataset.theme === "dark";
theme.setAttribute("aria-pressed", dark());
theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = dark() ? "light" : "dark";
  theme.setAttribute("aria-pressed", dark());
  try {
    localStorage.setItem("theme", document.documentElement.dataset.theme);
  } catch {} // pages opened from a file may not store anything
});
