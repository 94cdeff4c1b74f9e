"use strict";
// Draws the figures of the page from the block of JSON in it. Every text goes in as a text node.

const page = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const NARROW = 480;

function element(parent, name, attributes = {}, text = null) {
  const isSvg = parent.namespaceURI === SVG || name === "svg";
  const node = isSvg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function pretty(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e6)) return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(size < 1 ? 3 : 4)));
}

function share(part) {
  return part < 0.005 ? "<1%" : `${Math.round(100 * part)}%`;
}

// About `count` round numbers that span [low, high].
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const base = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 2.5, 5, 10].map((m) => m * base).find((m) => m >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / unit - 1e-9); at * unit <= high + unit * 1e-9; at++) found.push(at * unit + 0); // + 0: no -0
  return found;
}

function decades(low, high) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const stride = Math.max(1, Math.ceil((last - first) / 4));
  const found = [];
  for (let power = first; power <= last; power += stride) found.push(10 ** power);
  const inside = found.filter((mark) => mark >= low && mark <= high);
  return inside.length > 1 ? inside : found.flatMap((mark) => [mark, 2 * mark, 5 * mark]);
}

// A mean over the neighbours, weighted by a bell; holes stay holes.
function smooth(values) {
  const present = values.filter((value) => value !== null).length;
  const width = present / 70;
  if (width < 0.35) return values;
  const reach = Math.ceil(width * 2.5);
  return values.map((own, at) => {
    if (own === null) return null;
    let sum = 0, mass = 0;
    for (let near = Math.max(0, at - reach); near <= Math.min(values.length - 1, at + reach); near++) {
      if (values[near] === null) continue;
      const weight = Math.exp(-0.5 * ((near - at) / width) ** 2);
      sum += weight * values[near];
      mass += weight;
    }
    return sum / mass;
  });
}

function column(key) {
  return page.columns[key] || page.steps.map(() => null);
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

// [low, high] of a panel's y axis.
function extent(panel) {
  if (panel.range) return panel.range;
  let values;
  if (panel.stack) {
    const bins = stacked(panel).bins;
    return [0, Math.max(...bins.map((bin) => bin.top), 1e-9) * 1.04];
  }
  values = panel.series.flatMap((series) => column(series.key)).filter((value) => value !== null);
  if (panel.line) values.push(panel.line.value);
  if (panel.log) {
    values = values.filter((value) => value > 0);
    if (!values.length) return [0.1, 1];
    const low = Math.log10(Math.min(...values)), high = Math.log10(Math.max(...values));
    const room = Math.max(0.1, (high - low) * 0.06);
    return [10 ** (low - room), 10 ** (high + room)];
  }
  const sorted = [...values].sort((x, y) => x - y);
  // a lone spike must not flatten the rest; what is cut off still shows its value when pointed at
  const cap = quantile(sorted, 0.99) * 1.6;
  const high = Math.min(sorted[sorted.length - 1], panel.line ? Math.max(cap, panel.line.value) : cap) || 1;
  const low = Math.min(0, sorted[0]);
  return [low, high + (high - low) * 0.06];
}

// Sums of a stacked panel over runs of steps, for more steps than there are pixels.
function stacked(panel) {
  const per = Math.max(1, Math.ceil(page.steps.length / 80));
  const bins = [];
  for (let from = 0; from < page.steps.length; from += per) {
    const to = Math.min(page.steps.length, from + per);
    const parts = panel.series.map((series) => {
      const values = column(series.key).slice(from, to).map((value) => value || 0);
      return values.reduce((x, y) => x + y, 0) / values.length;
    });
    bins.push({ from, to, parts, top: parts.reduce((x, y) => x + y, 0) });
  }
  const sums = panel.series.map((_, i) => bins.reduce((sum, bin) => sum + bin.parts[i] * (bin.to - bin.from), 0));
  return { bins, sums };
}

// Where each label goes so that none covers another: pushed down, then back up from the floor.
function spread(wanted, gap, low, high) {
  const order = wanted.map((y, i) => ({ y, i })).sort((p, q) => p.y - q.y);
  let last = low - gap;
  for (const item of order) last = item.y = Math.max(item.y, last + gap);
  last = high + gap;
  for (const item of [...order].reverse()) last = item.y = Math.min(item.y, last - gap);
  const placed = [];
  for (const item of order) placed[item.i] = item.y;
  return placed;
}

class Figure {
  constructor(spec, box) {
    this.spec = spec;
    this.box = box;
    this.at = null;
    this.tip = element(box, "div", { class: "tip", hidden: "" });
    box.addEventListener("pointermove", (event) => this.point(event.clientX));
    box.addEventListener("pointerdown", (event) => this.point(event.clientX));
    box.addEventListener("pointerleave", () => this.leave());
    box.addEventListener("blur", () => this.leave());
    box.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (this.svg) this.svg.remove();
    this.narrow = width < NARROW;
    const longest = Math.max(...this.spec.panels.flatMap((p) => [...p.series, ...(p.line ? [p.line] : [])]).map((s) => s.name.length));
    this.left = 44;
    this.right = width - (this.narrow ? 8 : Math.min(130, longest * 6.6 + 14));
    const first = page.steps[0], last = page.steps[page.steps.length - 1];
    this.x = (step) => this.left + ((step - first) / (last - first || 1)) * (this.right - this.left);
    let top = 20;
    this.panels = this.spec.panels.map((panel) => {
      const placed = { panel, top, bottom: top + panel.height };
      top = placed.bottom + 36;
      return placed;
    });
    const height = top + 2;
    this.svg = element(this.box, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": this.spec.title });
    for (const placed of this.panels) this.drawPanel(placed);
    this.drawSteps(first, last, height);
    this.drawEvents();
    this.cross = element(this.svg, "line", { class: "cross", y1: 20, y2: height - 38, visibility: "hidden" });
  }

  drawPanel(placed) {
    const { panel, top, bottom } = placed;
    const [low, high] = extent(panel);
    const scale = panel.log ? Math.log10 : (value) => value;
    const share = (value) => (scale(value) - scale(low)) / (scale(high) - scale(low) || 1);
    placed.y = (value) => bottom - Math.min(1, Math.max(0, share(value))) * (bottom - top);
    const marks = panel.log ? decades(low, high) : ticks(low, high, panel.height < 100 ? 2 : 4);
    for (const mark of marks) {
      if (mark < low * (1 - 1e-9) - 1e-12 || mark > high * (1 + 1e-9) + 1e-12) continue;
      const y = placed.y(mark);
      element(this.svg, "line", { class: "grid", x1: this.left, x2: this.right, y1: y, y2: y });
      element(this.svg, "text", { x: this.left - 7, y: y + 4, "text-anchor": "end" }, pretty(mark));
    }
    const title = element(this.svg, "text", { class: "panel", x: this.left, y: top - 8 }, panel.label);
    const ends = [];
    if (panel.line) {
      const y = placed.y(panel.line.value);
      element(this.svg, "line", { class: "target", x1: this.left, x2: this.right, y1: y, y2: y });
      ends.push({ y, name: panel.line.name, tone: "f" });
    }
    if (panel.stack) this.drawStack(placed, ends);
    else for (const series of panel.series) this.drawSeries(placed, series, ends);
    this.nameSeries(placed, title, ends);
  }

  drawSeries({ panel, y }, series, ends) {
    if (series.segments && page.segments.length) {
      this.drawSegments({ panel, y }, series, ends);
      return;
    }
    const values = column(series.key);
    const shown = series.dots || series.exact ? values : smooth(values);
    const path = (numbers) => this.line({ panel, y }, series, numbers);
    if (shown !== values) element(this.svg, "path", { class: `raw ${series.tone}`, d: path(values) });
    element(this.svg, "path", { class: `curve ${series.tone}`, d: path(shown) });
    if (series.dots) {
      values.forEach((value, i) => {
        if (value !== null) element(this.svg, "circle", { class: `dot ${series.tone}`, cx: this.x(page.steps[i]), cy: y(value), r: 3.4 });
      });
    }
    const last = [...shown].reverse().find((value) => value !== null && !(panel.log && value <= 0));
    if (last !== undefined) ends.push({ y: y(last), name: series.name, tone: series.tone });
  }

  line({ panel, y }, series, numbers) {
    let line = "", before = null;
    numbers.forEach((value, i) => {
      if (value === null || (panel.log && value <= 0)) {
        // a number that is measured only now and then is joined across the steps between
        if (!series.dots) before = null;
        return;
      }
      const x = this.x(page.steps[i]).toFixed(1), at = y(value).toFixed(1);
      if (before === null) line += `M${x} ${at}`;
      else line += series.exact ? `H${x}V${at}` : `L${x} ${at}`;
      before = i;
    });
    return line;
  }

  // A curve in one piece from each distillation to the next, coloured by base, with a star on each.
  drawSegments({ panel, y }, series, ends) {
    const values = column(series.key), labels = new Map(), stars = [];
    page.segments.forEach((segment, k) => {
      const until = k + 1 < page.segments.length ? page.segments[k + 1].after : Infinity;
      const own = values.map((value, i) => (page.steps[i] > segment.after && page.steps[i] <= until ? value : null));
      const shown = smooth(own);
      if (shown !== own) element(this.svg, "path", { class: `raw ${segment.tone}`, d: this.line({ panel, y }, series, own) });
      element(this.svg, "path", { class: `curve ${segment.tone}`, d: this.line({ panel, y }, series, shown) });
      const last = shown.findLastIndex((value) => value !== null);
      if (last < 0) return;
      labels.set(segment.base, { y: y(shown[last]), name: segment.base || series.name, tone: segment.tone });
      if (until !== Infinity) stars.push([page.steps[last], shown[last]]);
    });
    for (const [step, value] of stars) element(this.svg, "text", { class: "star", x: this.x(step), y: y(value) + 6, "text-anchor": "middle" }, "★");
    ends.push(...labels.values());
  }

  drawStack(placed, ends) {
    const { bins, sums } = stacked(placed.panel);
    const total = sums.reduce((x, y) => x + y, 0) || 1;
    const slot = (this.right - this.left) / page.steps.length;
    for (const bin of bins) {
      let base = 0;
      bin.parts.forEach((part, i) => {
        if (part <= 0) return;
        const upper = placed.y(base + part), lower = placed.y(base);
        const x = this.left + bin.from * slot, wide = (bin.to - bin.from) * slot;
        element(this.svg, "rect", { class: `bar ${placed.panel.series[i].tone}`, x, y: upper, width: Math.max(0.5, wide - (wide > 4 ? 1 : 0)), height: Math.max(0, lower - upper) });
        base += part;
      });
    }
    let base = 0;
    const lastBin = bins[bins.length - 1];
    placed.panel.series.forEach((series, i) => {
      const middle = placed.y(base + lastBin.parts[i] / 2);
      base += lastBin.parts[i];
      if (sums[i] > 0) ends.push({ y: middle, name: `${series.name} ${share(sums[i] / total)}`, tone: series.tone });
    });
  }

  nameSeries({ panel, top, bottom }, title, ends) {
    if (panel.series.length === 1 && !panel.line) return;
    if (this.narrow) {
      // three labels fit beside a panel's name on a phone; more go on being told by the pointer
      for (const end of ends.slice(0, 4)) element(title, "tspan", { class: `label ${end.tone}`, dx: 9 }, end.name);
      return;
    }
    const placed = spread(ends.map((end) => end.y), 14, top, bottom);
    ends.forEach((end, i) => element(this.svg, "text", { class: `label ${end.tone}`, x: this.right + 9, y: placed[i] + 4 }, end.name));
  }

  drawSteps(first, last, height) {
    const floor = height - 38;
    for (const step of ticks(first, last, this.narrow ? 4 : 8)) {
      if (step % 1) continue;
      element(this.svg, "text", { x: this.x(step), y: floor + 17, "text-anchor": "middle" }, step.toLocaleString("en"));
    }
    element(this.svg, "text", { x: this.right, y: floor + 32, "text-anchor": "end" }, "optimizer step");
  }

  drawEvents() {
    const first = page.steps[0], last = page.steps[page.steps.length - 1];
    for (const event of page.events) {
      if (event.step < first || event.step > last) continue;
      const x = this.x(event.step);
      for (const { top, bottom } of this.panels) element(this.svg, "line", { class: "event", x1: x, x2: x, y1: top, y2: bottom });
      if (!event.onCurve) element(this.svg, "text", { x, y: this.panels[0].top + 9, "text-anchor": "middle" }, event.mark);
    }
  }

  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move) return;
    event.preventDefault();
    const from = this.at === null ? (move > 0 ? -1 : page.steps.length) : this.at;
    this.show(Math.min(page.steps.length - 1, Math.max(0, from + move)));
  }

  point(clientX) {
    const x = clientX - this.box.getBoundingClientRect().left;
    let nearest = 0;
    page.steps.forEach((step, i) => {
      if (Math.abs(this.x(step) - x) < Math.abs(this.x(page.steps[nearest]) - x)) nearest = i;
    });
    this.show(nearest);
  }

  show(at) {
    this.at = at;
    const step = page.steps[at], x = this.x(step);
    for (const side of ["x1", "x2"]) this.cross.setAttribute(side, x);
    this.cross.setAttribute("visibility", "visible");
    this.tip.replaceChildren();
    element(this.tip, "b", {}, `step ${step.toLocaleString("en")}`);
    for (const { panel } of this.panels) {
      for (const series of panel.series) {
        const value = column(series.key)[at];
        if (value === null || (panel.stack && value === 0)) continue;
        const row = element(this.tip, "div", { class: series.tone });
        element(row, "span", {}, panel.series.length === 1 ? panel.short || panel.label : series.name);
        element(row, "span", {}, pretty(value));
      }
    }
    const previous = at > 0 ? page.steps[at - 1] : -1;
    for (const event of page.events) {
      if (event.step <= step && event.step > previous) element(this.tip, "em", {}, `${event.mark} ${event.text}`);
    }
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth, room = this.box.clientWidth;
    const beside = x + 14 + wide > room ? x - 14 - wide : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(room - wide, beside))}px`;
  }

  leave() {
    this.at = null;
    this.tip.hidden = true;
    this.cross.setAttribute("visibility", "hidden");
  }
}

function drawFigures() {
  const place = document.getElementById("figures");
  const figures = page.figures.map((spec) => {
    const section = element(place, "section", spec.wide ? { class: "wide", id: spec.id } : { id: spec.id });
    element(section, "h2", {}, spec.title);
    element(section, "p", { class: "note" }, spec.note);
    return new Figure(spec, element(section, "div", { class: "chart", tabindex: 0 }));
  });
  let width = place.clientWidth;
  addEventListener("resize", () => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    for (const figure of figures) figure.draw();
  });
}

if (page.steps.length) drawFigures();
