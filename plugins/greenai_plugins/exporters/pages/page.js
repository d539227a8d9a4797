"use strict";
(() => {
  const root = document.documentElement;
  const tip = document.getElementById("tip");
  const all = (where, what) => Array.from(where.querySelectorAll(what));

  // Colours: what the system says, until somebody says otherwise.
  const THEMES = ["system", "light", "dark"];
  const theme = document.getElementById("theme");
  const remembered = () => {
    try { return localStorage.getItem("greenai-theme"); } catch { return null; }
  };
  const paint = (name) => {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    theme.textContent = "Colours: " + name;
    theme.dataset.now = name;
    try { localStorage.setItem("greenai-theme", name); } catch { /* a page of its own keeps nothing */ }
  };
  theme.hidden = false;
  paint(THEMES.includes(remembered()) ? remembered() : "system");
  theme.addEventListener("click", () => {
    paint(THEMES[(THEMES.indexOf(theme.dataset.now) + 1) % THEMES.length]);
  });

  // A second drawing of the same points leaves out what they tell.
  const complete = (figure) => {
    const [first, ...others] = all(figure, ".drawing").map((drawing) => all(drawing, ".p"));
    for (const points of others) {
      points.forEach((p, i) => p.setAttribute("aria-label", first[i].getAttribute("aria-label")));
    }
  };

  // Tooltips
  const hide = () => { tip.hidden = true; };
  const show = (point) => {
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const wide = tip.offsetWidth, high = tip.offsetHeight;
    const left = at.left + Math.min(at.width / 2, 40) - wide / 2;
    const above = at.top - high - 10;
    const top = above > 4 ? above : at.bottom + 10;
    const end = root.clientWidth - wide - 6;
    tip.style.left = Math.max(6, Math.min(left, end)) + window.scrollX + "px";
    tip.style.top = top + window.scrollY + "px";
  };

  // Points: one stop of the Tab key a picture, arrows from figure to figure.
  const visible = (drawing) => all(drawing, ".p").filter((p) => !p.closest(".off"));
  const stops = new Map();
  const stop = (drawing, chosen) => {
    if (stops.get(drawing)) stops.get(drawing).setAttribute("tabindex", "-1");
    if (chosen) chosen.setAttribute("tabindex", "0");
    stops.set(drawing, chosen);
  };
  const groupOf = (p) => (p.closest(".g") || p.parentNode);
  const neighbour = (points, now, key) => {
    const at = points.indexOf(now);
    if (key === "ArrowRight") return points[at + 1];
    if (key === "ArrowLeft") return points[at - 1];
    if (key === "Home") return points[0];
    if (key === "End") return points[points.length - 1];
    const groups = [...new Set(points.map(groupOf))];
    const next = groups[groups.indexOf(groupOf(now)) + (key === "ArrowDown" ? 1 : -1)];
    if (groups.length < 2 || !next) return points[at + (key === "ArrowDown" ? 1 : -1)];
    const here = now.getBoundingClientRect().left;
    const there = points.filter((p) => groupOf(p) === next);
    const away = (p) => Math.abs(p.getBoundingClientRect().left - here);
    return there.reduce((best, p) => (away(p) < away(best) ? p : best), there[0]);
  };
  const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
  for (const drawing of all(document, ".drawing")) {
    stop(drawing, drawing.querySelector(".p"));
    drawing.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { hide(); return; }
      const now = event.target.closest(".p");
      if (!now || !KEYS.includes(event.key) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const next = neighbour(visible(drawing), now, event.key);
      if (next) { stop(drawing, next); next.focus(); }
    });
    drawing.addEventListener("focusin", (event) => {
      const p = event.target.closest(".p");
      if (p) { stop(drawing, p); show(p); }
    });
    drawing.addEventListener("focusout", hide);
    drawing.addEventListener("pointerover", (event) => {
      const p = event.target.closest(".p");
      if (p) show(p);
    });
    drawing.addEventListener("pointerout", (event) => {
      if (event.target.closest(".p")) hide();
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

  // Series on and off, axes linear and logarithmic
  for (const figure of all(document, "figure")) {
    for (const button of all(figure, ".series")) {
      button.addEventListener("click", () => {
        const on = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(on));
        for (const g of all(figure, `[data-series="${button.dataset.for}"]`)) {
          g.classList.toggle("off", !on);
        }
        for (const drawing of all(figure, ".drawing")) stop(drawing, visible(drawing)[0]);
        hide();
      });
    }
    const axes = figure.querySelector(".axes");
    if (axes) {
      axes.hidden = false;
      axes.addEventListener("click", () => {
        const log = axes.getAttribute("aria-pressed") !== "true";
        complete(figure);
        axes.setAttribute("aria-pressed", String(log));
        for (const drawing of all(figure, ".drawing")) {
          drawing.hidden = (drawing.dataset.axes === "log") !== log;
        }
        hide();
      });
    }
  }

  // Long tables: sorted by a column
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const figure = cell.dataset.value === undefined ? Number(cell.textContent || NaN) : Number(cell.dataset.value);
    return Number.isNaN(figure) ? cell.textContent : figure;
  };
  const order = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === typeof b) return a.localeCompare(b);
    return typeof a === "number" ? -1 : 1;
  };
  for (const table of all(document, "table.sortable")) {
    all(table, "thead th").forEach((th, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", "sort by " + (th.textContent || "the first column"));
      th.append(" ", button);
      button.addEventListener("click", () => {
        const down = th.getAttribute("aria-sort") === "ascending";
        for (const other of all(table, "thead th")) other.removeAttribute("aria-sort");
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(table.tBodies[0].rows);
        rows.sort((a, b) => (down ? -1 : 1) * order(valueOf(a, column), valueOf(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // On paper everything is unfolded but the figures behind pictures.
  const folded = [];
  window.addEventListener("beforeprint", () => {
    for (const details of all(document, "section > details:not([open])")) {
      details.open = true;
      folded.push(details);
    }
  });
  window.addEventListener("afterprint", () => { for (const d of folded.splice(0)) d.open = false; });
  root.dataset.ready = String(Math.round(performance.now()));
})();
