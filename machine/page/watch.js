// The page of `munro watch`: asks every second what is new, and draws that.

const EVERY_MS = 1000, HIDDEN_MS = 5000, MOST_WAIT_MS = 10000;
const TONES = "abcdeg";

class Watch {
  constructor() {
    this.runs = [];
    this.tag = this.names = "";
    this.failures = 0;
    this.isLost = null;
    this.figures = null;
    this.live = document.getElementById("live");
    this.group = new GroupView(document.getElementById("group"));
    const open = (at, attempt) => this.group.open(at, attempt);
    this.attempts = new Attempts(document.getElementById("attempts"), open);
    this.given = new GivenUp(document.getElementById("given"), open);
    document.addEventListener("visibilitychange", () => document.hidden || this.now());
    this.now();
  }

  // Ask at once, and then again and again.
  async now() {
    clearTimeout(this.waiting);
    if (this.asking) return;
    this.asking = true;
    let wait = document.hidden ? HIDDEN_MS : EVERY_MS;
    try {
      const at = this.runs.map((run) => `${run.generation}.${run.per}.${run.whole}`).join(",");
      const news = await ask("news", { at, tag: this.tag, names: this.names }, 60000);
      const began = performance.now();
      this.apply(news);
      performance.measure("update", { start: began });
      this.failures = 0;
      this.isLost = null;
    } catch (error) {
      if (!["TypeError", "TimeoutError", "AbortError", "SyntaxError"].includes(error.name)) throw error;
      this.failures++;
      this.isLost ??= new Date();
      wait = Math.min(MOST_WAIT_MS, EVERY_MS * 2 ** Math.min(this.failures - 1, 4));
    } finally {
      this.asking = false;
      this.waiting = setTimeout(() => this.now(), wait);
    }
    this.tellLive();
  }

  tellLive() {
    this.live.classList.toggle("lost", this.isLost !== null);
    this.live.textContent = this.isLost
      ? `no connection since ${this.isLost.toLocaleTimeString()}: what is shown is from then; trying again`
      : `live, ${new Date().toLocaleTimeString()}`;
  }

  apply(news) {
    let isNew = false;
    news.runs.forEach((told, number) => {
      const run = (this.runs[number] ??= { steps: [], columns: {}, isShown: true, tone: toneOf(number) });
      isNew = take(run, told) || isNew;
    });
    this.tag = news.tag;
    this.names = news.names;
    if (news.figures) {
      this.specs = news.figures;
      this.rebuild();
    } else if (isNew) this.figures?.redraw();
    this.listRuns();
    this.attempts.update(this.runs);
    this.given.update(this.runs);
  }

  rebuild() {
    const above = scrollY;
    this.figures?.end();
    this.figures = drawFigures(document.getElementById("figures"), this.specs, this.shown());
    scrollTo(0, above);
    document.getElementById("empty").hidden = this.runs.some((run) => run.steps.length);
  }

  shown() {
    const shown = this.runs.filter((run) => run.isShown);
    return shown.length ? shown : this.runs;
  }

  listRuns() {
    const title = this.runs.length === 1 ? visible(this.runs[0].name) : `${this.runs.length} runs`;
    if (document.getElementById("title").textContent !== title) {
      document.getElementById("title").textContent = title;
      document.title = `${title}: munro watch`;
    }
    const place = document.getElementById("runs");
    this.runs.forEach((run, number) => {
      const label = place.children[number] || this.listRun(place, run);
      const said = factsOf(run), state = [said, run.status, run.cause, ...run.troubles].join("\n");
      if (run.said === state) return;
      run.said = state;
      const status = label.querySelector(".status");
      status.className = `status ${run.status}`;
      status.textContent = run.status;
      label.querySelector(".facts").textContent = said;
      for (const old of label.querySelectorAll(".trouble")) old.remove();
      for (const text of [run.cause, ...run.troubles]) if (text) element(label, "span", { class: "trouble" }, visible(text));
    });
  }

  listRun(place, run) {
    const label = element(place, "label", { title: visible(run.path) });
    const box = element(label, "input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      run.isShown = box.checked;
      this.rebuild();
    });
    const name = element(label, "span", { class: "name" }, visible(run.name));
    name.style.setProperty("--tone", run.tone);
    element(label, "span", { class: "status" });
    element(label, "span", { class: "facts" });
    return label;
  }
}

// Put the bins that are new in the place of those that they continue; true where there were any.
function take(run, told) {
  const { curves, ...rest } = told;
  const isNew = curves.lines !== run.lines || curves.per !== run.per || rest.generation !== run.generation;
  Object.assign(run, rest);
  for (const [name, values] of Object.entries(curves.columns)) {
    const column = curves.start ? (run.columns[name] ??= new Array(curves.start).fill(null)) : (run.columns[name] = []);
    column.length = curves.start;
    column.push(...values);
  }
  if (!curves.start) run.steps = [];
  run.steps.length = curves.start;
  run.steps.push(...curves.steps);
  run.per = curves.per;
  run.lines = curves.lines;
  run.whole = Math.floor(curves.lines / curves.per);
  return isNew;
}

function factsOf(run) {
  const facts = [run.step === null ? "no step yet" : `step ${run.step.toLocaleString("en")}${run.num_steps ? ` of ${run.num_steps.toLocaleString("en")}` : ""}`];
  const { rollouts } = run.stored;
  const more = rollouts.waiting ? ` (reading ${rollouts.waiting.toLocaleString("en")} more steps)` : "";
  facts.push(`${rollouts.attempts.toLocaleString("en")} attempts${more}`);
  if (run.given.total) facts.push(`${run.given.total.toLocaleString("en")} tasks given up`);
  if (run.status === "running" && run.silent_s > 60) facts.push(`nothing new for ${Math.round(run.silent_s / 60)} min`);
  return facts.join(" · ");
}

// The page's own colours, then hues that are far from each other.
function toneOf(number) {
  return number < TONES.length ? `var(--${TONES[number]})` : `hsl(${Math.round(number * 137.5) % 360} 55% 50%)`;
}

new Watch();
