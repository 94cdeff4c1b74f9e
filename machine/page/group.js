// A group side by side: all attempts at one task as buttons, the chosen ones as columns.

const COLUMNS_AT_ONCE = 4;

class GroupView {
  constructor(place) {
    this.place = place;
    this.asking = 0;
  }

  close() {
    this.place.hidden = true;
    this.place.replaceChildren();
  }

  // `attempt` is shown first, beside one of the other verdict.
  async open(at, attempt) {
    const number = ++this.asking;
    let group;
    try {
      group = await ask("group", at);
    } catch (error) {
      group = { problem: error instanceof TypeError ? "no connection: try again" : error.message };
    }
    if (number !== this.asking) return;
    this.at = at;
    this.place.replaceChildren();
    this.place.hidden = false;
    element(this.place, "button", { class: "close", type: "button" }, "close").addEventListener("click", () => this.close());
    if (group.problem) {
      element(this.place, "p", { class: "problem" }, visible(group.problem));
      return;
    }
    this.draw(group, attempt);
    this.place.scrollIntoView({ block: "nearest" });
  }

  draw(group, attempt) {
    element(this.place, "h3", {}, `${visible(group.env)}/${visible(group.task_id)}`);
    element(this.place, "p", { class: "note" }, this.told(group));
    const prompt = element(this.place, "div", { class: "prompt" });
    element(prompt, "pre", { dir: "auto" }, visible(group.prompt));
    const members = element(this.place, "div", { class: "members", role: "group", "aria-label": "attempts" });
    this.side = element(this.place, "div", { class: "side" });
    this.columns = new Map();
    this.buttons = new Map();
    for (const one of group.attempts) {
      const button = element(members, "button", { type: "button", class: one.solved ? "pass" : "fail", "aria-pressed": "false" }, `${one.attempt}: ${fixed(one.reward_total)}`);
      button.addEventListener("click", () => this.toggle(one));
      this.buttons.set(one.attempt, button);
    }
    const first = group.attempts.find((one) => one.attempt === attempt) || group.attempts[0];
    const other = group.attempts.find((one) => one.solved !== first.solved) || group.attempts.find((one) => one !== first);
    for (const one of [first, other]) if (one) this.toggle(one);
  }

  told(group) {
    const facts = [`step ${this.at.step.toLocaleString("en")}`, `${group.attempts.length} attempts`, `pass rate ${fixed(group.pass_rate)}`];
    if (group.given_up) facts.push(`given up: ${words(group.given_up)}`);
    if (group.num_unscored) facts.push(`${group.num_unscored} got no grade and were made again`);
    return facts.join(" · ");
  }

  toggle(one) {
    const open = this.columns.get(one.attempt);
    if (open) this.shut(one.attempt);
    else {
      if (this.columns.size >= COLUMNS_AT_ONCE) this.shut(this.columns.keys().next().value);
      this.show(one);
    }
  }

  shut(attempt) {
    this.columns.get(attempt).remove();
    this.columns.delete(attempt);
    this.buttons.get(attempt).setAttribute("aria-pressed", "false");
  }

  async show(one) {
    const column = element(this.side, "article");
    this.columns.set(one.attempt, column);
    this.buttons.get(one.attempt).setAttribute("aria-pressed", "true");
    const head = element(column, "h4", { class: one.solved ? "pass" : "fail" }, `attempt ${one.attempt}: ${one.solved ? "passed" : "failed"}`);
    let row;
    try {
      row = await ask("attempt", { ...this.at, attempt: one.attempt });
    } catch (error) {
      element(column, "p", { class: "problem" }, error instanceof TypeError ? "no connection: try again" : visible(error.message));
      return;
    }
    if (!column.isConnected) return;
    this.facts(column, row);
    const text = element(column, "div", { class: "text" });
    element(text, "pre", { dir: "auto" }, visible(row.reply));
    const button = element(head, "button", { type: "button", "aria-expanded": "false" }, "tokens");
    head.insertBefore(document.createTextNode(" "), button);
    const place = { ...this.at, attempt: one.attempt };
    button.addEventListener("click", () => {
      const isOpen = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!isOpen));
      text.replaceChildren();
      if (isOpen) element(text, "pre", { dir: "auto" }, visible(row.reply));
      else new TokenView(text, place);
    });
  }

  facts(column, row) {
    const parts = element(column, "div", { class: "parts" });
    const facts = [
      ["total", fixed(row.reward_total)], ["task", fixed(row.reward_task)], ["language", fixed(row.reward_language)], ["length", fixed(row.reward_length)],
      ["advantage", signed(row.advantage)], ["tokens", row.num_sampled.toLocaleString("en")], ["ended", words(row.ending)], ["weights of version", String(row.oldest_version)],
    ];
    if (row.reason) facts.push(["grade", row.reason]);
    if (row.parts) facts.push(["parts", row.parts]);
    if (row.calls) facts.push(["calls", row.calls]);
    for (const [name, value] of facts) {
      const fact = element(parts, "span");
      element(fact, "span", {}, `${name} `);
      fact.append(visible(value));
    }
  }
}
