// Lists that the server filters, sorts and pages: whatever a run holds, a page has some rows.

const ROWS_AT_ONCE = 40;

// Asks the server; its refusals come as an Error with its sentence, a lost connection as a TypeError.
async function ask(kind, parameters, patience = 20000) {
  const said = await fetch(`${kind}?${new URLSearchParams(parameters)}`, { signal: AbortSignal.timeout(patience), cache: "no-store" });
  const answer = await said.json();
  if (!said.ok) throw new Error(answer.error || `the server answered ${said.status}`);
  return answer;
}

class Table {
  constructor(place, kind, classes, columns, filters, row) {
    this.place = place;
    this.kind = kind;
    this.row = row;
    this.filters = filters;
    this.asking = 0;
    const box = element(place, "div", { class: classes });
    this.bar = element(box, "div", { class: "filters" });
    this.count = element(this.bar, "span", { class: "count", role: "status" });
    this.fresh = element(this.bar, "button", { class: "more fresh", type: "button", hidden: "" }, "newer ones");
    this.fresh.addEventListener("click", () => this.refresh());
    const head = element(box, "div", { class: "head" });
    for (const [name, type] of columns) element(head, "span", { class: type }, name);
    this.list = element(box, "div", { class: "attempts" });
    this.more = element(box, "button", { class: "more", type: "button", hidden: "" }, "show more");
    this.more.addEventListener("click", () => this.grow());
  }

  choice(name, options) {
    const select = element(this.bar, "select", { "aria-label": name });
    this.options(select, options);
    select.addEventListener("change", () => this.refresh());
    this.bar.insertBefore(select, this.count);
    return select;
  }

  options(select, options) {
    const said = JSON.stringify(options);
    if (select.dataset.options === said) return;
    select.dataset.options = said;
    const before = select.value;
    select.replaceChildren();
    for (const [value, text] of options) element(select, "option", { value }, visible(text));
    if (options.some(([value]) => value === before)) select.value = before;
  }

  input(name, attributes) {
    const input = element(this.bar, "input", { "aria-label": name, ...attributes });
    let waiting = null;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.refresh(), 250);
    });
    this.bar.insertBefore(input, this.count);
    return input;
  }

  // Nobody has scrolled on or opened anything here: new rows may come in on top.
  get isUntouched() {
    return this.shown <= ROWS_AT_ONCE && !this.list.querySelector(".open");
  }

  async refresh() {
    this.fresh.hidden = true;
    await this.take(0);
  }

  async grow() {
    await this.take(this.shown);
  }

  async take(from) {
    const number = ++this.asking;
    let answer;
    try {
      answer = await ask(this.kind, { ...this.filters(), from, count: ROWS_AT_ONCE });
    } catch (error) {
      if (number === this.asking) this.count.textContent = error instanceof TypeError ? "no connection" : visible(error.message);
      return;
    }
    if (number !== this.asking) return; // asked for something else meanwhile
    if (!from) this.list.replaceChildren();
    for (const row of answer.rows) {
      const item = element(this.list, "div", { class: "attempt" });
      this.row(element(item, "button", { type: "button" }), row);
    }
    this.shown = from + answer.rows.length;
    this.more.hidden = this.shown >= answer.found;
    this.count.textContent = this.told(answer);
  }

  told(answer) {
    const found = answer.found.toLocaleString("en");
    const whole = answer.stored ?? answer.total;
    if (answer.looked !== undefined && this.filters().text) {
      return `${found} in the newest ${answer.looked.toLocaleString("en")} of ${whole.toLocaleString("en")}`;
    }
    return `${found} of ${whole.toLocaleString("en")}`;
  }
}

const STORES = { rollouts: "trained on", dropped: "given up", evaluated: "evaluated" };

class Attempts extends Table {
  constructor(place, open) {
    const columns = [["", ""], ["step", ""], ["task", ""], ["", ""], ["reward", "num"], ["advantage", "num"], ["tokens", "num"]];
    super(place, "attempts", "table", columns, () => this.wanted(), (button, row) => this.fill(button, row));
    this.open = open;
    this.run = this.choice("Run", [["0", "…"]]);
    this.store = this.choice("Which", Object.entries(STORES));
    this.step = this.input("Step", { type: "number", min: 0, class: "step", placeholder: "any step" });
    this.verdict = this.choice("Verdict", [["", "passed or not"], ["passed", "passed"], ["failed", "failed"]]);
    this.env = this.choice("Environment", [["", "all environments"]]);
    this.order = this.choice("Order", [["", "newest"], ["advantage", "highest advantage"], ["-advantage", "lowest advantage"], ["tokens", "longest"], ["-total", "lowest reward"]]);
    this.text = this.input("Search", { type: "search", placeholder: "search prompts and responses" });
    this.shown = 0;
  }

  wanted() {
    const wanted = { run: this.run.value, store: this.store.value, verdict: this.verdict.value, env: this.env.value, order: this.order.value, text: this.text.value };
    return /^\d{1,9}$/.test(this.step.value) ? { ...wanted, step: this.step.value } : wanted;
  }

  fill(button, row) {
    const [mark, kind, said] = row.solved ? ["✓", "pass", "passed"] : ["✗", "fail", "failed"];
    element(button, "span", { class: kind, title: said, "aria-label": said }, mark);
    element(button, "span", { class: "dim" }, row.step.toLocaleString("en"));
    element(button, "span", { class: "task" }, `${visible(row.env)}/${visible(row.task_id)}`);
    element(button, "span", { class: "dim why" }, row.given_up ? words(row.given_up) : words(row.ending));
    element(button, "span", { class: "num" }, fixed(row.reward_total));
    element(button, "span", { class: "num" }, signed(row.advantage));
    element(button, "span", { class: "num dim" }, row.num_sampled.toLocaleString("en"));
    const place = { run: this.run.value, store: this.store.value, step: row.step, index: row.index };
    button.addEventListener("click", () => {
      for (const other of this.list.querySelectorAll(".open")) other.classList.remove("open");
      button.classList.add("open");
      this.open(place, row.attempt);
    });
  }

  // What the runs hold has changed, perhaps.
  update(runs) {
    this.options(this.run, runs.map((run, number) => [String(number), run.name]));
    const stored = runs[this.run.value].stored[this.store.value];
    this.options(this.env, [["", "all environments"], ...stored.envs.map((env) => [env, env])]);
    const state = `${this.run.value} ${this.store.value} ${stored.attempts} ${stored.steps}`;
    if (state === this.state) return;
    const isFirst = this.state === undefined;
    this.state = state;
    if (isFirst || (this.isUntouched && !this.text.value)) this.refresh();
    else this.fresh.hidden = false;
  }
}

class GivenUp extends Table {
  constructor(place, open) {
    const columns = [["step", ""], ["task", ""], ["why", ""], ["passed", "num"], ["what failed", ""]];
    super(place, "given", "given", columns, () => ({ run: this.run.value, reason: this.reason.value }), (button, row) => this.fill(button, row));
    this.open = open;
    this.run = this.choice("Run of the tasks", [["0", "…"]]);
    this.reason = this.choice("Reason", [["", "all reasons"]]);
    this.shown = 0;
  }

  fill(button, row) {
    element(button, "span", { class: "dim" }, row.step.toLocaleString("en"));
    element(button, "span", { class: "task" }, row.task ? `${visible(row.env)}/${visible(row.task)}` : `task ${row.index}`);
    element(button, "span", {}, words(row.reason));
    element(button, "span", { class: "num" }, row.attempts === null ? "–" : `${row.passed ?? 0} of ${row.attempts}`);
    element(button, "span", { class: "dim why", title: visible(row.detail) }, visible(row.detail));
    button.disabled = !row.stored;
    const place = { run: this.run.value, store: "dropped", step: row.step, index: row.index };
    button.addEventListener("click", () => this.open(place, null));
  }

  update(runs) {
    this.options(this.run, runs.map((run, number) => [String(number), run.name]));
    const { total, counts } = runs[this.run.value].given;
    this.options(this.reason, [["", "all reasons"], ...Object.entries(counts).map(([reason, n]) => [reason, `${words(reason)} (${n.toLocaleString("en")})`])]);
    const state = `${this.run.value} ${total}`;
    if (state === this.state) return;
    const isFirst = this.state === undefined;
    this.state = state;
    if (isFirst || this.isUntouched) this.refresh();
    else this.fresh.hidden = false;
  }
}

function words(name) {
  return visible(name.replaceAll("_", " "));
}
