// Texts of code side by side, each with buttons that copy it and save it as a file.
export default {
  render({ model, el }) {
    const button = (text, title, act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      made.title = title;
      made.className = `lk-${text.toLowerCase()}-code`;
      made.addEventListener("click", () => act(made));
      return made;
    };
    const copy = async (block, place, made) => {
      try {
        await navigator.clipboard.writeText(block.text);
      } catch { // a page without a secure address has no clipboard of its own
        getSelection().selectAllChildren(place);
        document.execCommand("copy");
        getSelection().removeAllRanges();
      }
      made.textContent = "Copied";
      setTimeout(() => { made.textContent = "Copy"; }, 1500);
    };
    const save = (block) => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([block.text], { type: "text/plain" }));
      link.download = block.file;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    };
    const draw = () => {
      el.className = `${el.className.replace(/ ?lk-codes/, "")} lk-codes`;
      el.replaceChildren(...model.get("blocks").map((block) => {
        const box = document.createElement("div"), head = document.createElement("div"), text = document.createElement("pre");
        head.className = "lk-code-head lk-note";
        const title = document.createElement("span");
        title.textContent = block.title;
        text.className = "lk-code";
        text.tabIndex = 0;
        text.setAttribute("role", "region");
        text.setAttribute("aria-label", block.title);
        text.textContent = block.text;
        head.append(title, button("Copy", `copy ${block.title}`, (made) => copy(block, text, made)),
          button("Save", `save as ${block.file}`, () => save(block)));
        box.append(head, text);
        return box;
      }));
    };
    draw();
    model.on("change:blocks", draw);
    return () => model.off("change:blocks", draw);
  },
};
