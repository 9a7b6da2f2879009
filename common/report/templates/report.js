"use strict";
// Filters, colours, copying. Pages are shown by CSS alone.

const form = document.querySelector(".filters");
const pages = [...document.querySelectorAll(".page")];

// The page that the address names, or that holds the place it names.
function current() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  return target?.closest(".page") ?? pages[0];
}

function apply() {
  const { paper, budget, verdict } = Object.fromEntries(new FormData(form));
  const onOverview = current() === pages[0];
  for (const item of document.querySelectorAll(".item, .line")) {
    const { paper: p, budget: b, verdict: v } = item.dataset;
    const foreign = paper && onOverview && p !== undefined && p !== paper;
    const matches = !foreign && (!budget || b === undefined || b === budget)
      && (!verdict || v === undefined || v.split("|").includes(verdict));
    item.hidden = !matches;
  }
  for (const page of pages) {
    const items = [...page.querySelectorAll(".item[data-verdict]")];
    page.querySelector(".nothing").hidden = items.length === 0 || items.some((item) => !item.hidden);
  }
  tell();
}

function tell() {
  const page = current();
  const parts = [["claim", ".claim"], ["table", ".sheet"], ["number", ".number"]].flatMap(([noun, kind]) => {
    const items = [...page.querySelectorAll(`.item${kind}`)];
    const shown = items.filter((item) => !item.hidden).length;
    return items.length ? [`${shown} of ${items.length} ${noun}s`] : [];
  });
  form.querySelector("output").textContent = parts.join(", ");
}

function arrive() {
  const page = current();
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.hash === `#${page.id}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else {
      link.removeAttribute("aria-current");
    }
  }
  form.querySelector(".by-paper").hidden = page !== pages[0];
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  apply();
  if (target?.closest(".item")?.hidden) form.reset(); // a link to a place that the filters hide shows it
  if (target instanceof HTMLDetailsElement) target.open = true;
}

form.addEventListener("change", apply);
form.addEventListener("reset", () => setTimeout(apply));
form.addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", arrive);

document.addEventListener("click", async (event) => {
  const pick = event.target.closest("[data-pick]");
  if (pick) {
    form.reset();
    form.elements.verdict.value = pick.dataset.pick;
    setTimeout(apply);
  }
  const button = event.target.closest("[data-copy]");
  if (button) {
    const done = await copy(button.dataset.copy);
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // an old browser, or a page that may not use the clipboard
    const area = document.body.appendChild(document.createElement("textarea"));
    area.value = text;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

const themes = ["", "light", "dark"];
const switcher = document.querySelector(".theme");

function paint(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  switcher.textContent = { "": "Auto", light: "Light", dark: "Dark" }[theme];
  switcher.setAttribute("aria-label", `Colours: ${theme || "as the system"}`);
}

switcher.addEventListener("click", () => {
  const now = themes.indexOf(document.documentElement.dataset.theme ?? "");
  const theme = themes[(now + 1) % themes.length];
  paint(theme);
  try { localStorage.setItem("theme", theme); } catch { /* storage is off */ }
});

paint(document.documentElement.dataset.theme ?? "");
arrive();
