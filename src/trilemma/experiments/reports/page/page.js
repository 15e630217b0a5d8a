"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const store = {
    get() { try { return localStorage.getItem("trilemma-theme"); } catch { return null; } },
    set(theme) { try { localStorage.setItem("trilemma-theme", theme); } catch { /* a page without storage */ } },
  };
  const PAPER = { full: 650, half: 305 }; /* CSS pixels that fit on A4 and on Letter */
  let printing = false;
  let logarithmic = false;
  root.classList.add("js");
  if (["light", "dark"].includes(store.get())) root.dataset.theme = store.get();

  const theme = () => root.dataset.theme || (dark.matches ? "dark" : "light");

  /* Colours in the plots are names of CSS variables: fill them in for the present theme. */
  const filled = (value, style, key) => {
    if (Array.isArray(value)) return value.map((item) => filled(item, style, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, filled(v, style, k)]));
    }
    const named = typeof value === "string" && /color$/i.test(key) && value.startsWith("--");
    if (!named) return value;
    const [name, share] = value.split("/"); /* "--series-1/0.2" lets 80 % of what is below through */
    const alpha = share ? Math.round(255 * Number(share)).toString(16).padStart(2, "0") : "";
    return style.getPropertyValue(name).trim() + alpha;
  };

  const draw = (spec) => {
    const box = document.getElementById("plot-" + spec.id);
    const { data, layout } = filled({ data: spec.data, layout: spec.layout }, getComputedStyle(root), "");
    data.forEach((trace, index) => { trace.visible = !spec.off || !spec.off.has(index); });
    if (logarithmic && spec.log_range) {
      layout.yaxis = { ...layout.yaxis, type: "log", range: spec.log_range };
    }
    if (printing) layout.width = box.closest(".pairwise") ? PAPER.half : PAPER.full;
    layout.font.family = getComputedStyle(document.body).fontFamily;
    return Plotly.react(box, data, layout, { displayModeBar: false, responsive: true, showTips: false });
  };

  const start = () => {
    const specs = JSON.parse(document.getElementById("specs").textContent);
    const drawAll = () => Promise.all(specs.map(draw));
    const button = document.getElementById("theme");
    const label = document.getElementById("theme-label");

    const retheme = () => {
      const next = theme() === "dark" ? "light" : "dark";
      label.textContent = next === "dark" ? "Dark theme" : "Light theme";
      return drawAll();
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.theme = theme() === "dark" ? "light" : "dark";
      store.set(root.dataset.theme);
      retheme();
    });
    dark.addEventListener("change", () => { if (!printing) retheme(); });

    document.querySelectorAll(".key").forEach((key) => key.addEventListener("click", () => {
      const spec = specs.find((one) => one.id === key.dataset.figure);
      const show = key.getAttribute("aria-pressed") !== "true";
      key.setAttribute("aria-pressed", String(show));
      spec.off = spec.off || new Set();
      key.dataset.traces.split(" ").map(Number).forEach((index) => (show ? spec.off.delete(index) : spec.off.add(index)));
      draw(spec);
    }));

    const shares = [...document.querySelectorAll(".log-shares")];
    shares.forEach((share) => share.addEventListener("change", () => {
      logarithmic = share.checked;
      shares.forEach((other) => { other.checked = logarithmic; });
      drawAll();
    }));

    const save = document.getElementById("save");
    save.hidden = false;
    save.addEventListener("click", () => {
      const text = JSON.stringify(JSON.parse(document.getElementById("document").textContent), null, 2);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
      link.download = save.dataset.name.replace(/[^\w.-]+/g, "-") + ".json";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });

    /* On paper: the light theme, and nothing folded away but the counts of the histograms. */
    let before;
    addEventListener("beforeprint", () => {
      printing = true;
      before = { theme: root.dataset.theme, closed: [...document.querySelectorAll("details:not([open])")].filter((e) => !e.closest(".pairwise")) };
      root.dataset.theme = "light";
      before.closed.forEach((details) => { details.open = true; });
      drawAll();
    });
    addEventListener("afterprint", () => {
      printing = false;
      if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
      before.closed.forEach((details) => { details.open = false; });
      drawAll();
    });

    retheme().then(() => root.setAttribute("data-drawn", String(specs.length)));
  };

  document.addEventListener("DOMContentLoaded", start);
})();
