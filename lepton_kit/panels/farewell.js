// Says in a panel that its kernel has ended, once it has: nothing in the panel acts any more.
const OVER = ["restarting", "autorestarting", "dead", "terminating"];

export default {
  render({ model, el }) {
    const kernel = model.widget_manager?.kernel;
    if (!kernel?.statusChanged) return undefined; // a page that does not tell
    const text = model.get("text");
    const tell = () => {
      const panel = el.closest(".lk-workbench") ?? el.closest(".lk-panel");
      if (!panel || panel.classList.contains("lk-dead")) return;
      panel.classList.add("lk-dead");
      for (const child of panel.children) child.inert = true;
      const note = document.createElement("div");
      note.className = "lk-dead-note";
      note.setAttribute("role", "status");
      note.textContent = text;
      panel.prepend(note);
    };
    const hear = (_, status) => { if (OVER.includes(status)) tell(); };
    kernel.statusChanged.connect(hear);
    kernel.disposed?.connect?.(tell);
    return () => {
      kernel.statusChanged.disconnect(hear);
      kernel.disposed?.disconnect?.(tell);
    };
  },
};
