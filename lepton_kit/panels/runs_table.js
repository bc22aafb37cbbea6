// A table that is sorted, searched and selected from: what a cell says, the order and the choice are the kernel's.
const LOOK = 2000;

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function download(name, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

export default {
  render({ model, el }) {
    const wide = element("div", { class: "lk-runs-wide", tabindex: "0", role: "region", "aria-label": "Runs" });
    el.append(wide);

    const select = (ids) => {
      model.set("selected", ids);
      model.save_changes();
    };
    const toggle = (id, on) => {
      const rest = model.get("selected").filter((one) => one !== id);
      select(on ? [...rest, id] : rest);
    };
    const sortBy = (name) => {
      const now = model.get("sort");
      model.set("sort", now === name ? "-" + name : name);
      model.save_changes();
    };

    const heading = (column) => {
      const sort = model.get("sort");
      const on = sort.replace(/^-/, "") === column.name;
      const order = !on ? "none" : sort.startsWith("-") ? "descending" : "ascending";
      const button = element("button", { type: "button", title: column.tooltip, "data-key": "sort " + column.name }, column.title);
      button.append(element("span", { "aria-hidden": "true" }, !on ? "" : sort.startsWith("-") ? " ▾" : " ▴"));
      button.addEventListener("click", () => sortBy(column.name));
      return element("th", { scope: "col", "aria-sort": order, class: column.number ? "lk-digits" : null }, button);
    };

    const line = (row, columns, chosen) => {
      const box = element("input", { type: "checkbox", "aria-label": "select " + row.name, "data-key": "select " + row.id });
      box.checked = chosen.has(row.id);
      box.addEventListener("change", () => toggle(row.id, box.checked));
      const made = element("tr", { class: chosen.has(row.id) ? "lk-chosen" : null }, element("td", {}, box));
      columns.forEach((column, place) => {
        const text = row.cells[place];
        const first = place === 0;
        const cell = element(first ? "th" : "td", { scope: first ? "row" : null, class: column.number ? "lk-digits" : null });
        if (column.name === "status") cell.append(element("span", { class: "lk-chip lk-chip-" + text, title: row.cause || null }, text));
        else if (column.name === "tags") for (const tag of text ? text.split(", ") : []) cell.append(element("span", { class: "lk-tag" }, tag));
        else cell.append(text);
        if (row.why?.[column.name]) cell.title = row.why[column.name];
        if (first) {
          cell.title = row.id;
          cell.addEventListener("click", () => toggle(row.id, !box.checked));
        }
        made.append(cell);
      });
      return made;
    };

    const draw = () => {
      const key = document.activeElement?.dataset?.key;
      const inside = wide.contains(document.activeElement);
      const columns = model.get("columns"), rows = model.get("rows"), chosen = new Set(model.get("selected"));
      if (!rows.length) {
        wide.replaceChildren(element("p", { class: "lk-empty" }, model.get("empty")));
        return;
      }
      const all = element("input", { type: "checkbox", "aria-label": "select all runs shown", "data-key": "all" });
      all.checked = rows.every((row) => chosen.has(row.id));
      all.indeterminate = !all.checked && rows.some((row) => chosen.has(row.id));
      all.addEventListener("change", () => select(all.checked ? rows.map((row) => row.id) : []));
      const head = element("tr", {}, element("th", { scope: "col" }, all), ...columns.map(heading));
      const body = element("tbody", {}, ...rows.map((row) => line(row, columns, chosen)));
      const table = element("table", { class: "lk-table lk-runs" }, element("thead", {}, head), body);
      const parts = [table];
      if (model.get("more") > 0) {
        const more = element("button", { type: "button", class: "lk-more", "data-key": "more" }, `Show more (${model.get("more")} left)`);
        more.addEventListener("click", () => model.send({ kind: "more" }));
        parts.push(more);
      }
      wide.replaceChildren(...parts);
      if (inside && key) wide.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
    };

    let waiting = false, pause = LOOK, asked = 0;
    const hear = (message) => {
      if (message.kind === "looked") {
        waiting = false;
        pause = Math.max(LOOK, message.pause_ms);
      } else if (message.kind === "csv") download(message.name, message.text);
    };
    const look = () => {
      const seen = el.isConnected && el.offsetParent !== null && document.visibilityState === "visible";
      if (!seen || waiting || performance.now() - asked < pause) return;
      waiting = true;
      asked = performance.now();
      model.send({ kind: "look" });
    };
    const events = "change:columns change:rows change:selected change:sort change:empty change:more";
    model.on(events, draw);
    model.on("msg:custom", hear);
    const clock = setInterval(look, LOOK / 2);
    draw();
    return () => {
      clearInterval(clock);
      model.off(events, draw);
      model.off("msg:custom", hear);
    };
  },
};
