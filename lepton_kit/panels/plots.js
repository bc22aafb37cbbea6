// The page's side of a panel's plots: draws whatever state the widget holds, says which version it has drawn, and asks for what it missed.
const BEAT = 10_000;
let views = 0;

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** The points of a curve from their bytes: float32, all x and then all y. */
function decoded(bytes) {
  if (!bytes?.byteLength) return { x: new Float32Array(0), y: new Float32Array(0) };
  const both = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  return { x: both.subarray(0, both.length / 2), y: both.subarray(both.length / 2) };
}

function toolbar(change, save) {
  const level = element("output", { textContent: "0" });
  const slider = element("input", { type: "range", min: 0, max: 0.98, step: 0.02, value: 0 });
  slider.setAttribute("aria-label", "smoothing of the curves");
  slider.addEventListener("input", () => {
    level.textContent = String(Number(slider.value));
    change({ smoothing: Number(slider.value) });
  });
  const tick = (name, text, title) => {
    const box = element("input", { type: "checkbox" });
    box.addEventListener("change", () => change({ [name]: box.checked }));
    return element("label", { title }, box, text);
  };
  const button = (kind, title) => {
    const made = element("button", { type: "button", textContent: kind, title, className: `lk-save-${kind.toLowerCase()}` });
    made.addEventListener("click", () => save(kind));
    return made;
  };
  return element(
    "div", { className: "lk-tools" },
    element("label", { title: "a running mean over the points that are drawn; the curves themselves stay in the background" }, "Smoothing", slider, level),
    tick("log", "Log axis", "a logarithmic axis for all plots of positive values; other values are left out"),
    tick("all", "Show all values", "otherwise an axis leaves out single values that are far from all others"),
    element("span", { className: "lk-saves" }, "Save", button("PNG", "all plots as a picture"), button("SVG", "all plots as a drawing"),
      button("CSV", "the points that are drawn; run.history has every step")),
  );
}

class PlotView {
  constructor(plot, board) {
    Object.assign(this, { name: plot.name, board, at: null });
    this.caption = element("figcaption");
    this.svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("tabindex", "0");
    this.mark = document.createElementNS("http://www.w3.org/2000/svg", "g");
    this.tip = element("div", { className: "lk-tip", hidden: true });
    this.rest = element("div", { className: "lk-rest" });
    this.box = element("div", { className: "lk-canvas" }, this.svg, this.tip, this.rest);
    this.figure = element("figure", { className: "lk-plot" }, this.caption, this.box);
    this.figure.dataset.plot = plot.name;
    this.listen();
  }

  get plot() {
    return this.board.plots.find((one) => one.name === this.name);
  }

  listen() {
    let from = null;
    const place = (event) => event.clientX - this.svg.getBoundingClientRect().left;
    this.svg.addEventListener("pointerdown", (event) => { from = event.button === 0 ? place(event) : null; });
    this.svg.addEventListener("pointermove", (event) => this.point(this.shown?.atX.back(place(event)), from === null ? null : [from, place(event)]));
    this.svg.addEventListener("pointerup", (event) => {
      const to = place(event);
      if (from !== null && Math.abs(to - from) > 8 && this.shown) {
        const ends = [from, to].map((one) => Math.max(this.shown.ends.x[0], Math.min(this.shown.ends.x[1], this.shown.atX.back(one))));
        this.board.look.zoom[this.name] = ends.sort((a, b) => a - b);
        this.board.draw();
      }
      from = null;
    });
    this.svg.addEventListener("pointerleave", () => { from = null; this.point(null); });
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("dblclick", () => this.whole());
    this.svg.addEventListener("keydown", (event) => {
      const x = this.board.curves[this.plot.curves[0].name].x;
      if (event.key === "Escape") this.point(null);
      if (!x.length || !["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      event.stopPropagation();
      let k = 0;
      while (k < x.length - 1 && x[k] < (this.at ?? x[x.length - 1])) k++;
      k = { ArrowLeft: k - 1, ArrowRight: k + 1, Home: 0, End: x.length - 1 }[event.key];
      this.point(x[Math.max(0, Math.min(x.length - 1, k))]);
    });
  }

  whole() {
    delete this.board.look.zoom[this.name];
    this.board.draw();
  }

  /** Shows the values at a place across; null takes them away. */
  point(x, dragged = null) {
    const { plot, shown } = this;
    this.at = x ?? null;
    this.mark.innerHTML = "";
    this.tip.hidden = true;
    if (this.at === null || !shown) return;
    const found = readingAt(plot, this.board.curves, this.board.look, x);
    if (dragged) {
      const [from, to] = dragged.map((one) => Math.max(LEFT, Math.min(shown.right, one))).sort((a, b) => a - b);
      this.mark.innerHTML = `<rect x="${from}" y="${TOP}" width="${to - from}" height="${shown.bottom - TOP}" fill="${INK}" fill-opacity="0.2"/>`;
      return;
    }
    if (!found.length) return;
    const across = shown.atX(found[0].x);
    if (across < LEFT - 2 || across > shown.right + 2) return;
    this.mark.innerHTML = `<line x1="${across}" y1="${TOP}" x2="${across}" y2="${shown.bottom}" stroke="${INK}" stroke-dasharray="2 3"/>` +
      found.map((one) => {
        const up = shown.atY(one.smooth ?? one.y);
        return up >= TOP - 5 && up <= shown.bottom + 5 ? `<circle cx="${shown.atX(one.x)}" cy="${up}" r="3.5" fill="${one.one.color}"/>` : "";
      }).join("");
    const lines = found.map((one) => element("div", {}, element("i", { style: `background:${one.one.color}` }),
      `${one.one.label} ${told(one.y, one.one.format)}${one.smooth === null ? "" : `, smoothed ${told(one.smooth, one.one.format)}`}` +
      (one.one.kind === "dots" && one.x !== found[0].x ? ` (${plot.x} ${Math.round(one.x).toLocaleString("en")})` : "")));
    this.tip.replaceChildren(element("b", { textContent: `${plot.x} ${Math.round(found[0].x).toLocaleString("en")}` }), ...lines);
    this.tip.hidden = false;
    this.tip.style.left = `${Math.max(0, Math.min(across + 10, this.box.clientWidth - this.tip.offsetWidth - 2))}px`;
    if (across > this.box.clientWidth * 0.6) this.tip.style.left = `${Math.max(0, across - this.tip.offsetWidth - 10)}px`;
  }

  draw() {
    const { plot, board } = this, { curves, look } = board;
    const width = this.box.clientWidth, height = plot.height;
    this.figure.style.setProperty("--span", plot.span);
    this.figure.hidden = plot.optional && plot.curves.every((one) => !curves[one.name].x.length);
    if (this.figure.hidden) return;
    const names = plot.curves.filter((one) => !one.optional || curves[one.name].x.length);
    this.caption.replaceChildren(element("b", { textContent: plot.title }),
      ...names.map((one) => element("span", { style: `color:${one.color}`, textContent: one.label })));
    if (width < 60) return; // not on the page now; drawn when it is
    this.shown = drawn(plot, curves, look, width, height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("aria-label", inWords(plot, curves));
    this.svg.innerHTML = this.shown.inner;
    this.svg.append(this.mark);
    this.rest.replaceChildren();
    if (this.shown.ends.hidden) {
      const hidden = this.shown.ends.hidden;
      const all = element("button", { type: "button", textContent: `${hidden} value${hidden === 1 ? "" : "s"} beyond the axis: show all` });
      all.addEventListener("click", () => { board.tools.querySelectorAll("input[type=checkbox]")[1].click(); });
      this.rest.append(all);
    }
    if (look.zoom[plot.name]) {
      const back = element("button", { type: "button", textContent: "whole run" });
      back.addEventListener("click", () => this.whole());
      this.rest.append(back);
    }
    if (this.at !== null) this.point(this.at);
  }
}

export default {
  render({ model, el }) {
    const id = `${Date.now().toString(36)}-${views++}`;
    const board = { look: { id, smoothing: 0, log: false, all: false, zoom: {}, limits: {} }, plots: [], curves: {}, drawn: -1 };
    const figures = new Map();
    const grid = element("div", { className: "lk-grid" });
    let planned = null;
    const say = (kind) => { try { model.send({ kind, view: id, version: board.drawn }); } catch { /* the kernel is gone */ } };
    // Complete is the newest version that is held with all before it: the next one, or a message with everything.
    let complete = -1, whole = model.get("whole"), waiting = null;
    board.draw = () => {
      clearTimeout(planned);
      planned = null;
      board.plots = model.get("plots");
      board.look.limits = model.get("limits");
      for (const one of board.plots.flatMap((plot) => plot.curves)) board.curves[one.name] = decoded(model.get(`curve_${one.name}`));
      for (const plot of board.plots) {
        if (!figures.has(plot.name)) {
          figures.set(plot.name, new PlotView(plot, board));
          grid.append(figures.get(plot.name).figure);
        }
        figures.get(plot.name).draw();
      }
      board.drawn = complete;
      el.dataset.version = board.drawn;
    };
    board.tools = toolbar(
      (changed) => { Object.assign(board.look, changed); board.draw(); },
      async (kind) => {
        const shown = board.plots.filter((plot) => !figures.get(plot.name).figure.hidden), name = model.get("name");
        if (kind === "CSV") return offered(`${name}.csv`, asCsv(shown, board.curves), "text/csv");
        const svg = asSvg(shown, board.curves, board.look, getComputedStyle(el).getPropertyValue("--jp-layout-color1").trim() || "white");
        return kind === "SVG" ? offered(`${name}.svg`, svg, "image/svg+xml") : offered(`${name}.png`, await asPng(svg), "image/png");
      },
    );
    el.classList.add("lk-plots");
    el.dataset.lmSuppressShortcuts = "true"; // arrow keys move the reading, not the notebook's selection
    el.append(board.tools, grid);
    const soon = () => { planned ??= setTimeout(board.draw, 0); };
    const news = () => {
      const version = model.get("version"), sent = model.get("whole");
      if (sent > whole || version === complete + 1) {
        complete = version;
        whole = sent;
      } else if (waiting === null) {
        say("missed");
        waiting = setTimeout(() => { waiting = null; }, 1000);
      }
      soon();
    };
    model.on("change:version", news);
    const sized = new ResizeObserver(soon);
    sized.observe(grid);
    board.draw();
    say("arrived");
    const clock = setInterval(() => say("drawn"), BEAT);
    return () => {
      clearInterval(clock);
      clearTimeout(planned);
      clearTimeout(waiting);
      sized.disconnect();
      model.off("change:version", news);
    };
  },
};
