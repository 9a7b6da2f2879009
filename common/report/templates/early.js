// Before the first paint: controls that need a script are shown, and the reader's colours are kept.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* storage is off: as the system */ }
