// The tokens of an attempt, shaded by what is stored of each.

const SHADES = {
  surprise: { name: "surprise", of: (token) => token.probability, depth: (p) => Math.min(1, -Math.log(Math.max(p, 1e-4)) / 6), tone: "b" },
  nucleus: { name: "choices in the nucleus", of: (token) => token.nucleus, depth: (n) => Math.min(1, Math.log2(n) / 7), tone: "d" },
  version: { name: "version of the weights", of: (token) => token.version, depth: null, tone: "g" },
  ratio: { name: "ratio", of: (token) => token.ratio, depth: (r) => Math.min(1, Math.abs(Math.log(r)) / Math.log(2)), tone: "a" },
  clip: { name: "clipped", of: (token) => token.clip, depth: (bound) => (bound ? 0.8 : 0), tone: "e" },
};

class TokenView {
  constructor(place, at) {
    this.place = place;
    this.at = at;
    this.from = 0;
    this.tokens = [];
    const bar = element(place, "div", { class: "shade" });
    element(bar, "span", {}, "shaded by");
    this.select = element(bar, "select", { "aria-label": "shaded by" });
    this.select.addEventListener("change", () => this.shade());
    this.list = element(place, "pre", { class: "tokens" });
    this.list.addEventListener("pointerover", (event) => this.tell(event.target));
    this.told = element(place, "p", { class: "told", role: "status" });
    this.note = element(place, "p", { class: "note" });
    this.more = element(place, "button", { type: "button", hidden: "" }, "more tokens");
    this.more.addEventListener("click", () => this.take());
    this.take();
  }

  async take() {
    let answer;
    try {
      answer = await ask("tokens", { ...this.at, from: this.from });
    } catch (error) {
      this.note.textContent = error instanceof TypeError ? "no connection: try again" : visible(error.message);
      return;
    }
    this.lacks = answer.lacks;
    const breaks = new Set(answer.breaks);
    answer.texts.forEach((text, i) => {
      const token = { place: answer.first + i, text };
      for (const name of ["probability", "nucleus", "version", "ratio", "clip"]) token[name] = answer[name]?.[i] ?? null;
      const isOwn = token.version !== null;
      // a line break is shown, and breaks the line too
      const node = element(this.list, "span", { class: isOwn ? "own" : "given" }, visible(text).replaceAll("\n", "↵\n"));
      if (breaks.has(token.place)) node.classList.add("break");
      node.dataset.token = this.tokens.length;
      this.tokens.push({ ...token, node });
    });
    this.from = answer.first + answer.texts.length;
    this.more.hidden = this.from >= answer.total;
    this.choose();
    this.shade();
    const what = answer.has_texts ? "" : "No tokenizer of this run is on this machine: tokens go by their numbers. ";
    this.note.textContent = `${what}${answer.lacks.map(visible).join(" ")}`;
  }

  choose() {
    const before = this.select.value;
    this.select.replaceChildren();
    for (const [key, { name, of }] of Object.entries(SHADES)) {
      const has = this.tokens.some((token) => of(token) !== null);
      const option = element(this.select, "option", { value: key }, has ? name : `${name} (not stored)`);
      option.disabled = !has;
    }
    const usable = [...this.select.options].find((option) => !option.disabled);
    this.select.value = before && !this.select.querySelector(`option[value="${before}"]`).disabled ? before : usable?.value ?? "";
  }

  shade() {
    const shade = SHADES[this.select.value];
    if (!shade) return;
    this.list.classList.remove(..."abdeg");
    this.list.classList.add(shade.tone);
    const seen = this.tokens.map(shade.of).filter((value) => value !== null);
    const low = seen.reduce((x, y) => Math.min(x, y), Infinity), high = seen.reduce((x, y) => Math.max(x, y), -Infinity);
    const depth = shade.depth || ((value) => (high > low ? 0.15 + (0.75 * (value - low)) / (high - low) : 0.3));
    for (const token of this.tokens) {
      const value = shade.of(token);
      if (value !== null) token.node.style.setProperty("--depth", (0.85 * depth(value)).toFixed(3));
    }
  }

  tell(node) {
    const token = this.tokens[node.dataset?.token];
    if (!token) return;
    const facts = [`token ${token.place}`, JSON.stringify(visible(token.text))];
    if (token.version === null) facts.push("given, not sampled");
    else {
      facts.push(`sampled with probability ${pretty(token.probability)}`, `weights of version ${token.version}`);
      if (token.nucleus !== null) facts.push(`${token.nucleus} in its nucleus`);
      if (token.ratio !== null) facts.push(`ratio ${pretty(token.ratio)}`);
      if (token.clip) facts.push(`clipped: ${words(token.clip)}`);
    }
    this.told.textContent = facts.join(" · ");
  }
}
