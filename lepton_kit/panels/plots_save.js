// Saves the plots of a panel from the page: all of them as one SVG or PNG picture, or the points that are drawn as CSV.
const GAP = 14, HEAD = 22;

function offered(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** All plots in rows of six columns, as on a wide page. */
function asSvg(plots, curves, look, ground, width = 1200, height = 240) {
  let out = "", across = 0, down = GAP, used = 0;
  for (const plot of plots) {
    if (used + plot.span > 6) {
      used = 0;
      across = 0;
      down += height + HEAD + GAP;
    }
    const own = (width / 6) * plot.span;
    let legend = `<text x="${LEFT}" y="14" font-size="13" font-weight="600" fill="${INK}">${escaped(plot.title)}`;
    for (const one of plot.curves) {
      if (curves[one.name].x.length) legend += `<tspan dx="12" font-weight="400" fill="${one.color}">${escaped(one.label)}</tspan>`;
    }
    out += `<g transform="translate(${across} ${down})">${legend}</text><g transform="translate(0 ${HEAD})">`;
    out += `${drawn(plot, curves, { ...look, id: `${look.id}-saved` }, own, height).inner}</g></g>`;
    across += own;
    used += plot.span;
  }
  const tall = down + height + HEAD + GAP;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${tall}" viewBox="0 0 ${width} ${tall}" font-family="system-ui, sans-serif" font-size="11"><rect width="100%" height="100%" fill="${ground}"/>${out}</svg>`;
}

async function asPng(svg) {
  const picture = new Image();
  picture.src = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  await picture.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * picture.width;
  canvas.height = 2 * picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(picture.src);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function asCsv(plots, curves) {
  const lines = ["plot,curve,x,y"];
  const cell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  for (const plot of plots) {
    for (const one of plot.curves) {
      const { x, y } = curves[one.name];
      for (let k = 0; k < x.length; k++) lines.push(`${cell(plot.title)},${cell(one.label)},${x[k]},${Number.isFinite(y[k]) ? Number(y[k].toPrecision(7)) : ""}`);
    }
  }
  return `${lines.join("\n")}\n`;
}
