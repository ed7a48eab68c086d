"use strict";
// Tables: sort by a column (up, down, as it was), filter by words.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, index, isNumber) => {
    const text = row.cells[index].textContent.trim();
    if (!isNumber) return text.toLowerCase();
    const number = parseFloat(text.replace(/\u2212/g, "-").replace(/,/g, ""));
    return Number.isNaN(number) ? null : number;
  };
  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" };
      const order = next[head.getAttribute("aria-sort") || "none"];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      const isNumber = head.classList.contains("number");
      const sign = order === "descending" ? -1 : 1;
      const rows = [...original];
      if (order !== "none") {
        rows.sort((one, two) => {
          const a = value(one, index, isNumber), b = value(two, index, isNumber);
          const empty = (v) => v === null || v === "";
          if (empty(a) || empty(b)) return empty(a) - empty(b); // what is missing comes last
          return sign * (a < b ? -1 : a > b ? 1 : 0);
        });
      }
      body.append(...rows);
    });
  });
  const input = document.querySelector(`input[data-filters="${table.id}"]`);
  if (!input) continue;
  const status = document.getElementById(`${table.id}-count`);
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of original) {
      const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    status.textContent = `${shown} of ${original.length} rows`;
  });
}

// Figures: the values under the pointer, or under a cursor that the arrow keys move.
const format = (value) => {
  const text = Math.abs(value) >= 1000
    ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(4)));
  return text.replace("-", "\u2212");
};
for (const drawing of document.querySelectorAll(".drawing[data-values]")) {
  const allAxes = JSON.parse(document.getElementById(drawing.dataset.values).textContent);
  const tip = drawing.querySelector(".tip"), cursor = drawing.querySelector(".cursor");
  let place = null; // [axes, position among its stops], for the keys
  const share = (v, [low, high, log]) => log
    ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low);
  const stopsOf = (axes) => {
    if (!axes.stops) {
      const all = axes.points
        ? axes.series.flatMap((s) => s.x.map((x, i) => ({ x, y: s.y[i], series: s })))
        : [...new Set(axes.series.flatMap((s) => s.x))].map((x) => ({ x }));
      axes.stops = all.sort((a, b) => a.x - b.x);
    }
    return axes.stops;
  };
  const line = (colour, text) => {
    const row = document.createElement("div"), key = document.createElement("i");
    key.style.background = colour;
    row.append(key, text);
    return row;
  };
  const show = (axes, index) => {
    const stop = stopsOf(axes)[index];
    const [left, top, right, bottom] = axes.box;
    const x = left + (right - left) * share(stop.x, axes.x);
    place = [allAxes.indexOf(axes), index];
    const rows = [];
    if (axes.points) {
      rows.push(line(stop.series.colour, stop.series.name));
      rows.push(`${axes.xlabel || "x"}: ${format(stop.x)}`, document.createElement("br"));
      if (axes.ylabel) rows.push(`${axes.ylabel}: ${format(stop.y)}`);
    } else {
      rows.push(`${axes.xlabel}: ${format(stop.x)}`);
      const found = axes.series
        .map((s) => ({ s, y: s.y[s.x.indexOf(stop.x)] }))
        .filter(({ y }) => y !== undefined).sort((a, b) => b.y - a.y);
      for (const { s, y } of found) rows.push(line(s.colour, `${s.name}: ${format(y)}`));
    }
    tip.replaceChildren(...rows);
    tip.hidden = cursor.hidden = false;
    const width = drawing.clientWidth, height = drawing.clientHeight;
    cursor.style.left = `${x * width}px`;
    cursor.style.top = `${top * height}px`;
    cursor.style.height = `${(bottom - top) * height}px`;
    const pan = drawing.parentElement; // on a phone it shows a part of the drawing
    const seen = pan.scrollLeft + pan.clientWidth - tip.offsetWidth;
    const after = x * width + 12;
    const beside = after > seen ? Math.min(x * width - tip.offsetWidth - 12, seen) : after;
    tip.style.left = `${Math.max(pan.scrollLeft, beside)}px`;
    tip.style.top = `${top * height}px`;
  };
  const hide = () => { tip.hidden = cursor.hidden = true; };
  drawing.addEventListener("pointermove", (event) => {
    const rect = drawing.getBoundingClientRect();
    const px = (event.clientX - rect.left) / rect.width, py = (event.clientY - rect.top) / rect.height;
    const axes = allAxes.find(({ box: [l, t, r, b] }) => px >= l && px <= r && py >= t && py <= b);
    if (!axes) return hide();
    const [left, top, right, bottom] = axes.box;
    const distance = (stop) => {
      const dx = (left + (right - left) * share(stop.x, axes.x) - px) * rect.width;
      if (!axes.points) return Math.abs(dx);
      return Math.hypot(dx, (bottom - (bottom - top) * share(stop.y, axes.y) - py) * rect.height);
    };
    let best = 0, least = Infinity;
    stopsOf(axes).forEach((stop, index) => {
      const d = distance(stop);
      if (d < least) { least = d; best = index; }
    });
    return show(axes, best);
  });
  drawing.addEventListener("pointerleave", hide);
  drawing.addEventListener("blur", hide);
  drawing.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return undefined;
    event.preventDefault();
    let [which, index] = place || [0, step > 0 ? -1 : stopsOf(allAxes[0]).length];
    index += step;
    if (index >= stopsOf(allAxes[which]).length) {
      which = (which + 1) % allAxes.length;
      index = 0;
    } else if (index < 0) {
      which = (which + allAxes.length - 1) % allAxes.length;
      index = stopsOf(allAxes[which]).length - 1;
    }
    return show(allAxes[which], index);
  });
}

// Colours: as the system has them, or the other ones.
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
});
