"use strict";
// Sortable tables, scatter plots, the gallery's images. Loads nothing; text is set with textContent only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const colors = data.colors;
  const tip = document.getElementById("tip");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const show = (v) => (v === null ? "n/a" : Math.abs(v) >= 1000 ? v.toFixed(0) : Number(v.toPrecision(4)).toString());
  const make = (tag, text) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    return node;
  };

  // --- tables: a header's button sorts; cells without a value stay last
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, k) => {
      head.querySelector("button").addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const now = head.getAttribute("aria-sort");
        const first = numeric ? "descending" : "ascending";
        const second = numeric ? "ascending" : "descending";
        const next = now === first ? second : now === second ? "none" : first;
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", next);
        if (next === "none") return body.append(...original);
        const sign = next === "ascending" ? 1 : -1;
        const key = (row) => {
          const v = row.cells[k]?.dataset.v;
          return v === undefined ? null : numeric ? Number(v) : v;
        };
        const order = (a, b) => {
          const x = key(a), y = key(b);
          if (x === null || y === null) return (x === null) - (y === null);
          return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
        };
        body.append(...[...original].sort(order));
      });
    });
  }

  // --- tables: rows that hold all words typed; only where there are rows to choose from
  for (const table of document.querySelectorAll("table.sortable")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 9) continue;
    const label = make("label"), input = make("input"), count = make("span");
    label.className = "filter";
    input.type = "search";
    count.setAttribute("aria-live", "polite");
    label.append(make("span", "Filter rows"), input, count);
    table.closest(".scroll").before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
  }

  function showTip(run, i, x, y) {
    tip.replaceChildren(make("b", run.names[i]));
    const list = make("dl");
    const add = (name, value) => list.append(make("dt", name), make("dd", value));
    add(run.label, show(run.y[i]));
    for (const score of ["q_sim", "q_mag", "q"]) add(run.axes[score], show(run[score][i]));
    if (run.w_sim) add("weight of similarity", show(run.w_sim[i]));
    if (run.group) add("group", run.groups[run.group[i]]);
    tip.append(list);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x + 16, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - box.height - 8))}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", hideTip, { passive: true });

  const range = (values) => {
    let low = Infinity, high = -Infinity;
    for (const v of values) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
    const pad = (high - low || 1) * 0.04;
    return [low - pad, high + pad];
  };
  function ticks(low, high) {
    const raw = (high - low) / 5, ten = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= raw);
    const out = [];
    for (let v = Math.ceil(low / step) * step; v <= high; v += step) out.push(Number(v.toPrecision(12)));
    return out;
  }
  const logistic = (x, [b1, b2, b3, b4, b5]) => b1 * (0.5 - 1 / (1 + Math.exp(b2 * (x - b3)))) + b4 * x + b5;

  // --- scatter plots
  class Scatter {
    constructor(canvas, run) {
      this.canvas = canvas;
      this.run = run;
      this.score = canvas.dataset.score;
      this.x = run[this.score];
      this.xr = range(this.x);
      this.yr = range(run.y);
      this.only = -1;
      this.hit = -1;
      this.order = run.y.map((_, i) => i).filter((i) => this.x[i] !== null && run.y[i] !== null);
      this.order.sort((a, b) => this.x[a] - this.x[b]);
      canvas.addEventListener("pointermove", (event) => this.point(event));
      canvas.addEventListener("pointerdown", (event) => this.point(event));
      canvas.addEventListener("pointerleave", () => this.leave());
      canvas.addEventListener("blur", () => this.leave());
      canvas.addEventListener("keydown", (event) => this.key(event));
      new ResizeObserver(() => this.draw()).observe(canvas);
    }
    px(i) { return this.left + ((this.x[i] - this.xr[0]) / (this.xr[1] - this.xr[0])) * this.width; }
    py(i) { return this.top + (1 - (this.run.y[i] - this.yr[0]) / (this.yr[1] - this.yr[0])) * this.height; }
    seen(i) { return this.only < 0 || this.run.group[i] === this.only; }
    draw() {
      const { canvas, run } = this, ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
      if (!w) return;
      canvas.width = w * ratio;
      canvas.height = h * ratio;
      Object.assign(this, { left: 44, top: 8, width: w - 54, height: h - 46 });
      const c = canvas.getContext("2d");
      c.scale(ratio, ratio);
      c.font = "11px system-ui, sans-serif";
      const soft = css("--soft"), line = css("--line");
      c.strokeStyle = line;
      c.fillStyle = soft;
      c.lineWidth = 1;
      const bottom = this.top + this.height;
      c.textAlign = "center";
      for (const v of ticks(...this.xr)) {
        const x = Math.round(this.left + ((v - this.xr[0]) / (this.xr[1] - this.xr[0])) * this.width) + 0.5;
        c.beginPath(); c.moveTo(x, this.top); c.lineTo(x, bottom); c.stroke();
        c.fillText(String(v), x, bottom + 14);
      }
      c.fillText(run.axes[this.score], this.left + this.width / 2, bottom + 31);
      c.textAlign = "right";
      for (const v of ticks(...this.yr)) {
        const y = Math.round(this.top + (1 - (v - this.yr[0]) / (this.yr[1] - this.yr[0])) * this.height) + 0.5;
        c.beginPath(); c.moveTo(this.left, y); c.lineTo(this.left + this.width, y); c.stroke();
        c.fillText(String(v), this.left - 6, y + 4);
      }
      c.save();
      c.translate(10, this.top + this.height / 2);
      c.rotate(-Math.PI / 2);
      c.textAlign = "center";
      c.fillText(run.label, 0, 0);
      c.restore();
      const few = run.group && run.groups.length <= colors.length;
      const gray = css("--point"), radius = run.y.length > 4000 ? 1.5 : run.y.length > 400 ? 2.2 : 3.2;
      const stride = run.y.length % 7919 ? 7919 : 1;  // a prime: every point once
      c.globalAlpha = 0.6;
      for (let step = 0; step < run.y.length; step++) {
        const i = (step * stride) % run.y.length;  // a fixed shuffle, so that no group hides the others
        if (this.x[i] === null || run.y[i] === null || !this.seen(i)) continue;
        c.fillStyle = few ? colors[run.group[i]] : this.only >= 0 ? css("--accent") : gray;
        c.beginPath(); c.arc(this.px(i), this.py(i), radius, 0, 6.2832); c.fill();
      }
      c.globalAlpha = 1;
      const curve = run.curves[this.score];
      if (curve) {
        c.strokeStyle = css("--curve");
        c.lineWidth = 1.8;
        c.beginPath();
        const low = this.x[this.order[0]], high = this.x[this.order[this.order.length - 1]];
        for (let k = 0; k <= 150; k++) {
          const v = low + ((high - low) * k) / 150, at = logistic(v, curve);
          c.lineTo(
            this.left + ((v - this.xr[0]) / (this.xr[1] - this.xr[0])) * this.width,
            this.top + (1 - (at - this.yr[0]) / (this.yr[1] - this.yr[0])) * this.height,
          );
        }
        c.stroke();
      }
      if (this.hit >= 0) {
        c.strokeStyle = css("--hit");
        c.lineWidth = 2;
        c.beginPath(); c.arc(this.px(this.hit), this.py(this.hit), radius + 4, 0, 6.2832); c.stroke();
      }
    }
    point(event) {
      const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
      let best = 18 * 18, hit = -1;
      for (const i of this.order) {
        if (!this.seen(i)) continue;
        const d = (this.px(i) - x) ** 2 + (this.py(i) - y) ** 2;
        if (d < best) { best = d; hit = i; }
      }
      this.select(hit);
    }
    key(event) {
      const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 25, PageUp: -25 }[event.key];
      const end = { Home: 0, End: Infinity }[event.key];
      if (step === undefined && end === undefined) return;
      event.preventDefault();
      const order = this.order.filter((i) => this.seen(i)), at = order.indexOf(this.hit);
      const next = end !== undefined ? end : at < 0 ? 0 : at + step;
      this.select(order[Math.max(0, Math.min(order.length - 1, next))] ?? -1);
    }
    select(i) {
      if (i !== this.hit) { this.hit = i; this.draw(); }
      if (i < 0) return hideTip();
      const box = this.canvas.getBoundingClientRect();
      showTip(this.run, i, box.left + this.px(i), box.top + this.py(i));
    }
    leave() { this.select(-1); }
  }

  const plots = new Map();
  for (const panel of document.querySelectorAll("[data-run]")) {
    const run = data.runs[Number(panel.dataset.run)];
    const own = [...panel.querySelectorAll("canvas")].map((canvas) => new Scatter(canvas, run));
    plots.set(panel, own);
    const highlight = (k) => own.forEach((plot) => { plot.only = k; plot.draw(); });
    const buttons = [...panel.querySelectorAll(".legend button")];
    buttons.forEach((button, k) => button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      buttons.forEach((other) => other.setAttribute("aria-pressed", "false"));
      button.setAttribute("aria-pressed", String(on));
      highlight(on ? k : -1);
    }));
    panel.querySelector(".legend select")?.addEventListener("change", (event) => highlight(Number(event.target.value)));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const own of plots.values()) own.forEach((plot) => plot.draw());
  });

  // --- galleries: images come from the data when a gallery is opened
  for (const gallery of document.querySelectorAll("details.images")) {
    gallery.addEventListener("toggle", () => {
      for (const image of gallery.querySelectorAll("img[data-large]")) {
        image.src = data.large[Number(image.dataset.large)];
        delete image.dataset.large;
      }
    });
  }
  document.documentElement.dataset.ready = "true";
})();
