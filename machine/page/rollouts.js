// The browser of the rollouts that travel in a report.

const SHOWN_AT_ONCE = 40;

class Browser {
  constructor(place, rollouts) {
    this.rows = rollouts.rows;
    this.prompts = rollouts.prompts;
    this.place = place;
    const bar = element(place, "div", { class: "filters" });
    this.step = this.choice(bar, "Step", "all steps", [...new Set(this.rows.map((row) => row.step))].map((s) => [String(s), `step ${s}`]));
    this.verdict = this.choice(bar, "Verdict", "passed or not", [["true", "passed"], ["false", "failed"]]);
    this.env = this.choice(bar, "Environment", "all environments", [...new Set(this.rows.map((row) => row.env))].sort().map((e) => [e, e]));
    this.order = this.choice(bar, "Order", "by step", [["advantage", "highest advantage"], ["-advantage", "lowest advantage"], ["tokens", "longest"], ["-total", "lowest reward"]]);
    this.text = element(bar, "input", { type: "search", placeholder: "search prompts and responses", "aria-label": "Search" });
    this.text.addEventListener("input", () => this.refresh());
    this.count = element(bar, "span", { class: "count", role: "status" });
    const head = element(place, "div", { class: "head" });
    for (const [name, kind] of [["", ""], ["step", ""], ["task", ""], ["reward", "num"], ["advantage", "num"], ["tokens", "num"]]) element(head, "span", { class: kind }, name);
    this.list = element(place, "div", { class: "attempts" });
    this.more = element(place, "button", { class: "more", type: "button" }, "show more");
    this.more.addEventListener("click", () => this.grow());
    this.refresh();
  }

  choice(bar, name, all, options) {
    const select = element(bar, "select", { "aria-label": name });
    element(select, "option", { value: "" }, all);
    for (const [value, text] of options) element(select, "option", { value }, text);
    select.addEventListener("change", () => this.refresh());
    return select;
  }

  refresh() {
    const wanted = this.text.value.toLowerCase();
    const holds = (row) => !wanted || [row.reply, this.prompts[row.prompt], row.task_id].some((text) => text.toLowerCase().includes(wanted));
    this.found = this.rows.filter((row) =>
      (!this.step.value || String(row.step) === this.step.value) &&
      (!this.verdict.value || String(row.passed) === this.verdict.value) &&
      (!this.env.value || row.env === this.env.value) && holds(row));
    const key = this.order.value.replace("-", ""), sign = this.order.value.startsWith("-") ? 1 : -1;
    if (key) this.found.sort((x, y) => sign * ((x[key] ?? 0) - (y[key] ?? 0)));
    this.count.textContent = `${this.found.length.toLocaleString("en")} of ${this.rows.length.toLocaleString("en")}`;
    this.list.replaceChildren();
    this.shown = 0;
    this.grow();
  }

  grow() {
    for (const row of this.found.slice(this.shown, this.shown + SHOWN_AT_ONCE)) this.add(row);
    this.shown = Math.min(this.found.length, this.shown + SHOWN_AT_ONCE);
    this.more.hidden = this.shown >= this.found.length;
  }

  add(row) {
    const item = element(this.list, "div", { class: "attempt" });
    const button = element(item, "button", { type: "button", "aria-expanded": "false" });
    const [mark, kind, said] = row.passed ? ["✓", "pass", "passed"] : ["✗", "fail", "failed"];
    element(button, "span", { class: kind, title: said, "aria-label": said }, mark);
    element(button, "span", { class: "dim" }, row.step.toLocaleString("en"));
    element(button, "span", { class: "task" }, visible(row.task_id));
    element(button, "span", { class: "num" }, fixed(row.total));
    element(button, "span", { class: "num" }, signed(row.advantage));
    element(button, "span", { class: "num dim" }, row.tokens === null ? "–" : row.tokens.toLocaleString("en"));
    button.addEventListener("click", () => {
      const old = item.querySelector(".detail");
      if (old) old.remove();
      else this.detail(item, row);
      button.setAttribute("aria-expanded", String(!old));
    });
  }

  detail(item, row) {
    const detail = element(item, "div", { class: "detail" });
    const parts = element(detail, "div", { class: "parts" });
    const facts = [
      ["grade", row.reason || (row.passed ? "passed" : "failed")], ["parts", row.parts || "–"],
      ["environment", row.env], ["attempt", String(row.attempt)], ["task reward", fixed(row.task)], ["language", fixed(row.language)],
      ["length penalty", fixed(row.length)], ["total", fixed(row.total)], ["advantage", signed(row.advantage)],
      ["pass rate of the group", fixed(row.pass_rate)], ["tokens", row.tokens === null ? "–" : String(row.tokens)], ["ended", row.ending],
    ];
    if (row.calls) facts.push(["calls", row.calls]);
    for (const [name, value] of facts) {
      const fact = element(parts, "span");
      element(fact, "span", {}, `${name} `);
      fact.append(visible(value));
    }
    element(detail, "h3", {}, "Prompt");
    element(detail, "pre", { dir: "auto" }, visible(this.prompts[row.prompt]));
    element(detail, "h3", {}, "Response");
    element(detail, "pre", { dir: "auto" }, visible(row.reply));
  }
}
