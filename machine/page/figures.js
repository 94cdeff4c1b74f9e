// Figures of one run, or of several over each other. A run is { name, steps, columns, events, segments },
// and among several { tone } as well: its colour. Every text goes in as a text node.

const NARROW = 480;
const MOST_NAMES = 8;

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

function column(run, key) {
  return run.columns[key] || [];
}

function at(values, place) {
  return values[place] ?? null;
}

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

// [low, high] of a panel's y axis.
function extent(panel, runs) {
  if (panel.range) return panel.range;
  if (panel.stack) {
    const top = stacked(panel, runs[0]).bins.reduce((most, bin) => Math.max(most, bin.top), 1e-9);
    return [0, top * 1.04];
  }
  let values = runs.flatMap((run) => panel.series.flatMap((series) => column(run, series.key))).filter((value) => value !== null);
  if (panel.line) values.push(panel.line.value);
  if (panel.log) values = values.filter((value) => value > 0);
  if (!values.length) return panel.log ? [0.1, 1] : [0, 1];
  const sorted = Float64Array.from(values).sort();
  if (panel.log) {
    const low = Math.log10(sorted[0]), high = Math.log10(sorted[sorted.length - 1]);
    const room = Math.max(0.1, (high - low) * 0.06);
    return [10 ** (low - room), 10 ** (high + room)];
  }
  // a lone spike must not flatten the rest; what is cut off still shows its value when pointed at
  const cap = quantile(sorted, 0.99) * 1.6;
  const high = Math.min(sorted[sorted.length - 1], panel.line ? Math.max(cap, panel.line.value) : cap) || 1;
  const low = Math.min(0, sorted[0]);
  return [low, high + (high - low) * 0.06];
}

// Sums of a stacked panel over runs of steps, for more steps than there are pixels.
function stacked(panel, run) {
  const per = Math.max(1, Math.ceil(run.steps.length / 80));
  const bins = [];
  for (let from = 0; from < run.steps.length; from += per) {
    const to = Math.min(run.steps.length, from + per);
    const parts = panel.series.map((series) => {
      let sum = 0;
      for (let i = from; i < to; i++) sum += at(column(run, series.key), i) || 0;
      return sum / (to - from);
    });
    bins.push({ from, to, parts, top: parts.reduce((x, y) => x + y, 0) });
  }
  const sums = panel.series.map((_, i) => bins.reduce((sum, bin) => sum + bin.parts[i] * (bin.to - bin.from), 0));
  return { bins, sums };
}

// Place of the last step that is not after `step`; the first one where all are.
function placeOf(steps, step) {
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (steps[middle] <= step) low = middle;
    else high = middle - 1;
  }
  return low;
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
  constructor(spec, box, runs) {
    this.spec = spec;
    this.box = box;
    this.runs = runs;
    this.at = null;
    this.tip = element(box, "div", { class: "tip", hidden: "" });
    box.addEventListener("pointermove", (event) => this.point(event.clientX));
    box.addEventListener("pointerdown", (event) => this.point(event.clientX));
    box.addEventListener("pointerleave", () => this.leave());
    box.addEventListener("blur", () => this.leave());
    box.addEventListener("keydown", (event) => this.key(event));
    this.draw();
  }

  // Those that have a step; several of them are told apart by colour, so their series are by dashes.
  get drawn() {
    return this.runs.filter((run) => run.steps.length);
  }

  draw() {
    this.stale = false;
    const width = this.box.clientWidth, runs = this.drawn;
    if (this.svg) this.svg.remove();
    if (!runs.length || !width) return;
    this.narrow = width < NARROW;
    this.several = runs.length > 1;
    const names = this.spec.panels.flatMap((p) => [...(this.several ? [] : p.series), ...(p.line ? [p.line] : [])]).map((s) => s.name.length);
    if (this.several && runs.length <= MOST_NAMES) names.push(...runs.map((run) => run.name.length));
    this.left = 44;
    this.right = width - (this.narrow ? 8 : Math.min(130, Math.max(0, ...names) * 6.6 + 14));
    this.first = Math.min(...runs.map((run) => run.steps[0]));
    this.last = Math.max(...runs.map((run) => run.steps[run.steps.length - 1]));
    this.x = (step) => this.left + ((step - this.first) / (this.last - this.first || 1)) * (this.right - this.left);
    let top = 20;
    this.panels = this.spec.panels.map((panel) => {
      const placed = { panel, top, bottom: top + panel.height };
      top = placed.bottom + 36;
      return placed;
    });
    const height = top + 2;
    this.svg = element(this.box, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": this.spec.title });
    for (const placed of this.panels) this.drawPanel(placed, runs);
    this.drawSteps(height);
    for (const run of runs) this.drawEvents(run);
    this.cross = element(this.svg, "line", { class: "cross", y1: 20, y2: height - 38, visibility: "hidden" });
    if (this.at !== null) this.show(this.at);
  }

  drawPanel(placed, runs) {
    const { panel, top, bottom } = placed;
    const [low, high] = extent(panel, runs);
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
    // sums of several runs cannot stand in one place: the first one's do
    const label = panel.stack && this.several ? `${panel.label}: ${visible(runs[0].name)}` : panel.label;
    const title = element(this.svg, "text", { class: "panel", x: this.left, y: top - 8 }, label);
    const ends = [];
    if (panel.line) {
      const y = placed.y(panel.line.value);
      element(this.svg, "line", { class: "target", x1: this.left, x2: this.right, y1: y, y2: y });
      ends.push({ y, name: panel.line.name, tone: "f" });
    }
    if (panel.stack) this.drawStack(placed, runs[0], ends);
    else for (const run of runs) panel.series.forEach((series, place) => this.drawSeries(placed, run, series, place, ends));
    this.nameSeries(placed, title, ends);
    if (this.several && !panel.stack && panel.series.length > 1) {
      const dashes = panel.series.map((series, place) => `${["──", "╌╌", "┈┈"][place % 3]} ${series.name}`).join("  ");
      element(title, "tspan", { class: "dashes", dx: 9 }, dashes);
    }
  }

  drawSeries({ panel, y }, run, series, place, ends) {
    const shaped = { panel, y, run };
    if (series.segments && run.segments.length && !this.several) {
      this.drawSegments(shaped, series, ends);
      return;
    }
    const values = column(run, series.key);
    if (!values.length) return;
    const tone = this.several ? `run ${["", "dash", "dots"][place % 3]}` : series.tone;
    const shown = series.dots || series.exact ? values : smooth(values);
    const draw = (kind, numbers) => this.coloured("path", { class: `${kind} ${tone}`, d: this.line(shaped, series, numbers) }, run);
    // the single steps of several runs would hide each other
    if (shown !== values && !this.several) draw("raw", values);
    draw("curve", shown);
    if (series.dots && (!this.several || values.length < 400)) {
      values.forEach((value, i) => {
        if (value !== null) this.coloured("circle", { class: `dot ${tone}`, cx: this.x(run.steps[i]), cy: y(value), r: 3.4 }, run);
      });
    }
    const last = shown.findLast((value) => value !== null && !(panel.log && value <= 0));
    if (last === undefined) return;
    if (!this.several) ends.push({ y: y(last), name: series.name, tone: series.tone });
    else if (place === 0 && this.drawn.length <= MOST_NAMES) ends.push({ y: y(last), name: visible(run.name), tone: "run", run });
  }

  coloured(name, attributes, run, text = null) {
    const node = element(this.svg, name, attributes, text);
    if (this.several && run) node.style.setProperty("--tone", run.tone);
    return node;
  }

  line({ panel, y, run }, series, numbers) {
    let line = "", before = null;
    numbers.forEach((value, i) => {
      if (value === null || (panel.log && value <= 0)) {
        // a number that is measured only now and then is joined across the steps between
        if (!series.dots) before = null;
        return;
      }
      const x = this.x(run.steps[i]).toFixed(1), height = y(value).toFixed(1);
      if (before === null) line += `M${x} ${height}`;
      else line += series.exact ? `H${x}V${height}` : `L${x} ${height}`;
      before = i;
    });
    return line;
  }

  // A curve in one piece from each distillation to the next, coloured by base, with a star on each.
  drawSegments(shaped, series, ends) {
    const { y, run } = shaped;
    const values = column(run, series.key), labels = new Map(), stars = [];
    run.segments.forEach((segment, k) => {
      const until = k + 1 < run.segments.length ? run.segments[k + 1].after : Infinity;
      const own = values.map((value, i) => (run.steps[i] > segment.after && run.steps[i] <= until ? value : null));
      const shown = smooth(own);
      if (shown !== own) element(this.svg, "path", { class: `raw ${segment.tone}`, d: this.line(shaped, series, own) });
      element(this.svg, "path", { class: `curve ${segment.tone}`, d: this.line(shaped, series, shown) });
      const last = shown.findLastIndex((value) => value !== null);
      if (last < 0) return;
      labels.set(segment.base, { y: y(shown[last]), name: segment.base || series.name, tone: segment.tone });
      if (until !== Infinity) stars.push([run.steps[last], shown[last]]);
    });
    for (const [step, value] of stars) element(this.svg, "text", { class: "star", x: this.x(step), y: y(value) + 6, "text-anchor": "middle" }, "★");
    ends.push(...labels.values());
  }

  drawStack(placed, run, ends) {
    const { bins, sums } = stacked(placed.panel, run);
    const total = sums.reduce((x, y) => x + y, 0) || 1;
    const from = this.x(run.steps[0]), until = this.x(run.steps[run.steps.length - 1]);
    const slot = (until - from || this.right - this.left) / run.steps.length;
    for (const bin of bins) {
      let base = 0;
      bin.parts.forEach((part, i) => {
        if (part <= 0) return;
        const upper = placed.y(base + part), lower = placed.y(base);
        const x = from + bin.from * slot, wide = (bin.to - bin.from) * slot;
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
    if (panel.series.length === 1 && !panel.line && !this.several) return;
    if (this.narrow) {
      // three labels fit beside a panel's name on a phone; more go on being told by the pointer
      for (const end of ends.slice(0, 4)) element(title, "tspan", { class: `label ${end.tone}`, dx: 9 }, end.name);
      return;
    }
    const placed = spread(ends.map((end) => end.y), 14, top, bottom);
    ends.forEach((end, i) => this.coloured("text", { class: `label ${end.tone}`, x: this.right + 9, y: placed[i] + 4 }, end.run, end.name));
  }

  drawSteps(height) {
    const floor = height - 38;
    for (const step of ticks(this.first, this.last, this.narrow ? 4 : 8)) {
      if (step % 1) continue;
      element(this.svg, "text", { x: this.x(step), y: floor + 17, "text-anchor": "middle" }, step.toLocaleString("en"));
    }
    element(this.svg, "text", { x: this.right, y: floor + 32, "text-anchor": "end" }, "optimizer step");
  }

  drawEvents(run) {
    for (const event of run.events) {
      if (event.step < this.first || event.step > this.last) continue;
      const x = this.x(event.step);
      for (const { top, bottom } of this.panels) element(this.svg, "line", { class: "event", x1: x, x2: x, y1: top, y2: bottom });
      if (!event.onCurve || this.several) this.coloured("text", { class: this.several ? "label run" : "", x, y: this.panels[0].top + 9, "text-anchor": "middle" }, run, event.mark);
    }
  }

  key(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const runs = this.drawn;
    if (!move || !runs.length) return;
    event.preventDefault();
    const steps = runs[0].steps;
    const from = this.at === null ? (move > 0 ? -1 : steps.length) : placeOf(steps, this.at);
    this.show(steps[Math.min(steps.length - 1, Math.max(0, from + move))]);
  }

  point(clientX) {
    if (!this.drawn.length || !this.svg) return;
    const x = clientX - this.box.getBoundingClientRect().left;
    const wanted = this.first + ((x - this.left) / (this.right - this.left)) * (this.last - this.first);
    let nearest = null;
    for (const { steps } of this.drawn) {
      const place = placeOf(steps, wanted);
      for (const step of [steps[place], steps[place + 1]]) {
        if (step !== undefined && (nearest === null || Math.abs(step - wanted) < Math.abs(nearest - wanted))) nearest = step;
      }
    }
    this.show(nearest);
  }

  show(step) {
    this.at = step;
    const x = this.x(step);
    for (const side of ["x1", "x2"]) this.cross.setAttribute(side, x);
    this.cross.setAttribute("visibility", "visible");
    this.tip.replaceChildren();
    element(this.tip, "b", {}, `step ${step.toLocaleString("en")}`);
    for (const { panel } of this.panels) {
      for (const run of panel.stack ? this.drawn.slice(0, 1) : this.drawn.slice(0, MOST_NAMES)) this.tell(panel, run, step);
    }
    for (const run of this.drawn) {
      const place = placeOf(run.steps, step), previous = place > 0 ? run.steps[place - 1] : -1;
      for (const event of run.events) {
        const whose = this.several ? `${visible(run.name)}: ` : "";
        if (event.step <= run.steps[place] && event.step > previous) element(this.tip, "em", {}, `${event.mark} ${whose}${visible(event.text)}`);
      }
    }
    this.tip.hidden = false;
    const wide = this.tip.offsetWidth, room = this.box.clientWidth;
    const beside = x + 14 + wide > room ? x - 14 - wide : x + 14;
    this.tip.style.left = `${Math.max(0, Math.min(room - wide, beside))}px`;
  }

  tell(panel, run, step) {
    const place = placeOf(run.steps, step);
    if (run.steps[place] > step) return;
    for (const series of panel.series) {
      const value = at(column(run, series.key), place);
      if (value === null || (panel.stack && value === 0)) continue;
      const row = element(this.tip, "div", { class: this.several ? "run" : series.tone });
      if (this.several) row.style.setProperty("--tone", run.tone);
      const what = panel.series.length === 1 ? panel.short || panel.label : series.name;
      element(row, "span", {}, this.several ? `${visible(run.name)}: ${what}` : what);
      element(row, "span", {}, pretty(value));
    }
  }

  leave() {
    this.at = null;
    this.tip.hidden = true;
    if (this.cross) this.cross.setAttribute("visibility", "hidden");
  }
}

// All figures in `place`; returns what redraws them. Those out of sight wait until they are seen.
function drawFigures(place, specs, runs) {
  const figures = specs.map((spec) => {
    const section = element(place, "section", spec.wide ? { class: "wide", id: spec.id } : { id: spec.id });
    element(section, "h2", {}, spec.title);
    element(section, "p", { class: "note" }, spec.note);
    return new Figure(spec, element(section, "div", { class: "chart", tabindex: 0 }), runs);
  });
  const seen = new Map(figures.map((figure) => [figure.box, false]));
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      seen.set(entry.target, entry.isIntersecting);
      const figure = figures.find((each) => each.box === entry.target);
      if (entry.isIntersecting && figure.stale) figure.draw();
    }
  }, { rootMargin: "200px" });
  for (const figure of figures) watcher.observe(figure.box);
  let width = place.clientWidth;
  const resized = () => {
    if (place.clientWidth === width) return;
    width = place.clientWidth;
    for (const figure of figures) figure.draw();
  };
  addEventListener("resize", resized);
  return {
    redraw() {
      for (const figure of figures) {
        if (seen.get(figure.box)) figure.draw();
        else figure.stale = true;
      }
    },
    end() {
      watcher.disconnect();
      removeEventListener("resize", resized);
      place.replaceChildren();
    },
  };
}
