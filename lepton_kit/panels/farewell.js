// Says in a panel why nothing in it acts: its kernel has ended, or is busy with something else while a control is pressed.
const OVER = ["restarting", "autorestarting", "dead", "terminating"];
const PATIENCE = 1500; // milliseconds that a kernel may take for what came before
const CONTROLS = "button, input, select, textarea";
const IN_THE_PAGE = ".lk-figure, summary"; // what acts without the kernel

export default {
  render({ model, el }) {
    const kernel = model.widget_manager?.kernel;
    if (!kernel?.statusChanged) return undefined; // a page that does not tell
    const [over, busy, ours] = [model.get("text"), model.get("busy"), model.get("session")];
    const home = () => el.closest(".lk-workbench") ?? el.closest(".lk-panel");
    const note = (panel, kind, text) => {
      const made = document.createElement("div");
      made.className = `lk-kernel-note ${kind}`;
      made.setAttribute("role", "status");
      made.textContent = text;
      panel.prepend(made);
    };
    const free = () => home()?.querySelector(":scope > .lk-busy-note")?.remove();
    const tell = () => {
      const panel = home();
      if (!panel || panel.classList.contains("lk-dead")) return;
      free();
      panel.classList.add("lk-dead");
      for (const child of panel.children) child.inert = true;
      note(panel, "lk-dead-note", over);
    };
    let waiting;
    const hear = (_, status) => {
      if (OVER.includes(status)) tell();
      if (status === "busy") return;
      clearTimeout(waiting);
      free();
    };
    // Another page may restart the kernel: this one hears the old kernel's last word at most, and then a new one's.
    const overhear = (_, { header }) => {
      const other = ours && header.msg_type === "status" && header.session !== ours;
      if (other || header.msg_type === "shutdown_reply") tell();
    };
    const press = (event) => {
      const panel = home();
      const control = event.target.closest?.(CONTROLS);
      if (kernel.status !== "busy" || !control || !panel?.contains(control) || control.closest(IN_THE_PAGE)) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const shown = panel.querySelector(":scope > .lk-kernel-note");
        if (kernel.status === "busy" && !shown) note(panel, "lk-busy-note", busy);
      }, PATIENCE);
    };
    kernel.statusChanged.connect(hear);
    kernel.iopubMessage?.connect(overhear);
    kernel.disposed?.connect?.(tell);
    for (const kind of ["click", "change"]) document.addEventListener(kind, press, true);
    return () => {
      clearTimeout(waiting);
      kernel.statusChanged.disconnect(hear);
      kernel.iopubMessage?.disconnect(overhear);
      kernel.disposed?.disconnect?.(tell);
      for (const kind of ["click", "change"]) document.removeEventListener(kind, press, true);
    };
  },
};
