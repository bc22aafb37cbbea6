// A prebuilt JupyterLab extension, written by hand: a launcher card that opens a workbench, and a sidebar of runs.
(() => {
  const NAME = "lepton-kit-lab";
  const EVERY_MS = 3000;
  const SHAPE = '<circle cx="5.5" cy="5.5" r="3"/><circle cx="5.5" cy="18.5" r="3"/><circle cx="18" cy="12" r="4"/><path d="m7.3 6.2 8 4.4-.7 1.3-8-4.4zm0 11.6 8-4.4-.7-1.3-8 4.4z"/>';
  const svg = (fill) => `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24"><g class="jp-icon3" fill="${fill}">${SHAPE}</g></svg>`;
  const STYLE = `
.lk-side{overflow-y:auto;padding:0 0 12px;color:var(--jp-ui-font-color1);background:var(--jp-layout-color1);font-size:var(--jp-ui-font-size1)}
.lk-side h2{font-size:var(--jp-ui-font-size0);font-weight:600;text-transform:uppercase;letter-spacing:.3px;margin:0;padding:12px 12px 6px;color:var(--jp-ui-font-color1)}
.lk-side h3{font-size:var(--jp-ui-font-size1);font-weight:400;margin:0;padding:8px 12px 4px;color:var(--jp-ui-font-color2);overflow-wrap:anywhere}
.lk-side ul{list-style:none;margin:0;padding:0}
.lk-side p{padding:4px 12px;margin:0;color:var(--jp-ui-font-color2);line-height:1.45}
.lk-side .lk-side-new{margin:2px 12px 6px;padding:5px 12px;border:none;border-radius:3px;cursor:pointer;font:inherit;background:var(--jp-accept-color-normal,var(--jp-brand-color1));color:#fff}
.lk-side .lk-side-run{display:grid;grid-template-columns:1fr auto;gap:2px 8px;width:100%;box-sizing:border-box;padding:6px 12px;border:none;background:none;color:inherit;font:inherit;text-align:left;cursor:pointer}
.lk-side .lk-side-run:hover{background:var(--jp-layout-color2)}
.lk-side button:focus-visible{outline:2px solid var(--jp-brand-color1);outline-offset:-2px}
.lk-side-name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.lk-side-state{font-size:var(--jp-ui-font-size0);font-weight:600;color:#fff;background:#6e7781;border-radius:9px;padding:0 8px;align-self:center;line-height:18px}
.lk-side-state[data-state=running]{background:#1a7f37}.lk-side-state[data-state=finished]{background:#0969da}
.lk-side-state[data-state=starting],.lk-side-state[data-state=paused],.lk-side-state[data-state=stopping],.lk-side-state[data-state=created]{background:#9a6700}
.lk-side-state[data-state=failed],.lk-side-state[data-state=interrupted],.lk-side-state[data-state=unreadable]{background:#cf222e}
.lk-side-about{grid-column:1/3;font-size:var(--jp-ui-font-size0);color:var(--jp-ui-font-color2)}
.lk-side-track{grid-column:1/3;height:4px;border-radius:2px;background:var(--jp-layout-color3);overflow:hidden}
.lk-side-track div{height:100%;background:var(--jp-brand-color1)}`;

  function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const text = (value) => JSON.stringify(String(value));

  /** Python that opens a workbench, attached to a run if one is given. */
  function code(run, folder) {
    if (!run) return "import lepton_kit as lk\n\nlk.Workbench()";
    return `import lepton_kit as lk\n\nlk.Workbench(run=${text(run)}${folder ? `, runs_dir=${text(folder)}` : ""})`;
  }

  function about(run) {
    const parts = [];
    if (run.step !== null && run.step !== undefined) parts.push(run.total_steps ? `step ${run.step} of ${run.total_steps}` : `step ${run.step}`);
    if (run.workers && typeof run.workers === "number") parts.push(`${run.workers} worker${run.workers === 1 ? "" : "s"}`);
    return parts.join(" · ");
  }

  function entry(run, open) {
    const made = element("button", { type: "button", class: "lk-side-run", title: `${run.id}: open a workbench attached to it`, "data-key": run.id },
      element("span", { class: "lk-side-name" }, run.name),
      element("span", { class: "lk-side-state", "data-state": run.status }, run.status),
      element("span", { class: "lk-side-about" }, about(run)));
    if (run.live && run.total_steps) {
      const share = Math.min(100, (100 * (run.step || 0)) / run.total_steps);
      const bar = element("div", {});
      bar.style.width = `${share}%`;
      made.append(element("div", { class: "lk-side-track" }, bar));
    }
    made.addEventListener("click", open);
    return element("li", {}, made);
  }

  async function plugins(shared) {
    const load = async (name) => {
      const versions = shared[name];
      return (await Object.values(versions)[0].get())();
    };
    const [{ Widget }, { ServerConnection }, { LabIcon }, { ILauncher }, { ILayoutRestorer }, { URLExt }] = await Promise.all(
      ["@lumino/widgets", "@jupyterlab/services", "@jupyterlab/ui-components", "@jupyterlab/launcher", "@jupyterlab/application", "@jupyterlab/coreutils"].map(load));
    const icon = new LabIcon({ name: "lepton-kit:runs", svgstr: svg("#616161") });

    function activate(app, launcher, restorer) {
      document.head.append(element("style", {}, STYLE));
      const folderOf = () => (app.shell.currentWidget?.context?.path || "").split("/").slice(0, -1).join("/");

      /** An open notebook whose panel shows this run, or that was opened for it; undefined if there is none. */
      function notebookOf(run, folder) {
        const open = Array.from(app.shell.widgets("main")).filter((one) => one.content?.model?.sharedModel?.cells);
        const shows = (one) => Array.from(one.node.querySelectorAll(".lk-summary b")).some((b) => b.textContent === run && !b.closest(".lk-dead"));
        const begun = (one) => one.content.model.sharedModel.cells[0]?.source === code(run, folder);
        return open.find(shows) ?? open.find(begun);
      }

      /** Go to a notebook that was opened for a run; its panel is made again if its kernel has ended. */
      async function show(panel) {
        app.shell.activateById(panel.id);
        await panel.context.ready;
        const first = panel.content.model.sharedModel.cells[0];
        if (first.execution_count && !panel.node.querySelector(".lk-dead")) return;
        await panel.sessionContext.ready;
        panel.content.activeCellIndex = 0;
        await app.commands.execute("notebook:run-cell");
      }

      app.commands.addCommand("lepton-kit:workbench", {
        label: "Workbench",
        caption: "A notebook with the lepton_kit workbench: data, model, workers, training",
        icon,
        execute: async (args) => {
          const known = args.run ? notebookOf(args.run, args.folder) : undefined;
          if (known) return show(known);
          const kernels = app.serviceManager.kernelspecs;
          await kernels.ready;
          const panel = await app.commands.execute("notebook:create-new", {
            cwd: args.cwd || folderOf(), kernelName: kernels.specs?.default, activate: true,
          });
          await panel.context.ready;
          await panel.sessionContext.ready;
          panel.content.model.sharedModel.getCell(0).setSource(code(args.run, args.folder));
          await app.commands.execute("notebook:run-cell");
        },
      });
      launcher?.add({ command: "lepton-kit:workbench", category: "Notebook", rank: 50, kernelIconUrl: `data:image/svg+xml,${encodeURIComponent(svg("#3d85c6"))}` });

      const side = new Widget();
      side.id = "lepton-kit-runs";
      side.title.icon = icon;
      side.title.caption = "Runs of lepton_kit";
      side.addClass("lk-side");
      const list = element("div", {});
      const fresh = element("button", { type: "button", class: "lk-side-new" }, "New workbench");
      fresh.addEventListener("click", () => app.commands.execute("lepton-kit:workbench", {}));
      side.node.setAttribute("role", "region");
      side.node.setAttribute("aria-label", "Runs of lepton_kit");
      side.node.append(element("h2", {}, "Runs"), fresh, list);
      app.shell.add(side, "left", { rank: 300 });
      restorer?.add(side, side.id);

      let before = null, asking = false;
      const say = (words) => { before = null; list.replaceChildren(element("p", {}, words)); };
      const draw = (folders) => {
        const now = JSON.stringify(folders);
        if (now === before) return;
        const key = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
        if (!folders.length) say("No run yet. What a notebook or a shell starts appears here, and goes on without either.");
        else {
          list.replaceChildren(...folders.flatMap(({ folder, name, named, runs }) => [
            element("h3", {}, name),
            element("ul", {}, ...runs.map((run) => entry(run, () => app.commands.execute("lepton-kit:workbench", { run: run.id, folder: named ? null : folder })))),
          ]));
        }
        before = now;
        if (key) list.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
      };
      const ask = async () => {
        if (asking || !side.isVisible || document.visibilityState !== "visible") return;
        asking = true;
        try {
          const settings = app.serviceManager.serverSettings;
          const address = URLExt.join(settings.baseUrl, "lepton", "api", "runs") + URLExt.objectToQueryString({ beside: folderOf() });
          const answer = await ServerConnection.makeRequest(address, {}, settings);
          if (answer.ok) draw((await answer.json()).folders);
          else say(`The server can't list runs (${answer.status}). Does it run in the environment that holds lepton_kit?`);
        } catch (failure) {
          say("The server does not answer.");
        } finally {
          asking = false;
        }
      };
      setInterval(ask, EVERY_MS);
      const shown = side.onAfterShow.bind(side);
      side.onAfterShow = (message) => { shown(message); ask(); };
    }

    return [{ id: `${NAME}:runs`, description: "Lists runs and opens workbenches", autoStart: true, optional: [ILauncher, ILayoutRestorer], activate }];
  }

  let shared = null;
  (window._JUPYTERLAB = window._JUPYTERLAB || {})[NAME] = {
    init: (scope) => { shared = scope; },
    get: async () => {
      const found = { __esModule: true, default: await plugins(shared) };
      return () => found;
    },
  };
})();
