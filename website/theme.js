// Before anything is drawn: the theme chosen last, or the system's.
try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ??
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
} catch {}
